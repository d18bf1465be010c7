//! The answer to a job that asked for a reply, published to `results.<reply>`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::embedding::Embedding;
use crate::names::{ModelName, ReplyId};

/// What a worker says to whoever asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The reply id of the job.
    pub reply: ReplyId,
    /// Model that answered.
    pub model: ModelName,
    /// Its fingerprint: a vector may only be searched among vectors of the same one.
    pub fingerprint: Digest,
    /// Rows, counted from 0, that are longer than the model takes and were cut.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub truncated: Vec<u32>,
    /// The outcome.
    #[serde(flatten)]
    pub outcome: AnswerOutcome,
}

/// Vectors or scores, or why there are none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerOutcome {
    /// A vector for each query, in order; its form is that of the model's kind.
    Vectors(Vec<Embedding>),
    /// The scores of each item, in order: one for each label of the model.
    Scores(Vec<Vec<f32>>),
    /// The job was refused.
    Refused {
        /// Short constant.
        cause: String,
        /// Sentence, without any text of the job.
        reason: String,
    },
}
