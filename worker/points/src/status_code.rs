//! Status codes of gRPC. The client of Qdrant gives a code as a type that it does not export, so that codes are compared by
//! their numbers.

use qdrant_client::QdrantError;

pub const CANCELLED: i32 = 1;
pub const INVALID_ARGUMENT: i32 = 3;
pub const DEADLINE_EXCEEDED: i32 = 4;
pub const NOT_FOUND: i32 = 5;
pub const ALREADY_EXISTS: i32 = 6;
pub const PERMISSION_DENIED: i32 = 7;
pub const RESOURCE_EXHAUSTED: i32 = 8;
pub const OUT_OF_RANGE: i32 = 11;
pub const UNIMPLEMENTED: i32 = 12;
pub const INTERNAL: i32 = 13;
pub const UNAVAILABLE: i32 = 14;
pub const UNAUTHENTICATED: i32 = 16;

/// Whether Qdrant answered a request with this code.
#[must_use]
pub fn is(error: &QdrantError, code: i32) -> bool {
    matches!(error, QdrantError::ResponseError { status } if status.code() as i32 == code)
}
