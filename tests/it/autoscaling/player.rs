//! The player: KEDA, the autoscaler and the Deployment on one clock, against a real nats-server and real workers.
//!
//! The clock of the ScaledObject runs [`SPEED`] times faster than that of the processes: its polling, its periods and
//! its windows are as long as they are committed, the work of the processes as long as it takes. No decision may take
//! the last worker away while the server still counts a job, whatever the decision was made from.

use std::fmt;
use std::time::Duration;

use fixtures::wait::until;
use tests::Bed;
use tokio::time::Instant;

use super::deployment::Deployment;
use super::hpa::{Hpa, SYNC_PERIOD};
use super::keda::{Keda, Lag};
use super::scaled_object::ScaledObject;
use super::scaler::Scaler;

/// Seconds of the ScaledObject in one second of the processes.
const SPEED: u32 = 60;
/// Longest time that anything may take; a condition ends the wait, not this.
const LIMIT: Duration = Duration::from_secs(240);

pub(crate) struct Player<'a> {
    pub(crate) deployment: Deployment<'a>,
    /// All changes, in order.
    pub(crate) steps: Vec<Step>,
    object: ScaledObject,
    /// What KEDA asks, by an endpoint that a test may disturb.
    scalers: Vec<Scaler>,
    /// What the server really says.
    witnesses: Vec<Scaler>,
    keda: Keda,
    hpa: Hpa,
    started: Instant,
    next_poll: Duration,
    next_sync: Duration,
}

/// A change of the number of replicas.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) by: By,
    pub(crate) from: u32,
    pub(crate) to: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Keda,
    Hpa,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, by, from, to } = self;
        write!(f, "{:4} s  {by:?}: {from} -> {to}", at.as_secs())
    }
}

impl<'a> Player<'a> {
    /// Plays `object` from zero replicas on. `endpoint` is where KEDA looks, and may be a proxy.
    pub(crate) fn new(
        bed: &'a Bed,
        object: &ScaledObject,
        endpoint: &str,
        environment: &[(&'static str, &str)],
    ) -> Self {
        let server = monitoring(bed);
        let scalers = |endpoint: &str| {
            let of = |trigger| Scaler::new(trigger, endpoint);
            object.triggers.iter().map(of).collect()
        };
        Self {
            deployment: Deployment::new(bed, environment),
            steps: Vec::new(),
            scalers: scalers(endpoint),
            witnesses: scalers(&server),
            keda: Keda::new(object),
            hpa: Hpa::default(),
            object: object.clone(),
            started: Instant::now(),
            next_poll: Duration::ZERO,
            next_sync: SYNC_PERIOD,
        }
    }

    /// Plays until a condition holds.
    pub(crate) async fn play_until(
        &mut self,
        what: &str,
        mut done: impl AsyncFnMut(&mut Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        until(what, LIMIT, async || {
            self.turn().await?;
            Ok(done(self).await?.then_some(()))
        })
        .await
    }

    /// Plays for a time of the ScaledObject.
    pub(crate) async fn play_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = self.now() + time;
        self.play_until("the time to pass", async |player| Ok(player.now() >= end))
            .await
    }

    /// Plays until there is no worker, and all that were sent away have ended in peace.
    pub(crate) async fn play_to_zero(&mut self) -> anyhow::Result<()> {
        self.play_until("zero replicas", async |player| Ok(player.replicas() == 0))
            .await?;
        self.deployment.left().await
    }

    pub(crate) fn replicas(&self) -> u32 {
        self.deployment.replicas()
    }

    /// Most replicas that there have been.
    pub(crate) fn peak(&self) -> u32 {
        self.steps.iter().map(|step| step.to).max().unwrap_or(0)
    }

    /// What the server really says of each trigger.
    pub(crate) async fn lags(&mut self) -> Vec<Lag> {
        ask(&mut self.witnesses).await
    }

    /// Time of the ScaledObject.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed() * SPEED
    }

    async fn turn(&mut self) -> anyhow::Result<()> {
        self.deployment.restart_ended()?;
        let now = self.now();
        if now >= self.next_poll {
            self.next_poll = now + self.object.polling_interval;
            let lags = ask(&mut self.scalers).await;
            let wanted = self.keda.poll(&self.object, &lags, self.replicas(), now);
            self.apply(By::Keda, wanted, now).await?;
        }
        // An autoscaler that is switched off asks for no metrics.
        if now >= self.next_sync && self.replicas() > 0 {
            self.next_sync = now + SYNC_PERIOD;
            let lags = ask(&mut self.scalers).await;
            let replicas = self.replicas();
            let metric = |(n, lag)| self.keda.metric(&self.object, n, lag, replicas);
            let metrics: Vec<_> = lags.iter().enumerate().map(metric).collect();
            let wanted = self.hpa.sync(&self.object, &metrics, replicas, now);
            self.apply(By::Hpa, wanted, now).await?;
        }
        Ok(())
    }

    async fn apply(&mut self, by: By, wanted: Option<u32>, at: Duration) -> anyhow::Result<()> {
        let (from, Some(to)) = (self.replicas(), wanted) else {
            return Ok(());
        };
        if to == 0 {
            let lags = self.lags().await;
            let settled = lags.iter().all(|lag| *lag == Ok(0));
            anyhow::ensure!(settled, "{by:?} takes the last worker away from {lags:?}");
        }
        let step = Step { at, by, from, to };
        eprintln!("{step}");
        self.steps.push(step);
        self.deployment.scale(to)
    }
}

/// Address of the server's monitoring endpoint.
pub(crate) fn monitoring(bed: &Bed) -> String {
    let url = bed.stack.nats.monitoring_url();
    url.trim_start_matches("http://").to_owned()
}

async fn ask(scalers: &mut [Scaler]) -> Vec<Lag> {
    let mut lags = Vec::new();
    for scaler in scalers {
        let lag = scaler.lag().await;
        lags.push(lag.map_err(|error| format!("{error:#}")));
    }
    lags
}
