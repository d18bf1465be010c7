//! Searches by the vector, by words and by both.

use serde_json::{Value, json};
use tests::Bed;

/// Documents with one chunk each.
const TEXTS: [(&str, &str); 4] = [
    ("queue", "jobs wait in a stream until a worker pulls them"),
    ("garden", "roses and tulips bloom behind the old house"),
    ("part", "the gasket E-4711 seals the pump"),
    ("other", "another pump without any seal"),
];

/// A bed with these documents, and a worker.
async fn filled() -> anyhow::Result<(Bed, fixtures::stack::Worker)> {
    let bed = Bed::start().await?;
    for (id, text) in TEXTS {
        bed.publish_document(id, 1, &[text]).await?;
    }
    let worker = bed.stack.worker("worker", &[]).await?;
    bed.drained().await?;
    Ok((bed, worker))
}

async fn search(bed: &Bed, arguments: &[&str]) -> anyhow::Result<Value> {
    let arguments = [&["search", "--json"], arguments].concat();
    Ok(serde_json::from_str(&bed.stack.indexer(&arguments).await?)?)
}

async fn refused(bed: &Bed, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = bed.stack.program("indexer");
    let output = command.arg("search").args(arguments).output().await?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    anyhow::ensure!(!output.status.success(), "{log}");
    Ok(log)
}

fn ids(found: &Value) -> Vec<&str> {
    let hits = found["hits"].as_array().expect("hits");
    hits.iter()
        .filter_map(|hit| hit["doc_id"].as_str())
        .collect()
}

#[tokio::test]
async fn words_are_searched_without_worker_queue_or_model() -> anyhow::Result<()> {
    let (bed, worker) = filled().await?;
    worker.process.terminate().await?;
    let mut command = bed.stack.program("indexer");
    command
        .env_remove("EBB_MODEL")
        .env("NATS_URL", "nats://127.0.0.1:1");
    command.args(["search", "E-4711 gaskets", "--mode", "sparse", "--json"]);
    let output = command.output().await?;
    let found: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(
        ids(&found),
        ["part"],
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let stopped = search(&bed, &["the", "--mode", "sparse"]).await?;
    assert_eq!(stopped["hits"], json!([]), "a stop word finds nothing");
    bed.end().await
}

#[tokio::test]
async fn a_hybrid_search_tells_where_each_part_has_a_hit() -> anyhow::Result<()> {
    let (bed, worker) = filled().await?;
    let found = search(&bed, &["the gasket E-4711 seals the pump", "--limit", "4"]).await?;
    assert_eq!(found["search"]["mode"], "hybrid", "{found}");
    let first = &found["hits"][0];
    assert_eq!(first["doc_id"], "part");
    assert_eq!(
        (
            &first["parts"]["dense"]["rank"],
            &first["parts"]["bm25"]["rank"]
        ),
        (&json!(1), &json!(1))
    );
    let expected = 2.0 / 60.0;
    assert!(
        (first["score"].as_f64().unwrap_or_default() - expected).abs() < 1e-5,
        "{first}"
    );
    let queue = found["hits"]
        .as_array()
        .unwrap()
        .iter()
        .find(|hit| hit["doc_id"] == "queue")
        .unwrap();
    assert!(
        queue["parts"]["dense"].is_object() && queue["parts"]["bm25"].is_null(),
        "{queue}"
    );

    let dense = search(&bed, &["pump", "--mode", "dense"]).await?;
    let hybrid = search(
        &bed,
        &["pump", "--rrf-k", "2", "--weights", "dense=1,bm25=9"],
    )
    .await?;
    assert_eq!(ids(&dense).len(), 4);
    let mut first: Vec<_> = ids(&hybrid)[..2].to_vec();
    first.sort_unstable();
    assert_eq!(first, ["other", "part"], "{hybrid}");
    let by_scores = search(&bed, &["pump", "--fusion", "dbsf"]).await?;
    assert_eq!(by_scores["search"]["fusion"], "dbsf");
    assert_eq!(ids(&by_scores).len(), 4);
    worker.process.terminate().await?;
    bed.end().await
}

#[tokio::test]
async fn filters_limits_and_offsets_hold_for_every_mode() -> anyhow::Result<()> {
    let (bed, worker) = filled().await?;
    bed.publish_document("long", 1, &["pump one", "pump two", "pump three"])
        .await?;
    bed.publish_removal("other", 2).await?;
    bed.drained().await?;
    let filter = r#"{"must_not": [{"key": "doc_id", "match": {"value": "part"}}]}"#;
    for mode in ["dense", "sparse", "hybrid"] {
        let pumps = async |more: &[&str]| {
            let arguments = ["pump", "--mode", mode, "--limit", "20"];
            search(&bed, &[&arguments, more].concat()).await
        };
        let all = pumps(&[]).await?;
        assert!(!ids(&all).contains(&"other"), "a tombstone: {all}");
        assert!(ids(&all).contains(&"part"), "{mode}");
        let without = pumps(&["--filter", filter]).await?;
        assert!(!ids(&without).contains(&"part"), "{mode}");
        let rest = pumps(&["--offset", "2"]).await?;
        assert_eq!(ids(&rest), &ids(&all)[2..], "{mode}");
        let grouped = pumps(&["--group-by-document"]).await?;
        let mut seen = std::collections::HashSet::new();
        let mut documents = ids(&all);
        documents.retain(|id| seen.insert(*id));
        assert_eq!(ids(&grouped), documents, "{mode}");
        let score = all["hits"][1]["score"].as_f64().unwrap_or_default() - 1e-6;
        let best = pumps(&["--min-score", &score.to_string()]).await?;
        let scores = best["hits"].as_array().into_iter().flatten();
        let scores: Vec<_> = scores.filter_map(|hit| hit["score"].as_f64()).collect();
        assert!(scores.len() >= 2, "{mode}: {best}");
        assert!(scores.iter().all(|found| *found >= score), "{mode}: {best}");
    }
    worker.process.terminate().await?;
    bed.end().await
}

#[tokio::test]
async fn the_request_is_shown_as_it_was_sent() -> anyhow::Result<()> {
    let (bed, worker) = filled().await?;
    let filter = r#"{"must": [{"key": "chunk", "range": {"lt": 5}}]}"#;
    let found = search(
        &bed,
        &["pump", "--explain", "--filter", filter, "--prefetch", "7"],
    )
    .await?;
    let request = &found["request"];
    let dimensions = bed.manifest.identity.dimensions;
    assert_eq!(
        request["prefetch"][0]["query"]["nearest"],
        format!("{dimensions} numbers"),
        "{request:#}"
    );
    assert_eq!(
        request["prefetch"][1],
        json!({
            "query": {"nearest": {"text": "pump", "model": "qdrant/bm25", "options": {"language": "english"}}},
            "using": "bm25", "limit": 7,
        })
    );
    assert_eq!(request["query"], json!({"rrf": {"k": 60}}));
    assert_eq!(
        request["filter"],
        json!({
            "must": [{"must": [{"key": "chunk", "range": {"lt": 5.0}}]}],
            "must_not": [{"key": "deleted", "match": {"value": true}}],
        })
    );
    let text = bed.stack.indexer(&["search", "pump", "--explain"]).await?;
    assert!(
        text.contains("\"rrf\"") && text.contains("bm25 1:"),
        "{text}"
    );
    worker.process.terminate().await?;
    bed.end().await
}

#[tokio::test]
async fn a_mode_that_the_collection_cannot_serve_is_named() -> anyhow::Result<()> {
    let bed = super::dense_bed().await?;
    let log = refused(&bed, &["pump", "--mode", "sparse"]).await?;
    assert!(log.contains("mode sparse needs the vector `bm25`"), "{log}");
    let log = refused(&bed, &["pump", "--mode", "dense", "--rrf-k", "9"]).await?;
    assert!(log.contains("only mode hybrid fuses"), "{log}");
    bed.end().await
}

#[tokio::test]
async fn an_alias_is_searched_as_it_records_and_a_rollback_brings_that_back() -> anyhow::Result<()>
{
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = crate::rebuild::corpus(6);
    crate::rebuild::rebuild(&bed, &corpus, &[]).await?.done();
    let mode = async || anyhow::Ok(search(&bed, &["queue"]).await?["search"].clone());
    assert_eq!(mode().await?["mode"], "hybrid");
    bed.stack
        .indexer(&["provision", "--search-mode", "dense"])
        .await?;
    assert_eq!(mode().await?["mode"], "dense");
    let unchanged = bed
        .stack
        .indexer(&["provision", "--check", "--search-mode", "dense"])
        .await?;
    assert!(unchanged.contains("as it should be"), "{unchanged}");

    crate::rebuild::rebuild(&bed, &corpus, &[]).await?.done();
    assert_eq!(mode().await?["mode"], "dense", "a rebuild keeps it");
    let hybrid = ["--search-mode", "hybrid", "--search-rrf-k", "20"];
    crate::rebuild::rebuild(&bed, &corpus, &hybrid)
        .await?
        .done();
    assert_eq!(
        (&mode().await?["mode"], &mode().await?["rrf_k"]),
        (&json!("hybrid"), &json!(20))
    );
    bed.stack.indexer(&["rollback"]).await?;
    assert_eq!(mode().await?["mode"], "dense");
    worker.process.terminate().await?;
    bed.end().await
}

#[tokio::test]
async fn requests_keep_to_the_limits_of_the_collection() -> anyhow::Result<()> {
    let (bed, worker) = filled().await?;
    let queries: [&[&str]; 3] = [
        &["pump", "--limit", "4"],
        &["pump", "--limit", "2", "--group-by-document"],
        &["pump", "--limit", "2", "--mode", "dense"],
    ];
    let mut free = Vec::new();
    for query in queries {
        free.push(search(&bed, query).await?["hits"].clone());
    }
    let strict = "enabled=true,max_query_limit=4,search_max_batchsize=1,search_allow_exact=false";
    let limits = ["provision", "--strict-mode", strict];
    bed.stack.indexer(&limits).await?;
    for (query, free) in queries.iter().zip(free) {
        let found = search(&bed, query).await?;
        assert_eq!(found["hits"], free, "{query:?}");
    }
    let log = refused(&bed, &["pump", "--limit", "3", "--offset", "2"]).await?;
    assert!(
        log.contains(
            "gives at most 4 hits (max_query_limit of its strict mode), and 5 are asked for"
        ),
        "{log}"
    );
    worker.process.terminate().await?;
    bed.end().await
}

#[tokio::test]
async fn pages_of_hits_that_tie_show_each_hit_once() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let all: Vec<_> = (0..20).map(|n| format!("d{n:02}")).collect();
    for id in &all {
        bed.publish_document(id, 1, &["the same words in every pump"])
            .await?;
    }
    let worker = bed.stack.worker("worker", &[]).await?;
    bed.drained().await?;
    for (mode, grouped) in [
        ("dense", false),
        ("sparse", false),
        ("hybrid", false),
        ("hybrid", true),
    ] {
        let mut shown = Vec::new();
        for page in 0..7 {
            let offset = (page * 3).to_string();
            let mut arguments = vec!["pump", "--mode", mode, "--limit", "3", "--offset", &offset];
            arguments.extend(grouped.then_some("--group-by-document"));
            let found = search(&bed, &arguments).await?;
            assert_eq!(found["offset"], json!(page * 3), "{found}");
            shown.extend(ids(&found).into_iter().map(str::to_owned));
        }
        shown.sort_unstable();
        assert_eq!(shown, all, "{mode}, grouped {grouped}");
    }
    worker.process.terminate().await?;
    bed.end().await
}

#[tokio::test]
async fn documents_that_a_request_cannot_reach_are_not_passed_over() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let chunks = ["pump"; 6];
    bed.publish_document("long", 1, &chunks).await?;
    bed.publish_document("short", 1, &["a pump among many other words"])
        .await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    bed.drained().await?;
    let strict = "enabled=true,max_query_limit=4";
    bed.stack
        .indexer(&["provision", "--strict-mode", strict])
        .await?;
    let query = [
        "pump",
        "--mode",
        "sparse",
        "--group-by-document",
        "--limit",
        "2",
    ];
    let log = refused(&bed, &query).await?;
    assert!(
        log.contains("are of 1 documents, and 2 are asked for"),
        "{log}"
    );
    worker.process.terminate().await?;
    bed.end().await
}
