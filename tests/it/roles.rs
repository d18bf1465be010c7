//! Roles: with the configuration that is deployed, each login can do its work and nothing else.

mod denied;
mod durable;
mod refused;
pub(crate) mod server;
pub(crate) mod setup;
mod subjects;
mod wire;
mod work;
