//! Monitoring: rules, dashboard and runbook speak of what is there.

mod page;
mod promql;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use fixtures::programs::workspace;
use fixtures::stack::Worker;
use fixtures::wait::until;
use serde_json::Value;
use tests::{Bed, LIMIT};

use page::Page;
use promql::{Selector, selectors};

/// Metrics of other exporters, with who exports them.
const OTHERS: [(&str, &[&str]); 3] = [
    (
        "kube-state-metrics",
        &[
            "kube_cronjob_created",
            "kube_cronjob_spec_suspend",
            "kube_cronjob_status_last_successful_time",
            "kube_deployment_status_replicas_ready",
            "kube_job_failed",
            "kube_pod_container_status_restarts_total",
        ],
    ),
    (
        "KEDA's operator",
        &[
            "keda_scaled_object_errors_total",
            "keda_scaler_metrics_value",
        ],
    ),
    (
        "prometheus-nats-exporter, with -jsz=all",
        &[
            "jetstream_consumer_num_ack_pending",
            "jetstream_consumer_num_pending",
            "jetstream_server_max_storage",
            "jetstream_server_total_message_bytes",
            "jetstream_stream_total_messages",
        ],
    ),
];

fn file(name: &str) -> PathBuf {
    workspace().join("deploy/monitoring").join(name)
}

fn yaml(name: &str) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(file(name))?;
    yaml_serde::from_str(&text).with_context(|| format!("{name} is no YAML"))
}

/// Values of a key wherever it is in a document.
fn all<'v>(value: &'v Value, key: &str) -> Vec<&'v str> {
    let deeper: Vec<_> = match value {
        Value::Object(fields) => fields.values().collect(),
        Value::Array(items) => items.iter().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    let here = value.get(key).and_then(Value::as_str);
    let deeper = deeper.into_iter().flat_map(|value| all(value, key));
    here.into_iter().chain(deeper).collect()
}

fn names<'v>(value: &'v Value, key: &str) -> BTreeSet<&'v str> {
    all(value, key).into_iter().collect()
}

fn dashboard() -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&std::fs::read_to_string(file(
        "dashboard.json",
    ))?)?)
}

/// Everything that rules, their tests and the dashboard read. The values of the tests are their own.
fn all_selectors() -> anyhow::Result<Vec<Selector>> {
    let (rules, tests, dashboard) = (yaml("rules.yaml")?, yaml("rules.test.yaml")?, dashboard()?);
    let variables = all(&dashboard, "definition").into_iter();
    let variables =
        variables.filter_map(|query| query.strip_prefix("label_values(")?.split(',').next());
    let queries = [
        all(&rules, "expr"),
        all(&dashboard, "expr"),
        variables.collect(),
    ]
    .concat();
    let queries = queries.into_iter().map(selectors);
    let series = all(&tests, "series").into_iter().map(|series| {
        let mut found = selectors(series)?;
        let matchers = found.iter_mut().flat_map(|found| &mut found.matchers);
        matchers.for_each(|matcher| matcher.value = None);
        Ok(found)
    });
    let found = queries.chain(series).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(found.concat())
}

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

async fn metrics(worker: &Worker) -> anyhow::Result<String> {
    fixtures::http::get(&worker.address, "/metrics").await
}

#[tokio::test]
async fn every_metric_of_the_rules_and_of_the_dashboard_exists() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.publish_document("a", 1, &["a text"]).await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    bed.drained().await?;
    until("the lanes in the metrics", LIMIT, async || {
        let page = metrics(&worker).await?;
        Ok(
            (page.contains("worker_lane_pending_jobs") && page.contains("first_pull"))
                .then_some(()),
        )
    })
    .await?;
    let page = Page::read(&metrics(&worker).await?);
    let rules = yaml("rules.yaml")?;
    let recorded = names(&rules, "record");
    let others: BTreeSet<_> = OTHERS
        .iter()
        .flat_map(|(_, names)| *names)
        .copied()
        .collect();
    let mut read = BTreeSet::new();
    for selector in all_selectors()? {
        let name = selector.metric.as_str();
        let is_known = recorded.contains(name) || others.contains(name) || name == "ALERTS";
        let missing = page.missing(&selector).filter(|_| !is_known);
        assert_eq!(missing, None, "nobody exports it; {selector:?}");
        read.insert(selector.metric);
    }
    let unread: Vec<_> = others
        .iter()
        .filter(|name| !read.contains(**name))
        .collect();
    assert!(unread.is_empty(), "nobody reads {unread:?}");
    worker.process.terminate().await?;
    bed.end().await
}

#[tokio::test]
async fn counters_are_there_before_their_first_event() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("idle", &[]).await?;
    let text = metrics(&worker).await?;
    let page = Page::read(&text);
    let causes = page.values("worker_dead_letters_total", "cause");
    let declared = worker::error::CAUSES.map(str::to_owned);
    assert!(
        declared.iter().all(|cause| causes.contains(cause)),
        "{causes:?}"
    );
    assert!(causes.contains("exhausted"));
    assert_eq!(page.values("worker_jobs_total", "outcome").len(), 5);
    let lanes = page.values("worker_delivery_age_seconds_count", "lane");
    assert_eq!(lanes, ["bulk", "live"].map(str::to_owned).into());
    for name in ["worker_redeliveries_total", "worker_truncated_texts_total"] {
        assert!(
            text.contains(&format!("{name} 0")),
            "{name} is not in {text}"
        );
    }
    for counter in page.names().iter().filter(|name| name.ends_with("_total")) {
        let value = worker.metric(counter).await?;
        assert_eq!(value, 0.0, "{counter}");
    }
    worker.process.terminate().await?;
    bed.end().await
}

#[tokio::test]
async fn a_worker_tells_how_it_started_and_what_it_is() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("started", &[]).await?;
    let text = until("the first pull", LIMIT, async || {
        let page = metrics(&worker).await?;
        Ok(page.contains("phase=\"first_pull\"").then_some(page))
    })
    .await?;
    let seconds = |phase: &str| -> anyhow::Result<f64> {
        let series = format!("worker_startup_seconds{{phase=\"{phase}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        Ok(value
            .with_context(|| format!("no phase {phase}"))?
            .parse()?)
    };
    let phases = [
        "main",
        "verified",
        "tokenizer",
        "session",
        "golden",
        "ready",
        "first_pull",
    ];
    let ends = phases.map(|phase| seconds(phase).unwrap());
    assert!(ends.is_sorted(), "{phases:?} {ends:?}");
    let page = Page::read(&text);
    let value = |label| page.values("worker_model_info", label).pop_first();
    assert_eq!(value("model").as_deref(), Some("tiny"));
    assert_eq!(
        value("fingerprint").as_deref(),
        Some(bed.manifest.fingerprint.as_str())
    );
    assert_eq!(value("provider").as_deref(), Some("cpu"));
    worker.process.terminate().await?;
    bed.end().await
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
fn promtool_accepts_the_rules_and_their_tests() -> anyhow::Result<()> {
    promtool(&["check", "rules", "rules.yaml"], file(""))?;
    promtool(&["test", "rules", "rules.test.yaml"], file(""))
}

#[test]
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
