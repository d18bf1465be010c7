//! What both sides of Ebb must agree on, without ONNX Runtime.
//!
//! | module | what it fixes |
//! |---|---|
//! | [`job`] | what a publisher asks a worker for |
//! | [`answer`] | what a worker says to a job that asks for a reply |
//! | [`names`] | names in subjects and collections |
//! | [`topology`] | streams, consumers, subjects, headers |
//! | [`dead_letter`] | what is kept of a job that was given up |
//! | [`model`] | the manifest of a staged model, its fingerprint, its signature |
//! | [`tokenizer`] | text to token ids |
//! | [`collection`] | schema of a collection, and which model may write to it |
//! | [`point`] | ids, payload and versions of points |
//! | [`relevance`] | queries with known relevant documents, and the measures of a ranking |
//! | [`score`] | which payload field takes a score |
//! | [`digest`] | SHA-256 |
//! | [`failpoint`] | moments at which a test can kill, stall or deceive a program |
//! | [`settings`] | reading settings |
//! | [`usage`] | what workers have computed for a run |
//! | [`trace`] | the way of a job as OpenTelemetry sees it |
//! | [`connect`] | settings and connections of NATS, Qdrant and object stores |

pub mod answer;
pub mod collection;
pub mod connect;
pub mod dead_letter;
pub mod digest;
pub mod failpoint;
pub mod job;
pub mod model;
pub mod names;
pub mod point;
pub mod relevance;
pub mod score;
pub mod settings;
pub mod tokenizer;
pub mod topology;
pub mod trace;
pub mod usage;
