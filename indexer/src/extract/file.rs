//! File: the chunks of the documents of one file, and what they come to.

use documents::chunk::Chunk;
use documents::document::{Amount, Content, Document, Places};
use documents::source::SourceError;

use super::Reading;
use crate::corpus::account::Account;
use crate::corpus::read::{ReadError, Weight, meta_of};
use crate::corpus::seen::identity;

/// The documents, chunks and losses of a file.
#[derive(Clone, Debug, Default)]
pub struct File {
    pub documents: u64,
    pub chunks: u64,
    /// Tokens or words.
    pub units: u64,
    /// Bytes of text that are in chunks, those that are repeated counted once. The rest is white space.
    pub chunked_bytes: u64,
    pub refused: u64,
    /// Files with an unknown extension.
    pub skipped: u64,
    pub account: Account,
}

impl File {
    pub fn absorb(&mut self, other: Self) {
        self.documents += other.documents;
        self.chunks += other.chunks;
        self.units += other.units;
        self.chunked_bytes += other.chunked_bytes;
        self.refused += other.refused;
        self.account.absorb(&other.account);
    }
}

impl Reading {
    /// Shows a document, or why it would be refused. `None` when nobody listens any more.
    pub fn document(
        &mut self,
        document: Result<Document, ReadError>,
        file: &mut File,
    ) -> Option<()> {
        let shown = document.and_then(|document| self.chunks(&document, file));
        match shown {
            Ok(listening) => listening,
            Err(error) => {
                file.refused += 1;
                let error = anyhow::Error::from(error);
                self.say(self.view.refused(&format!("{error:#}")))
                    .then_some(())
            }
        }
    }

    fn chunks(&mut self, document: &Document, file: &mut File) -> Result<Option<()>, ReadError> {
        let meta = meta_of(document);
        contract::job::check_meta(&document.id, &meta).map_err(ReadError::Meta)?;
        if !self.seen.insert(identity(&document.id)) {
            return Err(ReadError::Repeated {
                origin: document.origin.clone(),
                id: document.id.clone(),
            });
        }
        if !self.say(self.view.document(document, &meta)) {
            return Ok(None);
        }
        let (mut weight, mut covered) = (Weight::of(document), 0);
        for chunk in self.chunker.chunks(document) {
            let chunk = chunk?;
            weight.add(&chunk);
            file.take(&chunk, &mut covered);
            if !self.say(self.view.chunk(document, &chunk)) {
                return Ok(None);
            }
        }
        file.documents += 1;
        let (read, text) = amounts(document)?;
        let ledger = weight.ledger(document);
        file.account
            .add(read, text, Some((&document.origin, &ledger)));
        Ok(self
            .say(self.view.ledger_of(document, &ledger))
            .then_some(()))
    }
}

impl File {
    fn take(&mut self, chunk: &Chunk, covered: &mut u64) {
        self.chunks += 1;
        self.units += chunk.token_ids.len() as u64;
        self.chunked_bytes += chunk.end - chunk.start.max(*covered).min(chunk.end);
        *covered = chunk.end.max(*covered);
    }
}

/// How much was read and how much is text, in characters as well where the text is in its file.
fn amounts(document: &Document) -> Result<(Amount, Amount), SourceError> {
    let mut text = document.text.amount();
    if let Content::File(_) = document.text {
        text = Amount::default();
        for block in document
            .text
            .blocks(documents::document::blocks::BLOCK_BYTES)?
        {
            text.add(Amount::of(&block?.text));
        }
    }
    let mut read = document.read;
    if document.places == Places::Lines && read.characters.is_none() {
        read.characters = text.characters;
    }
    Ok((read, text))
}
