//! Writes the line that says where in its document a chunk stands.

use contract::tokenizer::{Tokenizer, TokenizerError};

use super::Chunker;
use super::measure::{Head, tokens};
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
    last: Option<(HeadingPosition, Context)>,
    /// What the model sees of it.
    pub head: Head,
}

/// The position of a chunk among the headings of its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HeadingPosition {
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
            head: Head::default(),
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
        Ok(self.of(HeadingPosition { below, ..stand })?.line)
    }

    /// All headings that the text at `start` is below, and those that it starts with.
    pub fn headings(&self, start: usize) -> Vec<&'a str> {
        let section = &self.outline.sections[self.outline.section_at(start)];
        self.outline.path(section.inner)
    }

    fn stand(&self, start: usize) -> HeadingPosition {
        let section = &self.outline.sections[self.outline.section_at(start)];
        let opens = self.text[section.start..start].trim().is_empty();
        let table = self.outline.table_at(start);
        match section.first.filter(|_| opens) {
            Some(first) => HeadingPosition {
                below: self.outline.headings[first].parent,
                opening: Some(first),
                table,
            },
            None => HeadingPosition {
                below: section.inner,
                opening: None,
                table,
            },
        }
    }

    fn of(&mut self, stand: HeadingPosition) -> Result<Context, TokenizerError> {
        if let Some((_, context)) = self.last.as_ref().filter(|(known, _)| *known == stand) {
            return Ok(context.clone());
        }
        let context = self.write(stand)?;
        self.last = Some((stand, context.clone()));
        Ok(context)
    }

    fn write(&mut self, stand: HeadingPosition) -> Result<Context, TokenizerError> {
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
        let most = most_tokens(self.chunker.target());
        let line = joined(&self.parts(stand), most);
        if line.is_empty() {
            return Ok(none);
        }
        if let Some((tokens, head)) = whole(self.chunker, &line, most)? {
            self.head = head;
            let line = Some(line);
            return Ok(Context { line, tokens });
        }
        let Some(line) = shortened(line, most, tokenizer)? else {
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

    /// What a context is made of: the title, the headings, and the header of a table.
    fn parts(&self, stand: HeadingPosition) -> Vec<&'a str> {
        let outline = self.outline;
        let mut parts = outline.path(stand.below);
        let opening = stand.opening.map(|at| outline.headings[at].title.as_str());
        // The title of most Markdown is its first heading: the context names it once.
        let said = [parts.first().copied(), opening];
        parts.splice(
            0..0,
            self.title.filter(|title| !said.contains(&Some(title))),
        );
        // Rows mean little without the header of their table.
        parts.extend(stand.table.map(|at| outline.tables[at].header.as_str()));
        parts
    }
}

/// The tokens of what a line puts in front of a chunk, and their number with special tokens, if the line has at most `most`
/// and this can be known without looking at it alone.
fn whole(
    chunker: &Chunker,
    line: &str,
    most: usize,
) -> Result<Option<(usize, Head)>, TokenizerError> {
    let (tokenizer, prefix) = (&chunker.tokenizer, chunker.options.prefix.as_str());
    let mut input = String::new();
    contract::job::Chunk::write_model_input(&mut input, prefix, Some(line), "");
    let (start, end) = (prefix.len(), prefix.len() + line.len());
    if !tokenizer.is_seam(&input, start) || !tokenizer.is_seam(&input, end) {
        return Ok(None);
    }
    let pieces = tokens(tokenizer, &input)?;
    let before = |at: usize| pieces.starts.partition_point(|&start| start < at);
    let framed = tokenizer.framed([pieces.ids.as_slice()]);
    let Some(all) = framed.filter(|_| before(end) - before(start) <= most) else {
        return Ok(None);
    };
    Ok(Some((all.len(), Head::new(input, pieces.ids))))
}

/// Most tokens of a context of chunks of `target`. The text gets the rest, because people search for the text.
pub fn most_tokens(target: usize) -> usize {
    target / 4
}

/// The start of a line that has at most `most` tokens; `None` where nothing is left.
fn shortened(
    mut line: String,
    most: usize,
    tokenizer: &Tokenizer,
) -> Result<Option<String>, TokenizerError> {
    let mut keep = most;
    loop {
        if line.is_empty() {
            return Ok(None);
        }
        let tokens = tokens(tokenizer, &line)?;
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

/// A title and headings on one line, cut where no model would read on.
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
