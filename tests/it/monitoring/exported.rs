//! What workers export: all that rules and dashboard read of them, from the start.

use std::collections::BTreeSet;

use anyhow::Context as _;
use fixtures::stack::Worker;
use fixtures::wait::until;
use tests::{Bed, LIMIT};

use super::page::Page;
use super::promql::{Selector, selectors};
use super::{all, dashboard, names, yaml};

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
    let declared = worker::outcome::CAUSES.map(str::to_owned);
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
