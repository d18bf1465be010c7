//! What is not attached, and who waits for whom.

use fixtures::qdrant::LocalProcess;
use fixtures::wait::until;
use tests::LIMIT;

use super::scene::{NAME, Scene};

#[tokio::test]
async fn a_model_that_does_not_fit_is_refused_by_name() -> anyhow::Result<()> {
    let scene = Scene::start().await?;
    let alias = scene.bed.stack.collection.clone();
    let primary = scene.bed.stack.model.display().to_string();
    let attach = ["attach", "--alias", &alias, "--model"];
    let refused = |more: Vec<String>| {
        let arguments: Vec<_> = attach
            .iter()
            .map(|it| (*it).to_owned())
            .chain(more)
            .collect();
        let scene = &scene;
        async move {
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            scene.refused(&arguments).await
        }
    };
    let itself = refused(vec![primary.clone()]).await?;
    assert!(itself.contains("there is nothing to attach"), "{itself}");
    let taken = refused(vec![scene.second.clone(), "--as".into(), "tiny".into()]).await?;
    assert!(
        taken.contains("is that of the model which embeds"),
        "{taken}"
    );
    let words = refused(vec![scene.second.clone(), "--as".into(), "bm25".into()]).await?;
    assert!(words.contains("belongs to qdrant"), "{words}");
    let lanes = refused(vec![scene.third.clone()]).await?;
    assert!(
        lanes.contains("indexer provision --lanes --model"),
        "{lanes}"
    );

    scene.attach(&[]).await?;
    scene
        .indexer(&["provision", "--lanes", "--model", &scene.third])
        .await?;
    let other = refused(vec![scene.third.clone(), "--as".into(), NAME.into()]).await?;
    assert!(other.contains("belongs to model `second`"), "{other}");
    let unknown = scene
        .refused(&["detach", "--alias", &alias, "--vector", "nothing"])
        .await?;
    assert!(unknown.contains("attached are: `second`"), "{unknown}");
    // A worker of a model that is not attached refuses the collection, as before.
    let mut stranger = scene.bed.stack.program("worker");
    stranger.args(["run", "--drain", "--model", &scene.third]);
    let stranger = stranger.output().await?;
    assert!(!stranger.status.success(), "{stranger:?}");
    scene.bed.end().await
}

#[tokio::test]
async fn a_server_that_is_too_old_is_named_before_anything_is_changed() -> anyhow::Result<()> {
    let scene = Scene::start().await?;
    let directory = scene.bed.directory.path().join("older-qdrant");
    let program = scene.bed.stack.tools.programs.path("local-qdrant");
    let arguments = ["--report-version", "1.17.1"].map(Into::into).to_vec();
    let older = LocalProcess::start_with(&program, &directory, arguments).await?;
    let alias = scene.bed.stack.collection.clone();
    let (second, url) = (scene.second.clone(), older.url());
    let refused = scene
        .refused(&[
            "attach",
            "--alias",
            &alias,
            "--model",
            &second,
            "--qdrant-url",
            &url,
        ])
        .await?;
    assert!(
        refused.contains(
            "qdrant is version 1.17.1; vectors that are added in place need at least 1.18"
        ),
        "{refused}"
    );
    scene.bed.end().await
}

#[tokio::test]
async fn a_second_attach_and_a_rebuild_wait_for_the_first() -> anyhow::Result<()> {
    let scene = Scene::start().await?;
    scene.write_documents(2).await?;
    scene.bed.drain().await?;
    let alias = scene.bed.stack.collection.clone();
    let attach = [
        "attach",
        "--alias",
        &alias,
        "--model",
        &scene.second,
        "--lease",
        "2s",
    ];
    let mut slow = scene.bed.stack.program("indexer");
    slow.args(attach)
        .env("EBB_FAILPOINTS", "attach-created=stall:8000");
    let slow = tokio::spawn(async move { slow.output().await });
    let client = crate::rebuild::qdrant(&scene.bed)?;
    until("the vector to be made", LIMIT, async || {
        let info = client.collection_info(alias.as_str()).await?;
        let info = info.result.unwrap_or_default();
        let names = points::vectors::vector_names(&info);
        Ok(names.contains(&NAME.to_owned()).then_some(()))
    })
    .await?;
    let corpus = scene.bed.write("doc.md", "# Title\n\nSome text.\n")?;
    let corpus = corpus.display().to_string();
    let rebuild = ["rebuild", &corpus, "--alias", &alias, "--lease", "2s"];
    for arguments in [&attach[..], &rebuild[..]] {
        let refused = scene.refused(arguments).await?;
        assert!(refused.contains("lease"), "{refused}");
    }
    let slow = slow.await??;
    assert!(slow.status.success(), "{slow:?}");
    scene.drain_second().await?;
    scene.assert_complete(4).await?;
    scene.bed.end().await
}
