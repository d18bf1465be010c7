//! Relevance: queries whose relevant documents are known, and how good a ranking is by them.
//!
//! Files are in the shape of BEIR: `corpus.jsonl`, `queries.jsonl`, and judgements in `qrels/*.tsv`.

pub mod corpus;
mod error;
mod lines;
pub mod measure;
pub mod rank;
pub mod read;

pub use error::RelevanceError;
