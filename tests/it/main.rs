//! Integration tests against real processes: nats-server, Qdrant's engine (or a real server by `QDRANT_URL`), ONNX
//! Runtime, and the programs of this workspace. Each is named as the statement that it checks.

mod bad_configuration;
mod bad_input;
mod chaos;
mod cluster;
mod connections;
mod consumers;
mod dead_letters;
mod evaluation;
mod leases;
mod logins;
mod memory;
mod models;
mod network;
mod object_stores;
mod pipeline;
mod poison;
mod provisioning;
mod qdrant_faults;
mod readme;
mod rebuild;
mod redelivery;
mod rescoring;
mod searching;
mod shutdown;
mod status;
mod sync;
mod versions;
