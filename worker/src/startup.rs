//! Startup: when the process began. A worker that is started from zero is waited for from that moment, not from the
//! first line of its program.

use std::time::{Duration, Instant};

/// When the system started this process, to a hundredth of a second; now, where it does not tell.
#[must_use]
pub fn began() -> Instant {
    let now = Instant::now();
    age().and_then(|age| now.checked_sub(age)).unwrap_or(now)
}

#[cfg(target_os = "linux")]
fn age() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};
    /// The kernel counts in ticks of this length, whatever its own are.
    const TICK: Duration = Duration::from_millis(10);
    /// Position of the start among the fields behind the name, which may itself hold anything.
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
        let age = began().elapsed();
        assert!(age < Duration::from_secs(3600), "{age:?}");
        #[cfg(target_os = "linux")]
        assert!(super::age().is_some());
    }
}
