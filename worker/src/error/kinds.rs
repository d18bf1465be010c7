//! Kinds: what each stage can fail with.

use contract::job::JobError;
use contract::names::CollectionName;
use contract::tokenizer::TokenizerError;
use points::collection::Mismatch;
use points::connect::ServerError;
use points::store::PointsError;
use thiserror::Error;

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
    /// The model made, or the job brought, a vector or a score that must not be written.
    #[error(
        "row {row} has a vector or a score with values that are not finite, or of another length than the model's"
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
    /// A text came out unsound, and a golden text does not give what it gave at the start either.
    #[error("not even a golden text can be embedded as it was at the start")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The process is to end before the batch is done.
    #[error("stopped by shutdown")]
    Stopped,
}

impl EmbedError {
    /// Whether the device has too little memory for the tensor. The runtime has no code for it, only its words.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        let Self::Run { source, .. } = self else {
            return false;
        };
        let words = source.to_string().to_lowercase();
        let signs = ["failed to allocate memory", "out of memory"];
        signs.iter().any(|sign| words.contains(sign))
    }
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
    /// Points were not written, or not all of them.
    #[error(transparent)]
    Points(#[from] PointsError),
    /// The collection is for another model.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The server is none that may be written to.
    #[error(transparent)]
    Server(#[from] ServerError),
}

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
