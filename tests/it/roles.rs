//! Roles: with the configuration that is deployed, each login can do its work and nothing else.

mod denied;
mod durable;
mod refused;
pub(crate) mod scene;
pub(crate) mod server;
mod subjects;
mod wire;
mod work;
