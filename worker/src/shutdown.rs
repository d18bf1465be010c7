//! Shutdown is end of input: the pull stops, each stage finishes and closes the next.
//!
//! The first SIGTERM or SIGINT starts the drain, the end of the grace expires it, a second signal exits at once.

use std::time::Duration;

pub use contract::topology::LAST_CALL;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Running,
    /// Take nothing new, finish what was started, give back the rest.
    Draining,
    /// Give back what was started, too.
    Expired,
}

/// Tells the stages how far the shutdown of the process has come.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Phase>);

/// Starts a shutdown from inside, for runs that end when their lanes are empty.
#[derive(Clone, Debug)]
pub struct Trigger(watch::Sender<Phase>);

impl Shutdown {
    /// A shutdown that only its trigger starts.
    pub(crate) fn new() -> (Trigger, Self) {
        let (phase, receiver) = watch::channel(Phase::Running);
        (Trigger(phase), Self(receiver))
    }

    /// A shutdown that signals start, too, from now on.
    ///
    /// # Errors
    /// If the system refuses to register a handler.
    pub fn on_signals(grace: Duration) -> std::io::Result<(Trigger, Self)> {
        let (trigger, shutdown) = Self::new();
        let phase = trigger.0.clone();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::info!(grace.seconds = grace.as_secs(), "shutdown: draining");
            phase.send_replace(Phase::Draining);
            let expire = async {
                tokio::time::sleep(grace).await;
                phase.send_replace(Phase::Expired);
                tokio::time::sleep(LAST_CALL).await;
                tracing::error!("a stage hangs; what it holds is redelivered after the ack wait");
            };
            tokio::select! { () = expire => {}, _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            runtime::signals::exit_at_once(1);
        });
        Ok((trigger, shutdown))
    }

    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Returns when the process has come as far as `phase`.
    pub async fn reached(&mut self, phase: Phase) {
        // The sender lives in a task that only ends with the process or after it has sent its last phase.
        if self.0.wait_for(|now| *now >= phase).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Trigger {
    /// Has the stages take nothing new, and finish what was started.
    pub fn drain(&self) {
        self.0.send_if_modified(|phase| {
            let first = *phase == Phase::Running;
            *phase = (*phase).max(Phase::Draining);
            first
        });
    }

    #[cfg(test)]
    pub(crate) fn expire(&self) {
        self.0.send_replace(Phase::Expired);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drain_that_comes_late_takes_no_phase_back() {
        let (trigger, mut shutdown) = Shutdown::new();
        assert_eq!(shutdown.phase(), Phase::Running);
        trigger.drain();
        assert_eq!(shutdown.phase(), Phase::Draining);
        trigger.expire();
        trigger.drain();
        assert_eq!(shutdown.phase(), Phase::Expired);
        // What waits for an earlier phase is not left behind.
        shutdown.reached(Phase::Draining).await;
    }
}
