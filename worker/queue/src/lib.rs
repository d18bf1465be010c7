//! JetStream: how programs of Ebb reach it, and what they keep there.
//!
//! | module | what it holds |
//! |---|---|
//! | [`nats`] | settings and the connection |
//! | [`denial`] | what NATS does not let a login do |
//! | [`streams`] | configuration of streams, consumers and key-value buckets |
//! | [`room`] | how much of the stream of jobs is for what can be published later |
//! | [`dead_letter`] | what is kept of a job that was given up |
//! | [`trace`] | the way of a job as OpenTelemetry sees it |

pub mod dead_letter;
pub mod denial;
pub mod nats;
pub mod room;
pub mod streams;
pub mod trace;
