//! The straight way through: files to searchable points.

use std::collections::BTreeMap;

use contract::digest::Digest;
use contract::job::KnownVector;
use serde_json::{Value, json};
use tests::{Bed, cosine, integer, text, vector};

#[tokio::test]
async fn published_files_become_points_with_everything_that_the_schema_promises()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.write(
        "guide/start.md",
        "# Start\n\nThe first steps of a worker.\n\n## Queue\n\nJobs wait in a stream.\n",
    )?;
    bed.write(
        "records.jsonl",
        "{\"_id\":\"r1\",\"title\":\"One\",\"text\":\"a record\",\"lang\":\"en\"}\n",
    )?;
    let corpus = bed.write("plain.txt", "A plain text about vectors.\n")?;
    let published = bed
        .stack
        .indexer(&["publish", &corpus.display().to_string(), "--json"])
        .await?;
    let published: Value = serde_json::from_str(&published)?;
    bed.drain().await?;
    let points = bed.points().await?;
    assert_eq!(points.len() as u64, published["chunks"].as_u64().unwrap());
    assert!(points.len() >= 3, "{points:?}");
    for ((doc_id, chunk), point) in &points {
        assert_eq!(
            text(point, "fingerprint"),
            bed.manifest.fingerprint.as_str()
        );
        assert_eq!(
            integer(point, "version"),
            published["version"].as_i64().unwrap()
        );
        assert!(*chunk < integer(point, "chunks"), "{doc_id}");
        assert!(
            !text(point, "text").is_empty() && !text(point, "digest").is_empty(),
            "{doc_id}"
        );
        let vector = vector(point).expect("a chunk has a vector");
        let norm = vector
            .iter()
            .map(|v| f64::from(*v).powi(2))
            .sum::<f64>()
            .sqrt();
        assert_eq!(vector.len(), bed.manifest.identity.dimensions);
        assert!((norm - 1.0).abs() < 1e-3, "{doc_id}: {norm}");
    }
    let record = &points[&("r1".to_owned(), 0)];
    let meta = record.payload["meta"]
        .as_struct()
        .expect("meta is an object");
    assert_eq!(meta.fields["lang"].as_str().unwrap(), "en");
    assert_eq!(meta.fields["title"].as_str().unwrap(), "One");
    assert!(bed.dead_letters().await?.is_empty());
    bed.end().await
}

#[tokio::test]
async fn a_vector_that_comes_with_its_chunk_is_written_where_it_is_of_the_same_model()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let mut known = vec![0.0; bed.manifest.identity.dimensions];
    known[1] = 1.0;
    let job = |id: &str, fingerprint: &Digest| {
        let chunk = |text: &str| json!({ "text": text, "vector": KnownVector(known.clone()) });
        json!({ "version": "1.0", "kind": "embed", "collection": bed.stack.collection, "fingerprint": fingerprint,
            "documents": [{ "id": id, "version": 1, "chunks": [chunk("One."), { "text": "Two." }, chunk("Three.")] }] })
        .to_string()
    };
    bed.publish_bytes(job("same", &bed.manifest.fingerprint))
        .await?;
    bed.publish_bytes(job("other", &Digest::of(b"another model")))
        .await?;
    bed.publish_document("plain", 1, &["One.", "Two.", "Three."])
        .await?;
    bed.drain().await?;
    assert!(bed.dead_letters().await?.is_empty());
    let points = bed.points().await?;
    let vectors = |id: &str| {
        let of = |chunk| vector(&points[&(id.to_owned(), chunk)]).expect("a vector");
        [of(0), of(1), of(2)]
    };
    let computed = vectors("plain");
    for (found, computed) in vectors("other").iter().zip(&computed) {
        assert!(cosine(found, computed) > 0.9999);
    }
    let [first, second, third] = vectors("same");
    assert_eq!([&first, &third], [&known, &known]);
    assert!(cosine(&second, &computed[1]) > 0.9999);
    bed.end().await
}

#[tokio::test]
async fn a_worker_may_be_told_to_embed_every_text_itself() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let mut given = vec![0.0; bed.manifest.identity.dimensions];
    given[0] = 1.0;
    let job = json!({ "version": "1.0", "kind": "embed", "collection": bed.stack.collection,
        "fingerprint": bed.manifest.fingerprint,
        "documents": [{ "id": "given", "chunks": [{ "text": "One.", "vector": KnownVector(given.clone()) }] }] });
    bed.publish_bytes(job.to_string()).await?;
    let worker = bed
        .stack
        .worker("careful", &["--given-vectors", "embed"])
        .await?;
    bed.drained().await?;
    let points = bed.points().await?;
    let found = vector(&points[&("given".to_owned(), 0)]).expect("a vector");
    assert!(cosine(&found, &given) < 0.9, "{found:?}");
    worker.process.terminate().await?;
    bed.end().await
}

#[tokio::test]
async fn offsets_of_a_hit_lead_back_to_its_place_in_the_source() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let section =
        "A worker pulls jobs from a stream and writes vectors to a collection. ".repeat(12);
    let source = format!("# Träger\n\n{section}\n\n## Zweitens\n\n{section}\n");
    let corpus = bed.write("long.md", &source)?;
    bed.stack
        .indexer(&["publish", &corpus.display().to_string()])
        .await?;
    bed.drain().await?;
    let points = bed.points().await?;
    assert!(points.len() > 3, "the text is longer than one chunk");
    for point in points.values() {
        let (start, end) = (integer(point, "start"), integer(point, "end"));
        let range = usize::try_from(start)?..usize::try_from(end)?;
        assert_eq!(&source[range], text(point, "text"));
    }
    bed.end().await
}

#[tokio::test]
async fn publishing_the_same_again_changes_no_point_but_its_version() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let corpus = bed.write("a.md", "# A\n\nThe same text, published twice.\n")?;
    let mut seen = Vec::new();
    for _ in 0..2 {
        bed.stack
            .indexer(&["publish", &corpus.display().to_string()])
            .await?;
        bed.drain().await?;
        let points = bed.points().await?;
        seen.push(
            points
                .into_iter()
                .map(|(key, p)| (key, (p.id.clone(), text(&p, "digest"))))
                .collect::<BTreeMap<_, _>>(),
        );
    }
    assert_eq!(seen[0], seen[1]);
    bed.end().await
}

#[tokio::test]
async fn an_interrupted_publish_can_be_repeated_without_storing_its_jobs_twice()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let corpus = bed.write("a.md", "# A\n\nPublished, interrupted, published again.\n")?;
    let corpus = corpus.display().to_string();
    let publish = [
        "publish",
        &corpus,
        "--version",
        "1700000000000000",
        "--json",
    ];
    let first: Value = serde_json::from_str(&bed.stack.indexer(&publish).await?)?;
    let again: Value = serde_json::from_str(&bed.stack.indexer(&publish).await?)?;
    assert_eq!(
        (first["jobs"].as_u64(), first["duplicates"].as_u64()),
        (Some(1), Some(0))
    );
    assert_eq!(
        (again["jobs"].as_u64(), again["duplicates"].as_u64()),
        (Some(0), Some(1))
    );
    bed.end().await
}

#[tokio::test]
async fn a_document_larger_than_a_job_is_sliced_and_whole_again_in_the_collection()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let paragraphs: Vec<_> = (0..400)
        .map(|n| format!("Paragraph {n} speaks of queues and vectors."))
        .collect();
    let corpus = bed.write("large.txt", paragraphs.join("\n\n"))?;
    let corpus = corpus.display().to_string();
    let published = bed
        .stack
        .indexer(&["publish", &corpus, "--json", "--job-tokens", "256"])
        .await?;
    let published: Value = serde_json::from_str(&published)?;
    assert!(published["jobs"].as_u64() > Some(5), "{published}");
    bed.drain().await?;
    let points = bed.points().await?;
    assert_eq!(points.len() as u64, published["chunks"].as_u64().unwrap());
    let numbers: Vec<_> = points.keys().map(|(_, chunk)| *chunk).collect();
    assert_eq!(
        numbers,
        (0..i64::try_from(points.len())?).collect::<Vec<_>>()
    );
    bed.end().await
}

#[tokio::test]
async fn live_jobs_are_done_before_a_bulk_backlog() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let [_, bulk] = bed.lanes();
    for n in 0..600 {
        let job = serde_json::json!({
            "version": "1.0", "kind": "embed", "collection": bed.stack.collection,
            "documents": [{ "id": format!("bulk-{n}"), "chunks": [{ "text": format!("bulk text {n}") }] }],
        });
        bed.jetstream()
            .publish(bulk.subject(), job.to_string().into())
            .await?
            .await?;
    }
    bed.publish_document("live", 1, &["live text"]).await?;
    // Small batches, so that the order of the lanes shows.
    let worker = bed.stack.worker("worker", &["--batch-jobs", "4"]).await?;
    let consumer: async_nats::jetstream::consumer::PullConsumer = bed
        .jetstream()
        .get_consumer_from_stream(bulk.consumer(), contract::topology::JOBS)
        .await?;
    let left = fixtures::wait::until("the live document", tests::LIMIT, async || {
        let there = bed.points().await?.contains_key(&("live".to_owned(), 0));
        Ok(if there {
            Some(consumer.get_info().await?.num_pending)
        } else {
            None
        })
    })
    .await?;
    assert!(
        left > 0,
        "the live document came only after the whole backlog"
    );
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_dry_run_of_a_publish_or_a_deletion_changes_nothing() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let records = "{\"_id\":\"r1\",\"text\":\"a record\"}\n{\"_id\":\"r2\",\"text\":\"another\"}\n";
    let corpus = bed.write("records.jsonl", records)?;
    let corpus = corpus.display().to_string();
    let jobs = async || {
        let mut stream = bed.jetstream().get_stream(contract::topology::JOBS).await?;
        anyhow::Ok(stream.info().await?.state.last_sequence)
    };
    let publish = ["publish", &corpus, "--json"];
    let dry_run = [&publish[..], &["--dry-run"]].concat();
    let planned: Value = serde_json::from_str(&bed.stack.indexer(&dry_run).await?)?;
    assert_eq!(
        (&planned["documents"], &planned["chunks"]),
        (&2.into(), &2.into())
    );
    assert_eq!(jobs().await?, 0);
    bed.stack.indexer(&publish).await?;
    bed.drain().await?;
    let before = jobs().await?;
    let planned = bed
        .stack
        .indexer(&["delete", "r1", "r3", "--dry-run"])
        .await?;
    assert_eq!(planned.trim(), "would delete 1 of 2 documents");
    assert_eq!(jobs().await?, before);
    bed.end().await
}
