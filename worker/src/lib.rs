//! The worker: pulls jobs from JetStream, runs an ONNX model, writes vectors to Qdrant, acknowledges.
//!
//! ```text
//! pull --Batch--> encode --Inputs--> embed --Vectors--> upsert --Points--> Qdrant
//!                                                          '---- Ack ----> JetStream
//! ```
//! Every arrow is a channel that holds one batch. A batch has one owner, and the deliveries of its jobs travel with
//! it in [`inflight::InFlight`]; only that module settles them.
//!
//! | | modules |
//! |---|---|
//! | verbs of the program | [`run`], [`stage`], [`calibrate`], [`check`] |
//! | stages of [`pipeline`], in their order | [`pipeline::pull`], [`pipeline::encode`], [`pipeline::embed`], [`pipeline::upsert`] |
//! | what travels between the stages | [`batch`], [`inflight`], [`quarantine`], [`plan`] |
//! | the model and its device | [`load`], [`session`], [`pool`], [`graph`], [`layout`], [`calibration`], [`hardware`], [`memory`], [`staging_dir`] |
//! | around them | [`config`], [`connect`], [`consumers`], [`error`], [`health`], [`metrics`], [`shutdown`], [`telemetry`], [`trace`] |

#![allow(
    missing_docs,
    reason = "the library of a binary: comments are for what a name does not say"
)]

pub mod batch;
pub mod calibrate;
pub mod calibration;
pub mod check;
pub mod cli;
pub mod config;
pub mod connect;
pub mod consumers;
pub mod error;
pub mod frame;
pub mod graph;
pub mod hardware;
pub mod health;
pub mod inflight;
pub mod layout;
pub mod load;
pub mod memory;
pub mod metrics;
pub mod pipeline;
pub mod plan;
pub mod pool;
mod processor;
pub mod quarantine;
pub mod run;
pub mod session;
pub mod shutdown;
pub mod stage;
pub mod staging_dir;
pub mod telemetry;
pub mod trace;
