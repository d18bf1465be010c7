//! Versions: whatever order jobs arrive in, the newest version of a document is what is there.

use tests::{Bed, flag, integer, text, vector};

#[tokio::test]
async fn an_older_version_does_not_replace_a_newer_one() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    for version in [3, 1, 2] {
        bed.publish_document("doc", version, &[&format!("text of version {version}")])
            .await?;
        bed.drain().await?;
    }
    let points = bed.points().await?;
    assert_eq!(points.len(), 1);
    assert_eq!(
        text(&points[&("doc".to_owned(), 0)], "text"),
        "text of version 3"
    );
    bed.end().await
}

#[tokio::test]
async fn versions_of_one_document_in_one_batch_end_with_the_newest() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    for version in [2, 5, 1, 4, 3] {
        let texts = vec!["some text"; usize::try_from(version)?];
        bed.publish_document("doc", version, &texts).await?;
    }
    bed.drain().await?;
    let points = bed.points().await?;
    assert_eq!(points.len(), 5);
    assert!(
        points.values().all(|point| integer(point, "version") == 5),
        "{points:?}"
    );
    bed.end().await
}

#[tokio::test]
async fn a_shorter_version_leaves_no_chunk_of_the_longer_one() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.publish_document("doc", 1, &["one", "two", "three", "four"])
        .await?;
    bed.publish_document("other", 1, &["neighbour", "second"])
        .await?;
    bed.drain().await?;
    bed.publish_document("doc", 2, &["only"]).await?;
    bed.drain().await?;
    let points = bed.points().await?;
    let keys: Vec<_> = points
        .keys()
        .map(|(doc, chunk)| (doc.as_str(), *chunk))
        .collect();
    assert_eq!(keys, [("doc", 0), ("other", 0), ("other", 1)]);
    bed.end().await
}

#[tokio::test]
async fn a_late_longer_version_does_not_bring_its_chunks_back() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.publish_document("doc", 2, &["only"]).await?;
    bed.drain().await?;
    bed.publish_document("doc", 1, &["one", "two", "three"])
        .await?;
    bed.drain().await?;
    let points = bed.points().await?;
    assert_eq!(points.len(), 1);
    assert_eq!(integer(&points[&("doc".to_owned(), 0)], "version"), 2);
    bed.end().await
}

#[tokio::test]
async fn a_deleted_document_leaves_a_tombstone_that_a_late_job_cannot_pass() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.publish_document("doc", 1, &["one", "two"]).await?;
    bed.drain().await?;
    bed.publish_removal("doc", 3).await?;
    bed.drain().await?;
    bed.publish_document("doc", 2, &["late", "later"]).await?;
    bed.drain().await?;
    let points = bed.points().await?;
    let tombstone = &points[&("doc".to_owned(), 0)];
    assert_eq!(points.len(), 1);
    assert!(
        flag(tombstone, "deleted") && vector(tombstone).is_none(),
        "{tombstone:?}"
    );
    bed.end().await
}

#[tokio::test]
async fn a_crash_before_the_vectors_of_a_tombstone_are_removed_leaves_them_to_the_next_delivery()
-> anyhow::Result<()> {
    let bed = Bed::impatient().await?;
    bed.publish_document("doc", 1, &["one", "two"]).await?;
    bed.drain().await?;
    bed.publish_removal("doc", 3).await?;
    let status = bed.run_with_failpoints("after-head=kill").await?;
    assert!(!status.success());
    let points = bed.points().await?;
    let head = &points[&("doc".to_owned(), 0)];
    assert!(flag(head, "deleted"), "{head:?}");
    bed.drain().await?;
    let points = bed.points().await?;
    assert_eq!(points.len(), 1);
    let tombstone = &points[&("doc".to_owned(), 0)];
    assert!(
        flag(tombstone, "deleted") && vector(tombstone).is_none(),
        "{tombstone:?}"
    );
    bed.end().await
}

#[tokio::test]
async fn a_document_can_be_published_again_after_it_was_deleted() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let corpus = bed.write("doc.txt", "A text that comes, goes and comes again.")?;
    let corpus = corpus.display().to_string();
    bed.stack.indexer(&["publish", &corpus]).await?;
    bed.stack.indexer(&["delete", "doc.txt"]).await?;
    bed.drain().await?;
    assert!(flag(
        &bed.points().await?[&("doc.txt".to_owned(), 0)],
        "deleted"
    ));
    bed.stack.indexer(&["publish", &corpus]).await?;
    bed.drain().await?;
    let points = bed.points().await?;
    let point = &points[&("doc.txt".to_owned(), 0)];
    assert!(
        !flag(point, "deleted") && vector(point).is_some(),
        "{point:?}"
    );
    bed.end().await
}

#[tokio::test]
async fn jobs_without_a_version_are_ordered_by_the_time_at_which_they_were_stored()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    for text in ["first", "second"] {
        let job = serde_json::json!({
            "version": "1.0", "kind": "embed", "collection": bed.stack.collection,
            "documents": [{ "id": "doc", "chunks": [{ "text": text }] }],
        });
        bed.publish_bytes(job.to_string()).await?;
    }
    bed.drain().await?;
    let points = bed.points().await?;
    assert_eq!(text(&points[&("doc".to_owned(), 0)], "text"), "second");
    assert!(integer(&points[&("doc".to_owned(), 0)], "version") > 1_700_000_000_000_000);
    bed.end().await
}

#[tokio::test]
async fn a_delete_wins_over_a_write_of_its_own_version_that_comes_late() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.publish_removal("doc", 5).await?;
    bed.drain().await?;
    bed.publish_document("doc", 5, &["late", "later"]).await?;
    bed.drain().await?;
    let points = bed.points().await?;
    assert_eq!(points.len(), 1, "{points:?}");
    assert!(flag(&points[&("doc".to_owned(), 0)], "deleted"));
    bed.publish_document("doc", 6, &["again"]).await?;
    bed.drain().await?;
    assert!(!flag(
        &bed.points().await?[&("doc".to_owned(), 0)],
        "deleted"
    ));
    bed.end().await
}
