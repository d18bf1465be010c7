//! Manifests: every overlay rendered by kubectl, and held against the schemas of Kubernetes and KEDA, against the names
//! and limits of the code, against the real programs, and against the rules that keep a fleet from losing its work.

mod decisions;
mod e2e;
mod encryption;
mod hardening;
mod images;
mod names;
mod network;
mod processes;
mod render;
mod scaling;
mod schemas;
mod secrets;
mod variants;
