//! The worker: pulls jobs from JetStream, runs an ONNX model, writes vectors to Qdrant, acknowledges.
//!
//! ```text
//! pull --Batch--> encode --Inputs--> embed --Vectors--> upsert --Points--> Qdrant
//!                                                          '---- Ack ----> JetStream
//! ```
//! Every arrow is two channels, one for each lane, that hold a batch or a few. A batch has one owner, and the deliveries of
//! its jobs travel with it in [`inflight::InFlight`]; only that module settles them.
//!
//! | | modules |
//! |---|---|
//! | verbs of the program | [`run`], [`stage`], [`calibrate`], [`check`] |
//! | stages of [`pipeline`], in their order | [`pipeline::pull`], [`pipeline::encode`], [`pipeline::embed`], [`pipeline::upsert`] |
//! | what travels between the stages | [`batch`], [`inflight`], [`quarantine`], [`plan`] |
//! | what can fail, and what happens to the job then | [`error`], [`outcome`] |
//! | the model and its device | [`load`], [`session`], [`pool`], [`graph`], [`layout`], [`calibration`], [`hardware`], [`memory`], [`staging_dir`] |
//! | around them | [`config`], [`connect`], [`consumers`], [`health`], [`metrics`], [`report`], [`shutdown`], [`trace`] |

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
pub mod outcome;
pub mod pipeline;
pub mod plan;
pub mod pool;
#[cfg(test)]
#[path = "../contract/tests/job/published.rs"]
mod published;
mod quality;
pub mod quarantine;
pub mod report;
pub mod run;
pub mod session;
pub mod shutdown;
pub mod stage;
pub mod staging_dir;
pub mod trace;
