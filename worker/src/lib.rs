//! The worker: pulls jobs from JetStream, runs an ONNX model, writes vectors to Qdrant, acknowledges.
//!
//! ```text
//! pull --Batch--> encode --Inputs--> embed --Vectors--> upsert --Points--> Qdrant
//!                                                          '---- Ack ----> JetStream
//! ```
//! Every arrow is a channel that holds one batch. A batch has one owner, and the leases of its jobs travel with
//! it in [`inflight::InFlight`]; only that file settles them.
//!
//! | verbs (stages) | nouns | around them |
//! |---|---|---|
//! | [`pull`], [`encode`], [`plan`], [`deal`], [`embed`], [`pool`], [`mod@write`], [`upsert`], [`answer`], [`mod@usage`], [`halve`], [`mod@warm_up`] | [`batch`], [`consumers`], [`inflight`], [`quarantine`], [`session`], [`graph`], [`calibration`], [`hardware`] | [`pipeline`], [`config`], [`error`], [`metrics`], [`trace`], [`health`], [`failpoint`] |
//!
//! The other verbs of the program are [`stage`], [`calibrate`], [`optimize`] and [`check`]; [`run`] starts the pipeline.

pub mod answer;
pub mod batch;
pub mod calibrate;
pub mod calibration;
pub mod check;
pub mod config;
pub mod connect;
pub mod consumers;
pub mod deal;
pub mod embed;
pub mod encode;
pub mod error;
pub mod failpoint;
pub mod graph;
pub mod halve;
pub mod hardware;
pub mod health;
pub mod inflight;
pub mod layout;
pub mod load;
pub mod metrics;
pub mod optimize;
pub mod pipeline;
pub mod plan;
pub mod pool;
pub mod pull;
pub mod quarantine;
pub mod run;
pub mod session;
pub mod shutdown;
pub mod stage;
pub mod startup;
pub mod trace;
pub mod upsert;
pub mod usage;
pub mod warm_up;
pub mod write;
