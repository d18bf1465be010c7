//! Wait: how long a program waits for a server that does not answer yet.
//!
//! A pod may start before its servers do, before their names resolve, and one or two seconds before the network policies
//! that let it through are in force. The first request to each server is repeated while waiting can mend its error, and
//! for a bounded time; its last error is then what it would have been without waiting.

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

/// First and longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));
/// Time between two lines of the log about the same wait.
const BETWEEN_LINES: Duration = Duration::from_secs(30);

/// How long the program waits.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Servers")]
pub struct WaitConfig {
    /// How long to wait for each server that cannot be reached at first: refused, unreachable, silent, or without a name
    /// yet; a refused login is an error at once. By default nothing is waited for, because a person sees the error sooner
    #[arg(
        long,
        env = "EBB_WAIT_FOR_SERVERS",
        default_value = "0s",
        value_parser = humantime::parse_duration
    )]
    pub wait_for_servers: Duration,
}

impl WaitConfig {
    /// The wait that is asked for.
    #[must_use]
    pub fn wait(self) -> Wait {
        Wait(Some(self.wait_for_servers))
    }
}

/// A wait for the first answer of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(Option<Duration>);

impl Wait {
    /// Waits until the server is there: a service may start before its servers do.
    pub const ENDLESS: Self = Self(None);

    /// Whether a failed attempt is the last.
    #[must_use]
    pub fn is_none(self) -> bool {
        self.0.is_some_and(|most| most.is_zero())
    }

    /// Asks until `server` answers, until it fails with an error that will not pass, or until the time is over; the last
    /// attempt is made at its end. `server` is a name with an address, for the log.
    ///
    /// # Errors
    /// That of the last attempt.
    ///
    /// # Cancel safety
    /// Dropping it ends the wait.
    pub async fn for_answer<T, E: Error>(
        self,
        server: impl Display,
        may_pass: impl Fn(&E) -> bool,
        mut ask: impl AsyncFnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        let begun = Instant::now();
        let (mut failures, mut said) = (0, None::<Instant>);
        loop {
            let error = match ask().await {
                Ok(answer) => {
                    let waited = begun.elapsed();
                    if said.is_some() {
                        tracing::info!(waited.seconds = waited.as_secs_f64(), "{server} answered");
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let pause = self.pause(begun.elapsed(), failures);
            let Some(pause) = pause.filter(|_| may_pass(&error)) else {
                return Err(error);
            };
            if said.is_none_or(|said| said.elapsed() >= BETWEEN_LINES) {
                let most = self.0.map(|most| most.as_secs_f64());
                tracing::warn!(
                    error = chain(&error),
                    most.seconds = most,
                    "waiting for {server}"
                );
                said = Some(Instant::now());
            }
            sleep(pause).await;
            failures += 1;
        }
    }

    /// The pause before another attempt; `None` when there is none left.
    fn pause(self, elapsed: Duration, failures: u32) -> Option<Duration> {
        let left = self
            .0
            .map_or(Duration::MAX, |most| most.saturating_sub(elapsed));
        let pause = PAUSES.0.saturating_mul(1 << failures.min(10)).min(PAUSES.1);
        (!left.is_zero()).then_some(pause.min(left))
    }
}

/// The error of TLS that is behind another one, if that is it. It may be wrapped in one of input and output.
#[must_use]
pub fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.find_map(|cause| {
        let of_io = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        let of_io = of_io.and_then(|inner| inner.downcast_ref());
        cause.downcast_ref().or(of_io)
    })
}

/// An error with its causes, on one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    const MINUTE: Wait = Wait(Some(Duration::from_secs(60)));

    /// When attempts are made in a wait, up to `end`.
    fn attempts(wait: Wait, end: Duration) -> Vec<Duration> {
        let mut at = vec![Duration::ZERO];
        while let Some(last) = at.last().copied().filter(|last| *last < end) {
            match wait.pause(last, u32::try_from(at.len()).unwrap() - 1) {
                Some(pause) => at.push(last + pause),
                None => break,
            }
        }
        at
    }

    #[test]
    fn attempts_grow_rarer_and_the_last_is_at_the_end_of_the_wait() {
        let seconds = Duration::from_secs;
        let at = attempts(MINUTE, seconds(3600));
        assert_eq!(at.last(), Some(&seconds(60)));
        assert!(at[1] <= seconds(1) && at.len() < 25, "{at:?}");
        assert_eq!(attempts(Wait(Some(seconds(0))), seconds(1)).len(), 1);
        assert!(attempts(Wait::ENDLESS, seconds(86_400)).len() > 10_000);
    }

    /// Asks a server that refuses the first attempts; gives how it ended, and how many there were.
    async fn ask(wait: Wait, kind: ErrorKind, refused: u32) -> (Result<(), ErrorKind>, u32) {
        let mut attempts = 0;
        let may_pass = |error: &io::Error| error.kind() == ErrorKind::ConnectionRefused;
        let asked = wait.for_answer("a server", may_pass, async || {
            attempts += 1;
            (attempts > refused)
                .then_some(())
                .ok_or_else(|| kind.into())
        });
        let ended = asked.await.map_err(|error| error.kind());
        (ended, attempts)
    }

    #[tokio::test]
    async fn only_an_error_that_may_pass_is_waited_out() {
        let late = ErrorKind::ConnectionRefused;
        for wait in [MINUTE, Wait::ENDLESS] {
            assert_eq!(ask(wait, late, 2).await, (Ok(()), 3));
            let denied = ErrorKind::PermissionDenied;
            assert_eq!(ask(wait, denied, 2).await, (Err(denied), 1));
        }
        let none = Wait(Some(Duration::ZERO));
        assert_eq!(ask(none, late, 1).await, (Err(late), 1));
        assert_eq!(ask(none, late, 0).await, (Ok(()), 1));
    }
}
