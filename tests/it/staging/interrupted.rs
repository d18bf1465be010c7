//! Staging that is disturbed: by a server that fails, by SIGKILL, by another one at the same time.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fixtures::process::Process;
use fixtures::wait::until;
use futures::future::try_join_all;
use tests::LIMIT;

use super::{command, content, log, stage, staged, web_of_tiny};

#[tokio::test]
async fn a_server_that_fails_for_a_moment_is_asked_again() -> anyhow::Result<()> {
    for marks in [false, true] {
        let web = web_of_tiny("m").await?;
        web.files().failures = 3;
        web.files().cuts = 2;
        web.files().marks = marks;
        let models = tempfile::tempdir()?;
        let output = stage(&web.url("m"), models.path(), &[]).await?;
        staged(&output, models.path());
        // Where the content is marked, it goes on where it was.
        let asked = web.files().asked.clone();
        let graphs = asked
            .iter()
            .filter(|asked| asked.path == "m/onnx/model.onnx");
        let ranges: Vec<_> = graphs.map(|asked| asked.range.is_some()).collect();
        assert_eq!(ranges, [false, marks, marks], "{asked:?}");
    }
    Ok(())
}

/// Makes everything in a directory look as if nobody had touched it for a day.
fn age(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            age(&entry?.path())?;
        }
    }
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 3600);
    Ok(File::open(path)?.set_modified(yesterday)?)
}

#[tokio::test]
async fn what_a_killed_staging_leaves_is_no_model_and_is_removed_when_nobody_works_in_it()
-> anyhow::Result<()> {
    let web = web_of_tiny("m").await?;
    web.files().hangs = true;
    let directory = tempfile::tempdir()?;
    let models = directory.path().join("models");
    let start = async |name: &str| {
        let before = web.paths().len();
        let log = directory.path().join(name);
        let process = Process::start(command(&web.url("m"), &models).await?, name, &log)?;
        until("the graph to be asked for", LIMIT, async || {
            let asked = web.paths().split_off(before);
            Ok(asked
                .contains(&"m/onnx/model.onnx".to_owned())
                .then_some(()))
        })
        .await?;
        anyhow::Ok(process)
    };
    start("killed").await?.kill().await?;
    let left = content(&models)?;
    assert!(
        left.len() == 1 && left.iter().all(|name| name.starts_with(".staging-")),
        "{left:?}"
    );
    // Another one works at the same time, and looks as old.
    let working = start("working").await?;
    let both = content(&models)?;
    for name in &both {
        age(&models.join(name))?;
    }
    web.files().hangs = false;
    let model = staged(&stage(&web.url("m"), &models, &[]).await?, &models);
    let mut expected = &both - &left;
    expected.insert(model);
    assert_eq!(
        content(&models)?,
        expected,
        "the work of the living stays, that of the dead goes"
    );
    working.kill().await
}

#[tokio::test]
async fn several_who_stage_the_same_model_at_once_stage_it_once() -> anyhow::Result<()> {
    let web = web_of_tiny("m").await?;
    let models = tempfile::tempdir()?;
    let url = web.url("m");
    let all = try_join_all((0..3).map(|_| stage(&url, models.path(), &[]))).await?;
    let mut paths: Vec<_> = all
        .iter()
        .map(|output| staged(output, models.path()))
        .collect();
    paths.dedup();
    assert_eq!(paths.len(), 1, "{paths:?}");
    assert_eq!(content(models.path())?.len(), 1, "{}", log(&all[0]));
    Ok(())
}
