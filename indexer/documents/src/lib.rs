//! From sources to chunks. Nothing here knows NATS or Qdrant.
//!
//! ```text
//! source --Input--> extract --Document--> chunk --Chunk-->
//! ```
//! | module | what it does |
//! |---|---|
//! | [`source`] | finds files and objects, and reads them |
//! | [`extract`] | makes documents of them, by their formats |
//! | [`document`] | a text with its outline |
//! | [`chunk`] | cuts it into texts that a model takes |

#![allow(
    unreachable_pub,
    reason = "`pub` is what other modules may use, whether or not the crate shows the module"
)]

pub mod chunk;
pub mod document;
pub mod extract;
pub mod source;
