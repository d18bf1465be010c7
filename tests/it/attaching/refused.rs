//! What is not attached, and who waits for whom.

use fixtures::qdrant::LocalProcess;
use fixtures::wait::until;
use tests::LIMIT;

use super::setup::{NAME, Setup};

#[tokio::test]
async fn a_model_that_does_not_fit_is_refused_by_name() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    let alias = setup.bed.stack.collection.clone();
    let primary = setup.bed.stack.model.display().to_string();
    let attach = ["attach", "--alias", &alias, "--model"];
    let refused = |more: Vec<String>| {
        let arguments: Vec<_> = attach
            .iter()
            .map(|it| (*it).to_owned())
            .chain(more)
            .collect();
        let setup = &setup;
        async move {
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            setup.refused(&arguments).await
        }
    };
    let itself = refused(vec![primary.clone()]).await?;
    assert!(itself.contains("there is nothing to attach"), "{itself}");
    let taken = refused(vec![setup.second.clone(), "--as".into(), "tiny".into()]).await?;
    assert!(
        taken.contains("is that of the model which embeds"),
        "{taken}"
    );
    let words = refused(vec![setup.second.clone(), "--as".into(), "bm25".into()]).await?;
    assert!(words.contains("belongs to qdrant"), "{words}");
    let lanes = refused(vec![setup.third.clone()]).await?;
    assert!(
        lanes.contains("indexer provision --lanes --model"),
        "{lanes}"
    );

    setup.attach(&[]).await?;
    setup
        .indexer(&["provision", "--lanes", "--model", &setup.third])
        .await?;
    let other = refused(vec![setup.third.clone(), "--as".into(), NAME.into()]).await?;
    assert!(other.contains("belongs to model `second`"), "{other}");
    let unknown = setup
        .refused(&["detach", "--alias", &alias, "--vector", "nothing"])
        .await?;
    assert!(unknown.contains("attached are: `second`"), "{unknown}");
    // A worker of a model that is not attached refuses the collection, as before.
    let mut stranger = setup.bed.stack.program("worker");
    stranger.args(["run", "--drain", "--model", &setup.third]);
    let stranger = stranger.output().await?;
    assert!(!stranger.status.success(), "{stranger:?}");
    setup.bed.end().await
}

#[tokio::test]
async fn a_server_that_is_too_old_is_named_before_anything_is_changed() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    let directory = setup.bed.directory.path().join("older-qdrant");
    let program = setup.bed.stack.tools.programs.path("local-qdrant");
    let arguments = ["--report-version", "1.17.1"].map(Into::into).to_vec();
    let older = LocalProcess::start_with(&program, &directory, arguments).await?;
    let alias = setup.bed.stack.collection.clone();
    let (second, url) = (setup.second.clone(), older.url());
    let refused = setup
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
    setup.bed.end().await
}

#[tokio::test]
async fn a_second_attach_and_a_rebuild_wait_for_the_first() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.write_documents(2).await?;
    setup.bed.drain().await?;
    let alias = setup.bed.stack.collection.clone();
    let attach = [
        "attach",
        "--alias",
        &alias,
        "--model",
        &setup.second,
        "--lease",
        "2s",
    ];
    let mut slow = setup.bed.stack.program("indexer");
    slow.args(attach)
        .env("EBB_FAILPOINTS", "attach-created=stall:8000");
    let slow = tokio::spawn(async move { slow.output().await });
    let client = crate::rebuild::qdrant(&setup.bed)?;
    until("the vector to be made", LIMIT, async || {
        let info = client.collection_info(alias.as_str()).await?;
        let info = info.result.unwrap_or_default();
        let names = points::vectors::vector_names(&info);
        Ok(names.contains(&NAME.to_owned()).then_some(()))
    })
    .await?;
    let corpus = setup.bed.write("doc.md", "# Title\n\nSome text.\n")?;
    let corpus = corpus.display().to_string();
    let rebuild = ["rebuild", &corpus, "--alias", &alias, "--lease", "2s"];
    for arguments in [&attach[..], &rebuild[..]] {
        let refused = setup.refused(arguments).await?;
        assert!(refused.contains("lease"), "{refused}");
    }
    let slow = slow.await??;
    assert!(slow.status.success(), "{slow:?}");
    setup.drain_second().await?;
    setup.assert_complete(4).await?;
    setup.bed.end().await
}
