//! The HorizontalPodAutoscaler that KEDA creates: how many replicas there are once there is one.

use std::time::Duration;

use super::scaled_object::{Policy, Rules, ScaledObject, Select, Unit};

/// How often the autoscaler looks, `--horizontal-pod-autoscaler-sync-period`.
pub(crate) const SYNC_PERIOD: Duration = Duration::from_secs(15);
/// Relative distance to the target that changes nothing, `--horizontal-pod-autoscaler-tolerance`.
const TOLERANCE: f64 = 0.1;

/// What the autoscaler remembers.
#[derive(Debug, Default)]
pub(crate) struct Hpa {
    /// What the metrics asked for.
    recommendations: Vec<(Duration, u32)>,
    added: Vec<(Duration, u32)>,
    removed: Vec<(Duration, u32)>,
}

impl Hpa {
    /// One look: the number of replicas to set, if any. `metrics` has one for each trigger; none is an error.
    pub(crate) fn sync(
        &mut self,
        object: &ScaledObject,
        metrics: &[Option<f64>],
        replicas: u32,
        now: Duration,
    ) -> Option<u32> {
        // At zero it is switched off, until somebody else sets another number.
        if replicas == 0 {
            return None;
        }
        if self.recommendations.is_empty() {
            self.recommendations.push((now, replicas));
        }
        let min = object.min.max(1);
        let desired = if replicas > object.max || replicas < min {
            replicas.clamp(min, object.max)
        } else {
            let proposal = propose(object, metrics, replicas)?;
            let stable = self.stabilize(object, proposal, replicas, now);
            self.limit(object, stable, replicas, now)
        };
        self.remember(replicas, desired, now);
        (desired != replicas).then_some(desired)
    }

    /// The lowest recommendation within one window holds back growth, the highest within the other shrinkage.
    fn stabilize(
        &mut self,
        object: &ScaledObject,
        proposal: u32,
        replicas: u32,
        now: Duration,
    ) -> u32 {
        let within = |window: Duration| {
            let recent = move |(at, _): &&(Duration, u32)| *at + window > now;
            let recent = self.recommendations.iter().filter(recent);
            recent.map(|(_, recommended)| *recommended)
        };
        let (up, down) = (
            object.scale_up.stabilization,
            object.scale_down.stabilization,
        );
        let at_least = within(up).fold(proposal, u32::min);
        let at_most = within(down).fold(proposal, u32::max);
        self.recommendations.push((now, proposal));
        replicas.max(at_least).min(at_most)
    }

    /// Applies the policies and the bounds.
    fn limit(&self, object: &ScaledObject, desired: u32, replicas: u32, now: Duration) -> u32 {
        if desired > replicas {
            let rules = &object.scale_up;
            let bounds = self.bounds(rules, now, replicas, Policy::most);
            let allowed = match rules.select {
                Select::Disabled => None,
                Select::Max => bounds.max(),
                Select::Min => bounds.min(),
            };
            let allowed = allowed.unwrap_or(replicas).max(replicas);
            return desired.min(allowed).min(object.max);
        }
        if desired < replicas {
            let rules = &object.scale_down;
            let bounds = self.bounds(rules, now, replicas, Policy::fewest);
            let allowed = match rules.select {
                Select::Disabled => None,
                Select::Max => bounds.min(),
                Select::Min => bounds.max(),
            };
            let allowed = allowed.unwrap_or(replicas).min(replicas);
            return desired.max(allowed).max(object.min.max(1));
        }
        desired
    }

    /// How far each policy lets the replicas go, from where they were at the start of its period.
    fn bounds(
        &self,
        rules: &Rules,
        now: Duration,
        replicas: u32,
        bound: fn(&Policy, u32) -> u32,
    ) -> impl Iterator<Item = u32> {
        rules.policies.iter().map(move |policy| {
            let removed = sum(&self.removed, policy.period, now);
            let added = sum(&self.added, policy.period, now);
            bound(policy, (replicas + removed).saturating_sub(added))
        })
    }

    fn remember(&mut self, replicas: u32, desired: u32, now: Duration) {
        if desired > replicas {
            self.added.push((now, desired - replicas));
        } else if desired < replicas {
            self.removed.push((now, replicas - desired));
        }
    }
}

impl Policy {
    /// Most replicas at the end of a period that began with so many.
    fn most(&self, at_start: u32) -> u32 {
        match self.unit {
            Unit::Pods => at_start + self.value,
            Unit::Percent => at_start + (at_start * self.value).div_ceil(100),
        }
    }

    /// Fewest replicas at the end of a period that began with so many.
    fn fewest(&self, at_start: u32) -> u32 {
        match self.unit {
            Unit::Pods => at_start.saturating_sub(self.value),
            Unit::Percent => at_start * 100_u32.saturating_sub(self.value) / 100,
        }
    }
}

/// Changes within the last period.
fn sum(changes: &[(Duration, u32)], period: Duration, now: Duration) -> u32 {
    let recent = changes.iter().filter(|(at, _)| *at + period > now);
    recent.map(|(_, change)| change).sum()
}

/// The highest number that any metric asks for. Where some cannot be had, the others may ask for more, not for less.
fn propose(object: &ScaledObject, metrics: &[Option<f64>], replicas: u32) -> Option<u32> {
    let wanted = metrics
        .iter()
        .zip(&object.triggers)
        .filter_map(|(metric, trigger)| {
            Some(replicas_for(
                (*metric)?,
                trigger.lag_threshold.into(),
                replicas,
            ))
        });
    let most = wanted.max()?;
    let some_failed = metrics.contains(&None);
    (!some_failed || most >= replicas).then_some(most)
}

/// A metric of the type AverageValue: as many replicas as leave each of them the target, if that is far enough from now.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a lag is positive, and the conversion saturates"
)]
fn replicas_for(metric: f64, target: f64, replicas: u32) -> u32 {
    let usage = metric / (target * f64::from(replicas));
    if (1.0 - TOLERANCE..=1.0 + TOLERANCE).contains(&usage) {
        return replicas;
    }
    (metric / target).ceil() as u32
}

#[cfg(test)]
mod tests;
