//! The interface for others: the AsyncAPI document says what is so, and the published examples work.
//!
//! `interface/asyncapi-3.0.0.schema.json` is the schema of the AsyncAPI Initiative, from the package `@asyncapi/specs`
//! 6.11.1, under the licence Apache-2.0.

mod clients;
mod document;
mod examples;
