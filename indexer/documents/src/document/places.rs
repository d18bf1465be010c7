//! Places: where the parts of a text are in the original, so that a person finds them there.

use std::ops::Range;

use contract::job;
use serde::{Deserialize, Serialize};

use super::{Block, Location};

/// Where the parts of a text are in the original.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Places {
    /// Nowhere that could be named beside the offset.
    #[default]
    Unknown,
    /// The text is the file's own: its lines are those of the file.
    Lines,
    /// The text was extracted. For each kind of location, where in the text the parts begin, in order; and they stand below
    /// the headings of the text.
    Marked([Vec<(u64, Location)>; KINDS]),
    /// The text is a file of source code with these definitions, in order.
    Code(Vec<Definition>),
}

/// A part of source code that begins at a place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Where it begins, comments and attributes before it included.
    pub start: u64,
    /// Names of what is around it and of itself.
    pub path: Vec<String>,
    /// Whether a definition begins here; else what is around it goes on.
    pub opens: bool,
}

const KINDS: usize = 6;
/// Longest path of headings in bytes.
const MAX_SECTION_BYTES: usize = 256;

impl Places {
    /// The places of an extracted text, by where the parts begin in it.
    pub fn marked(marks: Vec<(u64, Location)>) -> Self {
        let mut by_kind: [Vec<(u64, Location)>; KINDS] = Default::default();
        for mark in marks {
            by_kind[kind(&mark.1)].push(mark);
        }
        Self::Marked(by_kind)
    }

    /// The same places in the text without these ranges.
    pub fn without(mut self, ranges: &[Range<usize>]) -> Self {
        match &mut self {
            Self::Unknown | Self::Lines => {}
            Self::Marked(marks) => {
                let starts = marks.iter_mut();
                starts.for_each(|marks| shift(marks.iter_mut().map(|(at, _)| at), ranges));
            }
            Self::Code(definitions) => {
                shift(definitions.iter_mut().map(|it| &mut it.start), ranges);
            }
        }
        self
    }

    /// The definitions in a block, by where they are in it; first what the block goes on with.
    pub fn definitions_in(&self, block: &Block<'_>) -> Vec<Definition> {
        let Self::Code(all) = self else {
            return Vec::new();
        };
        let end = block.start + block.text.len() as u64;
        let first = all.partition_point(|it| it.start < block.start);
        let last = all.partition_point(|it| it.start < end);
        let before = first.checked_sub(1).map(|before| Definition {
            start: block.start,
            path: all[before].path.clone(),
            opens: false,
        });
        let definitions = before.into_iter().chain(all[first..last].iter().cloned());
        let moved = definitions.map(|it| Definition {
            start: it.start - block.start,
            ..it
        });
        moved.collect()
    }

    /// Whether lines have to be counted.
    pub fn are_lines(&self) -> bool {
        matches!(self, Self::Lines | Self::Code(_))
    }

    /// Whether headings say where a text is.
    pub fn are_below_headings(&self) -> bool {
        matches!(self, Self::Marked(_))
    }

    /// Where the text at `start` is, which is on `line` of the text and below these headings.
    pub fn locate(&self, start: u64, line: u64, headings: &[&str]) -> Option<job::Location> {
        let mut location = job::Location::default();
        match self {
            Self::Unknown => return None,
            Self::Lines => location.line = Some(line),
            Self::Code(definitions) => {
                location.line = Some(line);
                let next = definitions.partition_point(|it| it.start <= start);
                let last = next.checked_sub(1).map(|last| &definitions[last].path);
                let path: Vec<&str> = last.into_iter().flatten().map(String::as_str).collect();
                location.section = joined(&path);
            }
            Self::Marked(marks) => {
                let before = |marks: &[(u64, Location)]| {
                    let next = marks.partition_point(|(at, _)| *at <= start);
                    Some(marks[next.checked_sub(1)?].1.clone())
                };
                let last = marks.iter().filter_map(|marks| before(marks));
                last.for_each(|mark| set(&mut location, mark));
                let chapter = location.section.as_deref();
                let below = headings.iter().copied();
                let below = below.filter(|heading| Some(*heading) != chapter);
                let path: Vec<&str> = chapter.into_iter().chain(below).collect();
                location.section = joined(&path);
            }
        }
        Some(location).filter(|it| *it != job::Location::default())
    }
}

fn kind(location: &Location) -> usize {
    match location {
        Location::Page(_) => 0,
        Location::Slide(_) => 1,
        Location::Sheet(_) => 2,
        Location::Section(_) => 3,
        Location::Cell(_) => 4,
        Location::Line(_) => 5,
    }
}

fn set(location: &mut job::Location, mark: Location) {
    match mark {
        Location::Page(page) => location.page = Some(page),
        Location::Slide(slide) => location.slide = Some(slide),
        Location::Sheet(sheet) => location.sheet = Some(sheet),
        Location::Section(section) => location.section = Some(section),
        Location::Cell(cell) => location.cell = Some(cell),
        Location::Line(line) => location.line = Some(line),
    }
}

fn shift<'a>(starts: impl Iterator<Item = &'a mut u64>, ranges: &[Range<usize>]) {
    let (mut next, mut gone) = (ranges.iter().peekable(), 0);
    for at in starts {
        while let Some(range) = next.next_if(|range| range.end as u64 <= *at) {
            gone += range.len() as u64;
        }
        // A mark inside of what is left out is where that was.
        let inside = next
            .peek()
            .map_or(0, |range| at.saturating_sub(range.start as u64));
        *at -= gone + inside;
    }
}

fn joined(headings: &[&str]) -> Option<String> {
    let mut path = headings.join(" > ");
    path.truncate(path.floor_char_boundary(MAX_SECTION_BYTES));
    (!path.is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked() -> Places {
        Places::marked(vec![
            (0, Location::Page(1)),
            (10, Location::Section("One".to_owned())),
            (20, Location::Page(2)),
            (30, Location::Line(7)),
        ])
    }

    #[test]
    fn a_text_is_where_the_last_mark_of_each_kind_says() {
        let at = |start| marked().locate(start, 0, &[]).unwrap();
        assert_eq!(at(9).page, Some(1));
        assert_eq!(at(9).section, None);
        let later = at(35);
        assert_eq!((later.page, later.line), (Some(2), Some(7)));
        assert_eq!(later.section.as_deref(), Some("One"));
        let below = marked().locate(35, 0, &["A", "B"]).unwrap();
        assert_eq!(below.section.as_deref(), Some("One > A > B"));
        assert_eq!(Places::marked(Vec::new()).locate(3, 4, &[]), None);
        assert_eq!(Places::Unknown.locate(3, 4, &["A"]), None);
        assert_eq!(Places::Lines.locate(3, 4, &["A"]).unwrap().line, Some(4));
    }

    #[test]
    fn places_move_with_what_is_left_out_before_them() {
        let Places::Marked(marks) = marked().without(&[5..8, 12..22]) else {
            panic!("they are marked");
        };
        let mut places: Vec<u64> = marks.iter().flatten().map(|(at, _)| *at).collect();
        places.sort_unstable();
        assert_eq!(places, [0, 7, 9, 17]);
    }
}
