//! Packs a block into chunks: as much as fits, ended at the best place, then checked in exact tokens.

use contract::job::Location;
use contract::tokenizer::TokenizerError;

use super::context::Contexts;
use super::cut::{self, Cut};
use super::measure::{Measure, Span, assemble};
use super::outline::{Outline, lines_of};
use super::{ChunkError, Chunker};
use crate::document::{Block, Document};

/// A chunk that does not know its number yet. Offsets are within the document.
#[derive(Debug)]
pub struct Draft {
    pub text: String,
    pub start: u64,
    pub end: u64,
    pub location: Option<Location>,
    pub context: Option<String>,
    pub token_ids: Vec<u32>,
}

pub struct Packer<'a> {
    chunker: &'a Chunker,
    document: &'a Document,
    block: &'a Block<'a>,
    text: &'a str,
    outline: &'a Outline,
    measure: Measure,
    /// The cuts of the section that was cut last: all chunks of a section come one after another.
    cuts: (usize, Vec<Cut>),
    contexts: Contexts<'a>,
    /// A place in the block, and the line of the text that it is on.
    line: (usize, u64),
    /// The text that is being tokenized; it is kept so that its memory is used again.
    input: String,
}

/// Where a chunk is to start, and the place that it has to get beyond.
#[derive(Debug, Clone, Copy)]
struct Start {
    start: usize,
    /// The text before this place is in a chunk already. Where chunks overlap, `start` is smaller.
    floor: usize,
}

/// Texts of up to this many bytes per token of the limit are tried as one chunk before they are measured.
const LIKELY_BYTES_PER_TOKEN: usize = 5;

/// The chunks of a block, in order.
pub fn pack(
    chunker: &Chunker,
    document: &Document,
    block: &Block<'_>,
    outline: &Outline,
) -> Result<Vec<Draft>, ChunkError> {
    let mut packer = Packer {
        chunker,
        document,
        block,
        text: &block.text,
        outline,
        measure: Measure::none(),
        cuts: (usize::MAX, Vec::new()),
        contexts: Contexts::new(chunker, document, &block.text, outline),
        line: (0, outline.first_line),
        input: String::new(),
    };
    if let Some(draft) = packer.whole()? {
        return Ok(vec![draft]);
    }
    let measure = Measure::of(&block.text, &chunker.tokenizer);
    packer.measure = measure.map_err(|source| packer.fault(source))?;
    packer.all()
}

impl Packer<'_> {
    /// A short text without sections is one chunk more often than not.
    fn whole(&mut self) -> Result<Option<Draft>, ChunkError> {
        let likely = self.chunker.target().saturating_mul(LIKELY_BYTES_PER_TOKEN);
        let sections = self
            .outline
            .sections
            .iter()
            .filter(|s| s.start < s.end)
            .count();
        let start = self.skip_space(0);
        if self.text.len() > likely || sections > 1 || start >= self.text.len() {
            return Ok(None);
        }
        let context = self
            .contexts
            .at(start)
            .map_err(|source| self.fault(source))?;
        let token_ids = self.encode(context.line.as_deref(), start, self.text.len())?;
        let fits = token_ids.len() <= self.chunker.target();
        Ok(fits.then(|| self.draft(context.line, start, self.text.len(), token_ids)))
    }

    fn all(&mut self) -> Result<Vec<Draft>, ChunkError> {
        let mut drafts = Vec::new();
        let mut place = Start { start: 0, floor: 0 };
        loop {
            place.start = self.skip_space(place.start);
            // The text from here on is in no chunk yet.
            place.floor = self.skip_space(place.floor.max(place.start));
            if place.floor >= self.text.len() {
                return Ok(drafts);
            }
            let (draft, end) = self.next(place)?;
            let start = usize::try_from(draft.start - self.block.start).unwrap_or(place.start);
            drafts.push(draft);
            place = Start {
                start: self.overlap(start, end),
                floor: end,
            };
        }
    }

    /// The chunk at `place`, and where it ends before white space is taken off.
    fn next(&mut self, place: Start) -> Result<(Draft, usize), ChunkError> {
        let mut context = self
            .contexts
            .at(place.start)
            .map_err(|source| self.fault(source))?;
        let room = self.chunker.target().saturating_sub(context.tokens).max(1);
        let mut limit = self.reach(place.start, room);
        let mut excess = 0_usize;
        loop {
            if limit <= place.floor && place.floor > place.start {
                // The text that was to be repeated leaves no room for text that is in no chunk yet.
                return self.next(Start {
                    start: place.floor,
                    ..place
                });
            }
            let end = self.end(place, limit);
            let line = self.contexts.over(&context, place.start, end);
            let line = line.map_err(|source| self.fault(source))?;
            let token_ids = self.encode(line.as_deref(), place.start, end)?;
            let over = token_ids.len().saturating_sub(self.chunker.target());
            if over == 0 {
                return Ok((self.draft(line, place.start, end, token_ids), end));
            }
            if self.is_one_character(place, end) {
                if context.line.take().is_none() {
                    return Err(self.too_large(place.start, token_ids.len()));
                }
                continue;
            }
            excess = over.max(excess * 2);
            limit = self.shorter(place.start, end, excess);
        }
    }

    /// Where a chunk at `place` ends that must not go beyond `limit`: at the end of a section with all small ones
    /// after it that fit, else at the best place inside the section.
    fn end(&mut self, place: Start, limit: usize) -> usize {
        let mut at = self.outline.section_at(place.start);
        let section = self.outline.sections[at];
        if section.end > limit {
            let text = self.text;
            return cut::best(text, self.cuts_of(at), place.start, place.floor, limit);
        }
        // Two large sections do not share a chunk: they are likely to be about different things.
        let mut large = self.is_large(at);
        while let Some(next) = self.outline.sections.get(at + 1) {
            let next_large = self.is_large(at + 1);
            if next.end > limit || (large && next_large) {
                break;
            }
            large |= next_large;
            at += 1;
        }
        self.outline.sections[at].end
    }

    fn is_large(&self, section: usize) -> bool {
        let section = &self.outline.sections[section];
        let room = self.chunker.target() - self.chunker.fixed_tokens;
        self.measure.count(section.start, section.end) > room / 4
    }

    fn reach(&self, start: usize, tokens: usize) -> usize {
        let bytes = self
            .text
            .floor_char_boundary(start.saturating_add(self.chunker.max_bytes()));
        self.measure.reach(start, tokens).min(bytes)
    }

    /// A place before `end` that leaves about `excess` tokens out.
    fn shorter(&self, start: usize, end: usize, excess: usize) -> usize {
        let tokens = self.measure.count(start, end);
        let by_tokens = tokens.checked_sub(excess).filter(|&tokens| tokens > 0);
        let halfway = start + (end - start) / 2;
        let place = by_tokens.map_or(halfway, |tokens| self.measure.reach(start, tokens));
        place.clamp(start, end - 1)
    }

    /// Where the next chunk starts, if the last one is from `start` to `end`.
    fn overlap(&mut self, start: usize, end: usize) -> usize {
        let tokens = self.chunker.options.overlap_tokens;
        let section = self.outline.section_at(start);
        if tokens == 0 || end >= self.outline.sections[section].end {
            return end;
        }
        let back = self.measure.reach_back(end, tokens);
        let from = back
            .max(end.saturating_sub(self.chunker.max_bytes() / 4))
            .max(start + 1);
        let text = self.text;
        cut::overlap(text, self.cuts_of(section), from, end)
    }

    fn cuts_of(&mut self, section: usize) -> &[Cut] {
        if self.cuts.0 != section {
            let found = cut::cuts(self.text, self.outline, self.outline.sections[section]);
            self.cuts = (section, found);
        }
        &self.cuts.1
    }

    fn skip_space(&self, at: usize) -> usize {
        let rest = &self.text[at..];
        at + rest.len() - rest.trim_start().len()
    }

    fn is_one_character(&self, place: Start, end: usize) -> bool {
        place.start == place.floor && end == self.text.ceil_char_boundary(place.start + 1)
    }

    /// The tokens of a chunk as the model will see it.
    fn encode(
        &mut self,
        context: Option<&str>,
        start: usize,
        end: usize,
    ) -> Result<Vec<u32>, ChunkError> {
        let text = self.text[start..end].trim_end();
        contract::job::Chunk::write_model_input(
            &mut self.input,
            &self.chunker.options.prefix,
            context,
            text,
        );
        let span = Span {
            head: &self.input[..self.input.len() - text.len()],
            start,
            end: start + text.len(),
        };
        let tokenizer = &self.chunker.tokenizer;
        let head = &mut self.contexts.head;
        let ids = match assemble(tokenizer, self.text, &self.measure, span, head) {
            Ok(Some(ids)) => Ok(ids),
            Ok(None) => tokenizer.encode(&self.input),
            Err(error) => Err(error),
        };
        ids.map_err(|source| self.fault(source))
    }

    /// Where the text at `start` is in the original.
    fn location(&mut self, start: usize) -> Option<Location> {
        let places = &self.document.places;
        if places.are_lines() {
            let (from, line) = self.line;
            let passed = self.text.as_bytes().get(from..start).unwrap_or_default();
            self.line = (start, line + lines_of(passed));
        }
        let headings = if places.are_below_headings() {
            self.contexts.headings(start)
        } else {
            Vec::new()
        };
        places.locate(self.block.start + start as u64, self.line.1, &headings)
    }

    fn draft(
        &mut self,
        context: Option<String>,
        start: usize,
        end: usize,
        token_ids: Vec<u32>,
    ) -> Draft {
        let text = self.text[start..end].trim_end().to_owned();
        let location = self.location(start);
        let start = self.block.start + start as u64;
        Draft {
            location,
            start,
            end: start + text.len() as u64,
            text,
            context,
            token_ids,
        }
    }

    fn fault(&self, source: TokenizerError) -> ChunkError {
        ChunkError::Tokenizer {
            origin: self.document.origin.clone(),
            source,
        }
    }

    fn too_large(&self, at: usize, tokens: usize) -> ChunkError {
        ChunkError::Character {
            origin: self.document.origin.clone(),
            offset: self.block.start + at as u64,
            tokens,
            limit: self.chunker.target(),
        }
    }
}
