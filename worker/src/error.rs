//! Errors: what can go wrong, and what happens then. This is the whole retry table of the worker.
//!
//! | class | meaning | what happens |
//! |---|---|---|
//! | permanent | this job can never succeed | dead letter with its cause, then TERM |
//! | transient | the same job may succeed later | NAK with a delay |
//! | ours | this process must not go on | settle nothing, exit, be restarted |

mod kinds;

use std::time::Duration;

use contract::names::CollectionName;
use points::connect::ServerError;
use points::store::PointsError;
use qdrant_client::QdrantError;

pub use kinds::{AnswerError, EmbedError, Refusal, Suspicion, UpsertError};

/// What happens after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Permanent for the job: dead-letter it.
    DeadLetter {
        /// Short constant for metrics and dead letters.
        cause: &'static str,
    },
    /// Transient: try again, not before the server asks for it.
    Retry {
        /// What the server asked for.
        after: Option<Duration>,
    },
    /// Transient, but not soon: give the job back at once.
    GiveBack,
    /// The job was dead-lettered before: take it out of the stream.
    Terminate,
    /// Ours: end the process, and settle nothing.
    Exit,
}

/// Every cause that a worker writes into a dead letter, but for jobs that had their last delivery.
pub const CAUSES: [&str; 18] = [
    "oversized",
    "malformed",
    "unknown_version",
    "unknown_kind",
    "invalid",
    "wrong_task",
    "collection_not_allowed",
    "bad_version",
    "tokenizer",
    "too_long",
    "too_many_queries",
    "unknown_token",
    "unsound_vector",
    "crashed_worker",
    "inference",
    "collection_mismatch",
    "collection_missing",
    "refused_by_qdrant",
];

impl Refusal {
    /// Short constant for metrics and dead letters.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Job(error) => error.code(),
            Self::WrongTask { .. } => "wrong_task",
            Self::CollectionNotAllowed { .. } => "collection_not_allowed",
            Self::BadVersion => "bad_version",
            Self::Tokenizer(_) => "tokenizer",
            Self::TooLong { .. } => "too_long",
            Self::TooManyQueries { .. } => "too_many_queries",
            Self::UnknownToken { .. } => "unknown_token",
            Self::UnsoundVector { .. } => "unsound_vector",
        }
    }
}

impl Suspicion {
    /// Only a crash that no other job can have caused is held against the job.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Crashed { .. } => Outcome::DeadLetter {
                cause: "crashed_worker",
            },
            Self::DeadLettered => Outcome::Terminate,
            Self::Unrecorded(_) => Outcome::Retry { after: None },
        }
    }
}

impl EmbedError {
    /// A failed run may be the fault of one job among many, which shows when each travels alone. A job that fails alone
    /// again and again is given up.
    pub fn outcome(&self, jobs: usize, deliveries: i64) -> Outcome {
        match self {
            Self::Run { .. } if jobs == 1 && deliveries >= GIVE_UP_DELIVERIES => {
                Outcome::DeadLetter { cause: "inference" }
            }
            Self::Run { .. } | Self::Stopped => Outcome::Retry { after: None },
            Self::Output { .. } | Self::Broken(_) => Outcome::Exit,
        }
    }
}

/// A job that fails in the model by itself is given up at this delivery.
pub const GIVE_UP_DELIVERIES: i64 = 5;

impl UpsertError {
    /// Whether Qdrant's answer is about this job, about now, or about this process. A collection that the installation
    /// names must be right, or the process cannot work; one that only a job names, like a generation that has been
    /// dropped, is the job's own affair.
    pub fn outcome(&self, configured: &[CollectionName], deliveries: i64) -> Outcome {
        let named = |collection| configured.contains(collection);
        match self {
            Self::Mismatch(mismatch) if named(mismatch.collection()) => Outcome::Exit,
            Self::Points(PointsError::Vectors { collection, .. }) if named(collection) => {
                Outcome::Exit
            }
            Self::Mismatch(_) | Self::Points(PointsError::Vectors { .. }) => Outcome::DeadLetter {
                cause: "collection_mismatch",
            },
            Self::Points(PointsError::Qdrant { collection, .. })
                if self.is_not_found() && !named(collection) =>
            {
                match deliveries {
                    GIVE_UP_DELIVERIES.. => Outcome::DeadLetter {
                        cause: "collection_missing",
                    },
                    _ => Outcome::GiveBack,
                }
            }
            Self::Points(PointsError::Qdrant { source, .. })
            | Self::Server(ServerError::Unknown(source)) => qdrant_outcome(source),
            Self::Server(ServerError::TooOld { .. }) => Outcome::Exit,
            Self::Points(PointsError::NotCompleted { .. }) => Outcome::Retry { after: None },
        }
    }

    /// The error of the client of Qdrant, if that is the cause.
    pub fn client_error(&self) -> Option<&QdrantError> {
        match self {
            Self::Points(PointsError::Qdrant { source, .. })
            | Self::Server(ServerError::Unknown(source)) => Some(source),
            Self::Points(PointsError::NotCompleted { .. } | PointsError::Vectors { .. })
            | Self::Mismatch(_)
            | Self::Server(ServerError::TooOld { .. }) => None,
        }
    }

    pub fn is_not_found(&self) -> bool {
        const NOT_FOUND: i32 = 5;
        matches!(
            self.client_error(),
            Some(QdrantError::ResponseError { status }) if status.code() as i32 == NOT_FOUND
        )
    }
}

/// Longest pause that a server is granted. One that asks for more is asked again before that.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

fn qdrant_outcome(error: &QdrantError) -> Outcome {
    match error {
        QdrantError::ResponseError { status } => status_outcome(status.code() as i32),
        QdrantError::ResourceExhaustedError {
            retry_after_seconds,
            ..
        } => Outcome::Retry {
            after: Some(Duration::from_secs(*retry_after_seconds).min(LONGEST_PAUSE)),
        },
        QdrantError::ConversionError(_)
        | QdrantError::InvalidUri(_)
        | QdrantError::NoSnapshotFound(_)
        | QdrantError::Io(_)
        | QdrantError::JsonToPayload(_)
        | QdrantError::PayloadDeserialization(_) => Outcome::Retry { after: None },
    }
}

/// Only a refused argument is about the job: Qdrant has read it and will refuse it again. A missing collection or
/// missing rights are about the installation, and everything else is about now.
fn status_outcome(code: i32) -> Outcome {
    const INVALID_ARGUMENT: i32 = 3;
    match code {
        INVALID_ARGUMENT => Outcome::DeadLetter {
            cause: "refused_by_qdrant",
        },
        _ => Outcome::Retry { after: None },
    }
}

/// Delay of the n-th delivery's NAK: min(5 * 2^(n-1), 120) s, spread by 20 % so that a fleet does not come back
/// in step. `spread` is any number; the stream sequence is a good one.
pub fn retry_delay(deliveries: i64, spread: u64) -> Duration {
    let doublings = u32::try_from(deliveries.saturating_sub(1).clamp(0, 5)).unwrap_or(5);
    let seconds = (5_u64 << doublings).min(120);
    let percent = 80 + spread % 41;
    Duration::from_millis(seconds * 10 * percent)
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests {
    use contract::topology::LONGEST_RETRY_DELAY;

    use super::*;

    #[test]
    fn delays_double_up_to_two_minutes_within_their_spread() {
        for (deliveries, seconds) in [
            (1, 5),
            (2, 10),
            (3, 20),
            (4, 40),
            (5, 80),
            (6, 120),
            (20, 120),
        ] {
            for spread in 0..100 {
                let delay = retry_delay(deliveries, spread).as_millis();
                assert!(
                    (seconds * 800..=seconds * 1200).contains(&delay),
                    "{deliveries}: {delay}"
                );
                assert!(retry_delay(deliveries, spread) <= LONGEST_RETRY_DELAY);
            }
        }
    }

    #[test]
    fn a_failed_run_gives_up_only_a_job_that_travelled_alone() {
        let failed = || EmbedError::Run {
            rows: 1,
            tokens: 8,
            source: "failed".into(),
        };
        assert_eq!(failed().outcome(2, 19), Outcome::Retry { after: None });
        assert_eq!(failed().outcome(1, 4), Outcome::Retry { after: None });
        assert_eq!(
            failed().outcome(1, 5),
            Outcome::DeadLetter { cause: "inference" }
        );
    }
}
