//! Rules, dashboard and runbook: promtool takes them, and they are complete.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use super::{all, dashboard, file, names, yaml};
use crate::manifests::jobs;

fn promtool(arguments: &[&str], directory: PathBuf) -> anyhow::Result<()> {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(directory)
        .output()
        .context("failed to start promtool; install the package `prometheus` of Debian")?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    anyhow::ensure!(output.status.success(), "promtool {arguments:?}: {text}");
    Ok(())
}

#[test]
fn every_alert_has_a_test_and_an_entry_in_the_runbook() -> anyhow::Result<()> {
    let (rules, tests) = (yaml("rules.yaml")?, yaml("rules.test.yaml")?);
    let alerts = names(&rules, "alert");
    assert!(alerts.len() > 10, "{alerts:?}");
    assert_eq!(alerts, names(&tests, "alertname"));
    let runbook = std::fs::read_to_string(file("RUNBOOK.md"))?;
    let entries = runbook.lines().filter_map(|line| line.strip_prefix("## "));
    assert_eq!(alerts, entries.collect());
    let links = names(&rules, "runbook");
    let wanted = alerts.iter().map(|alert| {
        let anchor = alert.to_lowercase();
        format!("deploy/monitoring/RUNBOOK.md#{anchor}")
    });
    let links: BTreeSet<_> = links.into_iter().map(str::to_owned).collect();
    assert_eq!(links, wanted.collect());
    Ok(())
}

#[test]
#[ignore = "needs promtool of Prometheus; run with --ignored promtool"]
fn promtool_accepts_the_rules_and_their_tests() -> anyhow::Result<()> {
    promtool(&["check", "rules", "rules.yaml"], file(""))?;
    promtool(&["test", "rules", "rules.test.yaml"], file(""))
}

#[test]
#[ignore = "needs promtool of Prometheus; run with --ignored promtool"]
fn promtool_accepts_the_queries_of_the_dashboard() -> anyhow::Result<()> {
    let dashboard = dashboard()?;
    let variables = [
        ("$__rate_interval", "5m"),
        ("$__range", "1h"),
        ("$price", "1.5"),
        ("$namespace", "a"),
        ("$provider", "b"),
    ];
    let queries = all(&dashboard, "expr").into_iter().map(|query| {
        let fill = |query: String, (name, value): &(&str, &str)| query.replace(name, value);
        variables.iter().fold(query.to_owned(), fill)
    });
    let rules: Vec<_> = queries
        .enumerate()
        .map(|(n, expr)| serde_json::json!({ "record": format!("panel:{n}"), "expr": expr }))
        .collect();
    assert!(rules.len() > 20, "{rules:?}");
    let directory = tempfile::tempdir()?;
    let rules = serde_json::json!({ "groups": [{ "name": "panels", "rules": rules }] });
    std::fs::write(directory.path().join("panels.json"), rules.to_string())?;
    promtool(
        &["check", "rules", "panels.json"],
        directory.path().to_owned(),
    )
}

#[test]
fn the_rules_for_the_operator_are_the_same() -> anyhow::Result<()> {
    let (plain, operator) = (yaml("rules.yaml")?, yaml("operator/rules.yaml")?);
    assert_eq!(operator["kind"], "PrometheusRule");
    assert!(
        operator["spec"] == plain,
        "operator/rules.yaml is not what rules.yaml is; below its first line `groups:` put \
         the output of: sed -n '/^groups:/,$p' rules.yaml | sed 's/^\\(.\\)/  \\1/'"
    );
    Ok(())
}

#[test]
fn what_is_scraped_is_what_workers_are() -> anyhow::Result<()> {
    let (plain, operator) = (yaml("scrape.yaml")?, yaml("operator/pods.yaml")?);
    assert_eq!(plain["rule_files"][0], "rules.yaml");
    let kept = names(&plain["scrape_configs"][0], "regex");
    let selector = &operator["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"];
    let endpoint = &operator["spec"]["podMetricsEndpoints"][0];
    assert_eq!(
        (selector, &endpoint["port"]),
        (&"worker".into(), &"http".into())
    );
    assert_eq!(kept, ["http", "worker"].into());
    // Panels about cost count samples.
    let interval = &plain["scrape_configs"][0]["scrape_interval"];
    assert_eq!(
        (interval, &endpoint["interval"]),
        (&"15s".into(), &"15s".into())
    );
    let cost = std::fs::read_to_string(file("dashboard.json"))?;
    assert!(
        cost.contains(":15s]) * 15"),
        "cost is not counted by samples"
    );
    Ok(())
}

#[tokio::test]
async fn a_run_that_fails_is_told_whatever_it_is_a_run_of() -> anyhow::Result<()> {
    let rules = yaml("rules.yaml")?;
    let mut watched = BTreeSet::new();
    for expr in all(&rules, "expr") {
        let Some((_, rest)) = expr.split_once("kube_job_failed{condition=\"true\", job_name=~\"(")
        else {
            continue;
        };
        let (names, _) = rest
            .split_once(")(-.*)?\"")
            .context("no pattern of names")?;
        watched.extend(names.split('|').map(str::to_owned));
    }
    assert_eq!(watched, jobs().await?);
    Ok(())
}
