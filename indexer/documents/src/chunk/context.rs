//! Writes the line that says where in its document a chunk stands.

use contract::tokenizer::{Pieces, Tokenizer, TokenizerError};

use super::Chunker;
use super::outline::Outline;
use crate::document::Document;

/// What is put in front of a chunk's text, and what it leaves of the limit.
#[derive(Debug, Clone, Default)]
pub struct Context {
    pub line: Option<String>,
    /// Tokens of prefix, context and special tokens.
    pub tokens: usize,
}

/// The contexts of the chunks of one block.
#[derive(Debug)]
pub struct Contexts<'a> {
    chunker: &'a Chunker,
    title: Option<&'a str>,
    text: &'a str,
    outline: &'a Outline,
    /// The one that was written last: neighbours mostly share it.
    last: Option<(Stand, Context)>,
}

/// Where a chunk stands among the headings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stand {
    /// The innermost heading that it is below, not counting those it starts with.
    below: Option<usize>,
    /// The heading that it starts with.
    opening: Option<usize>,
    /// The table among whose rows it starts.
    table: Option<usize>,
}

impl<'a> Contexts<'a> {
    /// The contexts of the chunks of `text`, whose structure is `outline`.
    pub fn new(
        chunker: &'a Chunker,
        document: &'a Document,
        text: &'a str,
        outline: &'a Outline,
    ) -> Self {
        Self {
            chunker,
            title: document.title.as_deref(),
            text,
            outline,
            last: None,
        }
    }

    /// The context of a chunk at `start` that stays within its section.
    pub fn at(&mut self, start: usize) -> Result<Context, TokenizerError> {
        self.of(self.stand(start))
    }

    /// The context line of a chunk from `start` to `end`: it names only the headings that all sections of the chunk
    /// stand below. `first` is the context at `start`.
    pub fn over(
        &mut self,
        first: &Context,
        start: usize,
        end: usize,
    ) -> Result<Option<String>, TokenizerError> {
        let stand = self.stand(start);
        let sections = self.outline.section_at(start) + 1..self.outline.section_at(end - 1) + 1;
        let mut below = stand.below;
        for section in &self.outline.sections[sections] {
            let parent = section
                .first
                .and_then(|first| self.outline.headings[first].parent);
            below = self.outline.common(below, parent);
        }
        if below == stand.below || first.line.is_none() {
            return Ok(first.line.clone());
        }
        Ok(self.of(Stand { below, ..stand })?.line)
    }

    /// All headings that the text at `start` is below, and those that it starts with.
    pub fn headings(&self, start: usize) -> Vec<&'a str> {
        let section = &self.outline.sections[self.outline.section_at(start)];
        self.outline.path(section.inner)
    }

    fn stand(&self, start: usize) -> Stand {
        let section = &self.outline.sections[self.outline.section_at(start)];
        let opens = self.text[section.start..start].trim().is_empty();
        let table = self.outline.table_at(start);
        match section.first.filter(|_| opens) {
            Some(first) => Stand {
                below: self.outline.headings[first].parent,
                opening: Some(first),
                table,
            },
            None => Stand {
                below: section.inner,
                opening: None,
                table,
            },
        }
    }

    fn of(&mut self, stand: Stand) -> Result<Context, TokenizerError> {
        if let Some((_, context)) = self.last.as_ref().filter(|(known, _)| *known == stand) {
            return Ok(context.clone());
        }
        let context = self.write(stand)?;
        self.last = Some((stand, context.clone()));
        Ok(context)
    }

    fn write(&self, stand: Stand) -> Result<Context, TokenizerError> {
        let Chunker {
            tokenizer,
            options,
            fixed_tokens,
            ..
        } = self.chunker;
        let none = Context {
            line: None,
            tokens: *fixed_tokens,
        };
        if !options.context {
            return Ok(none);
        }
        let mut parts = self.outline.path(stand.below);
        let opening = stand
            .opening
            .map(|at| self.outline.headings[at].title.as_str());
        // The title of most Markdown is its first heading: the context names it once.
        let said = [parts.first().copied(), opening];
        parts.splice(
            0..0,
            self.title.filter(|title| !said.contains(&Some(title))),
        );
        // Rows mean little without the header of their table.
        parts.extend(
            stand
                .table
                .map(|at| self.outline.tables[at].header.as_str()),
        );
        let Some(line) = line(&parts, most_tokens(self.chunker.target()), tokenizer)? else {
            return Ok(none);
        };
        let mut input = String::new();
        contract::job::Chunk::write_model_input(&mut input, &options.prefix, Some(&line), "");
        let tokens = tokenizer.encode(&input)?.len();
        Ok(Context {
            line: Some(line),
            tokens,
        })
    }
}

/// Most tokens of a context of chunks of `target`. The text gets the rest, because people search for the text.
pub fn most_tokens(target: usize) -> usize {
    target / 4
}

/// One line of at most `most` tokens out of a title and headings; `None` where nothing is left.
fn line(
    parts: &[&str],
    most: usize,
    tokenizer: &Tokenizer,
) -> Result<Option<String>, TokenizerError> {
    let mut line = joined(parts, most);
    let mut keep = most;
    loop {
        if line.is_empty() {
            return Ok(None);
        }
        let mut tokens = Pieces::default();
        tokenizer.add_pieces(&line, 0, &mut tokens)?;
        if tokens.ids.len() <= most {
            return Ok(Some(line));
        }
        let end = tokens
            .starts
            .get(keep)
            .map_or(0, |&start| line.floor_char_boundary(start));
        let end = line[..end].rfind(char::is_whitespace).unwrap_or(end);
        line.truncate(end);
        line.truncate(line.trim_end_matches([' ', '>']).len());
        // The shortened line may have more tokens than were kept of the longer one; then less and less is kept.
        keep /= 2;
    }
}

fn joined(parts: &[&str], most: usize) -> String {
    let longest = most * super::MAX_BYTES_PER_TOKEN;
    let mut line = String::new();
    for part in parts {
        for (at, word) in part.split_whitespace().enumerate() {
            if !line.is_empty() {
                line.push_str(if at == 0 { " > " } else { " " });
            }
            line.push_str(word);
            if line.len() > longest {
                line.truncate(line.floor_char_boundary(longest));
                return line;
            }
        }
    }
    line
}
