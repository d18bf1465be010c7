//! Reads a whole input of bounded size and makes sure that it is text.

use std::io::Read;

use encoding_rs::Encoding;

use super::encoding::{self, Text, TextEncoding};
use super::{Limit, bytes_of};
use crate::source::Origin;
use crate::source::{Input, InputLocation, SourceError};

/// All bytes of `input`.
///
/// # Errors
/// [`SourceError::Read`]; [`SourceError::TooLarge`] before more than the limit is in memory.
pub fn read(input: &Input, limit: Limit) -> Result<Vec<u8>, SourceError> {
    let fault = |source| SourceError::Read {
        origin: input.origin(),
        source,
    };
    let size = match &input.location {
        InputLocation::File(path) => std::fs::metadata(path).map_err(fault)?.len(),
        InputLocation::Object(object) => object.bytes(),
        InputLocation::Member(member) => member.bytes(),
        InputLocation::Stdin => 0,
    };
    if size > limit.bytes as u64 {
        return Err(limit.exceeded(input.origin(), size));
    }
    let mut bytes = Vec::new();
    // The file may grow while it is read, and standard input has no length.
    bytes_of(input)?
        .take(limit.bytes as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(fault)?;
    if bytes.len() > limit.bytes {
        return Err(limit.exceeded(input.origin(), bytes.len() as u64));
    }
    Ok(bytes)
}

/// The text of a whole file, without a byte order mark.
///
/// # Errors
/// [`SourceError::Empty`], [`SourceError::EmptyText`], and those of [`encoding::decode`].
pub fn decode(
    bytes: Vec<u8>,
    origin: &Origin,
    option: Option<TextEncoding>,
    declared: Option<&'static Encoding>,
) -> Result<Text, SourceError> {
    if bytes.is_empty() {
        return Err(SourceError::Empty {
            origin: origin.clone(),
        });
    }
    let decoded = encoding::decode(bytes, origin, option, declared)?;
    Ok(Text {
        text: has_text(decoded.text, origin)?,
        ..decoded
    })
}

/// Gives `text` back unless it is all white space.
pub fn has_text(text: String, origin: &Origin) -> Result<String, SourceError> {
    if text.trim().is_empty() {
        return Err(SourceError::EmptyText {
            origin: origin.clone(),
        });
    }
    Ok(text)
}
