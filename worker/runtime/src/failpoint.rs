//! Failpoints: named moments at which a test can kill, stall or deceive the process. They are there in programs with debug
//! assertions, which the profile `dev` has; in those of the profile `release` they are nothing, whatever else is built: the
//! functions below are inlined there, so that not even a name is left, and a program refuses to start with rules.
//!
//! `EBB_FAILPOINTS` holds rules, separated by `;`: `point=action`, then optionally `@` and a percentage of the times
//! it is reached, and `/needle/` for only those times at which its context contains the needle.
//! `after-upsert=kill@1;before-encode=kill/a text/` is an example. Actions are `kill` (SIGKILL), `fail`, `skip`
//! (leave the step out, and go on as if it were done) and `stall:MILLISECONDS`.

/// What a failpoint asks of the code that reached it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Go,
    /// To leave the step out, as if it were done.
    Skip,
    Fail,
}

/// Asks what to do at `point`.
#[must_use]
#[inline]
pub fn reached(point: &'static str) -> Verdict {
    reached_with(point, || [[]; 0])
}

/// Whether the step at `point` is left out.
#[must_use]
#[inline]
pub fn skips(point: &'static str) -> bool {
    reached(point) == Verdict::Skip
}

/// Passes `point`: the process may die or stall here.
#[inline]
pub fn pass(point: &'static str) {
    pass_with(point, || [[]; 0]);
}

/// Passes `point` with what is being worked on.
pub fn pass_with<T: AsRef<[u8]>, C: IntoIterator<Item = T>>(
    point: &'static str,
    context: impl FnOnce() -> C,
) {
    if reached_with(point, context) != Verdict::Go {
        tracing::warn!(
            point,
            "there is no step to leave out or to fail at this failpoint"
        );
    }
}

/// Asks what to do at `point`, with what is being worked on.
#[cfg(not(debug_assertions))]
#[must_use]
#[inline]
pub fn reached_with<T: AsRef<[u8]>, C: IntoIterator<Item = T>>(
    _point: &'static str,
    _context: impl FnOnce() -> C,
) -> Verdict {
    Verdict::Go
}

#[cfg(debug_assertions)]
pub use rules::{check, reached_with};

/// Refuses rules where nothing would follow them.
///
/// # Errors
/// What is wrong with the rules.
#[cfg(not(debug_assertions))]
pub fn check() -> Result<(), String> {
    match std::env::var_os("EBB_FAILPOINTS") {
        Some(rules) if !rules.is_empty() => {
            Err("this program was built without failpoints".to_owned())
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(debug_assertions)]
mod rules {
    use std::collections::hash_map::RandomState;
    use std::hash::BuildHasher as _;
    use std::sync::LazyLock;
    use std::time::Duration;

    use super::Verdict;

    static RULES: LazyLock<Result<Vec<Rule>, String>> = LazyLock::new(|| {
        let rules = std::env::var("EBB_FAILPOINTS").unwrap_or_default();
        let rules = rules.split(';').filter(|rule| !rule.trim().is_empty());
        rules.map(Rule::parse).collect()
    });

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Rule {
        point: String,
        action: Action,
        percent: u64,
        needle: Option<String>,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Action {
        Kill,
        Stall(Duration),
        Answer(Verdict),
    }

    /// Refuses rules that cannot be read.
    ///
    /// # Errors
    /// What is wrong with the rules.
    pub fn check() -> Result<(), String> {
        RULES.as_ref().map(drop).map_err(Clone::clone)
    }

    /// Asks what to do at `point`, with what is being worked on.
    #[must_use]
    pub fn reached_with<T: AsRef<[u8]>, C: IntoIterator<Item = T>>(
        point: &'static str,
        context: impl FnOnce() -> C,
    ) -> Verdict {
        let rules = RULES.as_deref().unwrap_or_default();
        let mut of_point = rules.iter().filter(|rule| rule.point == point).peekable();
        if of_point.peek().is_none() {
            return Verdict::Go;
        }
        let context: Vec<T> = context().into_iter().collect();
        of_point
            .find(|rule| rule.fires(&context))
            .map_or(Verdict::Go, |rule| rule.action.perform(point))
    }

    impl Action {
        fn perform(self, point: &'static str) -> Verdict {
            match self {
                Self::Kill => {
                    tracing::warn!(point, "failpoint kills the process");
                    kill();
                    Verdict::Go
                }
                Self::Stall(pause) => {
                    std::thread::sleep(pause);
                    Verdict::Go
                }
                Self::Answer(verdict) => verdict,
            }
        }
    }

    /// As the kernel would: nothing is closed, flushed or dropped.
    fn kill() {
        use rustix::process::{Signal, getpid, kill_process};
        if kill_process(getpid(), Signal::KILL).is_ok() {
            std::thread::sleep(Duration::MAX);
        }
    }

    impl Rule {
        fn parse(rule: &str) -> Result<Self, String> {
            let bad =
                || format!("failpoint rule `{rule}` is not `point=action[@percent][/needle/]`");
            let (rule_part, needle) = match rule.trim().split_once('/') {
                Some((before, needle)) => {
                    let needle = needle.strip_suffix('/').ok_or_else(bad)?;
                    (before, Some(needle.to_owned()))
                }
                None => (rule.trim(), None),
            };
            let (rule_part, percent) = match rule_part.split_once('@') {
                Some((before, percent)) => (before, percent.parse().map_err(|_| bad())?),
                None => (rule_part, 100),
            };
            let (point, action) = rule_part.split_once('=').ok_or_else(bad)?;
            let action = match action.split_once(':') {
                Some(("stall", millis)) => {
                    Action::Stall(Duration::from_millis(millis.parse().map_err(|_| bad())?))
                }
                Some(_) => return Err(bad()),
                None => match action {
                    "kill" => Action::Kill,
                    "skip" => Action::Answer(Verdict::Skip),
                    "fail" => Action::Answer(Verdict::Fail),
                    _ => return Err(bad()),
                },
            };
            Ok(Self {
                point: point.to_owned(),
                action,
                percent,
                needle,
            })
        }

        fn fires(&self, context: &[impl AsRef<[u8]>]) -> bool {
            let found = |needle: &String| {
                let contains = |bytes: &[u8]| {
                    bytes
                        .windows(needle.len().max(1))
                        .any(|window| window == needle.as_bytes())
                };
                context.iter().any(|bytes| contains(bytes.as_ref()))
            };
            // A new hasher is as random as the system can make it.
            let drawn = || RandomState::new().hash_one(0_u8) % 100;
            self.needle.as_ref().is_none_or(found)
                && (self.percent >= 100 || drawn() < self.percent)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn rules_are_read_as_documented() {
            let rule = Rule::parse("before-encode=kill@7/a=b@c/").unwrap();
            assert_eq!(rule.action, Action::Kill);
            assert_eq!((rule.point.as_str(), rule.percent), ("before-encode", 7));
            assert_eq!(rule.needle.as_deref(), Some("a=b@c"));
            let stall = Rule::parse(" ack=stall:250 ").unwrap();
            assert_eq!(stall.action, Action::Stall(Duration::from_millis(250)));
            assert_eq!((stall.percent, stall.needle), (100, None));
        }

        #[test]
        fn rules_that_nobody_meant_are_refused() {
            for rule in [
                "ack",
                "ack=",
                "ack=explode",
                "ack=kill@",
                "ack=stall:soon",
                "ack=kill/open",
            ] {
                assert!(Rule::parse(rule).is_err(), "{rule}");
            }
        }

        #[test]
        fn a_rule_with_a_needle_fires_only_where_it_is_found() {
            let rule = Rule::parse("ack=skip/needle/").unwrap();
            assert!(rule.fires(&["hay", "a needle in it"]));
            assert!(!rule.fires(&["hay"]));
            assert!(!rule.fires(&[[0_u8; 0]]));
        }
    }
}
