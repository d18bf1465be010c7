//! Plain text and Markdown: one document per file, which stays in the file beyond one block.

use std::borrow::Cow;
use std::path::Path;

use super::Limit;
use super::data_uris;
use super::decode::{decode, has_text, read};
use super::encoding::{Text, TextEncoding};
use super::extracted::Extracted;
use crate::document::blocks::BLOCK_BYTES;
use crate::document::{Amount, Content, Document, Ledger, Markup, Places, TextFile, markdown};
use crate::source::{Compression, Format, Input, InputLocation, SourceError};

/// The document of a text or Markdown input. A large file is looked at block by block, and stays where it is if all of it is
/// taken as it is.
pub fn text(
    input: &Input,
    limit: Limit,
    encoding: Option<TextEncoding>,
) -> Result<Document, SourceError> {
    let (content, dropped, read) = match &input.location {
        InputLocation::File(path) if Compression::of_name(&input.file_name()).is_none() => {
            content_of(path, input, limit, encoding)?
        }
        // Standard input cannot be read twice and an object may change meanwhile, so these have to fit into memory.
        InputLocation::File(_)
        | InputLocation::Stdin
        | InputLocation::Object(_)
        | InputLocation::Member(_) => in_memory(input, limit, encoding)?,
    };
    let markup = if input.format == Format::Markdown {
        Markup::Markdown
    } else {
        Markup::Plain
    };
    let heading = match (&content, markup) {
        (_, Markup::Plain | Markup::Code) => None,
        (Content::Text(text), Markup::Markdown) => markdown::title(text),
        (Content::File(_), Markup::Markdown) => markdown::title(&first_block(&content)?),
    };
    Ok(Document {
        id: input.id.clone(),
        title: heading.or_else(|| file_title(input)),
        meta: serde_json::Map::new(),
        text: content,
        markup,
        places: Places::Lines,
        read,
        dropped,
        origin: input.origin(),
    })
}

fn content_of(
    path: &Path,
    input: &Input,
    limit: Limit,
    encoding: Option<TextEncoding>,
) -> Result<(Content, Ledger, Amount), SourceError> {
    let file = TextFile::open(path)?;
    if file.bytes() > BLOCK_BYTES as u64 {
        let amount = Amount::bytes(file.bytes());
        let content = Content::File(file);
        let is_foreign = encoding.is_some_and(|encoding| encoding.0 != encoding_rs::UTF_8);
        if is_foreign {
            return in_memory(input, limit, encoding);
        }
        return match is_taken_as_it_is(&content) {
            Ok(true) => Ok((content, Ledger::default(), amount)),
            // What does not fit into memory cannot be mended, and its place is what helps. In another encoding, the first
            // block has it already.
            Err(
                error @ (SourceError::NotUtf8 { offset, .. } | SourceError::Binary { offset, .. }),
            ) if amount.bytes > limit.bytes as u64 && offset >= BLOCK_BYTES as u64 => Err(error),
            Ok(false) | Err(SourceError::NotUtf8 { .. } | SourceError::Binary { .. }) => {
                in_memory(input, limit, encoding)
            }
            Err(error) => Err(error),
        };
    }
    let limit = Limit {
        bytes: BLOCK_BYTES + crate::document::blocks::BOM.len(),
        option: "the size of",
    };
    match in_memory(input, limit, encoding) {
        // It was smaller a moment ago.
        Err(SourceError::TooLarge { origin, .. }) => Err(SourceError::Changed { origin }),
        other => other,
    }
}

/// Whether nothing in a file has to be left out, however large it is; an error where something of it is no text.
fn is_taken_as_it_is(content: &Content) -> Result<bool, SourceError> {
    // The end of the block before, and the start of this one.
    let mut seam = String::new();
    for block in content.blocks(BLOCK_BYTES)? {
        let text = block?.text;
        seam.push_str(&text[..text.floor_char_boundary(data_uris::OVERLAP)]);
        if [&text, seam.as_str()]
            .iter()
            .any(|piece| data_uris::are_in(piece.as_bytes()))
        {
            return Ok(false);
        }
        let behind = text.len().saturating_sub(data_uris::OVERLAP);
        seam.clear();
        seam.push_str(&text[text.ceil_char_boundary(behind)..]);
    }
    Ok(true)
}

fn in_memory(
    input: &Input,
    limit: Limit,
    encoding: Option<TextEncoding>,
) -> Result<(Content, Ledger, Amount), SourceError> {
    let bytes = read(input, limit)?;
    let length = bytes.len() as u64;
    let Text {
        text,
        notes: mut dropped,
    } = decode(bytes, &input.origin(), encoding, None)?;
    let amount = Amount {
        bytes: length,
        ..Amount::of(&text)
    };
    let text = match data_uris::without(&text, &mut dropped) {
        Cow::Owned(rest) => has_text(rest, &input.origin())?,
        Cow::Borrowed(_) => text,
    };
    Ok((Content::Text(text), dropped, amount))
}

fn first_block(content: &Content) -> Result<String, SourceError> {
    let first = content.blocks(BLOCK_BYTES)?.next().transpose()?;
    Ok(first
        .map(|block| block.text.into_owned())
        .unwrap_or_default())
}

/// The name of the file without its extension, and without the one that says how it is compressed.
pub fn file_title(input: &Input) -> Option<String> {
    let name = input.file_name();
    let mut stem = Path::new(name.as_ref()).file_stem()?;
    if Compression::of_name(&name).is_some() && Format::of_path(Path::new(stem)).is_some() {
        stem = Path::new(stem).file_stem()?;
    }
    Some(stem.to_string_lossy().into_owned())
}

/// A document of a format whose text was extracted as a whole.
pub fn whole(
    input: &Input,
    read: Amount,
    title: Option<String>,
    text: String,
    markup: Markup,
) -> Result<Document, SourceError> {
    let mut dropped = Ledger::default();
    let text = match data_uris::without(&text, &mut dropped) {
        Cow::Owned(rest) => rest,
        Cow::Borrowed(_) => text,
    };
    Ok(Document {
        id: input.id.clone(),
        title: title.or_else(|| file_title(input)),
        meta: serde_json::Map::new(),
        text: Content::Text(has_text(text, &input.origin())?),
        markup,
        places: Places::marked(Vec::new()),
        read,
        dropped,
        origin: input.origin(),
    })
}

/// A document of what an extractor gave.
pub fn extracted(
    input: &Input,
    read: Amount,
    extracted: Extracted,
) -> Result<Document, SourceError> {
    let markup = if extracted.definitions.is_some() {
        Markup::Code
    } else if extracted.is_markdown {
        Markup::Markdown
    } else {
        Markup::Plain
    };
    let places = match extracted.definitions {
        Some(definitions) => Places::Code(definitions),
        None => Places::marked(extracted.locations),
    };
    let places = places.without(&data_uris::ranges(&extracted.text));
    let document = whole(input, read, extracted.title, extracted.text, markup)?;
    let mut dropped = extracted.dropped;
    dropped.absorb(&document.dropped);
    Ok(Document {
        dropped,
        places,
        ..document
    })
}
