//! Defaults: what programs do where nobody says anything is what the contract says, and what `indexer render` derives from.

use std::time::Duration;

use anyhow::Context as _;
use contract::topology::{
    DEFAULT_ACK_WAIT, DEFAULT_BATCH_JOBS, DEFAULT_CPU_BATCH_TOKENS, DEFAULT_CUDA_BATCH_TOKENS,
    DEFAULT_GRACE,
};

/// What the help of a program says about an option.
async fn help(program: &str, verb: &str, option: &str) -> anyhow::Result<String> {
    let mut command = tests::tools().await?.program(program);
    let output = command.args([verb, "--help"]).output().await?;
    let help = String::from_utf8(output.stdout)?;
    let indent = |line: &str| line.len() - line.trim_start().len();
    let start = format!("--{option} ");
    let mut lines = help.lines();
    let found = lines.find(|line| line.trim_start().starts_with(&start));
    let found = found.with_context(|| format!("{program} {verb} has no --{option}:\n{help}"))?;
    // Empty lines are within.
    let of_it = lines.take_while(|line| line.is_empty() || indent(line) > indent(found));
    let words = of_it.flat_map(str::split_whitespace);
    Ok(words.collect::<Vec<_>>().join(" "))
}

/// The default in it.
async fn default(program: &str, verb: &str, option: &str) -> anyhow::Result<String> {
    let help = help(program, verb, option).await?;
    let default = help.split("[default: ").nth(1);
    let default = default.and_then(|rest| rest.split(']').next());
    let default = default.with_context(|| format!("--{option} has no default: {help}"))?;
    Ok(default.to_owned())
}

async fn duration(program: &str, verb: &str, option: &str) -> anyhow::Result<Duration> {
    let default = default(program, verb, option).await?;
    Ok(humantime::parse_duration(&default)?)
}

#[tokio::test]
async fn the_times_of_all_programs_are_those_of_the_contract() -> anyhow::Result<()> {
    assert_eq!(duration("worker", "run", "grace").await?, DEFAULT_GRACE);
    assert_eq!(duration("indexer", "doctor", "grace").await?, DEFAULT_GRACE);
    for verb in ["provision", "doctor"] {
        let ack_wait = duration("indexer", verb, "ack-wait").await?;
        assert_eq!(ack_wait, DEFAULT_ACK_WAIT, "{verb}");
    }
    Ok(())
}

#[tokio::test]
async fn the_sizes_of_all_programs_are_those_of_the_contract() -> anyhow::Result<()> {
    let jobs = DEFAULT_BATCH_JOBS.to_string();
    for (program, verb) in [
        ("worker", "run"),
        ("indexer", "provision"),
        ("indexer", "doctor"),
    ] {
        assert_eq!(default(program, verb, "batch-jobs").await?, jobs, "{verb}");
    }
    let (cpu, cuda) = (DEFAULT_CPU_BATCH_TOKENS, DEFAULT_CUDA_BATCH_TOKENS);
    let wanted = format!("by default {cpu} on a CPU, {cuda} on CUDA");
    let told = help("worker", "run", "batch-tokens").await?;
    assert!(told.contains(&wanted), "{told}");
    Ok(())
}
