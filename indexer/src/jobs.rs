//! Jobs: how much one holds, what fills it, and its way into JetStream.
//!
//! | module | what it does |
//! |---|---|
//! | `packer` | decides when a job is full; the only place that knows the limits |
//! | `documents` | packs the chunks of documents that are read from sources |
//! | `publisher` | packs documents that were compared or looked up, and publishes the jobs |
//! | [`store`] | publishes one job until JetStream has it |

pub(crate) mod documents;
pub(crate) mod packer;
pub(crate) mod publisher;
pub mod store;

pub use documents::{DocumentPacker, JobTemplate, Packed, TooLarge};
pub use packer::JOB_TOKENS;
