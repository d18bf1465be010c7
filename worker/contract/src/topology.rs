//! Streams, consumers and subjects: the one place where they are named, and where the limits stand that several programs
//! rely on.

pub mod header;
mod lane;

use std::time::Duration;

use crate::names::ReplyId;
pub use lane::{Lane, Priority, Task};

/// Stream of jobs.
pub const JOBS: &str = "JOBS";
/// Stream of dead letters.
pub const DLQ: &str = "DLQ";
/// Stream of answers to jobs that ask for a reply.
pub const RESULTS: &str = "RESULTS";
/// Stream of JetStream advisories about jobs that were given up or terminated.
pub const ADVISORIES: &str = "ADVISORIES";
/// Durable consumer that hands advisories about exhausted jobs to the sweep.
pub const SWEEP: &str = "dlq-sweep";
/// Key-value bucket of runs.
pub const RUNS: &str = "RUNS";
/// Key-value bucket of attempts: starts of jobs that travel alone, kept for as long as they have not ended.
pub const ATTEMPTS: &str = "ATTEMPTS";

/// How long a worker may hold a delivery without a sign of life, unless an installation chooses otherwise.
pub const DEFAULT_ACK_WAIT: Duration = Duration::from_secs(60);
/// Below this a busy machine would be given jobs again that its worker still works on.
pub const MIN_ACK_WAIT: Duration = Duration::from_secs(5);
/// Deliveries of a job before JetStream gives it up; only infrastructure faults come near it.
pub const MAX_DELIVER: i64 = 20;
/// Longest time for which a worker gives a failed job back: two minutes, spread by 20 %.
pub const LONGEST_RETRY_DELAY: Duration = Duration::from_secs(144);
/// Most jobs of a worker's pull, unless an installation chooses otherwise.
pub const DEFAULT_BATCH_JOBS: u16 = 64;
/// Tokens that a worker's pull aims at on a CPU, unless an installation chooses otherwise: about two seconds of work of a
/// small model on two cores.
pub const DEFAULT_CPU_BATCH_TOKENS: usize = 16_384;
/// The same on a GPU: several of its tensors.
pub const DEFAULT_CUDA_BATCH_TOKENS: usize = 65_536;
/// Batches of a lane on their way in a worker: one is pulled and one encoded, four are in the model or wait behind it, one is
/// next to be written, and three are.
pub const BATCHES_PER_WORKER: u64 = 10;
/// Time between SIGTERM and giving back what is not finished, unless an installation chooses otherwise.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(25);
/// Time from the end of the grace to the end of the last stage, whatever hangs.
pub const LAST_CALL: Duration = Duration::from_secs(10);
/// Time from the end of the last stage to the end of the process, whatever hangs.
pub const RUNTIME_END: Duration = Duration::from_secs(5);
/// A large model is loaded and proved within this time, by a node that reads it for the first time.
pub const LONGEST_LOAD: Duration = Duration::from_secs(300);
/// Dead letters are kept this long, and so are tombstones: each outlives the letters whose replay could bring its document
/// back.
pub const DLQ_MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Subject of an answer.
#[must_use]
pub fn reply_subject(reply: &ReplyId) -> String {
    format!("results.{reply}")
}
