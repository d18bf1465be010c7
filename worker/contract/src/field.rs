//! Fields of the payload of a point, which is what searches show. The scores of rescorers lie beside them.

/// Id of the document.
pub const DOC_ID: &str = "doc_id";
/// Version of the document.
pub const VERSION: &str = "version";
/// Position of the chunk in the document.
pub const CHUNK: &str = "chunk";
/// How many chunks the document has.
pub const CHUNKS: &str = "chunks";
/// The text.
pub const TEXT: &str = "text";
/// Title and headings above the text.
pub const CONTEXT: &str = "context";
/// First byte of the text in the document.
pub const START: &str = "start";
/// Byte after the last one of the text in the document.
pub const END: &str = "end";
/// Where a person looks for the text in the original.
pub const LOCATION: &str = "location";
/// Digest of the text that was embedded.
pub const DIGEST: &str = "digest";
/// Fingerprint of the model that made the vector.
pub const FINGERPRINT: &str = "fingerprint";
/// When the point was written, RFC 3339.
pub const INDEXED_AT: &str = "indexed_at";
/// Run that published the job.
pub const RUN: &str = "run";
/// Whether this is the tombstone of a deleted document.
pub const DELETED: &str = "deleted";
/// What the publisher said about the document.
pub const META: &str = "meta";
/// The attached vectors that were made of the text which the point has, each by its name.
pub const ATTACHED: &str = "attached";
