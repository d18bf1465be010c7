//! Jobs: how much one holds, what fills it, and its way into JetStream.
//!
//! | module | what it does |
//! |---|---|
//! | `packer` | decides when a job is full; the only place that knows the limits |
//! | `documents` | packs the chunks of documents that are read from sources |
//! | `publisher` | packs documents that were compared or looked up, and publishes the jobs |
//! | `await_room` | waits where documents come first |
//! | [`store`] | publishes one job until JetStream has it |

pub(crate) mod await_room;
pub(crate) mod documents;
pub(crate) mod packer;
pub(crate) mod publisher;
pub mod store;

use contract::job::{self, Delete, Job, Removal};
use contract::names::CollectionName;

pub use documents::{DocumentPacker, JobTemplate, Packed, TooLarge};
pub use packer::JOB_TOKENS;

/// Documents of one job: a removal costs Qdrant more than a write.
pub const REMOVALS_PER_JOB: usize = 100;

/// The jobs that remove documents from a collection, where they are not newer than `version`.
pub fn removals<'a>(
    ids: &'a [String],
    version: u64,
    collection: &'a CollectionName,
    run: Option<&'a str>,
) -> impl Iterator<Item = Job> + 'a {
    let removal = move |id: &String| Removal {
        id: id.clone(),
        version: Some(version),
    };
    ids.chunks(REMOVALS_PER_JOB).map(move |ids| {
        Job::Delete(Delete {
            version: job::VERSION.to_owned(),
            run: run.map(str::to_owned),
            collection: collection.clone(),
            documents: ids.iter().map(removal).collect(),
        })
    })
}
