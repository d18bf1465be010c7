//! Why queries, judgements or documents cannot be read.

use std::path::PathBuf;

use thiserror::Error;

/// Why queries, judgements or documents cannot be read.
#[derive(Debug, Error)]
pub enum RelevanceError {
    /// A file or a folder cannot be read.
    #[error("failed to read `{path}`")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A line is not in its shape.
    #[error("`{path}`, line {line}: {problem}")]
    Line {
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A folder has no judgements.
    #[error("`{path}` has no .tsv file; name the judgements")]
    NoJudgements { path: PathBuf },
    /// A folder has the judgements of several splits: whoever evaluates on several at once has tuned on what they test.
    #[error("`{path}` has several splits; name one: {splits:?}")]
    SeveralSplits { path: PathBuf, splits: Vec<PathBuf> },
    /// Nothing can be measured.
    #[error(
        "no query of `{queries}` has a relevant document in the judgements ({unjudged} queries without judgements, \
         {without_relevant} with judgements of irrelevant documents alone, {unknown} judged queries without a text); \
         do both belong together?"
    )]
    NothingRelevant {
        /// The file of the queries.
        queries: PathBuf,
        /// Queries without judgements.
        unjudged: usize,
        /// Queries of which no judged document is relevant.
        without_relevant: usize,
        /// Query ids that have judgements and no text.
        unknown: usize,
    },
}
