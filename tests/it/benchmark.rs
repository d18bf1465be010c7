//! The benchmark says what it promises to say, and its stand-in does no harm.

use std::collections::BTreeSet;
use std::process::Output;

use anyhow::Context as _;
use serde_json::Value;
use tests::{Bed, tiny_embed, tools};

/// Keys of the object, which others read.
const KEYS: [&str; 31] = [
    "raw_arrival_32",
    "raw_best",
    "raw_best_tensor_tokens",
    "raw_best_sessions",
    "engine",
    "whole_way",
    "ratios",
    "pipeline_ceiling_chunks_per_second",
    "hybrid_pipeline_ceiling_chunks_per_second",
    "indexer_mb_per_second",
    "indexer_tokens_per_second",
    "indexer_cpu_seconds_per_mb",
    "indexer_nats_cpu_seconds_per_mb",
    "cold_start_seconds",
    "cold_start_first_pull_seconds",
    "cold_start_phases",
    "latency",
    "matrix_gflops_per_second",
    "matrix_share",
    "useful_token_ratio",
    "device_busy_ratio",
    "halved_tensors",
    "worker_rss_mb",
    "nats_rss_mb",
    "qdrant_rss_mb",
    "indexer_rss_mb",
    "machine",
    "chunks",
    "rounds",
    "threads",
    "sessions",
];
/// Keys of objects in it, in which every value is a number.
const NUMBERS: [(&str, &[&str]); 4] = [
    (
        "ratios",
        &["engine", "whole_way", "hybrid_pipeline", "sorting"],
    ),
    ("matrix_share", &["raw_best", "engine", "whole_way"]),
    (
        "latency",
        &[
            "first_job_seconds",
            "batch_seconds",
            "backlog_p99_bound_seconds",
        ],
    ),
    ("cold_start_phases", &["ready", "first_pull"]),
];
/// The waits of the latency.
const WAITS: [&str; 4] = ["idle", "backlog", "search", "search_backlog"];

async fn bench(arguments: &[&str]) -> anyhow::Result<Output> {
    let tools = tools().await?;
    let mut command = tools.program("bench");
    // What the test was built with is what is measured: nothing is built here.
    command.env("EBB_BIN_DIR", tools.programs.path(""));
    command.arg("--model").arg(tiny_embed());
    command.args(["--rounds", "1", "--documents", "20"]);
    Ok(command.args(arguments).output().await?)
}

fn last_object(output: &Output) -> anyhow::Result<Value> {
    let text = String::from_utf8(output.stdout.clone())?;
    let last = text.lines().last();
    let log = String::from_utf8_lossy(&output.stderr);
    let last = last.with_context(|| format!("nothing was printed: {log}"))?;
    Ok(serde_json::from_str(last)?)
}

#[tokio::test]
async fn one_run_gives_every_row_as_one_object() -> anyhow::Result<()> {
    let sizes = ["--pipeline-chunks", "6000", "--index-megabytes", "1"];
    let few = ["--live-jobs", "5", "--lengths", "40,0.5", "--json"];
    let object = last_object(&bench(&[&sizes[..], &few].concat()).await?)?;
    let keys = object.as_object().context("no object")?.keys();
    let keys: BTreeSet<&str> = keys.map(String::as_str).collect();
    assert_eq!(keys, BTreeSet::from(KEYS));
    // Nobody knows the memory of a server that others share.
    let is_shared = std::env::var_os("QDRANT_URL").is_some();
    for key in KEYS {
        let may_lack = is_shared && key == "qdrant_rss_mb";
        assert!(may_lack || !object[key].is_null(), "no `{key}` in {object}");
    }
    for (outer, inner) in NUMBERS {
        for key in inner {
            let number = object[outer][key].as_f64();
            assert!(number > Some(0.0), "`{outer}`, `{key}` in {object}");
        }
    }
    for waits in WAITS {
        let median = object["latency"][waits]["p50"].as_f64();
        assert!(median > Some(0.0), "`{waits}` in {object}");
    }
    Ok(())
}

#[tokio::test]
async fn a_row_can_be_measured_by_itself() -> anyhow::Result<()> {
    let object = last_object(&bench(&["--only", "engine", "--json"]).await?)?;
    assert!(object["engine"].as_f64() > Some(0.0), "{object}");
    assert!(object["whole_way"].is_null(), "{object}");
    Ok(())
}

#[tokio::test]
async fn a_stand_in_writes_to_no_collection_but_those_of_the_benchmark() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let output = bed.stack.program("stand-in-worker").output().await?;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("`bench-...`"), "{said}");
    bed.end().await
}
