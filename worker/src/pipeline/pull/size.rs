//! Size: how many jobs to ask for, learned from those that came.

/// Bytes that a pull aims at. It is no limit of the request: a consumer with replicas says that a request with such a
/// limit is completed before it sends the messages, and the client stops reading there. The limit is the number of jobs.
const PULL_BYTES: usize = 8 << 20;
/// Jobs of the first pull, before anything is known about their size.
const FIRST_PULL_JOBS: usize = 4;

/// The size of one pull.
#[derive(Clone, Copy, Debug)]
pub struct PullSize {
    pub tokens: usize,
    /// Most jobs, however small.
    pub jobs: usize,
}

/// The mean size of the jobs of a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobSize {
    tokens: usize,
    bytes: usize,
}

impl JobSize {
    /// Before anything is known, a few jobs are expected to fill a pull.
    pub(super) fn unknown(size: PullSize) -> Self {
        Self {
            tokens: (size.tokens / FIRST_PULL_JOBS).max(1),
            bytes: PULL_BYTES / FIRST_PULL_JOBS,
        }
    }

    /// How many jobs of this size to ask for.
    pub(super) fn fit(self, size: PullSize) -> usize {
        let most = (size.tokens / self.tokens).min(PULL_BYTES / self.bytes);
        most.clamp(1, size.jobs)
    }

    /// Learns from the tokens and bytes of the jobs that came. A mean that has shrunk is believed by half at most: a few
    /// small jobs say little about those behind them.
    pub(super) fn learn(&mut self, jobs: impl Iterator<Item = (usize, usize)>) {
        let (tokens, bytes): (Vec<usize>, Vec<usize>) = jobs.unzip();
        let mean = |of: Vec<usize>| of.iter().sum::<usize>().checked_div(of.len());
        if let (Some(tokens), Some(bytes)) = (mean(tokens), mean(bytes)) {
            self.tokens = tokens.max(self.tokens / 2).max(1);
            self.bytes = bytes.max(self.bytes / 2).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: PullSize = PullSize {
        tokens: 16_384,
        jobs: 64,
    };

    fn learned(jobs: &[(usize, usize)]) -> JobSize {
        let mut size = JobSize::unknown(SIZE);
        size.learn(jobs.iter().copied());
        size
    }

    #[test]
    fn the_first_pull_asks_for_a_few_jobs() {
        assert_eq!(JobSize::unknown(SIZE).fit(SIZE), FIRST_PULL_JOBS);
        let few = PullSize { jobs: 2, ..SIZE };
        assert_eq!(JobSize::unknown(few).fit(few), 2);
    }

    #[test]
    fn as_many_jobs_are_asked_for_as_fill_the_pull_with_tokens() {
        let jobs = [(6_000, 24_000), (10_384, 41_536)];
        assert_eq!(learned(&jobs).fit(SIZE), 2);
        let larger = PullSize {
            tokens: 65_536,
            ..SIZE
        };
        assert_eq!(learned(&jobs).fit(larger), 8);
    }

    #[test]
    fn jobs_of_many_bytes_fill_the_pull_though_they_have_few_tokens() {
        assert_eq!(learned(&[(100, PULL_BYTES / 3)]).fit(SIZE), 3);
    }

    #[test]
    fn a_job_that_is_larger_than_the_pull_is_asked_for_alone() {
        assert_eq!(learned(&[(1_000_000, 4_000_000)]).fit(SIZE), 1);
        assert_eq!(learned(&[(100, 2 * PULL_BYTES)]).fit(SIZE), 1);
    }

    #[test]
    fn small_jobs_are_believed_by_and_by_and_large_ones_at_once() {
        let mut size = JobSize::unknown(SIZE);
        let fitting: Vec<_> = (0..6)
            .map(|_| {
                size.learn([(10, 40)].into_iter());
                size.fit(SIZE)
            })
            .collect();
        assert_eq!(fitting, [8, 16, 32, 64, 64, 64]);
        size.learn([(16_384, 65_536)].into_iter());
        assert_eq!(size.fit(SIZE), 1);
    }

    #[test]
    fn an_empty_pull_teaches_nothing_and_empty_jobs_are_at_least_one_token() {
        assert_eq!(learned(&[]).fit(SIZE), FIRST_PULL_JOBS);
        let mut size = JobSize::unknown(SIZE);
        (0..40).for_each(|_| size.learn([(0, 0)].into_iter()));
        assert_eq!(size.fit(SIZE), SIZE.jobs);
    }
}
