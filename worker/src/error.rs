//! Errors of the stages. What happens to a job after each of them is said by [`outcome`](crate::outcome).

use contract::digest::Digest;
use contract::job::JobError;
use contract::model::ModelError;
use contract::names::{CollectionName, ModelName};
use contract::tokenizer::TokenizerError;
use points::collection::Mismatch;
use points::connect::ServerError;
use points::store::PointsError;
use thiserror::Error;

pub use runtime::wait::chain;

/// Why a single job is refused; its batch goes on without it.
#[derive(Debug, Error)]
pub enum Refusal {
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(
        "a worker for task `{task}` got a job of kind `{kind}`; publish it to the lane of its task"
    )]
    WrongTask {
        task: &'static str,
        kind: &'static str,
    },
    /// Documents are written with the vectors of another kind of model.
    #[error(transparent)]
    NotPrimary(#[from] ModelError),
    #[error(
        "collection `{collection}` is not one of those that this worker may write to by --collections (EBB_COLLECTIONS): {allowed}"
    )]
    CollectionNotAllowed {
        collection: CollectionName,
        allowed: String,
    },
    /// Another worker may serve the model that it is for, while the workers of a fleet are being replaced.
    #[error(
        "the job is for vectors of model {expected}, this worker serves {found}; attach the model that is served, or serve \
         the one that is attached"
    )]
    OtherModel { expected: Digest, found: Digest },
    #[error("header {header} is not a version", header = contract::topology::header::DOCUMENT_VERSION)]
    BadVersion,
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(
        "row {row} has at least {tokens} tokens, the model takes {max}; chunk it, or let the worker cut it"
    )]
    TooLong {
        row: usize,
        tokens: usize,
        max: usize,
    },
    #[error("the job has {queries} queries or items, an answer of this model holds {most}")]
    TooManyQueries { queries: usize, most: usize },
    #[error("row {row} has token id {id}, the model has {vocabulary}")]
    UnknownToken {
        row: usize,
        id: u32,
        vocabulary: usize,
    },
    /// The model made, or the job brought, a vector or a score that must not be written.
    #[error(
        "row {row} has a vector or a score with values that are not finite, or of another length than the model's"
    )]
    UnsoundVector { row: usize },
    /// The row fails in the model by itself, although a golden text does not.
    #[error("row {row} of {tokens} tokens fails in the model by itself: {reason}")]
    RowFailed {
        row: usize,
        tokens: usize,
        reason: String,
    },
}

/// Why a batch could not be embedded.
#[derive(Debug, Error)]
pub enum EmbedError {
    #[error("failed to run a tensor of {rows} rows by {tokens} tokens")]
    Run {
        rows: usize,
        /// Tokens of a row.
        tokens: usize,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The graph gave something else than it did at start.
    #[error("the graph gave an output of shape {found}, expected {expected}")]
    Output { found: String, expected: String },
    /// A text came out unsound, and a golden text does not give what it gave at the start either.
    #[error("not even a golden text can be embedded as it was at the start")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The process is to end before the batch is done.
    #[error("stopped by shutdown")]
    Stopped,
}

impl EmbedError {
    /// Whether the device has too little memory for the tensor. The runtime has no code for it, so that its message decides.
    pub fn is_out_of_memory(&self) -> bool {
        let Self::Run { source, .. } = self else {
            return false;
        };
        let words = source.to_string().to_lowercase();
        let signs = [
            "failed to allocate memory",
            "out of memory",
            // Of libraries of the device, and of the language that the runtime is written in.
            "alloc_failed",
            "bad_alloc",
            "bad allocation",
        ];
        signs.iter().any(|sign| words.contains(sign))
    }
}

/// Why a job that travels alone is not started.
#[derive(Debug, Error)]
pub enum Suspicion {
    #[error("the process died in each of the job's {starts} starts alone")]
    Crashed {
        /// Starts that have not ended.
        starts: u64,
    },
    /// A worker has stored its dead letter, and could not terminate the job any more.
    #[error("its dead letter is stored")]
    DeadLettered,
    /// Its start cannot be recorded, so that a crash would not count.
    #[error("failed to look up or remember the attempts of a redelivered job")]
    Unrecorded(#[source] async_nats::Error),
}

#[derive(Debug, Error)]
pub enum UpsertError {
    #[error(transparent)]
    Points(#[from] PointsError),
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A job with documents on the lane of a model that is only attached.
    #[error(
        "model `{model}` is attached to collection `{collection}` and does not embed its documents; publish them to the \
         lane of the model that does"
    )]
    Attached {
        collection: CollectionName,
        model: ModelName,
    },
    /// The job has overtaken what it is about, or the document has been removed without a trace.
    #[error("{points} points of `{collection}` are not there yet in the version that was read")]
    Early {
        collection: CollectionName,
        points: usize,
    },
}

#[derive(Debug, Error)]
#[error("failed to store an attach job on `{subject}`")]
pub struct AttachJobError {
    pub subject: String,
    #[source]
    pub source: async_nats::Error,
}

#[derive(Debug, Error)]
#[error("failed to publish an answer to `{subject}`")]
pub struct AnswerError {
    pub subject: String,
    #[source]
    pub source: async_nats::jetstream::context::PublishError,
}
