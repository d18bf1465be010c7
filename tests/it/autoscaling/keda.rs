//! KEDA's own part: whether there are any replicas at all. From the first one on the autoscaler counts them.

use std::time::Duration;

use super::scaled_object::ScaledObject;

/// What a scaler says: jobs that wait or are not acknowledged, or why it cannot tell.
pub(crate) type Lag = Result<u64, String>;

/// What KEDA keeps in the status of a ScaledObject that was created at time zero.
#[derive(Debug)]
pub(crate) struct Keda {
    /// When a trigger was last seen to be active.
    last_active: Option<Duration>,
    /// Failures in a row of each trigger, by polling and by the autoscaler's questions alike. Counted only where there
    /// is a fallback.
    failures: Vec<u32>,
}

/// What a trigger says once its fallback is applied.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    Metric { value: f64, active: bool },
    Error,
}

impl Keda {
    pub(crate) fn new(object: &ScaledObject) -> Self {
        Self {
            last_active: None,
            failures: vec![0; object.triggers.len()],
        }
    }

    /// One round of polling: the number of replicas to set, if any.
    pub(crate) fn poll(
        &mut self,
        object: &ScaledObject,
        lags: &[Lag],
        replicas: u32,
        now: Duration,
    ) -> Option<u32> {
        let hear = |(n, lag)| self.hear(object, n, lag, replicas);
        let said: Vec<Said> = lags.iter().enumerate().map(hear).collect();
        let error = said.contains(&Said::Error);
        let is_active = |said: &Said| matches!(said, Said::Metric { active: true, .. });
        if said.iter().any(is_active) {
            self.stay_or_wake(object, error, replicas, now)
        } else {
            self.stay_or_sleep(object, error, replicas, now)
        }
    }

    /// The metric that the autoscaler gets when it asks for a trigger; none is an error.
    pub(crate) fn metric(
        &mut self,
        object: &ScaledObject,
        trigger: usize,
        lag: &Lag,
        replicas: u32,
    ) -> Option<f64> {
        match self.hear(object, trigger, lag, replicas) {
            Said::Metric { value, .. } => Some(value),
            Said::Error => None,
        }
    }

    /// A trigger that has failed more often than the threshold says what the fallback wants, and is active.
    fn hear(&mut self, object: &ScaledObject, n: usize, lag: &Lag, replicas: u32) -> Said {
        let trigger = &object.triggers[n];
        match (lag, &object.fallback) {
            (Ok(lag), _) => {
                self.failures[n] = 0;
                Said::Metric {
                    value: u32::try_from(*lag).unwrap_or(u32::MAX).into(),
                    active: *lag > trigger.activation_lag_threshold.into(),
                }
            }
            (Err(_), None) => Said::Error,
            (Err(_), Some(fallback)) => {
                self.failures[n] += 1;
                if self.failures[n] <= fallback.failure_threshold {
                    return Said::Error;
                }
                let wanted = fallback.replicas(replicas);
                Said::Metric {
                    value: f64::from(trigger.lag_threshold) * f64::from(wanted),
                    active: true,
                }
            }
        }
    }

    /// Zero becomes one, or the minimum. While another trigger fails, the time of the last activity stands still.
    fn stay_or_wake(
        &mut self,
        object: &ScaledObject,
        error: bool,
        replicas: u32,
        now: Duration,
    ) -> Option<u32> {
        let asleep = replicas == 0 || (object.idle.is_some() && replicas < object.min);
        if asleep || !error {
            self.last_active = Some(now);
        }
        asleep.then_some(object.min.max(1))
    }

    fn stay_or_sleep(
        &self,
        object: &ScaledObject,
        error: bool,
        replicas: u32,
        now: Duration,
    ) -> Option<u32> {
        // A fallback of zero replicas does not protect from going to sleep on an error.
        let waits = object
            .fallback
            .as_ref()
            .is_none_or(|fallback| fallback.replicas > 0);
        if error && waits {
            return None;
        }
        let above_idle = object.idle.is_some_and(|idle| replicas > idle);
        if above_idle || (replicas > 0 && object.min == 0) {
            return self
                .is_cool(object, now)
                .then(|| object.idle.unwrap_or(object.min));
        }
        (object.idle.is_none() && replicas < object.min).then_some(object.min)
    }

    /// Whoever scaled a target that KEDA has never seen active, it does not wait.
    fn is_cool(&self, object: &ScaledObject, now: Duration) -> bool {
        match self.last_active {
            Some(last_active) => last_active + object.cooldown < now,
            None => object.initial_cooldown < now,
        }
    }
}

#[cfg(test)]
mod tests;
