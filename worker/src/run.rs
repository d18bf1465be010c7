//! Run: starts a worker and runs it until it is told to stop.
//!
//! The model is loaded before anything is connected, so that a worker that cannot run it takes no job. NATS and
//! Qdrant may start later than the worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::jetstream::consumer::PullConsumer;
use queue::denial::denied;
use queue::room::Room;
use tokio::sync::watch;

use crate::calibration::shapes;
use crate::config::RunConfig;
use crate::connect::connect;
use crate::consumers::Consumers;
use crate::health::{self, Health, Servers};
use crate::load::{Loaded, load_and_warm_up};
use crate::metrics;
use crate::pipeline::embed::EmbedStage;
use crate::pipeline::encode::{EncodeStage, Encoder, Rules};
use crate::pipeline::pull::{Controls, PullSize, PullStage};
use crate::pipeline::upsert::{Outages, UpsertStage, Upserter};
use crate::pipeline::{Context, Pipeline};
use crate::session::Engine;
use crate::shutdown::{Shutdown, Trigger};

/// Runs a worker. `since` is when the process began.
///
/// # Errors
/// If the worker cannot start, or a stage fails.
pub async fn run(config: RunConfig, since: Instant) -> anyhow::Result<()> {
    run_with(config, since, move |config| load_and_warm_up(config, since)).await
}

/// Runs a worker with the engine that `load` returns, for benchmarks of everything around an engine. The worker's own
/// program always runs a session.
///
/// # Errors
/// If the worker cannot start, or a stage fails.
pub async fn run_with<E: Engine + Send + 'static>(
    config: RunConfig,
    since: Instant,
    load: impl FnOnce(&RunConfig) -> anyhow::Result<Loaded<E>> + Send + 'static,
) -> anyhow::Result<()> {
    let recorded = metrics::install().context("failed to install the metrics recorder")?;
    tokio::spawn(metrics::keep_up(recorded.clone()));
    metrics::startup_phase("main", since.elapsed());
    let health = Health::new();
    let bound = health::serve(config.listen, health.clone(), recorded).await;
    let bound = bound.with_context(|| format!("failed to listen on {}", config.listen))?;
    let (trigger, shutdown) =
        Shutdown::on_signals(config.grace).context("failed to catch signals")?;
    let loading = tokio::task::spawn_blocking(move || (load(&config), config));
    let (loaded, config) = loading.await.context("loading the model died")?;
    let loaded = loaded?;
    health.started();
    let connected = connect(&config, &loaded.manifest, &health, shutdown.clone()).await?;
    let Some(connected) = connected else {
        return Ok(());
    };
    metrics::serve(&loaded.manifest, config.session.provider);
    metrics::startup_phase("ready", since.elapsed());
    tracing::info!(
        model = %loaded.manifest.name,
        fingerprint = loaded.manifest.fingerprint.short(),
        listen = %bound,
        startup.seconds = since.elapsed().as_secs_f64(),
        threads = config.session.threads(),
        sessions = config.session.sessions(),
        golden = %loaded.golden,
        "ready"
    );
    let (breaker, open) = watch::channel(false);
    health.ready(Servers {
        nats: connected.queue.client.clone(),
        breaker: open,
    });
    let parts = Parts {
        context: Context {
            queue: connected.queue,
            manifest: Arc::new(loaded.manifest.clone()),
            shutdown: shutdown.clone(),
            health,
            quarantine: connected.quarantine,
        },
        lanes: connected.consumers.each(),
        upserter: connected.upserter,
        drain: config.drain.then_some(trigger),
        breaker,
        config,
        loaded,
        since,
    };
    watched(parts.pipeline().run(), connected.consumers, shutdown).await
}

/// The parts that the stages are made of.
struct Parts<E> {
    context: Context,
    lanes: [PullConsumer; 2],
    upserter: Upserter,
    drain: Option<Trigger>,
    /// Opened while writes fail.
    breaker: watch::Sender<bool>,
    config: RunConfig,
    loaded: Loaded<E>,
    since: Instant,
}

impl<E> Parts<E> {
    fn pipeline(self) -> Pipeline<E> {
        let (config, loaded, context) = (self.config, self.loaded, self.context);
        let controls = Controls {
            shutdown: context.shutdown.clone(),
            breaker: self.breaker.subscribe(),
            health: context.health.clone(),
            drain: self.drain,
        };
        let size = PullSize {
            tokens: config.batch.batch_tokens(config.session.provider),
            jobs: config.batch.batch_jobs,
        };
        let (model, manifest) = (&config.model.staged.model, &loaded.manifest);
        let shapes = shapes(model, manifest, &config.batch, &config.session);
        let rules = Rules {
            collections: config.collections.clone(),
            too_long: config.batch.too_long,
            given_vectors: config.batch.given_vectors,
        };
        Pipeline {
            pull: PullStage::new(&context.queue, self.lanes, size, controls, self.since),
            encode: EncodeStage {
                context: context.clone(),
                encoder: Encoder::new(loaded.texts, loaded.manifest, rules, shapes),
            },
            embed: EmbedStage {
                context: context.clone(),
                first: loaded.session,
                factory: loaded.factory,
                canary: loaded.canary,
                engines: config.session.sessions(),
            },
            upsert: UpsertStage {
                context,
                upserter: self.upserter,
                collections: config.collections,
                breaker: self.breaker,
                outages: Outages::default(),
                room: Room::default(),
            },
        }
    }
}

/// Runs the stages for as long as the consumers are what they were at the start, and NATS denies nothing: a job that may
/// not be acknowledged would be done again until it has no deliveries left.
async fn watched(
    stages: impl Future<Output = anyhow::Result<()>>,
    consumers: Consumers,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    tokio::select! {
        ended = stages => ended,
        drifted = consumers.watch(shutdown) => drifted.map(|never| match never {}),
        denied = denied() => Err(denied.into()),
    }
}

/// When the system started this process, to a hundredth of a second; now, where it does not tell. A worker that is started
/// from zero is waited for from that moment, not from the first line of its program.
pub fn process_start() -> Instant {
    let now = Instant::now();
    age().and_then(|age| now.checked_sub(age)).unwrap_or(now)
}

#[cfg(target_os = "linux")]
fn age() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};
    /// Unit of the times in `/proc`, whatever the tick of the kernel is.
    const TICK: Duration = Duration::from_millis(10);
    /// Index of the start among the fields behind the name of the program, which may contain anything.
    const START: usize = 19;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u32 = fields.split_whitespace().nth(START)?.parse().ok()?;
    let now = clock_gettime(ClockId::Boottime);
    let now = Duration::new(
        u64::try_from(now.tv_sec).ok()?,
        u32::try_from(now.tv_nsec).ok()?,
    );
    now.checked_sub(TICK * ticks)
}

#[cfg(not(target_os = "linux"))]
fn age() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_began_before_it_asks_and_not_long_ago() {
        let age = process_start().elapsed();
        assert!(age < Duration::from_secs(3600), "{age:?}");
        #[cfg(target_os = "linux")]
        assert!(super::age().is_some());
    }
}
