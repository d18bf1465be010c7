//! Dead letters as verbs select and read them: one after the other, headers alone. A payload is fetched when it is needed, so
//! that a million of them take no more memory than ten.

mod letter;
mod select;

pub use letter::StoredLetter;
pub use select::{Selected, Selection};
