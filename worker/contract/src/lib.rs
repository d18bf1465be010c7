//! What both sides of Ebb must agree on: formats, names and limits. Nothing here reaches a server.
//!
//! | module | what it fixes |
//! |---|---|
//! | [`job`] | what a publisher asks a worker for |
//! | [`answer`] | what a worker says to a job that asks for a reply |
//! | [`embedding`] | what a model makes of one text |
//! | [`names`] | names in subjects and collections |
//! | [`topology`] | streams, consumers, subjects, headers |
//! | [`model`] | the manifest of a staged model, its fingerprint, its signature |
//! | [`tokenizer`] | text to token ids |
//! | [`bm25`] | how texts become sparse vectors of their words |
//! | [`field`] | names of the payload fields of points |
//! | [`score`] | which payload field takes a score |
//! | [`digest`] | SHA-256 |

#![warn(missing_docs)]

pub mod answer;
pub mod bm25;
pub mod digest;
pub mod embedding;
pub mod field;
pub mod job;
pub mod model;
pub mod names;
pub mod score;
pub mod tokenizer;
pub mod topology;
