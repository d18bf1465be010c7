//! The indexer: turns a corpus into embedding jobs on JetStream, and searches what became of them.
//!
//! Each verb of the program is a module:
//!
//! | verb | what it does |
//! |---|---|
//! | [`provision`] | creates and updates streams, consumers, buckets and collections |
//! | [`publish`] | publishes the documents of sources as jobs |
//! | [`extract`] | shows what would be indexed, without any server |
//! | [`delete`] | publishes the removal of documents |
//! | [`sync`] | makes the serving collection of an alias equal to its sources; `plan` says what that would do and cost |
//! | [`rebuild`] | fills a new generation of an alias, proves it, and switches the alias to it |
//! | [`rollback`] | points an alias to the generation before |
//! | [`gc`] | drops generations that nobody needs |
//! | [`attach`] | computes another vector for every point of an alias; `detach` takes one away |
//! | [`rescore`] | scores the points of a collection with another model |
//! | [`search`] | embeds a query through the queue and searches a collection |
//! | [`eval`] | measures a search by queries whose relevant documents are known |
//! | [`dlq`] | lists, shows, replays, drops and finds dead letters |
//! | [`status`] | shows what waits, what is in flight, what failed and what is there |
//! | [`ui`] | serves a page that shows all of it, and searches |
//! | [`doctor`] | looks at a running system, or at manifests, and says what is wrong |
//! | [`render`] | turns a few decisions into an overlay of kustomize |
//!
//! Verbs are made of these modules, and none of them knows a verb. The page of [`ui`] is made of what other verbs do:
//!
//! | module | what it holds |
//! |---|---|
//! | [`jobs`] | how much a job holds, what fills it, and its way into JetStream |
//! | `corpus` | runs the crate [`documents`] and the packing of jobs in parallel with bounded memory; which documents were seen |
//! | `bucket` | the key-value bucket of runs and locks, written by compare-and-set alone |
//! | `additions` | publishes points as jobs for a model that adds something to them |
//! | `generation` | the life of an alias: its records, locks and moves, and what is carried over |
//! | `dead_letters` | which dead letters are meant, and what each of them says |
//! | `streams` | messages are read in order, found and removed; jobs that nobody reads |
//! | `plan` | the amount of work, and what it costs |
//! | `decisions`, `fleet` | what an installation decides, and the numbers that follow |
//! | [`outcome`], `progress` | how verbs print what they found, and tell how far they are |
//! | `retrieval` | by which vectors an alias is searched, what workers are asked for a query, and what Qdrant is asked |
//! | `config`, `filter`, `clock` | settings that verbs share, filters of points, times |
//!
//! No module depends on one that depends on it.

#![allow(
    unreachable_pub,
    reason = "`pub` is what other modules may use, whether or not the crate shows the module"
)]

mod additions;
pub mod attach;
mod bucket;
pub mod cli;
mod clock;
mod config;
mod corpus;
mod dead_letters;
mod decisions;
pub mod delete;
pub mod dlq;
pub mod doctor;
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
#[cfg(test)]
#[path = "../../worker/contract/tests/job/published.rs"]
mod published;
pub mod rebuild;
pub mod render;
pub mod rescore;
mod retrieval;
pub mod rollback;
pub mod search;
pub mod status;
mod streams;
pub mod sync;
pub mod ui;
