//! Optimized graphs that are kept beside a model: they give the same vectors, or are not used.

mod refused;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use contract::digest::Digest;
use contract::model::{MANIFEST, StagedFile};
use fixtures::process::Process;
use fixtures::programs::workspace;
use tests::tiny_embed;
use worker::load::recipe;
use worker::session::{OPTIMIZED, Optimized, PoolOn, Sessions};

use super::*;

const RECORD: &str = "optimized.json";
const WEIGHTS: &str = "model.weights";

/// Runs `worker optimize` to its end; gives its log, too.
async fn optimize(model: &Path) -> anyhow::Result<(Output, String)> {
    let mut command = tools().await?.program("worker");
    command.args(["optimize", "--model"]).arg(model);
    let output = command.output().await?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output, log))
}

/// Keeps the optimized graph of a model, in files that a test may write; gives its folder.
async fn optimized(model: &Path) -> anyhow::Result<PathBuf> {
    let (output, log) = optimize(model).await?;
    anyhow::ensure!(output.status.success(), "{log}");
    let folder = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    for file in std::fs::read_dir(&folder)? {
        std::fs::set_permissions(file?.path(), Permissions::from_mode(0o644))?;
    }
    Ok(folder)
}

/// A staged model with an optimized graph; the models' directory goes with it.
async fn tiny() -> anyhow::Result<(tempfile::TempDir, PathBuf, PathBuf)> {
    let models = tempfile::tempdir()?;
    let (model, _) = staged(&tiny_embed(), models.path(), &[]).await?;
    let folder = optimized(&model).await?;
    Ok((models, model, folder))
}

/// A model for a worker of so many sessions that asks for the optimized graph.
async fn asked(model: &Path, sessions: usize) -> anyhow::Result<Loaded> {
    let session = SessionConfig {
        optimized: true,
        sessions: std::num::NonZeroUsize::new(sessions),
        ..device().await?
    };
    loaded(model, &session)
}

/// Vectors of the golden texts by a worker that asks for the optimized graph, and the one that it takes.
async fn vectors(
    model: &Path,
    sessions: usize,
) -> anyhow::Result<(Vec<Vec<f32>>, Option<PathBuf>)> {
    let mut loaded = asked(model, sessions).await?;
    let longest = loaded.manifest.identity.max_tokens;
    let tensors = tensors(&loaded.tokenizer, &texts()?, longest)?;
    let first = run(&mut loaded.session, &tensors)?;
    let another = run(&mut loaded.factory.load()?, &tensors)?;
    assert!(first == another, "another session differs");
    Ok((first, loaded.optimized))
}

/// Which optimized graph a worker takes.
async fn taken(model: &Path) -> anyhow::Result<Option<PathBuf>> {
    Ok(asked(model, 2).await?.optimized)
}

/// The vectors of a model before and after it is optimized are the same, of a first session and of another one.
async fn gives_the_same(source: &Path, options: &[&str]) -> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let (model, _) = staged(source, models.path(), options).await?;
    let (before, none) = vectors(&model, 1).await?;
    assert_eq!(none, None);
    let folder = optimized(&model).await?;
    for sessions in [1, 3] {
        let (after, taken) = vectors(&model, sessions).await?;
        assert_eq!(taken.as_ref(), Some(&folder), "{options:?}");
        assert!(after == before, "{options:?}: vectors differ");
    }
    Ok(())
}

#[tokio::test]
async fn an_optimized_graph_gives_the_same_vectors_to_the_last_bit() -> anyhow::Result<()> {
    for options in [
        &[][..],
        &["--quantize", "fp16", "--max-ndcg-loss", "1"],
        &["--quantize", "int8", "--max-ndcg-loss", "1"],
    ] {
        gives_the_same(&tiny_embed(), options).await?;
    }
    gives_the_same(&minilm().await?, &[]).await
}

#[tokio::test]
async fn an_optimized_graph_holds_weights_that_lay_beside_the_other() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    with_weights_beside(&tiny_embed(), directory.path())?;
    gives_the_same(directory.path(), &[]).await
}

/// What `worker check` reports of a model.
async fn check(model: &Path, options: &[&str]) -> anyhow::Result<String> {
    let mut command = tools().await?.program("worker");
    command.args(["check", "--model"]).arg(model);
    let output = command.args(options).output().await?;
    let all = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8(all)?)
}

#[tokio::test]
async fn an_optimized_graph_is_used_where_it_is_asked_for() -> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let source = workspace().join("fixtures/models/tiny-rerank");
    let (model, _) = staged(&source, models.path(), &[]).await?;
    let report = check(&model, &["--optimized"]).await?;
    assert!(
        report.contains("has kept no graph for this device"),
        "{report}"
    );
    assert!(report.contains("s from the graph"), "{report}");
    let (same, _) = staged(&source, models.path(), &["--optimized"]).await?;
    assert_eq!(same, model);
    let report = check(&model, &["--optimized"]).await?;
    assert!(report.contains("s from the optimized graph"), "{report}");
    assert!(!report.contains("WARN"), "{report}");
    let report = check(&model, &[]).await?;
    assert!(report.contains("s from the graph"), "{report}");
    Ok(())
}

#[tokio::test]
async fn a_graph_that_pools_is_kept_with_its_pooling() -> anyhow::Result<()> {
    for beside in [false, true] {
        let models = tempfile::tempdir()?;
        let source = models.path().join("source");
        with_weights_beside(&tiny_embed(), &source)?;
        let source = if beside { source } else { tiny_embed() };
        let (model, _) = staged(&source, models.path(), &[]).await?;
        let before = embed(&model, &texts()?).await?;
        let manifest = Manifest::load(&model)?;
        let (graph, device) = (model.join(&manifest.identity.onnx), device().await?);
        let sessions = Sessions::of(&graph, &device, recipe(&manifest.identity))?;
        let made = model.join("made");
        std::fs::create_dir(&made)?;
        let (_, folder) = Optimized::write(&sessions, &model, &manifest, PoolOn::Device, &made)?;
        std::fs::create_dir(model.join(OPTIMIZED))?;
        std::fs::rename(made, &folder)?;
        assert_eq!(taken(&model).await?, Some(folder));
        let (least, _) = cosines(&before, &vectors(&model, 1).await?.0);
        assert!(least > 0.999_99, "beside {beside}: cosine {least}");
    }
    Ok(())
}
