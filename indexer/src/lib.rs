//! The indexer: turns a corpus into embedding jobs on JetStream, and searches what became of them.
//!
//! ```text
//! source -> extract -> chunk -> pack -> publish -> JetStream
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
//! [`source`], [`extract`], [`chunk`] and [`pack`] are pure: they know neither NATS nor Qdrant. [`read`] runs them
//! in parallel with bounded memory. [`store`] publishes a single job; [`unread`] counts those that
//! nobody reads.

pub mod alias;
mod carry_over;
pub mod chunk;
pub mod config;
mod corpus;
pub mod decisions;
pub mod delete;
pub mod dlq;
pub mod doctor;
pub mod document;
pub mod eval;
pub mod extract;
pub mod filter;
pub mod fleet;
pub mod gc;
mod hand_over;
mod intent;
pub mod lease;
mod once;
pub mod pack;
pub mod plan;
pub mod progress;
pub mod provision;
pub mod publish;
pub mod read;
pub mod rebuild;
pub mod render;
pub mod rescore;
pub mod rollback;
pub mod run;
mod run_id;
pub mod search;
mod settle;
pub mod source;
pub mod status;
pub mod store;
pub mod sync;
mod unfinished;
pub mod unread;
