//! Pace: rate and time left in words.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::status::{LaneStatus, Rate};

/// Rate and time left of these lanes together. Whoever watches is not told to.
pub(super) fn pace(rate: &Rate, lanes: &[LaneStatus], is_watched: bool) -> String {
    let left = match rate.eta_seconds {
        Some(0.0) => "nothing left".to_owned(),
        Some(seconds) => {
            // Beyond a few years, any time will do.
            let whole = Duration::try_from_secs_f64(seconds.ceil()).unwrap_or(Duration::MAX);
            format!("{} left", humantime::format_duration(whole))
        }
        None if rate.stalled_seconds.is_some() => standstill(lanes),
        None => {
            let advice = match is_watched {
                true => "",
                false => "; --watch or a longer --interval tells",
            };
            format!(
                "time left not known: too few jobs were done in {:.0} s{advice}",
                rate.measured_seconds
            )
        }
    };
    let tokens = rate.tokens_per_second.filter(|rate| *rate > 0.0);
    let tokens = tokens.map_or_else(String::new, |rate| format!(", ~{rate:.0} tokens/s"));
    format!("{:.1} jobs/s{tokens}, {left}", rate.acked_per_second)
}

/// What stands still: the models that have jobs and do none of them. A lane that waits while the other one of its model
/// moves does not count.
fn standstill(lanes: &[LaneStatus]) -> String {
    let mut models = BTreeMap::<_, (bool, bool)>::new();
    for lane in lanes {
        let Some(rate) = &lane.rate else { continue };
        let model = (lane.task.as_str(), lane.model.as_str());
        let (has_jobs, moves) = models.entry(model).or_default();
        *has_jobs |= lane.lag > 0;
        *moves |= match lane.lag {
            0 => rate.acked_per_second > 0.0,
            _ => rate.stalled_seconds.is_none(),
        };
    }
    if !models.values().any(|(_, moves)| *moves) {
        return "nothing moves".to_owned();
    }
    let still = models.iter().filter(|(_, it)| matches!(it, (true, false)));
    let still: Vec<_> = still.map(|((_, model), _)| format!("`{model}`")).collect();
    match still.is_empty() {
        true => "the jobs of one model do not move".to_owned(),
        false => format!("the jobs of {} do not move", still.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use contract::topology::{Priority, Task};

    use super::*;

    fn rate(acked_per_second: f64, eta_seconds: Option<f64>) -> Rate {
        Rate {
            measured_seconds: 1.0,
            acked_per_second,
            tokens_per_second: None,
            eta_seconds,
            stalled_seconds: None,
        }
    }

    fn stalled(rate: Rate) -> Rate {
        Rate {
            stalled_seconds: Some(9.0),
            ..rate
        }
    }

    fn lane(model: &str, lane: Priority, rate: Rate) -> LaneStatus {
        LaneStatus {
            consumer: format!("embed-{model}-{}", lane.as_str()),
            task: Task::Embed,
            model: model.parse().unwrap(),
            lane,
            pending: 1,
            ack_pending: 0,
            redelivered: 0,
            lag: 1,
            lag_tokens: None,
            waiting_pulls: 0,
            rate: Some(rate),
        }
    }

    #[test]
    fn a_rate_is_told_with_the_time_that_is_left() {
        let told = |rate: Rate| pace(&rate, &[], false);
        assert_eq!(told(rate(2.0, Some(89.2))), "2.0 jobs/s, 1m 30s left");
        assert_eq!(told(rate(2.0, Some(0.0))), "2.0 jobs/s, nothing left");
        assert_eq!(told(stalled(rate(0.0, None))), "0.0 jobs/s, nothing moves");
        told(rate(1e-300, Some(1e300)));
        let unknown = told(rate(0.0, None));
        assert!(unknown.contains("too few jobs were done in 1 s; --watch"));
        let watched = pace(&rate(0.0, None), &[], true);
        assert!(watched.ends_with("too few jobs were done in 1 s"));
    }

    #[test]
    fn only_of_a_queue_of_which_nothing_moves_that_is_said() {
        let (moving, still) = (rate(2.0, Some(9.0)), stalled(rate(0.0, None)));
        let all = Rate {
            tokens_per_second: Some(900.4),
            ..stalled(rate(2.0, None))
        };
        let told = |lanes: &[LaneStatus]| pace(&all, lanes, false);
        let of_b = [
            lane("b", Priority::Live, still),
            lane("b", Priority::Bulk, still),
        ];
        assert_eq!(told(&of_b), "2.0 jobs/s, ~900 tokens/s, nothing moves");
        // Bulk jobs wait for live ones.
        let of_a = [
            lane("a", Priority::Live, moving),
            lane("a", Priority::Bulk, still),
        ];
        assert_eq!(
            told(&[&of_a[..], &of_b].concat()),
            "2.0 jobs/s, ~900 tokens/s, the jobs of `b` do not move"
        );
        assert!(told(&of_a).ends_with("the jobs of one model do not move"));
        // A live lane that is empty at the moment of the look.
        let mut empty = of_a;
        empty[0].lag = 0;
        assert_eq!(
            told(&[&empty[..], &of_b].concat()),
            "2.0 jobs/s, ~900 tokens/s, the jobs of `b` do not move"
        );
    }
}
