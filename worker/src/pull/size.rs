//! Size: how many jobs to ask for, learned from those that came.

use crate::inflight::Lease;

/// Bytes that a pull aims at. It is no limit of the request: a consumer with replicas says that a request with such a
/// limit is completed before it sends the messages, and the client stops reading there. The limit is the number of jobs.
const PULL_BYTES: usize = 8 << 20;
/// Jobs of the first pull, before anything is known about their size.
const FIRST_PULL_JOBS: usize = 4;

/// What one pull aims at.
#[derive(Clone, Copy, Debug)]
pub struct PullSize {
    /// Tokens.
    pub tokens: usize,
    /// Most jobs, however small.
    pub jobs: usize,
}

/// Mean size of jobs.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobSize {
    tokens: usize,
    bytes: usize,
}

impl JobSize {
    /// Before anything is known: some jobs fill a pull.
    pub(super) fn unknown(size: PullSize) -> Self {
        Self {
            tokens: (size.tokens / FIRST_PULL_JOBS).max(1),
            bytes: PULL_BYTES / FIRST_PULL_JOBS,
        }
    }

    /// How many such jobs fit.
    pub(super) fn fit(self, size: PullSize) -> usize {
        let most = (size.tokens / self.tokens).min(PULL_BYTES / self.bytes);
        most.clamp(1, size.jobs)
    }

    /// Small jobs are believed by and by: a few of them say little about those behind.
    pub(super) fn learn(&mut self, leases: &[Lease]) {
        let mean = |of: fn(&Lease) -> usize| {
            leases
                .iter()
                .map(of)
                .sum::<usize>()
                .checked_div(leases.len())
        };
        if let (Some(tokens), Some(bytes)) =
            (mean(Lease::tokens), mean(|lease| lease.payload().len()))
        {
            self.tokens = tokens.max(self.tokens / 2).max(1);
            self.bytes = bytes.max(self.bytes / 2).max(1);
        }
    }
}
