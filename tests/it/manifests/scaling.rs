//! Numbers of which one must be larger than another: grace, ack wait, retries, cooldown, loading, backlog.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use contract::topology::{
    DEFAULT_ACK_WAIT, JOBS, LAST_CALL, LONGEST_LOAD, Lane, MAX_DELIVER, RUNTIME_END, Task,
};
use serde_json::Value;
use worker::outcome::retry_delay;

use super::render::{OVERLAYS, Rendered, autoscaler, list, number, overlay, table, text};

fn duration(environment: &BTreeMap<String, String>, name: &str) -> anyhow::Result<Duration> {
    let value = environment
        .get(name)
        .with_context(|| format!("no {name}"))?;
    Ok(humantime::parse_duration(value)?)
}

fn seconds(value: &Value, pointer: &str) -> anyhow::Result<Duration> {
    Ok(Duration::from_secs(number(value, pointer)?))
}

/// Longest time after which a job that failed is handed out again.
fn longest_retry() -> Duration {
    let delays = (0..100).map(|spread| retry_delay(MAX_DELIVER, spread));
    delays.max().unwrap_or_default()
}

async fn scaled_object() -> anyhow::Result<Value> {
    Ok(autoscaler().await?.find("ScaledObject", "worker")?.clone())
}

#[tokio::test]
async fn a_worker_ends_before_its_jobs_are_redelivered_and_before_it_is_killed()
-> anyhow::Result<()> {
    for name in OVERLAYS {
        let rendered = overlay(name).await?;
        let environment = rendered.environment()?;
        let (grace, ack_wait) = (
            duration(&environment, "EBB_GRACE")?,
            duration(&environment, "EBB_ACK_WAIT")?,
        );
        assert_eq!(ack_wait, DEFAULT_ACK_WAIT);
        assert!(grace < ack_wait, "{name}: {grace:?}");
        let pod = rendered.pod("worker")?;
        let killed = seconds(pod.spec, "/terminationGracePeriodSeconds")?;
        assert!(
            grace + LAST_CALL + RUNTIME_END < killed,
            "{name}: {killed:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_server_ends_before_it_is_killed() -> anyhow::Result<()> {
    let rendered = overlay("cpu").await?;
    let config = table(rendered.find("ConfigMap", "nats")?, "/data");
    let lame = config["nats.conf"]
        .lines()
        .find_map(|line| line.strip_prefix("lame_duck_duration: "));
    let lame = humantime::parse_duration(lame.context("no lame_duck_duration")?)?;
    let pod = rendered.pod("nats")?;
    let killed = seconds(pod.spec, "/terminationGracePeriodSeconds")?;
    assert!(lame < killed);
    let stop = pod.containers()[0]
        .pointer("/lifecycle/preStop/exec/command")
        .cloned();
    assert_eq!(
        stop,
        Some(serde_json::json!(["nats-server", "--signal", "ldm=1"]))
    );
    Ok(())
}

#[tokio::test]
async fn the_fleet_stays_for_as_long_as_a_job_may_come_back() -> anyhow::Result<()> {
    let scaled = scaled_object().await?;
    assert_eq!(longest_retry(), Duration::from_secs(144));
    let back = longest_retry() + DEFAULT_ACK_WAIT;
    let cooldown = seconds(&scaled, "/spec/cooldownPeriod")?;
    assert!(cooldown > back, "{cooldown:?}");
    let down = "/spec/advanced/horizontalPodAutoscalerConfig/behavior/scaleDown";
    let down = scaled.pointer(down).context("no scaleDown")?;
    assert!(seconds(down, "/stabilizationWindowSeconds")? > back);
    // One at a time, and the next not before the jobs of the last are surely with somebody else.
    assert_eq!(number(down, "/policies/0/value")?, 1);
    assert!(seconds(down, "/policies/0/periodSeconds")? >= DEFAULT_ACK_WAIT);
    // What a fleet costs to bring back is no more than what keeping it for a while costs.
    assert!(cooldown >= LONGEST_LOAD);
    Ok(())
}

#[tokio::test]
async fn the_autoscaler_goes_to_zero_only_when_it_knows_that_nothing_waits() -> anyhow::Result<()> {
    let scaled = scaled_object().await?;
    assert_eq!(number(&scaled, "/spec/idleReplicaCount")?, 0);
    assert!(number(&scaled, "/spec/minReplicaCount")? >= 1);
    assert!(number(&scaled, "/spec/fallback/replicas")? >= 1);
    assert_eq!(
        text(&scaled, "/spec/fallback/behavior"),
        "currentReplicasIfHigher"
    );
    for trigger in list(&scaled, "/spec/triggers") {
        // One job is enough to wake a worker: below an activation threshold it would wait for more.
        assert_eq!(text(trigger, "/metadata/activationLagThreshold"), "0");
        assert!(
            trigger.get("metricType").is_none(),
            "the fallback needs an average value"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_autoscaler_watches_the_consumers_of_the_model_that_the_workers_serve()
-> anyhow::Result<()> {
    let scaled = scaled_object().await?;
    let rendered = overlay("cpu").await?;
    let environment = rendered.environment()?;
    let model = environment["EBB_MODEL"]
        .strip_prefix("/models/")
        .context("not in /models")?;
    let (name, short) = model.rsplit_once('-').context("no fingerprint")?;
    assert_eq!(environment["EBB_FINGERPRINT"].get(..12), Some(short));
    let lanes = Lane::of(Task::Embed, &name.parse()?);
    let triggers = list(&scaled, "/spec/triggers");
    assert_eq!(triggers.len(), lanes.len());
    for (trigger, lane) in triggers.iter().zip(&lanes) {
        assert_eq!(text(trigger, "/type"), "nats-jetstream");
        assert_eq!(text(trigger, "/name"), lane.priority.as_str());
        assert_eq!(text(trigger, "/metadata/consumer"), lane.consumer());
        assert_eq!(text(trigger, "/metadata/stream"), JOBS);
        assert_eq!(text(trigger, "/metadata/account"), "$G");
        let endpoint = text(trigger, "/metadata/natsServerMonitoringEndpoint");
        is_headless(&rendered, endpoint)?;
    }
    assert_eq!(text(&scaled, "/spec/scaleTargetRef/name"), "worker");
    let deployment = rendered.find("Deployment", "worker")?;
    assert_eq!(
        text(deployment, "/metadata/namespace"),
        text(&scaled, "/metadata/namespace")
    );
    assert!(
        deployment.pointer("/spec/replicas").is_none(),
        "applying again would scale"
    );
    Ok(())
}

/// KEDA asks the leader of a consumer by the name of its pod, which only a headless service gives.
fn is_headless(rendered: &Rendered, endpoint: &str) -> anyhow::Result<()> {
    let (host, port) = endpoint.split_once(':').context("no port")?;
    let mut parts = host.split('.');
    let (service, namespace) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    assert_eq!(parts.collect::<Vec<_>>(), ["svc"]);
    let service = rendered.find("Service", service)?;
    assert_eq!(text(service, "/metadata/namespace"), namespace);
    assert_eq!(text(service, "/spec/clusterIP"), "None");
    let port: u64 = port.parse()?;
    assert!(
        list(service, "/spec/ports")
            .iter()
            .any(|it| it["port"].as_u64() == Some(port))
    );
    assert_eq!(
        text(rendered.find("StatefulSet", "nats")?, "/spec/serviceName"),
        text(service, "/metadata/name")
    );
    Ok(())
}

#[tokio::test]
async fn consumers_are_sized_for_the_whole_fleet_and_streams_for_their_volume() -> anyhow::Result<()>
{
    let scaled = scaled_object().await?;
    let rendered = overlay("cpu").await?;
    let environment = rendered.environment()?;
    let most: u64 = environment["EBB_MAX_WORKERS"].parse()?;
    assert_eq!(number(&scaled, "/spec/maxReplicaCount")?, most);
    let jobs: u64 = environment["EBB_JOBS_MAX_BYTES"].parse()?;
    let nats = rendered.pod("nats")?;
    let store = list(nats.containers()[0], "/env")
        .iter()
        .find(|it| it["name"] == "NATS_MAX_FILE_STORE");
    let store = store.map(|it| text(it, "/value")).unwrap_or_default();
    let store: u64 = store.trim_end_matches("GB").parse()?;
    let volume = text(
        rendered.find("StatefulSet", "nats")?,
        "/spec/volumeClaimTemplates/0/spec/resources/requests/storage",
    );
    let volume: u64 = volume.trim_end_matches("Gi").parse()?;
    // The server's GB is a GiB.
    assert!(
        jobs < store << 30 && store < volume,
        "{jobs} {store} {volume}"
    );
    Ok(())
}

#[tokio::test]
async fn probes_leave_time_to_load_and_look_at_the_worker_alone() -> anyhow::Result<()> {
    for name in OVERLAYS {
        let rendered = overlay(name).await?;
        let pod = rendered.pod("worker")?;
        let container = pod.containers()[0];
        let startup = number(container, "/startupProbe/failureThreshold")?
            * number(container, "/startupProbe/periodSeconds")?;
        assert!(Duration::from_secs(startup) >= LONGEST_LOAD, "{name}");
        for (probe, path) in [
            ("startupProbe", "/startupz"),
            ("livenessProbe", "/livez"),
            ("readinessProbe", "/readyz"),
        ] {
            assert_eq!(text(container, &format!("/{probe}/httpGet/path")), path);
            assert_eq!(text(container, &format!("/{probe}/httpGet/port")), "http");
        }
        assert_eq!(
            container["ports"],
            serde_json::json!([{ "name": "http", "containerPort": 9090 }])
        );
        assert!(rendered.environment()?["EBB_LISTEN"].ends_with(":9090"));
        let update = &rendered.find("Deployment", "worker")?["spec"]["strategy"]["rollingUpdate"];
        assert_eq!(
            *update,
            serde_json::json!({ "maxSurge": 0, "maxUnavailable": 1 }),
            "a spare GPU may not exist"
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_runs_on_a_schedule_never_overlaps_itself_and_gives_up_in_time() -> anyhow::Result<()>
{
    let rendered = overlay("cpu").await?;
    for (name, period) in [("rebuild", 24 * 3600), ("dlq-sweep", 600), ("doctor", 3600)] {
        let spec = &rendered.find("CronJob", name)?["spec"];
        assert_eq!(text(spec, "/concurrencyPolicy"), "Forbid");
        assert_eq!(text(spec, "/timeZone"), "Etc/UTC");
        assert!(
            number(spec, "/startingDeadlineSeconds")? >= 100,
            "{name} would miss its start"
        );
        assert!(
            number(spec, "/jobTemplate/spec/activeDeadlineSeconds")? < period,
            "{name}"
        );
        assert!(
            number(spec, "/jobTemplate/spec/backoffLimit")? <= 3,
            "{name}"
        );
    }
    // A run may wait for workers that have to start first.
    let eval = rendered.pod("eval")?;
    let timeout = list(eval.containers()[0], "/args")
        .iter()
        .find_map(|it| it.as_str()?.strip_prefix("--timeout="));
    assert!(humantime::parse_duration(timeout.context("no --timeout")?)? > 2 * LONGEST_LOAD);
    Ok(())
}
