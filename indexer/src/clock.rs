//! Clock: times as versions and records hold them, in microseconds since the epoch.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use contract::job::MAX_VERSION;

pub fn now_micros() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros())
        .unwrap_or(MAX_VERSION)
        .clamp(1, MAX_VERSION)
}

pub fn as_time(micros: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(micros)
}
