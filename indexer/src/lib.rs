//! The indexer: turns a corpus into embedding jobs on JetStream, and searches what became of them.
//!
//! ```text
//! source -> extract -> chunk -> jobs -> JetStream
//! ```
//! | verb of the program | what it does |
//! |---|---|
//! | [`provision`] | creates and updates streams, consumers, buckets and collections |
//! | [`publish`] | publishes the documents of sources as jobs |
//! | [`delete`] | publishes the removal of documents |
//! | [`rescore`] | scores the points of a collection with another model |
//! | [`search`] | embeds a query through the queue and searches a collection |
//! | [`eval`] | measures a search by queries whose relevant documents are known |
//! | [`doctor`] | looks at a running system, or at manifests, and says what is wrong |
//! | [`dlq`] | lists, shows, replays, drops and finds dead letters |
//! | [`rebuild`] | fills a new generation of an alias, proves it, and switches the alias to it |
//! | [`sync`] | makes the serving collection of an alias equal to its sources |
//! | [`plan`] | says what a sync would do, and what it would cost |
//! | [`rollback`] | points an alias to the generation before |
//! | [`gc`] | drops generations that nobody needs |
//! | [`render`] | turns a few decisions into an overlay of kustomize |
//! | [`status`] | shows what waits, what is in flight, what failed and what is there |
//!
//! [`source`], [`extract`] and [`chunk`] know neither NATS nor Qdrant. [`corpus`] runs them in parallel with bounded
//! memory, and [`jobs`] packs and publishes what they give. The life of an alias, which the verbs from `rebuild` to `gc`
//! are about, is `generation`.

#![allow(
    missing_docs,
    reason = "the library of one program; what is published is the contract"
)]
#![allow(
    unreachable_pub,
    reason = "`pub` is what other modules may use, whether or not the crate shows the module"
)]

pub mod chunk;
mod clock;
mod config;
mod corpus;
mod decisions;
pub mod delete;
pub mod dlq;
pub mod doctor;
pub mod document;
pub mod eval;
pub mod extract;
mod filter;
mod fleet;
pub mod gc;
mod generation;
pub mod jobs;
pub mod outcome;
mod plan;
mod progress;
pub mod provision;
pub mod publish;
pub mod rebuild;
pub mod render;
pub mod rescore;
pub mod rollback;
pub mod search;
pub mod source;
pub mod status;
mod streams;
pub mod sync;
