//! Plain text and Markdown: one document per file, which stays in the file beyond one block.

use std::path::Path;

use super::Limit;
use super::decode::{decode, has_text, read};
use crate::document::blocks::BLOCK_BYTES;
use crate::document::{Content, Document, Markup, TextFile, markdown};
use crate::source::{Format, Input, InputLocation, SourceError};

/// The document of a text or Markdown input. Of a large file only the first block is looked at: what is wrong
/// further on shows when it is chunked, before its first chunk is given.
pub fn text(input: &Input, limit: Limit) -> Result<Document, SourceError> {
    let content = match &input.location {
        InputLocation::File(path) => content_of(path, input)?,
        // Standard input cannot be read twice and an object may change meanwhile, so these have to fit into memory.
        InputLocation::Stdin | InputLocation::Object(_) => {
            Content::Text(decode(read(input, limit)?, &input.origin())?)
        }
    };
    let markup = match input.format {
        Format::Markdown => Markup::Markdown,
        Format::Text
        | Format::Html
        | Format::Jsonl
        | Format::Csv
        | Format::Tsv
        | Format::Pdf
        | Format::Parquet => Markup::Plain,
    };
    let heading = match (&content, markup) {
        (_, Markup::Plain) => None,
        (Content::Text(text), Markup::Markdown) => markdown::title(text).map(str::to_owned),
        (Content::File(_), Markup::Markdown) => {
            markdown::title(&first_block(&content)?).map(str::to_owned)
        }
    };
    Ok(Document {
        id: input.id.clone(),
        title: heading.or_else(|| file_title(input)),
        meta: serde_json::Map::new(),
        text: content,
        markup,
        origin: input.origin(),
    })
}

fn content_of(path: &Path, input: &Input) -> Result<Content, SourceError> {
    let file = TextFile::open(path)?;
    if file.bytes() > BLOCK_BYTES as u64 {
        let content = Content::File(file);
        first_block(&content)?;
        return Ok(content);
    }
    let limit = Limit {
        bytes: BLOCK_BYTES + super::decode::BOM.len(),
        option: "the size of",
    };
    match read(input, limit) {
        Ok(bytes) => Ok(Content::Text(decode(bytes, &input.origin())?)),
        // It was smaller a moment ago.
        Err(SourceError::TooLarge { origin, .. }) => Err(SourceError::Changed { origin }),
        Err(error) => Err(error),
    }
}

fn first_block(content: &Content) -> Result<String, SourceError> {
    let first = content.blocks(BLOCK_BYTES)?.next().transpose()?;
    Ok(first
        .map(|block| block.text.into_owned())
        .unwrap_or_default())
}

/// The name of the file without its extension.
pub fn file_title(input: &Input) -> Option<String> {
    let path = match &input.location {
        InputLocation::File(path) => path.as_path(),
        InputLocation::Object(object) => Path::new(object.file_name()),
        InputLocation::Stdin => return None,
    };
    Some(path.file_stem()?.to_string_lossy().into_owned())
}

/// A document of a format whose text was extracted as a whole.
pub fn whole(
    input: &Input,
    title: Option<String>,
    text: String,
    markup: Markup,
) -> Result<Document, SourceError> {
    Ok(Document {
        id: input.id.clone(),
        title: title.or_else(|| file_title(input)),
        meta: serde_json::Map::new(),
        text: Content::Text(has_text(text, &input.origin())?),
        markup,
        origin: input.origin(),
    })
}
