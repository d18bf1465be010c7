//! Headers that Ebb reads and writes.

/// Version that a document without one gets instead of the time at which its job was stored: set on
/// replayed dead letters, so that they keep their place in the order of versions.
pub const DOCUMENT_VERSION: &str = "Ebb-Document-Version";
/// Short constant that says why a job became a dead letter.
pub const CAUSE: &str = "Ebb-Cause";
/// Sentence that says why a job became a dead letter.
pub const REASON: &str = "Ebb-Reason";
/// Subject that the job was published to.
pub const SUBJECT: &str = "Ebb-Subject";
/// Position of the job in its stream.
pub const SEQUENCE: &str = "Ebb-Sequence";
/// How often the job had been delivered.
pub const DELIVERIES: &str = "Ebb-Deliveries";
/// The worker, or `indexer dlq sweep`, that gave the job up.
pub const WORKER: &str = "Ebb-Worker";
/// Fingerprint of the model that the worker served.
pub const FINGERPRINT: &str = "Ebb-Fingerprint";
/// Run that published a dead job, so that dead letters can be told by run without reading their payload.
pub const RUN: &str = "Ebb-Run";
/// How often a sweep has published the job again because no consumer held it.
pub const REQUEUED: &str = "Ebb-Requeued";
/// Tokens in the job, as far as its publisher knows them.
pub const TOKENS: &str = "Ebb-Tokens";
