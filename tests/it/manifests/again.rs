//! Applied again: whatever has changed, `kubectl apply` takes it, and every run has the time that it needs.

use std::time::Duration;

use anyhow::Context as _;

use super::render::{OVERLAYS, Rendered, deploy, number, overlay, render, text, title};

/// Longest pause between two attempts of a Job, and the first one, which doubles.
const PAUSES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(360));

/// Time over which the attempts of a Job are spread that fails at once each time.
fn attempts_last(retries: u64) -> Duration {
    let pauses = std::iter::successors(Some(PAUSES.0), |pause| Some((*pause * 2).min(PAUSES.1)));
    pauses
        .take(usize::try_from(retries).unwrap_or(usize::MAX))
        .sum()
}

async fn all() -> anyhow::Result<Vec<Rendered>> {
    let mut all = vec![render(&deploy().join("e2e")).await?];
    for name in OVERLAYS {
        all.push(overlay(name).await?);
    }
    Ok(all)
}

/// The template of a Job cannot be changed, so that one under a fixed name fails the next `kubectl apply`.
#[tokio::test]
async fn nothing_is_a_job_that_could_not_be_applied_again() -> anyhow::Result<()> {
    for rendered in all().await? {
        let fixed: Vec<_> = ["Job", "Pod"]
            .into_iter()
            .flat_map(|kind| rendered.of_kind(kind))
            .map(title)
            .collect();
        assert!(fixed.is_empty(), "{fixed:?}");
        for (name, suspended) in [
            ("model-stage", true),
            ("eval", true),
            ("provision", false),
            ("doctor", false),
        ] {
            let found = &rendered.find("CronJob", name)?["spec"]["suspend"];
            assert_eq!(found == true, suspended, "{name}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn runs_are_new_pods_that_wait_for_their_servers() -> anyhow::Result<()> {
    for rendered in all().await? {
        let wait = rendered.environment()?.remove("EBB_WAIT_FOR_SERVERS");
        let wait = humantime::parse_duration(&wait.context("nothing is waited for")?)?;
        // Policies for a new pod were seen to come after 2.2 s.
        assert!(wait >= Duration::from_secs(30), "{wait:?}");
        for run in rendered.of_kind("CronJob") {
            let job = "/spec/jobTemplate/spec";
            let policy = text(run, &format!("{job}/template/spec/restartPolicy"));
            // Another one takes the logs of what failed away.
            assert_eq!(policy, "Never", "{}", title(run));
            let deadline = number(run, &format!("{job}/activeDeadlineSeconds"))?;
            assert!(Duration::from_secs(deadline) > 3 * wait, "{}", title(run));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_model_that_comes_late_is_staged_within_the_hour() -> anyhow::Result<()> {
    let rendered = overlay("cpu").await?;
    let stage = rendered.find("CronJob", "model-stage")?;
    let retries = number(stage, "/spec/jobTemplate/spec/backoffLimit")?;
    let deadline = number(stage, "/spec/jobTemplate/spec/activeDeadlineSeconds")?;
    assert!(attempts_last(retries) >= Duration::from_secs(deadline));
    let readme = std::fs::read_to_string(deploy().join("README.md"))?;
    // Each is started by what looks at failure, too, or is followed by its log.
    for run in [
        "deploy/job.sh model-stage",
        "deploy/job.sh provision",
        "create job eval-1 --from=cronjob/eval",
    ] {
        assert!(readme.contains(run), "{run}");
    }
    assert!(!readme.contains("$ kubectl --namespace ebb-ai wait job/"));
    assert!(!readme.contains("--from=cronjob/provision\n"));
    Ok(())
}
