//! Collections in strict mode: requests are as large as their limits allow, and what cannot be kept to is named and never
//! held against a job.

mod refused;

use std::collections::BTreeMap;

use anyhow::Context as _;
use fixtures::stack::Worker;
use fixtures::wait::until;
use points::guard::tombstones;
use points::limits::MOST_CONDITIONS;
use qdrant_client::Qdrant;
use qdrant_client::qdrant::{
    DeleteFieldIndexCollectionBuilder, Filter, PointId, ScrollPointsBuilder, StrictModeConfig,
    UpdateCollection,
};
use tests::{Bed, LIMIT, text};

use crate::doctor::{doctor, named};
use crate::rebuild::{Corpus, corpus, rebuild};
use crate::sync::{changes, sync};

pub(crate) fn client(bed: &Bed) -> anyhow::Result<Qdrant> {
    let settings = Qdrant::from_url(&bed.stack.qdrant.url()).skip_compatibility_check();
    Ok(settings.build()?)
}

/// Sets limits of the collection of a bed; what is left out stays.
pub(crate) async fn limit(bed: &Bed, strict: StrictModeConfig) -> anyhow::Result<()> {
    let request = UpdateCollection {
        collection_name: bed.stack.collection.clone(),
        strict_mode_config: Some(StrictModeConfig {
            enabled: strict.enabled.or(Some(true)),
            ..strict
        }),
        ..UpdateCollection::default()
    };
    client(bed)?.update_collection(request).await?;
    Ok(())
}

/// Every limit that is about the size of a request, as low as Ebb can work with.
fn low() -> StrictModeConfig {
    StrictModeConfig {
        max_query_limit: Some(100),
        max_timeout: Some(1),
        unindexed_filtering_retrieve: Some(false),
        unindexed_filtering_update: Some(false),
        search_max_batchsize: Some(1),
        upsert_max_batchsize: Some(10),
        filter_max_conditions: Some(MOST_CONDITIONS as u64),
        condition_max_size: Some(10),
        ..StrictModeConfig::default()
    }
}

/// Chunks of each document that is not deleted, whatever the limits are.
async fn chunks(bed: &Bed) -> anyhow::Result<BTreeMap<String, i64>> {
    let client = client(bed)?;
    let (mut chunks, mut offset) = (BTreeMap::<String, i64>::new(), None::<PointId>);
    loop {
        let scroll = ScrollPointsBuilder::new(bed.stack.collection.as_str())
            .filter(Filter::must_not([tombstones()]))
            .limit(50)
            .with_payload(true)
            .with_vectors(true);
        let scroll = match offset.take() {
            Some(offset) => scroll.offset(offset),
            None => scroll,
        };
        let page = client.scroll(scroll).await?;
        for point in &page.result {
            anyhow::ensure!(point.vectors.is_some(), "{point:?} has no vector");
            *chunks.entry(text(point, "doc_id")).or_default() += 1;
        }
        offset = page.next_page_offset;
        if offset.is_none() {
            return Ok(chunks);
        }
    }
}

/// Batches that a worker keeps for a reason.
async fn held(worker: &Worker, reason: &str) -> anyhow::Result<f64> {
    let held = worker.metrics().await?.by("worker_held_batches", "reason");
    held.get(reason).copied().context("no such reason")
}

#[tokio::test]
async fn documents_are_written_deleted_and_rebuilt_within_all_limits() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    limit(&bed, low()).await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let texts: Vec<_> = (0..120).map(|n| format!("text number {n}")).collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    for version in [1, 2] {
        bed.publish_document("long", version, &texts).await?;
    }
    bed.drained().await?;
    assert_eq!(
        chunks(&bed).await?,
        BTreeMap::from([("long".to_owned(), 120)])
    );
    bed.publish_document("long", 3, &texts[..30]).await?;
    bed.drained().await?;
    assert_eq!(
        chunks(&bed).await?,
        BTreeMap::from([("long".to_owned(), 30)])
    );

    let mut corpus: Corpus = corpus(200);
    let synced = sync(&bed, &corpus, &["--max-shrink", "100"]).await?;
    assert_eq!(changes(&synced)[..3], [0, 200, 1]);
    corpus.remove("d7");
    corpus.insert("d8".to_owned(), "Another text of the queue.".to_owned());
    assert_eq!(changes(&sync(&bed, &corpus, &[]).await?)[..3], [198, 1, 1]);
    bed.publish_removal("d9", 1 << 52).await?;
    bed.drained().await?;
    corpus.remove("d9");
    assert_eq!(chunks(&bed).await?.len(), corpus.len());

    let rebuilt = rebuild(&bed, &corpus, &[]).await?;
    rebuilt.done();
    bed.stack.indexer(&["gc", "--keep", "0"]).await?;
    assert_eq!(chunks(&bed).await?.len(), corpus.len());
    assert!(bed.dead_letters().await?.is_empty());
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_rate_limit_is_waited_for() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    limit(
        &bed,
        StrictModeConfig {
            read_rate_limit: Some(120),
            write_rate_limit: Some(120),
            ..StrictModeConfig::default()
        },
    )
    .await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    // More points than a minute allows at once: the rest comes at two a second.
    let texts = vec!["some text"; 10];
    for n in 0..13 {
        bed.publish_document(&format!("d{n}"), 1, &texts).await?;
    }
    bed.drained().await?;
    let off = StrictModeConfig {
        enabled: Some(false),
        ..StrictModeConfig::default()
    };
    limit(&bed, off).await?;
    assert_eq!(bed.points().await?.len(), 130);
    assert_eq!(worker.metric("worker_redeliveries_total").await?, 0.0);
    assert!(bed.dead_letters().await?.is_empty());
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn limits_that_change_while_a_worker_runs_are_read_again() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let texts = vec!["some text"; 60];
    bed.publish_document("before", 1, &texts).await?;
    bed.drained().await?;
    limit(&bed, low()).await?;
    bed.publish_document("after", 1, &texts).await?;
    bed.publish_document("before", 2, &texts).await?;
    bed.drained().await?;
    let expected = ["after", "before"].map(|id| (id.to_owned(), 60));
    assert_eq!(chunks(&bed).await?, BTreeMap::from(expected));
    assert!(bed.dead_letters().await?.is_empty());
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn what_the_installation_refuses_is_kept_and_said_until_somebody_acts() -> anyhow::Result<()>
{
    let bed = Bed::start().await?;
    let asker = refused::asker(&bed).await?;
    let points = |most| StrictModeConfig {
        max_points_count: Some(most),
        ..StrictModeConfig::default()
    };
    limit(&bed, points(1)).await?;
    asker.until_full().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    bed.publish_document("second", 1, &["some text", "more text"])
        .await?;
    bed.publish_document("third", 1, &["some text"]).await?;
    until("a batch to be held", LIMIT, async || {
        Ok((held(&worker, "full").await? > 0.0).then_some(()))
    })
    .await?;
    let report = doctor(&bed, &[]).await?;
    named(&report, "error", "max_points_count", "1");
    limit(&bed, points(1000)).await?;
    bed.drained().await?;
    let off = StrictModeConfig {
        enabled: Some(false),
        ..StrictModeConfig::default()
    };
    limit(&bed, off).await?;
    let written = chunks(&bed).await?;
    assert_eq!((written["second"], written["third"]), (2, 1));
    assert_eq!(worker.metric("worker_redeliveries_total").await?, 0.0);
    assert_eq!(held(&worker, "full").await?, 0.0);
    assert!(bed.dead_letters().await?.is_empty());
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn limits_that_are_too_low_are_named_before_a_worker_meets_them() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    limit(
        &bed,
        StrictModeConfig {
            upsert_max_batchsize: Some(0),
            filter_max_conditions: Some(2),
            condition_max_size: Some(0),
            read_rate_limit: Some(3),
            search_allow_exact: Some(false),
            ..StrictModeConfig::default()
        },
    )
    .await?;
    let too_low = [
        "upsert_max_batchsize",
        "filter_max_conditions",
        "condition_max_size",
        "read_rate_limit",
    ];
    let report = doctor(&bed, &[]).await?;
    for setting in too_low {
        named(&report, "error", setting, "");
    }
    named(&report, "warning", "search_allow_exact", "false");
    for (program, arguments) in [
        ("worker", &["check"][..]),
        ("indexer", &["provision", "--check"]),
    ] {
        let output = bed.stack.program(program).args(arguments).output().await?;
        assert!(!output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let missing: Vec<_> = too_low.iter().filter(|it| !said.contains(**it)).collect();
        assert!(missing.is_empty(), "{missing:?} in {said}");
    }
    bed.end().await
}

#[tokio::test]
async fn an_index_that_is_missing_is_named_and_made() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let collection = bed.stack.collection.clone();
    let index = DeleteFieldIndexCollectionBuilder::new(&collection, "version");
    client(&bed)?.delete_field_index(index.wait(true)).await?;
    limit(&bed, low()).await?;
    let check = bed.stack.program("worker").arg("check").output().await?;
    assert!(!check.status.success(), "{check:?}");
    let worker = bed.stack.worker("worker", &[]).await?;
    bed.publish_document("d", 1, &["some text", "more text"])
        .await?;
    until("a batch to be held", LIMIT, async || {
        Ok((held(&worker, "index").await? > 0.0).then_some(()))
    })
    .await?;
    bed.stack.indexer(&["provision"]).await?;
    bed.drained().await?;
    assert_eq!(chunks(&bed).await?, BTreeMap::from([("d".to_owned(), 2)]));
    assert!(bed.dead_letters().await?.is_empty());
    worker.process.kill().await?;
    bed.end().await
}
