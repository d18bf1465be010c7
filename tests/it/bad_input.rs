//! Bad input: named, kept, and nobody else's problem.

use contract::job::KnownVector;
use contract::topology::JOBS;
use fixtures::wait::until;
use serde_json::{Value, json};
use tests::{Bed, LIMIT};

#[tokio::test]
async fn jobs_that_cannot_be_done_become_dead_letters_and_their_neighbours_pass()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let collection = &bed.stack.collection;
    let document = |text: &str| json!([{ "id": "bad", "chunks": [{ "text": text }] }]);
    let long = "word ".repeat(5_000);
    let endless = "x".repeat(800_000);
    let unknown_token = json!({
        "version": "1.0", "kind": "embed", "collection": collection, "tokenization": bed.manifest.tokenization(),
        "documents": [{ "id": "bad", "chunks": [{ "text": "text", "token_ids": [1, 4_000_000_000_u32, 2] }] }],
    });
    let mut nested = json!(1);
    for _ in 0..40 {
        nested = json!([nested]);
    }
    let with_meta = |meta: serde_json::Value| {
        json!({ "version": "1.0", "kind": "embed", "collection": collection,
            "documents": [{ "id": "bad", "meta": meta, "chunks": [{ "text": "t" }] }] })
        .to_string()
    };
    let many: Vec<_> = (0..1025).map(|_| json!({ "text": "t" })).collect();
    let too_many = json!({ "version": "1.0", "kind": "embed", "collection": collection,
        "documents": [{ "id": "bad", "chunks": many }] });
    let bad = [
        ("invalid", with_meta(json!({ "m": nested }))),
        ("invalid", with_meta(json!({ "m": "x".repeat(40_000) }))),
        ("invalid", too_many.to_string()),
        ("malformed", "{\"version\":".to_owned()),
        ("malformed", "\u{0}\u{0}".to_owned()),
        ("malformed", String::new()),
        ("unknown_version", json!({ "version": "9.0", "kind": "embed" }).to_string()),
        ("unknown_kind", json!({ "version": "1.0", "kind": "dance" }).to_string()),
        ("invalid", json!({ "version": "1.0", "kind": "embed", "collection": collection, "documents": [] }).to_string()),
        ("invalid", json!({ "version": "1.0", "kind": "embed", "collection": collection, "documents": document(" ") }).to_string()),
        ("wrong_task", json!({ "version": "1.0", "kind": "rescore", "collection": collection, "items": [{ "point": "1", "text": "t" }] }).to_string()),
        ("too_long", json!({ "version": "1.0", "kind": "embed", "collection": collection, "documents": document(&long) }).to_string()),
        ("too_long", json!({ "version": "1.0", "kind": "embed", "collection": collection, "documents": document(&endless) }).to_string()),
        ("unknown_token", unknown_token.to_string()),
    ];
    for (n, (_, payload)) in bad.iter().enumerate() {
        bed.publish_bytes(payload.clone()).await?;
        bed.publish_document(&format!("good-{n}"), 1, &["a good neighbour"])
            .await?;
    }
    let drained = bed.run_with_failpoints("refusal-patience=skip").await?;
    assert!(drained.success(), "{drained}");
    let points = bed.points().await?;
    assert_eq!(points.len(), bad.len(), "{:?}", points.keys());
    assert!(points.keys().all(|(doc_id, _)| doc_id.starts_with("good-")));
    let letters = bed.dead_letters().await?;
    let mut found: Vec<_> = letters
        .iter()
        .map(|letter| (letter.cause.as_str(), letter.payload.clone()))
        .collect();
    let mut wanted: Vec<_> = bad
        .iter()
        .map(|(cause, job)| (*cause, job.clone().into_bytes()))
        .collect();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    bed.end().await
}

/// While a fleet is being upgraded, workers of the version before pull from the same lanes.
#[tokio::test]
async fn a_job_that_only_a_newer_worker_knows_is_left_to_it() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let collection = &bed.stack.collection;
    for job in [
        json!({ "version": "1.1", "kind": "attach_more", "collection": collection }),
        json!({ "version": "2.0", "kind": "embed", "collection": collection }),
    ] {
        bed.publish_bytes(job.to_string()).await?;
    }
    bed.publish_document("good", 1, &["a good neighbour"])
        .await?;
    let worker = bed.stack.worker("older", &[]).await?;
    until("both to be given back, twice", LIMIT, async || {
        let outcomes = worker.metrics().await?.by("worker_jobs_total", "outcome");
        Ok((outcomes.get("nak").copied().unwrap_or_default() >= 4.0).then_some(()))
    })
    .await?;
    assert_eq!(bed.points().await?.len(), 1);
    assert!(bed.dead_letters().await?.is_empty());
    let log = std::fs::read_to_string(worker.process.log())?;
    for said in [
        "unknown job kind `attach_more`",
        "unknown job version `2.0`",
        "a newer",
    ] {
        assert!(log.contains(said), "{said}: {log}");
    }
    assert!(worker.process.terminate().await?.success());
    let mut jobs = bed.jetstream().get_stream(JOBS).await?;
    assert_eq!(jobs.info().await?.state.messages, 2, "both are still there");
    bed.end().await
}

#[tokio::test]
async fn vectors_that_would_spoil_an_index_become_dead_letters() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let job = |vector: Value| {
        json!({ "version": "1.0", "kind": "embed", "collection": bed.stack.collection,
            "fingerprint": bed.manifest.fingerprint,
            "documents": [{ "id": "bad", "chunks": [{ "text": "t", "vector": vector }] }] })
        .to_string()
    };
    let dimensions = bed.manifest.identity.dimensions;
    let bad = [
        ("malformed", json!("AAA")),
        ("unsound_vector", json!(KnownVector(vec![0.5]))),
        ("unsound_vector", json!(KnownVector(vec![1.0; dimensions]))),
        (
            "unsound_vector",
            json!(KnownVector(vec![f32::NAN; dimensions])),
        ),
    ];
    for (_, vector) in &bad {
        bed.publish_bytes(job(vector.clone())).await?;
    }
    bed.publish_document("good", 1, &["a good neighbour"])
        .await?;
    bed.drain().await?;
    let letters = bed.dead_letters().await?;
    let mut causes: Vec<_> = letters.iter().map(|letter| letter.cause.as_str()).collect();
    causes.sort_unstable();
    assert_eq!(causes, bad.map(|(cause, _)| cause));
    assert_eq!(bed.points().await?.len(), 1);
    bed.end().await
}

#[tokio::test]
async fn a_dead_letter_says_why_without_repeating_the_document() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let secret = "tiefseegeheimnis ".repeat(400);
    bed.publish_document("private", 1, &[&secret]).await?;
    bed.drain().await?;
    let letters = bed.dead_letters().await?;
    assert_eq!(letters.len(), 1);
    assert!(
        letters[0].reason.contains("tokens"),
        "{:?}",
        letters[0].reason
    );
    assert!(
        !letters[0].reason.contains("tiefsee"),
        "{:?}",
        letters[0].reason
    );
    let log = std::fs::read_to_string(bed.directory.path().join("drain.log"))?;
    assert!(!log.contains("tiefsee"), "the log repeats the document");
    bed.end().await
}

#[tokio::test]
async fn texts_that_are_too_long_are_cut_where_the_installation_says_so() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.publish_document("long", 1, &[&"word ".repeat(5_000)])
        .await?;
    let worker = bed
        .stack
        .worker("cutting", &["--too-long", "truncate"])
        .await?;
    bed.drained().await?;
    assert!(worker.metric("worker_truncated_texts_total").await? >= 1.0);
    assert_eq!(bed.points().await?.len(), 1);
    worker.process.terminate().await?;
    bed.end().await
}

#[tokio::test]
async fn bad_files_are_reported_and_the_others_are_published() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.write("binary.txt", b"\x00\x01\x02binary")?;
    bed.write("latin.txt", b"caf\xe9 au lait")?;
    bed.write("empty.md", b"")?;
    bed.write(
        "broken.jsonl",
        b"{\"_id\":\"a\"\n{\"_id\":\"b\",\"text\":\"good record\"}\n{\"text\":\"no id\"}\n",
    )?;
    let nested = format!("{}1{}", "[".repeat(40), "]".repeat(40));
    bed.write(
        "nested.jsonl",
        format!("{{\"_id\":\"n\",\"text\":\"t\",\"m\":{nested}}}\n"),
    )?;
    bed.write("endless.txt", "x".repeat(10 << 20))?;
    let corpus = bed.write("good.md", "# Good\n\nA good file.\n")?;
    let mut command = bed.stack.program("indexer");
    let output = command
        .arg("publish")
        .arg(corpus)
        .arg("--json")
        .output()
        .await?;
    assert_eq!(
        output.status.code(),
        Some(65),
        "refused files must show in the exit code"
    );
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let errors = String::from_utf8(output.stderr)?;
    for name in ["binary.txt", "latin.txt", "empty.md", "broken.jsonl"] {
        assert!(errors.contains(name), "{name} is not named in {errors}");
    }
    assert_eq!(summary["refused"], 6, "{errors}");
    assert!(errors.contains("nested 40 deep"), "{errors}");
    assert_eq!(summary["documents"], 3, "good.md, record b, endless.txt");
    bed.drain().await?;
    let points = bed.points().await?;
    assert_eq!(points.len() as u64, summary["chunks"].as_u64().unwrap());
    assert!(bed.dead_letters().await?.is_empty());
    bed.end().await
}

#[tokio::test]
async fn document_ids_of_any_script_keep_their_identity() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let ids = [
        "ü",
        "u\u{308}",
        "日本/潮.md",
        "a b\tc",
        "🌊",
        "\u{202e}abc",
        "nul\u{0}byte",
        "'\"\\{}",
    ];
    for id in ids {
        bed.publish_document(id, 1, &["some text"]).await?;
    }
    bed.drain().await?;
    let mut found: Vec<_> = bed
        .points()
        .await?
        .into_keys()
        .map(|(doc_id, _)| doc_id)
        .collect();
    let mut wanted = ids.map(str::to_owned).to_vec();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    bed.end().await
}

#[tokio::test]
async fn headers_of_a_publisher_cannot_hurt_a_worker() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let [live, _] = bed.lanes();
    for (header, value) in [
        ("Ebb-Tokens", "18446744073709551615"),
        ("Ebb-Tokens", "18446744073709551615"),
        ("Ebb-Document-Version", "18446744073709551615"),
        ("Ebb-Document-Version", "soon"),
    ] {
        let job = json!({
            "version": "1.0", "kind": "embed", "collection": bed.stack.collection,
            "documents": [{ "id": "doc", "chunks": [{ "text": "text" }] }],
        });
        let mut headers = async_nats::HeaderMap::new();
        headers.insert(header, value);
        let payload = job.to_string().into();
        bed.jetstream()
            .publish_with_headers(live.subject(), headers, payload)
            .await?
            .await?;
    }
    bed.drain().await?;
    assert_eq!(bed.points().await?.len(), 1);
    let causes: Vec<_> = bed
        .dead_letters()
        .await?
        .into_iter()
        .map(|letter| letter.cause)
        .collect();
    assert_eq!(causes, ["bad_version", "bad_version"]);
    bed.end().await
}

#[tokio::test]
async fn a_job_for_a_collection_that_is_gone_holds_nobody_up() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let job = json!({
        "version": "1.0", "kind": "embed", "collection": format!("{}--dropped", bed.stack.collection),
        "documents": [{ "id": "lost", "chunks": [{ "text": "text" }] }],
    });
    let worker = bed.stack.worker("worker", &[]).await?;
    bed.publish_bytes(job.to_string()).await?;
    bed.publish_document("neighbour", 1, &["text"]).await?;
    fixtures::wait::until(
        "the neighbour",
        std::time::Duration::from_secs(20),
        async || Ok((!bed.points().await?.is_empty()).then_some(())),
    )
    .await?;
    // Given back four times with growing delays, then given up.
    fixtures::wait::until("the dead letter", tests::LIMIT, async || {
        Ok(bed.dead_letters().await?.into_iter().next())
    })
    .await
    .map(|letter| assert_eq!(letter.cause, "collection_missing"))?;
    worker.process.terminate().await?;
    bed.end().await
}

#[tokio::test]
async fn a_document_that_stands_twice_in_a_job_ends_as_the_last_one() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let job = json!({
        "version": "1.0", "kind": "embed", "collection": bed.stack.collection,
        "documents": [
            { "id": "twice", "version": 1, "chunks": [{ "text": "first" }, { "text": "second" }] },
            { "id": "twice", "version": 1, "chunks": [{ "text": "last" }] },
        ],
    });
    bed.publish_bytes(job.to_string()).await?;
    bed.drain().await?;
    let points = bed.points().await?;
    assert_eq!(points.len(), 1, "{points:?}");
    assert_eq!(
        tests::text(&points[&("twice".to_owned(), 0)], "text"),
        "last"
    );
    bed.end().await
}
