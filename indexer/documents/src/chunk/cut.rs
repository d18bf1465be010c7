//! Finds the best place to end a chunk inside a section.

use unicode_segmentation::UnicodeSegmentation;

use super::outline::{Kind, Outline, Section};
use super::sentence;
use super::words;

/// How good a place is, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Between two lines of one sentence.
    Line,
    /// Between two sentences, or lines of code.
    Sentence,
    /// Between two paragraphs, items, rows or pieces of code.
    Block,
}

/// A place where a section may be cut.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    pub at: usize,
    pub rank: Rank,
}

/// Longest stretch that is looked through for the end of a word or a character.
const LOOK_BACK_BYTES: usize = 128;

/// Longest stretch of prose that is searched for sentences at once: the rules look ahead without limit.
const PROSE_BYTES: usize = 4 << 10;

/// All places where `section` may be cut, in order. A heading stays with what follows it.
pub fn cuts(text: &str, outline: &Outline, section: Section) -> Vec<Cut> {
    let first = outline
        .pieces
        .partition_point(|piece| piece.start < section.start);
    let end = outline
        .pieces
        .partition_point(|piece| piece.start < section.end);
    let pieces = &outline.pieces[first..end];
    let (mut cuts, mut after_heading) = (Vec::new(), true);
    for (at, piece) in pieces.iter().enumerate() {
        if !after_heading {
            cuts.push(Cut {
                at: piece.start,
                rank: Rank::Block,
            });
        }
        let end = pieces.get(at + 1).map_or(section.end, |next| next.start);
        let end = piece.start + text[piece.start..end].trim_end().len();
        match piece.kind {
            Kind::Heading => {}
            Kind::Prose => sentences(text, piece.start, end, &mut cuts),
            Kind::Verbatim => lines(text, piece.start, end, &mut cuts),
        }
        after_heading = piece.kind == Kind::Heading;
    }
    cuts
}

fn lines(text: &str, start: usize, end: usize, cuts: &mut Vec<Cut>) {
    let mut at = start;
    for line in text[start..end].split_inclusive('\n') {
        at += line.len();
        if at < end {
            cuts.push(Cut {
                at,
                rank: Rank::Sentence,
            });
        }
    }
}

fn sentences(text: &str, start: usize, end: usize, cuts: &mut Vec<Cut>) {
    let mut from = start;
    while from < end {
        let to = prose_end(text, from, end);
        let mut start = from;
        sentence::ends(&text[from..to], |end| {
            let at = from + end;
            cuts.push(Cut {
                at,
                rank: rank_after(&text[start..at]),
            });
            start = at;
        });
        // Where the stretch ends in the middle of a sentence, there is no place to cut.
        let stretch = &text[from..to];
        if to < end && stretch.ends_with(char::is_whitespace) && closes(stretch) {
            cuts.push(Cut {
                at: to,
                rank: Rank::Sentence,
            });
        }
        from = to;
    }
}

fn prose_end(text: &str, from: usize, end: usize) -> usize {
    if end - from <= PROSE_BYTES {
        return end;
    }
    let longest = text.floor_char_boundary(from + PROSE_BYTES);
    let stretch = &text[from..longest];
    match stretch.rfind(char::is_whitespace) {
        Some(space) if space > 0 => text.ceil_char_boundary(from + space + 1),
        Some(_) | None => longest,
    }
}

/// By the rules of Unicode every line end also ends a sentence; in wrapped prose a sentence usually goes on behind it.
fn rank_after(sentence: &str) -> Rank {
    if sentence.ends_with('\n') && !closes(sentence) {
        Rank::Line
    } else {
        Rank::Sentence
    }
}

/// Whether `text` ends like a sentence.
fn closes(text: &str) -> bool {
    let end = text
        .trim_end()
        .trim_end_matches([')', ']', '"', '\'', '”', '’', '»', '」', '*', '_']);
    end.ends_with([
        '.', '!', '?', ':', ';', '…', '。', '！', '？', '；', '：', '｡', '．', '؟', '؛', '۔', '।',
        '॥', '։', '။', '។', '።',
    ])
}

/// The best place in `(floor, limit]` to end a chunk that starts at `start`. A better kind of place is taken only
/// where it leaves the chunk well filled.
pub fn best(text: &str, cuts: &[Cut], start: usize, floor: usize, limit: usize) -> usize {
    let last = cuts.partition_point(|cut| cut.at <= limit);
    let reach = limit - start;
    let least = |rank| match rank {
        Rank::Block => start + reach / 2,
        Rank::Sentence | Rank::Line => start + reach / 4,
    };
    let mut found: Option<Cut> = None;
    for cut in cuts[..last].iter().rev() {
        if cut.at <= floor || cut.at < start + reach / 4 {
            break;
        }
        let better = found.is_none_or(|found| cut.rank > found.rank);
        if better && cut.at >= least(cut.rank) {
            found = Some(*cut);
        }
    }
    found.map_or_else(|| inside(text, floor, limit), |cut| cut.at)
}

/// The best place in `(floor, limit]` without any structure: the end of a word, else of a character as readers see
/// it, else of a character as encoded.
pub fn inside(text: &str, floor: usize, limit: usize) -> usize {
    let limit = text.floor_char_boundary(limit);
    if limit <= floor {
        return text.ceil_char_boundary(floor + 1);
    }
    let quarter = text.floor_char_boundary(floor + (limit - floor) / 4);
    if let Some(space) = text[quarter..limit].rfind(char::is_whitespace) {
        let at = quarter + space;
        let after = text.ceil_char_boundary(at + 1);
        if text[floor..after].contains(|c: char| !c.is_whitespace()) {
            return after;
        }
    }
    if let Some(mark) = text[quarter..limit].rfind(words::is_clause_mark) {
        return text.ceil_char_boundary(quarter + mark + 1);
    }
    let from = text
        .floor_char_boundary(floor.max(limit.saturating_sub(LOOK_BACK_BYTES)))
        .max(floor);
    let to = text.floor_char_boundary(limit + LOOK_BACK_BYTES / 4);
    let window = &text[from..to];
    let bound = |at: usize| (1..=limit - from).contains(&at).then_some(from + at);
    let word = words::last_bound(window, |at| bound(at).is_some()).map(|at| from + at);
    let grapheme = || {
        window
            .grapheme_indices(true)
            .filter_map(|(at, _)| bound(at))
            .next_back()
    };
    word.or_else(grapheme).unwrap_or(limit)
}

/// Where the next chunk may start so that it repeats the end of this one: the first good place in `[from, end)`.
pub fn overlap(text: &str, cuts: &[Cut], from: usize, end: usize) -> usize {
    let first = cuts.partition_point(|cut| cut.at < from);
    let mut places = cuts[first..].iter().take_while(|cut| cut.at < end);
    let whole = places
        .clone()
        .find(|cut| cut.rank >= Rank::Sentence)
        .or_else(|| places.next());
    if let Some(cut) = whole {
        return cut.at;
    }
    let at_cut = cuts.binary_search_by_key(&end, |cut| cut.at).is_ok();
    let from = text.ceil_char_boundary(from);
    if at_cut || from >= end {
        return end;
    }
    // A sentence was cut in two: its last words are repeated.
    match text[from..end].find(char::is_whitespace) {
        Some(space) => from + space,
        None => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_then_characters_then_code_points() {
        assert_eq!(inside("hello world", 0, 8), 6);
        // A word of two characters, and where none fits, a character.
        assert_eq!(inside("漢字漢字漢字", 0, 10), 6);
        assert_eq!(inside("漢字漢字漢字", 0, 4), 3);
        // To a reader, the emoji of a family of four is one character.
        let family = "a👨‍👩‍👧‍👦";
        assert_eq!(inside(family, 0, family.len() - 2), 1);
        let accents = format!("e{}", "\u{301}".repeat(100));
        assert_eq!(inside(&accents, 0, 100), 99);
    }

    #[test]
    fn progress_is_made_whatever_the_limit() {
        for text in ["éé", "  é", "\u{301}\u{301}"] {
            assert!(inside(text, 0, 0) > 0);
            assert!(inside(text, 0, 1) > 0);
        }
    }

    #[test]
    fn wrapped_prose_is_not_cut_at_its_line_ends() {
        let text = "One sentence\nover two lines. Another one.\nThird.";
        let outline = Outline::of(
            text,
            crate::document::Markup::Plain,
            &[],
            &mut Default::default(),
        );
        let found = cuts(text, &outline, outline.sections[0]);
        let places: Vec<(usize, Rank)> = found.iter().map(|cut| (cut.at, cut.rank)).collect();
        assert_eq!(
            places,
            [(13, Rank::Line), (29, Rank::Sentence), (42, Rank::Sentence)]
        );
    }

    #[test]
    fn nothing_is_cut_off_a_heading() {
        let text = "# A\n## B\ntext one\n\ntext two\n";
        let outline = Outline::of(
            text,
            crate::document::Markup::Markdown,
            &[],
            &mut Default::default(),
        );
        let section = outline.sections[outline.section_at(0)];
        let found: Vec<usize> = cuts(text, &outline, section)
            .iter()
            .map(|cut| cut.at)
            .collect();
        assert_eq!(found, [19]);
    }
}
