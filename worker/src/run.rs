//! Run: brings up a worker and runs it until it is told to stop.
//!
//! The model is loaded before anything is connected, so that a worker that cannot run it takes no job. NATS and
//! Qdrant may start later than the worker.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use futures::future::try_join_all;
use queue::denial::denied;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::calibration::shapes;
use crate::config::{Provider, RunConfig};
use crate::connect::connect;
use crate::consumers::Consumers;
use crate::deal::Deal;
use crate::encode::{Encoder, Rules};
use crate::halve::Halving;
use crate::health::{self, Health};
use crate::load::{Another, Canary, Loaded, load};
use crate::metrics;
use crate::pipeline::{Context, encode_stage, joined};
use crate::pull::{Controls, Pull, PullSize};
use crate::session::Engine;
use crate::shutdown::{Phase, Shutdown};
use crate::warm_up::warm_up;
use crate::write::{Outages, WriteStage};

/// Runs a worker. `since` is when the process began.
///
/// # Errors
/// If the worker cannot start, or a stage fails.
pub async fn run(config: RunConfig, since: Instant) -> anyhow::Result<()> {
    run_with(config, since, move |config| load_and_warm_up(config, since)).await
}

/// Runs a worker with the engine that `load` gives: the seam for measuring everything around an engine. The worker's own
/// program knows no engine but a session.
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
    let parts = connect(&config, &loaded.manifest, &health, shutdown.clone()).await?;
    let Some(parts) = parts else {
        return Ok(());
    };
    metrics::serve(&loaded.manifest, config.session.provider);
    metrics::startup_phase("ready", since.elapsed());
    tracing::info!(
        model = %loaded.manifest.name,
        fingerprint = loaded.manifest.fingerprint.short(),
        listen = %bound,
        startup.seconds = since.elapsed().as_secs_f64(),
        golden = %loaded.golden,
        optimized = loaded.optimized.is_some(),
        "ready"
    );
    health.ready();
    let context = Context {
        queue: parts.queue,
        manifest: Arc::new(loaded.manifest.clone()),
        shutdown,
        health,
        quarantine: parts.quarantine,
    };
    let (breaker, open) = watch::channel(false);
    let controls = Controls {
        shutdown: context.shutdown.clone(),
        breaker: open,
        health: context.health.clone(),
        drain: config.drain.then_some(trigger),
    };
    let [live, bulk] = parts.consumers.each();
    let size = PullSize {
        tokens: config.batch.batch_tokens(config.session.provider),
        jobs: config.batch.batch_jobs,
    };
    let pull = Pull::new(&context.queue, live, bulk, size).since(since);
    let collections = config.collections.clone();
    let write = WriteStage {
        context: context.clone(),
        upserter: parts.upserter,
        collections,
        breaker,
        outages: Outages::default(),
    };
    let stages = stages(context.clone(), config, loaded, (pull, controls), write);
    watched(stages, parts.consumers, context.shutdown).await
}

/// Runs the stages for as long as the consumers are what they were at start, and NATS denies nothing: a job that may not
/// be acknowledged would be done until it has no deliveries left.
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

/// Connects the stages with channels that hold one batch each, and waits for all of them.
async fn stages<E: Engine + Send + 'static>(
    context: Context,
    config: RunConfig,
    loaded: Loaded<E>,
    (pull, controls): (Pull, Controls),
    write: WriteStage,
) -> anyhow::Result<()> {
    let (to_encode, from_pull) = mpsc::channel(1);
    let (to_embed, from_encode) = mpsc::channel(1);
    let (to_upsert, from_embed) = mpsc::channel(1);
    let shapes = shapes(
        &config.model.staged.model,
        &loaded.manifest,
        &config.batch,
        &config.session,
    );
    let rules = Rules {
        collections: config.collections,
        too_long: config.batch.too_long,
        given_vectors: config.batch.given_vectors,
    };
    let encoder = Encoder::new(loaded.tokenizer, loaded.manifest, rules, shapes);
    let engines = Engines {
        first: loaded.session,
        another: loaded.another,
        canary: loaded.canary,
        count: config.session.sessions(),
        shutdown: context.shutdown.clone(),
    };
    let deal = Deal::new(context.clone(), from_encode, to_upsert);
    let encode = tokio::task::spawn_blocking(move || {
        encode_stage(&context, &encoder, from_pull, &to_embed);
    });
    let pull = tokio::spawn(pull.run(to_encode, controls));
    // The first failure ends them all: what is in flight is redelivered.
    let (encode, pull) = (joined("encode", encode), joined("pull", pull));
    tokio::try_join!(write.run(from_embed), engines.work(deal), encode, pull).map(drop)
}

/// What runs the model: one engine at first, and others as soon as they are loaded.
struct Engines<E> {
    first: E,
    another: Another<E>,
    canary: Canary,
    count: usize,
    shutdown: Shutdown,
}

impl<E: Engine + Send + 'static> Engines<E> {
    /// Has each engine work on a thread of its own. The first failure ends them all.
    async fn work(self, deal: Deal) -> anyhow::Result<()> {
        let (deal, canary) = (Arc::new(deal), Arc::new(self.canary));
        let first = engine(&deal, &canary, move || Some(self.first));
        let others = (1..self.count).map(|_| {
            let (another, shutdown) = (self.another.clone(), self.shutdown.clone());
            engine(&deal, &canary, move || one_more(&another, &shutdown))
        });
        let all: Vec<_> = std::iter::once(first).chain(others).collect();
        let joined = all
            .into_iter()
            .map(|it| async { joined("embed", it).await? });
        try_join_all(joined).await.map(drop)
    }
}

fn engine<E: Engine + 'static>(
    deal: &Arc<Deal>,
    canary: &Arc<Canary>,
    load: impl FnOnce() -> Option<E> + Send + 'static,
) -> JoinHandle<anyhow::Result<()>> {
    let (deal, canary) = (deal.clone(), canary.clone());
    tokio::task::spawn_blocking(move || {
        let Some(engine) = load() else {
            return Ok(());
        };
        let worked = deal.work(&mut Halving::new(engine), &canary);
        worked.context("embedding failed")
    })
}

/// One that does not load is no reason to stop: those that are there do its work. Its jobs would be blamed for the end of
/// the process.
fn one_more<E>(another: &Another<E>, shutdown: &Shutdown) -> Option<E> {
    let loaded = another.load_if(|| shutdown.phase() == Phase::Running);
    loaded.unwrap_or_else(|error| {
        tracing::warn!("{error:#}; going on with fewer sessions");
        None
    })
}

/// A CPU has memory when it is needed, and starts sooner without being warmed up.
fn load_and_warm_up(config: &RunConfig, since: Instant) -> anyhow::Result<Loaded> {
    let mut loaded = load(&config.model, &config.session, since)?;
    if config.session.provider == Provider::Cuda {
        let (model, batch) = (&config.model.staged.model, &config.batch);
        let shapes = shapes(model, &loaded.manifest, batch, &config.session);
        let padding = loaded.tokenizer.padding_id();
        warm_up(&mut loaded.session, shapes, padding)?;
        metrics::startup_phase("warm", since.elapsed());
        let another = loaded.another.clone();
        loaded.another = Another::new(move || {
            let mut session = another.load()?;
            warm_up(&mut session, shapes, padding)?;
            Ok(session)
        });
    }
    Ok(loaded)
}
