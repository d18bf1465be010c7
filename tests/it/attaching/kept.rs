//! Attached vectors of texts that do not change, and reads of some vectors alone.

use contract::names::CollectionName;
use points::Points;
use points::payload::named_vector;
use qdrant_client::qdrant::Filter;

use super::setup::{NAME, Setup};
use crate::rebuild::{Corpus, qdrant, serving};
use crate::sync::sync;

/// Chunks of few tokens, so that a document has many of them.
const SHORT: [&str; 4] = ["--chunk-tokens", "24", "--job-tokens", "120"];

fn corpus(last: &str) -> Corpus {
    let sentence = |n| format!("Sentence number {n} speaks of queues.");
    let sentences: Vec<_> = (0..20).map(sentence).collect();
    let text = format!("{} The last one speaks of {last}.", sentences.join(" "));
    [("long".to_owned(), text)].into()
}

#[tokio::test]
async fn a_sync_keeps_the_attached_vectors_of_texts_that_did_not_change() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.attach(&[]).await?;
    let worker = setup.bed.stack.worker("primary", &[]).await?;
    sync(&setup.bed, &corpus("streams"), &SHORT).await?.done();
    setup.drain_second().await?;
    let chunks = setup.bed.points().await?.len() as u64;
    assert!(chunks > 5, "{chunks}");
    setup.assert_complete(chunks).await?;
    // Nobody serves the attached model: what were to be computed would not come.
    sync(&setup.bed, &corpus("aliases"), &SHORT).await?.done();
    assert_eq!(
        setup.lacking().await?,
        1,
        "only the last chunk has another text"
    );
    assert!(worker.process.terminate().await?.success());
    assert_eq!(setup.waiting().await?, 1);
    setup.drain_second().await?;
    setup.assert_complete(chunks).await?;
    assert!(setup.bed.dead_letters().await?.is_empty());
    setup.bed.end().await
}

#[tokio::test]
async fn a_vector_that_is_detached_while_it_is_read_is_missing_and_the_others_are_not()
-> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.attach(&[]).await?;
    setup.write_documents(3).await?;
    setup.bed.drain().await?;
    setup.drain_second().await?;
    let store = points::Qdrant::new(qdrant(&setup.bed)?);
    let collection: CollectionName = serving(&setup.bed).await?.parse()?;
    let points = Points::new(&store, &collection);
    let both = points.select([NAME, "tiny"]).await?;
    let only = points.select([NAME]).await?;
    let mut pages = points
        .pages(Filter::default(), &[], 4)
        .with_vectors(both.clone());
    let first = pages.next().await?.unwrap_or_default();
    assert!(first.iter().all(|it| named_vector(it, NAME).is_some()));
    setup.indexer(&["detach", "--vector", NAME]).await?;
    let mut rest = pages.next().await?.unwrap_or_default();
    let ids: Vec<_> = first.iter().filter_map(|it| it.id.clone()).collect();
    rest.extend(points.get_with(&both, ids.clone(), &[]).await?);
    assert_eq!(rest.len(), 6);
    for point in &rest {
        assert!(named_vector(point, "tiny").is_some() && named_vector(point, NAME).is_none());
    }
    assert_eq!(points.get_with(&only, ids, &[]).await?.len(), 4);
    setup.bed.end().await
}
