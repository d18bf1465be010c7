//! What can go wrong, and whose turn it is then: the retry table of the worker, on one screen.
//!
//! | class | meaning | what happens |
//! |---|---|---|
//! | permanent | this job can never succeed | dead letter with its cause, then TERM |
//! | transient | the same job may succeed later | NAK with a delay |
//! | ours | this process must not go on | settle nothing, exit, be restarted |

use std::time::Duration;

use contract::collection::Mismatch;
use contract::job::JobError;
use contract::names::CollectionName;
use contract::tokenizer::TokenizerError;
use qdrant_client::QdrantError;
use thiserror::Error;

/// Whose turn it is.
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
    /// Settled before: take the job out of the stream.
    Terminate,
    /// Ours: end the process.
    Exit,
}

/// Why a single job is refused; its batch goes on without it.
#[derive(Debug, Error)]
pub enum Refusal {
    /// The bytes are not a job.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The job is for another kind of worker.
    #[error(
        "a worker for task `{task}` got a job of kind `{kind}`; publish it to the lane of its task"
    )]
    WrongTask {
        /// Task of the worker.
        task: &'static str,
        /// Kind of the job.
        kind: &'static str,
    },
    /// The worker may not write there.
    #[error(
        "collection `{collection}` is not one of those that this worker may write to: {allowed}"
    )]
    CollectionNotAllowed {
        /// Where the job wants to go.
        collection: CollectionName,
        /// Where it may go.
        allowed: String,
    },
    /// The header that should carry a version does not.
    #[error("header {header} is not a version", header = contract::topology::header::DOCUMENT_VERSION)]
    BadVersion,
    /// The tokenizer failed on a text.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A text has more tokens than the model takes.
    #[error(
        "row {row} has at least {tokens} tokens, the model takes {max}; chunk it, or let the worker cut it"
    )]
    TooLong {
        /// Row in the job.
        row: usize,
        /// Its tokens.
        tokens: usize,
        /// The model's limit.
        max: usize,
    },
    /// The answer would not fit a message.
    #[error("the job has {queries} queries or items, an answer of this model holds {most}")]
    TooManyQueries {
        /// Queries or items of the job.
        queries: usize,
        /// How many fit.
        most: usize,
    },
    /// A token id that the model does not know.
    #[error("row {row} has token id {id}, the vocabulary has {vocabulary}")]
    UnknownToken {
        /// Row in the job.
        row: usize,
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// The model made a vector or a score that must not be written.
    #[error(
        "the model made a vector or a score with values that are not finite, or of length 0, for row {row}"
    )]
    UnsoundVector {
        /// Row in the job.
        row: usize,
    },
}

/// Why a batch could not be embedded.
#[derive(Debug, Error)]
pub enum EmbedError {
    /// ONNX Runtime failed on a tensor.
    #[error("failed to run a tensor of {rows} rows by {tokens} tokens")]
    Run {
        /// Rows of the tensor.
        rows: usize,
        /// Tokens of a row.
        tokens: usize,
        /// What the runtime said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The graph gave something else than it did at start.
    #[error("the graph gave an output of shape {found}, expected {expected}")]
    Output {
        /// What came.
        found: String,
        /// What should have come.
        expected: String,
    },
    /// The process is to end before the batch is done.
    #[error("stopped by shutdown")]
    Stopped,
}

/// Why a job that travels alone is not started.
#[derive(Debug, Error)]
pub enum Suspicion {
    /// Every start of it ended with the process.
    #[error("the process died in each of the job's {starts} starts alone")]
    Crashed {
        /// Starts that have not ended.
        starts: u64,
    },
    /// Its dead letter is stored, and whoever stored it did not come to terminate the job.
    #[error("its dead letter is stored")]
    DeadLettered,
    /// Its start cannot be remembered, so that a crash would not count.
    #[error("failed to look up or remember the attempts of a redelivered job")]
    Unrecorded(#[source] async_nats::Error),
}

/// Why points are not in Qdrant.
#[derive(Debug, Error)]
pub enum UpsertError {
    /// Qdrant, or the way to it, failed.
    #[error("failed to {action} `{collection}`")]
    Qdrant {
        /// What was tried.
        action: &'static str,
        /// Where.
        collection: CollectionName,
        /// What came back.
        #[source]
        source: Box<QdrantError>,
    },
    /// Qdrant answered, but the write is not done.
    #[error("qdrant answered `{status}` instead of `Completed` to {action} `{collection}`")]
    NotCompleted {
        /// What was tried.
        action: &'static str,
        /// Where.
        collection: CollectionName,
        /// What it said.
        status: String,
    },
    /// The collection is for another model.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The server would ignore the condition of a write, and let old versions replace new ones.
    #[error("qdrant is version {version}; conditional writes need at least {minor}", minor = OLDEST_QDRANT)]
    TooOld {
        /// What the server says.
        version: String,
    },
    /// The server could not be asked for its version.
    #[error("failed to ask qdrant for its version")]
    Version(#[source] Box<QdrantError>),
}

/// First version whose upserts honour `update_filter`.
pub const OLDEST_QDRANT: &str = "1.16";

/// Why an answer is not published.
#[derive(Debug, Error)]
#[error("failed to publish an answer to `{subject}`")]
pub struct AnswerError {
    /// Where.
    pub subject: String,
    /// What JetStream said.
    #[source]
    pub source: async_nats::jetstream::context::PublishError,
}

impl Refusal {
    /// Short constant for metrics and dead letters.
    #[must_use]
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
    /// Only a crash that nobody else can have caused is held against the job.
    #[must_use]
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
    /// A failed run may be the fault of one job among many: apart from the others it shows. A job that fails
    /// alone and again is given up.
    #[must_use]
    pub fn outcome(&self, jobs: usize, deliveries: i64) -> Outcome {
        match self {
            Self::Run { .. } if jobs == 1 && deliveries >= GIVE_UP_DELIVERIES => {
                Outcome::DeadLetter { cause: "inference" }
            }
            Self::Run { .. } | Self::Stopped => Outcome::Retry { after: None },
            Self::Output { .. } => Outcome::Exit,
        }
    }
}

/// A job that fails in the model by itself is given up at this delivery.
pub const GIVE_UP_DELIVERIES: i64 = 5;

impl UpsertError {
    /// Whether Qdrant's answer is about this job, about now, or about this process. A collection that the installation
    /// names must be right, or the process cannot work; one that only a job names, like a generation that has been
    /// dropped, is the job's own affair.
    #[must_use]
    pub fn outcome(&self, configured: &[CollectionName], deliveries: i64) -> Outcome {
        let named = |collection| configured.contains(collection);
        match self {
            Self::Mismatch(mismatch) if named(mismatch.collection()) => Outcome::Exit,
            Self::Mismatch(_) => Outcome::DeadLetter {
                cause: "collection_mismatch",
            },
            Self::Qdrant { collection, .. } if self.is_not_found() && !named(collection) => {
                match deliveries {
                    GIVE_UP_DELIVERIES.. => Outcome::DeadLetter {
                        cause: "collection_missing",
                    },
                    _ => Outcome::GiveBack,
                }
            }
            Self::Qdrant { source, .. } | Self::Version(source) => qdrant_outcome(source),
            Self::TooOld { .. } => Outcome::Exit,
            Self::NotCompleted { .. } => Outcome::Retry { after: None },
        }
    }

    /// What the client said, if that is the cause.
    #[must_use]
    pub fn client_error(&self) -> Option<&QdrantError> {
        match self {
            Self::Qdrant { source, .. } | Self::Version(source) => Some(source),
            Self::NotCompleted { .. } | Self::Mismatch(_) | Self::TooOld { .. } => None,
        }
    }

    /// Whether the collection is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        const NOT_FOUND: i32 = 5;
        matches!(
            self.client_error(),
            Some(QdrantError::ResponseError { status }) if status.code() as i32 == NOT_FOUND
        )
    }
}

fn qdrant_outcome(error: &QdrantError) -> Outcome {
    match error {
        QdrantError::ResponseError { status } => status_outcome(status.code() as i32),
        QdrantError::ResourceExhaustedError {
            retry_after_seconds,
            ..
        } => Outcome::Retry {
            after: Some(Duration::from_secs(*retry_after_seconds)),
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
#[must_use]
pub fn retry_delay(deliveries: i64, spread: u64) -> Duration {
    let doublings = u32::try_from(deliveries.saturating_sub(1).clamp(0, 5)).unwrap_or(5);
    let seconds = (5_u64 << doublings).min(120);
    let percent = 80 + spread % 41;
    Duration::from_millis(seconds * 10 * percent)
}

/// An error with its causes, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests {
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
