//! Optimized graphs that are kept beside a model: they give the same vectors, or are not used.

use contract::digest::Digest;
use contract::model::{MANIFEST, StagedFile};
use fixtures::process::Process;
use fixtures::programs::workspace;
use tests::tiny_embed;
use worker::load::{Loaded, recipe};
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

/// Keeps the optimized graph of a model; gives its folder.
async fn optimized(model: &Path) -> anyhow::Result<PathBuf> {
    let (output, log) = optimize(model).await?;
    anyhow::ensure!(output.status.success(), "{log}");
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// A staged model with an optimized graph; the models' directory goes with it.
async fn tiny() -> anyhow::Result<(tempfile::TempDir, PathBuf, PathBuf)> {
    let models = tempfile::tempdir()?;
    let (model, _) = staged(&tiny_embed(), models.path(), &[]).await?;
    let folder = optimized(&model).await?;
    Ok((models, model, folder))
}

async fn loaded(model: &Path, sessions: usize) -> anyhow::Result<Loaded> {
    let model = ModelConfig {
        staged: ModelDir {
            model: model.to_owned(),
            public_key: None,
        },
        fingerprint: None,
    };
    let session = SessionConfig {
        sessions: std::num::NonZeroUsize::new(sessions),
        ..device().await?
    };
    Ok(load(&model, &session, Instant::now())?)
}

/// Which optimized graph a worker takes.
async fn taken(model: &Path) -> anyhow::Result<Option<PathBuf>> {
    Ok(loaded(model, 2).await?.optimized)
}

/// Whatever a folder holds, by name and content.
fn content(folder: &Path) -> anyhow::Result<Vec<(std::ffi::OsString, Digest)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let bytes = std::fs::read(entry.path())?;
        files.push((entry.file_name(), Digest::of(&bytes)));
    }
    files.sort();
    Ok(files)
}

fn edit(folder: &Path, edit: impl FnOnce(&mut Value)) -> anyhow::Result<()> {
    let path = folder.join(RECORD);
    let mut record = serde_json::from_slice(&std::fs::read(&path)?)?;
    edit(&mut record);
    Ok(std::fs::write(path, serde_json::to_vec(&record)?)?)
}

/// The vectors of a model before and after it is optimized are the same, of a first session and of another one.
async fn gives_the_same(source: &Path, options: &[&str]) -> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let (model, _) = staged(source, models.path(), options).await?;
    let texts = texts()?;
    let run = async |sessions| -> anyhow::Result<_> {
        let mut loaded = loaded(&model, sessions).await?;
        let longest = loaded.manifest.identity.max_tokens;
        let tensors = tensors(&loaded.tokenizer, &texts, longest)?;
        let first = run(&mut loaded.session, &tensors)?;
        let another = run(&mut loaded.another.load()?, &tensors)?;
        assert!(first == another, "{options:?}: another session differs");
        Ok((first, loaded.optimized))
    };
    let (before, none) = run(1).await?;
    assert_eq!(none, None);
    let folder = optimized(&model).await?;
    for sessions in [1, 3] {
        let (after, taken) = run(sessions).await?;
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

#[tokio::test]
async fn an_optimized_rescorer_is_used() -> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let source = workspace().join("fixtures/models/tiny-rerank");
    let (model, _) = staged(&source, models.path(), &["--optimize"]).await?;
    let mut command = tools().await?.program("worker");
    let output = command.arg("check").arg("--model").arg(&model).output();
    let report = String::from_utf8(output.await?.stdout)?;
    assert!(report.contains("from the optimized graph"), "{report}");
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
        let folder = Optimized::write(&sessions, (&model, &manifest), PoolOn::Device, &made)?;
        std::fs::create_dir(model.join(OPTIMIZED))?;
        std::fs::rename(made, &folder)?;
        assert_eq!(taken(&model).await?, Some(folder));
        let (least, _) = cosines(&before, &embed(&model, &texts()?).await?);
        assert!(least > 0.999_99, "beside {beside}: cosine {least}");
    }
    Ok(())
}

#[tokio::test]
async fn an_optimized_graph_that_is_damaged_is_not_used_and_is_written_again() -> anyhow::Result<()>
{
    let (_models, model, folder) = tiny().await?;
    let intact = content(&folder)?;
    for file in [
        GRAPH.rsplit('/').next().unwrap_or_default(),
        WEIGHTS,
        RECORD,
    ] {
        let path = folder.join(file);
        let mut bytes = std::fs::read(&path)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, &bytes)?;
        assert_eq!(taken(&model).await?, None, "a changed byte of {file}");
        std::fs::write(&path, &bytes[..middle])?;
        assert_eq!(taken(&model).await?, None, "half of {file}");
        std::fs::remove_file(&path)?;
        assert_eq!(taken(&model).await?, None, "no {file}");
        assert_eq!(optimized(&model).await?, folder);
        assert_eq!(taken(&model).await?.as_ref(), Some(&folder), "{file}");
        let again = content(&folder)?;
        let names = |files: &[(std::ffi::OsString, Digest)]| -> Vec<_> {
            files.iter().map(|(name, _)| name.clone()).collect()
        };
        assert_eq!(names(&again), names(&intact), "{file}");
        assert_eq!(content_of(&model)?, 1, "nothing else is left behind");
    }
    Ok(())
}

/// How many entries the folder of optimized graphs has.
fn content_of(model: &Path) -> anyhow::Result<usize> {
    Ok(std::fs::read_dir(model.join(OPTIMIZED))?.count())
}

#[tokio::test]
async fn an_optimized_graph_of_another_processor_or_runtime_is_not_used() -> anyhow::Result<()> {
    for field in ["processor", "runtime", "device", "fingerprint"] {
        let (_models, model, folder) = tiny().await?;
        edit(&folder, |record| {
            let other = record[field].as_str().map(|it| it.replace(['a', 'e'], "0"));
            record[field] = other.into();
        })?;
        assert_eq!(taken(&model).await?, None, "{field}");
    }
    Ok(())
}

/// Its record and its digests are right: only its vectors tell.
#[tokio::test]
async fn an_optimized_graph_of_other_vectors_is_not_used() -> anyhow::Result<()> {
    let (_models, model, folder) = tiny().await?;
    let path = folder.join(WEIGHTS);
    let mut weights = std::fs::read(&path)?;
    for value in weights.as_chunks_mut::<4>().0.iter_mut().skip(1).step_by(3) {
        *value = (-f32::from_le_bytes(*value)).to_le_bytes();
    }
    std::fs::write(&path, weights)?;
    let now = serde_json::to_value(StagedFile::of(&path)?)?;
    edit(&folder, |record| record["files"][WEIGHTS] = now)?;
    assert_eq!(taken(&model).await?, None);
    // A worker that falls back has the vectors of the model.
    let fresh = tempfile::tempdir()?;
    let (plain, _) = staged(&tiny_embed(), fresh.path(), &[]).await?;
    assert!(embed(&model, &texts()?).await? == embed(&plain, &texts()?).await?);
    Ok(())
}

#[tokio::test]
async fn two_who_optimize_at_once_keep_one() -> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let (model, _) = staged(&tiny_embed(), models.path(), &[]).await?;
    let (one, other, third) = tokio::join!(optimized(&model), optimized(&model), optimized(&model));
    let folder = one?;
    assert_eq!([other?, third?], [folder.clone(), folder.clone()]);
    assert_eq!(taken(&model).await?, Some(folder));
    assert_eq!(content_of(&model)?, 1, "nothing else is left behind");
    Ok(())
}

#[tokio::test]
async fn who_is_killed_while_it_optimizes_leaves_nothing_that_is_used() -> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let (model, _) = staged(&minilm().await?, models.path(), &[]).await?;
    let mut command = tools().await?.program("worker");
    command.args(["optimize", "--model"]).arg(&model);
    let log = models.path().join("log");
    let process = Process::start(command, "optimize", &log)?;
    let begun = async || Ok(model.join(OPTIMIZED).is_dir().then_some(()));
    fixtures::wait::until("the work", std::time::Duration::from_secs(60), begun).await?;
    process.kill().await?;
    let left = taken(&model).await?;
    let folder = optimized(&model).await?;
    assert!(left.is_none_or(|left| left == folder));
    assert_eq!(taken(&model).await?, Some(folder));
    Ok(())
}

#[tokio::test]
async fn a_model_that_is_altered_is_refused_whatever_lies_beside_it() -> anyhow::Result<()> {
    let (_models, model, _) = tiny().await?;
    let graph = model.join(GRAPH);
    let mut bytes = std::fs::read(&graph)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&graph, bytes)?;
    let error = taken(&model).await.unwrap_err().to_string();
    assert!(error.contains("model.onnx` was altered"), "{error}");
    let (output, log) = optimize(&model).await?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("model.onnx` was altered"), "{log}");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_kept_is_said() -> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let (model, _) = staged(&tiny_embed(), models.path(), &[]).await?;
    // A file where the folder should be: the same for every user.
    std::fs::write(model.join(OPTIMIZED), "")?;
    let (output, log) = optimize(&model).await?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(
        log.contains("failed to write to") && log.contains(OPTIMIZED),
        "{log}"
    );
    let options = ["--optimize"];
    let (output, log) = stage(&tiny_embed(), models.path(), &options).await?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("is staged, but not optimized"), "{log}");
    let key = models.path().join("key");
    std::fs::write(&key, "")?;
    let mut command = tools().await?.program("worker");
    command.args(["optimize", "--model"]).arg(&model);
    let output = command.arg("--public-key").arg(&key).output().await?;
    let log = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(64), "{log}");
    assert!(log.contains("no signature covers"), "{log}");
    assert!(model.join(MANIFEST).is_file());
    Ok(())
}
