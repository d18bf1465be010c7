//! Workers: what they say of themselves, where their metrics can be reached.
//!
//! NATS knows pulls, not workers. So the endpoints of their metrics are asked. One name may stand for many workers, as
//! that of a headless service does: each address behind it is asked.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use futures::stream::{self, StreamExt as _};
use runtime::settings::ConfigFault;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A worker that is busy answers within milliseconds.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Most bytes of an answer: that of a worker has some tens of thousands.
const MOST_BYTES: u64 = 4 << 20;
/// Most workers that are asked, and how many at once.
const MOST: usize = 512;
const AT_ONCE: usize = 32;

/// Where workers tell about themselves.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Workers")]
pub struct WorkersConfig {
    /// Where workers serve their metrics, as HOST:PORT, separated by commas; every address of a name is asked, so that a
    /// headless service stands for all of its pods
    #[arg(
        long,
        env = "EBB_WORKERS",
        value_delimiter = ',',
        value_name = "HOST:PORT"
    )]
    pub workers: Vec<String>,
}

impl WorkersConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let is_wrong = |address: &&String| {
            let port = address.rsplit_once(':').map(|(_, port)| port);
            let has_port = port.is_some_and(|port| port.parse::<u16>().is_ok());
            // A URL has a port as well, and its host is none.
            !has_port || address.contains('/')
        };
        let wrong = self.workers.iter().filter(is_wrong);
        let fault = |address| format!("`{address}` is not HOST:PORT, as in workers:8080");
        wrong
            .map(|address| ConfigFault::new("--workers", fault(address)))
            .collect()
    }
}

/// Workers that were asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Workers {
    /// Those that answered, by their addresses.
    pub workers: Vec<WorkerStatus>,
    /// How many they are.
    pub count: usize,
    /// Of those that did not, why, by address or name.
    pub silent: BTreeMap<String, String>,
}

/// A worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct WorkerStatus {
    pub address: String,
    pub model: String,
    pub version: String,
    /// Jobs taken and not settled yet.
    pub in_flight: f64,
    /// Jobs acknowledged since it started.
    pub acked: f64,
    /// Jobs that it made dead letters.
    pub dead_letters: f64,
    /// Tokens embedded since it started, padding left out.
    pub tokens: f64,
    /// Seconds that its device was busy since it started.
    pub device_seconds: f64,
    /// Part of the last minute, as far as it was watched, that its device was busy, 0 to 1; `None` at the first look.
    pub busy: Option<f64>,
    /// Tokens per second in the same time.
    pub tokens_per_second: Option<f64>,
    /// Whether it has stopped pulling because writes fail.
    pub breaker_open: bool,
}

/// Asks workers as often as it is asked to, and tells what each did lately. A call of a device may take longer than the time
/// between two looks, and counts when it ends: so what is told is of a minute.
#[derive(Debug, Default)]
pub struct WorkerReader {
    /// Answers of each worker by its address, the oldest first.
    before: BTreeMap<String, VecDeque<(Instant, WorkerStatus)>>,
}

/// How long looks are remembered, and the least time between two of them.
const WINDOW: Duration = Duration::from_secs(60);
const BETWEEN: Duration = Duration::from_secs(1);

impl WorkerReader {
    pub async fn look(&mut self, config: &WorkersConfig) -> Workers {
        let mut found = Workers::default();
        let mut addresses = Vec::new();
        for name in &config.workers {
            match tokio::time::timeout(TIMEOUT, tokio::net::lookup_host(name)).await {
                Ok(Ok(behind)) => addresses.extend(behind),
                Ok(Err(error)) => drop(found.silent.insert(name.clone(), error.to_string())),
                Err(_) => drop(
                    found
                        .silent
                        .insert(name.clone(), "no name server answered".into()),
                ),
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MOST);
        let asked =
            stream::iter(addresses).map(|address| async move { (address, ask(address).await) });
        let mut asked = asked.buffer_unordered(AT_ONCE);
        while let Some((address, page)) = asked.next().await {
            match page {
                Ok(page) => found.workers.push(WorkerStatus::read(address, &page)),
                Err(error) => drop(
                    found
                        .silent
                        .insert(address.to_string(), format!("{error:#}")),
                ),
            }
        }
        self.compare(&mut found.workers);
        found.count = found.workers.len();
        found
    }

    fn compare(&mut self, workers: &mut [WorkerStatus]) {
        workers.sort_by(|a, b| a.address.cmp(&b.address));
        self.compare_at(Instant::now(), workers);
    }

    fn compare_at(&mut self, now: Instant, workers: &mut [WorkerStatus]) {
        let mut before = std::mem::take(&mut self.before);
        for worker in workers {
            let mut looks = before.remove(&worker.address).unwrap_or_default();
            // Another process at the same address counts from zero.
            let is_new = |(_, old): &(Instant, WorkerStatus)| {
                worker.tokens < old.tokens || worker.device_seconds < old.device_seconds
            };
            if looks.back().is_some_and(is_new) {
                looks.clear();
                (worker.busy, worker.tokens_per_second) = (Some(0.0), Some(0.0));
            }
            while looks.len() > 1 && now.duration_since(looks[0].0) > WINDOW {
                looks.pop_front();
            }
            if let Some((at, old)) = looks.front() {
                let device = worker.device_seconds - old.device_seconds;
                // A call that began before has taken longer than was watched.
                let seconds = now.duration_since(*at).as_secs_f64().max(device).max(1e-3);
                worker.busy = Some(device / seconds);
                worker.tokens_per_second = Some((worker.tokens - old.tokens) / seconds);
            }
            if looks
                .back()
                .is_none_or(|(at, _)| now.duration_since(*at) >= BETWEEN)
            {
                looks.push_back((now, worker.clone()));
            }
            self.before.insert(worker.address.clone(), looks);
        }
    }
}

async fn ask(address: SocketAddr) -> anyhow::Result<String> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        // HTTP/1.0: the server closes the connection at the end, and sends no chunks.
        let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(MOST_BYTES).read_to_end(&mut answer).await?;
        anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = tokio::time::timeout(TIMEOUT, asked).await;
    let answer = answer.with_context(|| format!("no answer within {TIMEOUT:?}"))??;
    let (head, page) = answer.split_once("\r\n\r\n").context("no answer of HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    anyhow::ensure!(status.contains(" 200 "), "answered `{status}`");
    anyhow::ensure!(
        page.contains("worker_build_info"),
        "these are no metrics of a worker"
    );
    Ok(page.to_owned())
}

impl WorkerStatus {
    fn read(address: SocketAddr, page: &str) -> Self {
        let mut worker = Self {
            address: address.to_string(),
            ..Self::default()
        };
        for (series, value) in page.lines().filter_map(sample) {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            match name {
                "worker_jobs_in_flight" => worker.in_flight += value,
                "worker_jobs_total" if label(labels, "outcome") == Some("ack") => {
                    worker.acked += value
                }
                "worker_dead_letters_total" => worker.dead_letters += value,
                "worker_tokens_total" => worker.tokens += value,
                "worker_device_seconds_sum" => worker.device_seconds += value,
                "worker_breaker_open" => worker.breaker_open |= value > 0.0,
                "worker_model_info" => worker.model = short(label(labels, "model")),
                "worker_build_info" => worker.version = short(label(labels, "version")),
                _ => {}
            }
        }
        worker
    }
}

fn sample(line: &str) -> Option<(&str, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let value: f64 = value.parse().ok()?;
    (!line.starts_with('#') && value.is_finite()).then_some((series, value))
}

/// Names are short; a page of something else may say anything.
fn short(label: Option<&str>) -> String {
    label.unwrap_or_default().chars().take(128).collect()
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = labels.split_once(&format!("{name}=\""))?;
    Some(rest.split_once('"')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP worker_jobs_total jobs 3\nworker_jobs_total{outcome=\"ack\"} 3\n\
                        worker_jobs_total{outcome=\"nak\"} 9\nworker_tokens_total 1000\nworker_jobs_in_flight 2\n\
                        worker_device_seconds_sum{provider=\"cpu\"} 5\nworker_lane_pending_jobs{lane=\"live\"} NaN\n\
                        worker_model_info{model=\"m\",task=\"embed\"} 1\nworker_build_info{version=\"0.1.0\"} 1\n";

    #[test]
    fn a_page_of_metrics_tells_what_a_worker_does() {
        let worker = WorkerStatus::read(([127, 0, 0, 1], 80).into(), PAGE);
        assert_eq!(
            (worker.acked, worker.in_flight, worker.tokens),
            (3.0, 2.0, 1000.0)
        );
        assert_eq!(
            (worker.model.as_str(), worker.version.as_str()),
            ("m", "0.1.0")
        );
        assert_eq!(worker.busy, None);
    }

    /// What is told of a worker at a second after the start.
    fn told(
        looker: &mut WorkerReader,
        start: Instant,
        second: u64,
        device: f64,
        tokens: f64,
    ) -> WorkerStatus {
        let mut workers = [WorkerStatus {
            device_seconds: device,
            tokens,
            ..WorkerStatus::default()
        }];
        looker.compare_at(start + Duration::from_secs(second), &mut workers);
        workers[0].clone()
    }

    #[test]
    fn what_a_worker_did_is_told_from_the_second_look_on_and_never_negative() {
        let (mut looker, start) = (WorkerReader::default(), Instant::now());
        assert_eq!(told(&mut looker, start, 0, 1.0, 10.0).busy, None);
        let busy = told(&mut looker, start, 2, 2.0, 20.0);
        assert_eq!((busy.busy, busy.tokens_per_second), (Some(0.5), Some(5.0)));
        let restarted = told(&mut looker, start, 4, 0.0, 0.0);
        assert_eq!(
            (restarted.busy, restarted.tokens_per_second),
            (Some(0.0), Some(0.0))
        );
    }

    /// A call of 11 s and 1,100 tokens after the other, looked at every 5 s.
    #[test]
    fn calls_that_take_longer_than_a_look_are_told_as_what_they_are() {
        let (mut looker, start) = (WorkerReader::default(), Instant::now());
        for second in (0_u32..300).step_by(5) {
            let calls = f64::from(second / 11);
            let found = told(
                &mut looker,
                start,
                u64::from(second),
                calls * 11.0,
                calls * 1100.0,
            );
            let (Some(busy), Some(rate)) = (found.busy, found.tokens_per_second) else {
                continue;
            };
            assert!(busy <= 1.0, "{busy} at {second} s");
            if second > 10 {
                let speed = rate / busy;
                assert!((99.0..101.0).contains(&speed), "{speed} at {second} s");
            }
            if second > 60 {
                assert!(busy > 0.75, "{busy} at {second} s");
            }
        }
        assert!(looker.before.values().all(|looks| looks.len() < 70));
    }

    #[test]
    fn an_address_without_a_port_is_named() {
        let config = |address: &str| WorkersConfig {
            workers: vec![address.to_owned()],
        };
        assert_eq!(config("worker").faults().len(), 1);
        assert_eq!(config("worker:x").faults().len(), 1);
        assert_eq!(config("worker:8080").faults(), []);
        assert_eq!(config("[::1]:8080").faults(), []);
    }
}
