//! Outcome of a job: what happens to it after each error of a stage. This is the whole retry table of the worker.
//!
//! | class | meaning | what happens |
//! |---|---|---|
//! | permanent | this job can never succeed | dead letter with its cause, then TERM |
//! | transient | the same job may succeed later | NAK with a delay |
//! | held | the same job will succeed once somebody has changed the installation | kept, and tried again |
//! | ours | this process must not go on | settle nothing, exit, be restarted |

use std::time::Duration;

use contract::job::JobError;
use contract::names::CollectionName;
use contract::topology::MAX_DELIVER;
use points::connect::ServerError;
use points::refusal::Refusal as QdrantRefusal;
use points::status_code;
use points::store::PointsError;
use qdrant_client::QdrantError;
use runtime::failpoint;

use crate::error::{EmbedError, Refusal, Suspicion, UpsertError};

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
        /// The delay that the server asked for.
        after: Option<Duration>,
    },
    /// The installation has to be changed first: keep the job, and try again until it is.
    Hold {
        /// The refusal that says what has to be changed.
        refusal: QdrantRefusal,
    },
    /// Transient, but not soon: give the job back at once.
    GiveBack,
    /// The job was dead-lettered before: take it out of the stream.
    Terminate,
    /// Ours: end the process, and settle nothing.
    Exit,
}

/// Every cause that a worker writes into a dead letter, but for jobs that had their last delivery.
pub const CAUSES: [&str; 19] = [
    "oversized",
    "malformed",
    "unknown_version",
    "unknown_kind",
    "invalid",
    "wrong_task",
    "collection_not_allowed",
    "other_model",
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
            Self::WrongTask { .. } | Self::NotPrimary(_) => "wrong_task",
            Self::CollectionNotAllowed { .. } => "collection_not_allowed",
            Self::OtherModel { .. } => "other_model",
            Self::BadVersion => "bad_version",
            Self::Tokenizer(_) => "tokenizer",
            Self::TooLong { .. } => "too_long",
            Self::TooManyQueries { .. } => "too_many_queries",
            Self::UnknownToken { .. } => "unknown_token",
            Self::UnsoundVector { .. } => "unsound_vector",
            Self::RowFailed { .. } => "inference",
        }
    }
}

impl Refusal {
    /// Whether one text is to blame, and others of the same job may be done without it.
    pub fn is_of_row(&self) -> bool {
        matches!(
            self,
            Self::Tokenizer(_)
                | Self::TooLong { .. }
                | Self::UnknownToken { .. }
                | Self::UnsoundVector { .. }
                | Self::RowFailed { .. }
        )
    }
}

/// A job that this worker may not do, or does not know, is given back, because another one may: while a fleet is being
/// changed, old workers run beside new ones. It is given up at this delivery, after about a quarter of an hour, which
/// leaves it some more for outages.
pub const GIVE_UP_REFUSED: i64 = 15;
/// What is younger is not given up: deliveries are also spent by workers that end.
const REFUSED_AT_LEAST: Duration = Duration::from_secs(300);

fn is_patient() -> bool {
    !failpoint::skips("refusal-patience")
}

impl Refusal {
    /// Most refusals are about the job; one may be about this worker alone.
    pub fn outcome(&self, deliveries: i64, age: Duration) -> Outcome {
        let given_up = deliveries >= GIVE_UP_REFUSED && age >= REFUSED_AT_LEAST;
        let of_this_worker = matches!(
            self,
            Self::CollectionNotAllowed { .. }
                | Self::OtherModel { .. }
                | Self::Job(JobError::UnknownKind { .. } | JobError::UnknownVersion { .. })
        );
        if of_this_worker && !given_up && deliveries < MAX_DELIVER && is_patient() {
            return Outcome::Retry {
                after: Some(refusal_delay(deliveries)),
            };
        }
        Outcome::DeadLetter {
            cause: self.cause(),
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
    /// A run that fails because of a row is that row's alone; what is left is about this process.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Stopped => Outcome::Retry { after: None },
            Self::Run { .. } | Self::Output { .. } | Self::Broken(_) => Outcome::Exit,
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
            // While a model is being replaced, another worker of its lane may be the right one.
            Self::Mismatch(_)
            | Self::Attached { .. }
            | Self::Points(PointsError::Vectors { .. })
                if deliveries < GIVE_UP_REFUSED && is_patient() =>
            {
                Outcome::GiveBack
            }
            Self::Mismatch(_)
            | Self::Attached { .. }
            | Self::Points(PointsError::Vectors { .. }) => Outcome::DeadLetter {
                cause: "collection_mismatch",
            },
            Self::Early { .. } => Outcome::GiveBack,
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
            Self::Points(
                PointsError::NotCompleted { .. } | PointsError::NotOnAllReplicas { .. },
            ) => Outcome::Retry { after: None },
        }
    }

    /// The error of the client of Qdrant, if that is the cause.
    pub fn client_error(&self) -> Option<&QdrantError> {
        match self {
            Self::Points(PointsError::Qdrant { source, .. })
            | Self::Server(ServerError::Unknown(source)) => Some(source),
            Self::Points(
                PointsError::NotCompleted { .. }
                | PointsError::NotOnAllReplicas { .. }
                | PointsError::Vectors { .. },
            )
            | Self::Mismatch(_)
            | Self::Attached { .. }
            | Self::Early { .. }
            | Self::Server(ServerError::TooOld { .. }) => None,
        }
    }

    pub fn is_not_found(&self) -> bool {
        let error = self.client_error();
        error.is_some_and(|error| status_code::is(error, status_code::NOT_FOUND))
    }
}

/// Longest pause that a server is granted. One that asks for more is asked again before that.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Only refused content is about the job: Qdrant has read it and will refuse it again.
fn qdrant_outcome(error: &QdrantError) -> Outcome {
    match QdrantRefusal::of(error) {
        QdrantRefusal::Content => Outcome::DeadLetter {
            cause: "refused_by_qdrant",
        },
        refusal @ (QdrantRefusal::Limit
        | QdrantRefusal::Index
        | QdrantRefusal::Full
        | QdrantRefusal::Setup) => Outcome::Hold { refusal },
        QdrantRefusal::Rate(after) => Outcome::Retry {
            after: Some(after.min(LONGEST_PAUSE)),
        },
        QdrantRefusal::Rights | QdrantRefusal::Missing | QdrantRefusal::Outage => {
            Outcome::Retry { after: None }
        }
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

/// Delay after the n-th delivery to a worker that may not do the job: short at first, since the next worker may.
fn refusal_delay(deliveries: i64) -> Duration {
    let doublings = u32::try_from(deliveries.saturating_sub(1).clamp(0, 7)).unwrap_or(7);
    Duration::from_secs((1_u64 << doublings).min(120))
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
    fn a_job_for_others_is_given_up_by_many_refusals_over_minutes_and_never_by_one() {
        let refusal = Refusal::CollectionNotAllowed {
            collection: "docs".parse().unwrap(),
            allowed: "handbook".to_owned(),
        };
        let given_up = Outcome::DeadLetter {
            cause: "collection_not_allowed",
        };
        let hour = Duration::from_secs(3600);
        let mut waited = Duration::ZERO;
        for deliveries in 1..GIVE_UP_REFUSED {
            let Outcome::Retry { after: Some(after) } = refusal.outcome(deliveries, hour) else {
                panic!("given up at delivery {deliveries}");
            };
            assert!(after <= LONGEST_RETRY_DELAY);
            waited += after;
        }
        let minutes = waited.as_secs() / 60;
        assert!((10..=20).contains(&minutes), "{minutes} minutes");
        assert_eq!(refusal.outcome(GIVE_UP_REFUSED, hour), given_up);
        // Deliveries that others have spent in a moment do not count as refusals.
        let young = refusal.outcome(GIVE_UP_REFUSED, Duration::from_secs(60));
        assert!(matches!(young, Outcome::Retry { .. }));
        let last = refusal.outcome(MAX_DELIVER, Duration::from_secs(60));
        assert_eq!(last, given_up);
        let of_the_job = Refusal::BadVersion.outcome(1, Duration::ZERO);
        assert_eq!(
            of_the_job,
            Outcome::DeadLetter {
                cause: "bad_version"
            }
        );
    }

    #[test]
    fn what_fails_a_whole_batch_is_held_against_no_job() {
        let failed = EmbedError::Run {
            rows: 1,
            tokens: 8,
            source: "failed".into(),
        };
        assert_eq!(failed.outcome(), Outcome::Exit);
        let broken = EmbedError::Broken("another vector".into());
        assert_eq!(broken.outcome(), Outcome::Exit);
        assert_eq!(
            EmbedError::Stopped.outcome(),
            Outcome::Retry { after: None }
        );
    }
}
