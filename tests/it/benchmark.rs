//! The benchmark says what it promises to say, and its stand-in does no harm.

use std::process::Output;

use anyhow::Context as _;
use serde_json::Value;
use tests::{Bed, tiny_embed, tools};

/// Keys of the object that others read.
const KEYS: [&str; 11] = [
    "raw_arrival_32",
    "raw_best",
    "engine",
    "whole_way",
    "ratios",
    "pipeline_ceiling_chunks_per_second",
    "indexer_mb_per_second",
    "cold_start_seconds",
    "useful_token_ratio",
    "worker_rss_mb",
    "machine",
];

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
    let output = bench(&[&sizes[..], &["--lengths", "40,0.5", "--json"]].concat()).await?;
    let object = last_object(&output)?;
    for key in KEYS {
        assert!(!object[key].is_null(), "no `{key}` in {object}");
    }
    for ratio in ["engine", "whole_way", "sorting"] {
        assert!(object["ratios"][ratio].as_f64() > Some(0.0), "{object}");
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
