//! Owner: which process holds a lease, for who finds it held.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Purpose;
use crate::publish::now_micros;

/// Who holds a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Host of the process.
    pub host: String,
    /// Its id there.
    pub process: u32,
    /// When it took the lease, in microseconds since the epoch.
    pub since: u64,
    /// What it does with it; empty where an older version wrote it.
    #[serde(default)]
    pub verb: String,
    /// How long it may be silent before it counts as dead, in milliseconds.
    #[serde(default)]
    pub silence: u64,
}

impl Owner {
    pub(super) fn this_process(purpose: Purpose, silence: Duration) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            host: host.trim().to_owned(),
            process: std::process::id(),
            since: now_micros(),
            verb: purpose.verb().to_owned(),
            silence: u64::try_from(silence.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = humantime::format_rfc3339_seconds(crate::run::as_time(self.since));
        write!(
            f,
            "process {} on `{}` since {since}",
            self.process, self.host
        )
    }
}
