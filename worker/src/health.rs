//! Health and metrics over HTTP: `/startupz`, `/readyz`, `/livez`, `/metrics`.
//!
//! Started means that the model is loaded and has given its golden texts their vectors: what is left to do waits for
//! others. Ready means that the consumers were found as well, and that jobs are pulled: not while NATS is away or Qdrant
//! takes no writes. NATS is away when its connection has ended, or when it has been silent for the 30 s in which the client
//! finds that out, or when requests for jobs fail, as they do while its servers have no leader. Alive means that the event loop answers and the engines
//! have shown themselves lately. Neither started nor alive asks for NATS or Qdrant: that one of them cannot be reached is
//! no reason to restart.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_nats::connection::State as Connection;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A tensor, a request or a batch to encode takes seconds at most: a stage that takes no step for this long hangs.
const LONGEST_SILENCE: Duration = Duration::from_secs(120);

/// Requests for jobs that fail for this long show that JetStream is away. A leader that steps down has a successor sooner.
const LONGEST_FAILING: Duration = Duration::from_secs(5);

/// The health of the process, as the stages report it.
#[derive(Clone, Debug)]
pub struct Health(Arc<Inner>);

/// A stage that may hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Encode,
    Upsert,
}

/// What an engine reports about itself: where several run side by side, one may hang while others go on.
#[derive(Clone, Debug)]
pub struct EngineHealth {
    since: Instant,
    heartbeat: Arc<Heartbeat>,
}

#[derive(Debug)]
struct Inner {
    since: Instant,
    started: AtomicBool,
    servers: OnceLock<Servers>,
    /// When requests for jobs began to fail, if the last one did, after the start of the process.
    failing_since: Mutex<Option<Duration>>,
    stages: [Heartbeat; 2],
    engines: Mutex<Vec<Arc<Heartbeat>>>,
}

/// The servers that a worker depends on while it pulls.
#[derive(Debug)]
pub struct Servers {
    pub nats: async_nats::Client,
    /// `true` while nothing is pulled because writes fail.
    pub breaker: watch::Receiver<bool>,
}

#[derive(Debug, Default)]
struct Heartbeat {
    busy: AtomicBool,
    /// When it last took a step, in milliseconds after the start of the process.
    last_millis: AtomicU64,
}

impl Health {
    pub fn new() -> Self {
        Self::since(Instant::now())
    }

    fn since(since: Instant) -> Self {
        Self(Arc::new(Inner {
            since,
            started: AtomicBool::new(false),
            servers: OnceLock::new(),
            failing_since: Mutex::new(None),
            stages: Default::default(),
            engines: Mutex::default(),
        }))
    }

    /// Registers another engine.
    pub fn engine(&self) -> EngineHealth {
        let heartbeat = Arc::new(Heartbeat::default());
        self.0.engines().push(heartbeat.clone());
        EngineHealth {
            since: self.0.since,
            heartbeat,
        }
    }

    /// The model is loaded and proved.
    pub fn started(&self) {
        self.0.started.store(true, Ordering::Release);
    }

    /// The worker pulls from now on, as long as its servers are there.
    pub fn ready(&self, servers: Servers) {
        self.0.servers.get_or_init(|| servers);
    }

    /// A request for jobs was answered, or has failed.
    pub fn pulled(&self, answered: bool) {
        let mut since = self.0.failing_since();
        *since = match *since {
            _ if answered => None,
            None => Some(self.0.since.elapsed()),
            failing => failing,
        };
    }

    /// A stage has work, and has taken a step.
    pub fn busy(&self, stage: Stage) {
        self.0.of(stage).busy(self.0.since);
    }

    /// A stage that has work has taken a step; one that has none says nothing by it.
    pub fn step(&self, stage: Stage) {
        self.0.of(stage).step(self.0.since);
    }

    /// A stage has nothing to do, and may be silent.
    pub fn idle(&self, stage: Stage) {
        self.0.of(stage).idle();
    }

    /// Whether a stage has work and takes no step, so that other workers had better do the jobs of this one.
    pub fn is_stalled(&self) -> bool {
        self.0.hangs(Stage::Encode) || self.0.hangs(Stage::Upsert) || self.0.an_engine_hangs()
    }

    fn is_started(&self) -> bool {
        self.0.started.load(Ordering::Acquire)
    }

    fn is_ready(&self) -> bool {
        self.0.servers.get().is_some_and(|servers| {
            servers.nats.connection_state() == Connection::Connected
                && !*servers.breaker.borrow()
                && !self.0.jobs_are_out_of_reach()
        })
    }

    /// Whether restarting the process would help: an outage of Qdrant is no reason to.
    fn is_alive(&self) -> bool {
        !self.0.hangs(Stage::Encode) && !self.0.an_engine_hangs()
    }
}

impl EngineHealth {
    /// The engine begins a tensor.
    pub fn busy(&self) {
        self.heartbeat.busy(self.since);
    }

    /// The engine has nothing to do.
    pub fn idle(&self) {
        self.heartbeat.idle();
    }
}

impl Inner {
    fn of(&self, stage: Stage) -> &Heartbeat {
        let [encode, upsert] = &self.stages;
        match stage {
            Stage::Encode => encode,
            Stage::Upsert => upsert,
        }
    }

    fn failing_since(&self) -> MutexGuard<'_, Option<Duration>> {
        self.failing_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn jobs_are_out_of_reach(&self) -> bool {
        let now = self.since.elapsed();
        self.failing_since()
            .is_some_and(|since| now.saturating_sub(since) >= LONGEST_FAILING)
    }

    fn engines(&self) -> MutexGuard<'_, Vec<Arc<Heartbeat>>> {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hangs(&self, stage: Stage) -> bool {
        self.of(stage).hangs(self.since)
    }

    fn an_engine_hangs(&self) -> bool {
        self.engines()
            .iter()
            .any(|heartbeat| heartbeat.hangs(self.since))
    }
}

impl Heartbeat {
    fn busy(&self, since: Instant) {
        self.step(since);
        self.busy.store(true, Ordering::Release);
    }

    fn step(&self, since: Instant) {
        let millis = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_millis.store(millis, Ordering::Release);
    }

    fn idle(&self) {
        self.busy.store(false, Ordering::Release);
    }

    fn hangs(&self, since: Instant) -> bool {
        let last = Duration::from_millis(self.last_millis.load(Ordering::Acquire));
        let silence = since.elapsed().saturating_sub(last);
        self.busy.load(Ordering::Acquire) && silence >= LONGEST_SILENCE
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

/// Serves until the process ends.
///
/// # Errors
/// If the address cannot be bound.
pub async fn serve(
    address: SocketAddr,
    health: Health,
    metrics: PrometheusHandle,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let routes = probes()
        .with_state(health)
        .route("/metrics", get(move || async move { metrics.render() }));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(bound)
}

/// The probes of a kubelet.
fn probes() -> Router<Health> {
    let probe = |holds: fn(&Health) -> bool| {
        get(move |State(health): State<Health>| async move { code(holds(&health)) })
    };
    Router::new()
        .route("/startupz", probe(Health::is_started))
        .route("/readyz", probe(Health::is_ready))
        .route("/livez", probe(Health::is_alive))
}

fn code(good: bool) -> StatusCode {
    if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_hangs_when_it_has_work_and_is_silent() {
        let health = Health::since(Instant::now().checked_sub(2 * LONGEST_SILENCE).unwrap());
        assert!(!health.is_stalled() && health.is_alive());
        health.busy(Stage::Upsert);
        assert!(!health.is_stalled());
        health
            .0
            .of(Stage::Upsert)
            .last_millis
            .store(0, Ordering::Release);
        assert!(health.is_stalled() && health.is_alive());
        health.idle(Stage::Upsert);
        let (hanging, going_on) = (health.engine(), health.engine());
        hanging.busy();
        hanging.heartbeat.last_millis.store(0, Ordering::Release);
        going_on.busy();
        assert!(!health.is_alive() && health.is_stalled());
        hanging.idle();
        assert!(!health.is_stalled() && health.is_alive());
    }

    #[test]
    fn jobs_are_out_of_reach_when_requests_for_them_go_on_failing() {
        let began = Instant::now().checked_sub(2 * LONGEST_FAILING).unwrap();
        let health = Health::since(began);
        health.pulled(false);
        assert!(!health.0.jobs_are_out_of_reach());
        *health.0.failing_since() = Some(LONGEST_FAILING);
        // Another failure is no new beginning.
        health.pulled(false);
        assert!(health.0.jobs_are_out_of_reach());
        health.pulled(true);
        assert!(!health.0.jobs_are_out_of_reach());
    }
}
