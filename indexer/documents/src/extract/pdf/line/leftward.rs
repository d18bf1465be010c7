//! Lines that run to the left, in all or in part: brings what stands beside each other into the order of reading.
//!
//! Of the rules of Unicode for text of both directions (UAX 9) this is the way back, from places to order, as far as a line
//! and the direction of its page tell it. What was drawn letter by letter beside each other stays a word, even where another
//! one is drawn over it.

use std::collections::HashMap;
use std::ops::Range;

use unicode_normalization::char::is_combining_mark;

use super::{Line, Placed, runs_left, space, write};

mod word;

use word::Word;

/// A line with so many letters that run to the left, for one that runs to the right, is of their direction on any page.
const CLEARLY: u64 = 3;

/// Signs that stand beside a number as its unit.
const UNITS: [&str; 8] = [
    "%", "\u{2030}", "$", "\u{20ac}", "\u{a3}", "\u{a5}", "\u{b0}", "#",
];

impl Line {
    /// The text of a line that runs to the left, in all or in part, on a page that does as a whole or does not.
    pub fn read_leftward(&self, is_page_leftward: bool) -> String {
        let mut pieces = self.pieces();
        let is_leftward =
            is_page_leftward || self.directions.left >= CLEARLY * self.directions.right;
        self.join_numbers(&mut pieces);
        let mut order: Vec<(usize, bool)> = (0..pieces.len()).map(|at| (at, false)).collect();
        if is_leftward {
            turn(&mut order);
            let rightward = |direction| matches!(direction, Direction::Right | Direction::Number);
            for part in parts(&pieces, rightward, |direction| direction != Direction::Left) {
                turn_again(&mut order, &pieces, part);
            }
        } else {
            for part in parts(
                &pieces,
                |direction| direction == Direction::Left,
                |direction| direction != Direction::Right,
            ) {
                turn(&mut order[part.clone()]);
                for number in parts(
                    &pieces[part.clone()],
                    |direction| direction == Direction::Number,
                    |_| false,
                ) {
                    let end = part.end;
                    turn(&mut order[end - number.end..end - number.start]);
                }
            }
        }
        self.written(&pieces, &order)
    }

    fn written(&self, pieces: &[Piece], order: &[(usize, bool)]) -> String {
        let turned = |mirrors: bool| {
            let mut text = String::with_capacity(self.text.len() + 16);
            for &(at, is_turned) in order {
                let piece = &pieces[at];
                if piece.letters.is_empty() {
                    space(&mut text);
                }
                for &letter in &piece.letters {
                    let letters = self.of(&self.letters[letter]);
                    match mirrored(letters).filter(|_| mirrors && is_turned) {
                        Some(bracket) => text.push(bracket),
                        None => write(&mut text, letters),
                    }
                }
            }
            text
        };
        // Some writers say of a bracket what it looks like there, and some what it means.
        let (plain, mirrored) = (turned(false), turned(true));
        if unpaired(&mirrored) < unpaired(&plain) {
            mirrored
        } else {
            plain
        }
    }

    /// What stands beside each other, from left to right: letters with the marks above and below them, and gaps.
    fn pieces(&self) -> Vec<Piece> {
        let is_mark = |letter: &Placed| {
            let text = self.of(letter);
            !text.is_empty() && text.chars().all(is_combining_mark)
        };
        let letters = 0..self.letters.len();
        let order: Vec<usize> = letters
            .filter(|&at| !self.letters[at].text.is_empty())
            .collect();
        let (marks, bases): (Vec<usize>, Vec<usize>) = order
            .into_iter()
            .partition(|&at| is_mark(&self.letters[at]));
        // Where there is nothing to stand above, marks are what is there.
        let (marks, bases) = match bases.is_empty() {
            true => (bases, marks),
            false => (marks, bases),
        };
        let bases = self.side_by_side(&bases);
        let mut marked = self.marked(&bases, &marks);
        let gaps = self.gaps(&bases);
        let placed = bases.iter().map(|&base| &self.letters[base]);
        let word_gap = self.word_gap(placed.zip(gaps.iter().copied()));
        let mut pieces = Vec::with_capacity(bases.len() * 2);
        for (&base, gap) in bases.iter().zip(gaps) {
            if gap > word_gap {
                pieces.push(Piece::gap());
            }
            let mut letters = vec![base];
            letters.extend(marked.remove(&base).unwrap_or_default());
            let direction = Direction::of(self.of(&self.letters[base]));
            pieces.push(Piece { letters, direction });
        }
        pieces
    }

    /// Letters from left to right, those of a word together.
    fn side_by_side(&self, drawn: &[usize]) -> Vec<usize> {
        let mut words: Vec<Word> = Vec::new();
        for &at in drawn {
            let letter = &self.letters[at];
            let is_part =
                !self.is_space(letter) && words.last_mut().is_some_and(|word| word.takes(self, at));
            if !is_part {
                words.push(Word::of(self, at));
            }
        }
        let middle = |word: &Word| f64::midpoint(word.start, word.end);
        words.sort_by(|a, b| middle(a).total_cmp(&middle(b)));
        words.into_iter().flat_map(Word::side_by_side).collect()
    }

    /// The marks of letters: each belongs to the letter that was drawn before it, if it stands there, else to the nearest one.
    fn marked(&self, bases: &[usize], marks: &[usize]) -> HashMap<usize, Vec<usize>> {
        let middle = |at: usize| self.letters[at].middle();
        let mut places = bases.to_vec();
        places.sort_by(|&a, &b| middle(a).total_cmp(&middle(b)));
        let mut marked: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut drawn = bases.to_vec();
        drawn.sort_unstable();
        for &mark in marks {
            let before = drawn.partition_point(|&base| base < mark).checked_sub(1);
            let own = before.map(|before| drawn[before]).filter(|&base| {
                let letter = &self.letters[base];
                (letter.start..=letter.end).contains(&middle(mark))
            });
            let next = places.partition_point(|&base| middle(base) < middle(mark));
            let beside = places[next.saturating_sub(1)..].iter().take(2).copied();
            let distance = |base: usize| (middle(base) - middle(mark)).abs();
            let nearest = || beside.min_by(|&a, &b| distance(a).total_cmp(&distance(b)));
            if let Some(base) = own.or_else(nearest) {
                marked.entry(base).or_default().push(mark);
            }
        }
        marked
    }

    /// The gaps before letters that stand beside each other, in parts of their size.
    fn gaps(&self, bases: &[usize]) -> Vec<f64> {
        let mut end: Option<f64> = None;
        let gaps = bases.iter().map(|&base| {
            let letter = &self.letters[base];
            let gap = end.map_or(0.0, |end| (letter.start - end) / letter.size);
            end = Some(end.map_or(letter.end, |end| end.max(letter.end)));
            gap
        });
        gaps.collect()
    }
}

/// A letter with its marks; a gap where there is none.
struct Piece {
    letters: Vec<usize>,
    direction: Direction,
}

impl Piece {
    fn gap() -> Self {
        Self {
            letters: Vec::new(),
            direction: Direction::Neutral,
        }
    }
}

/// The direction in which a letter is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Left,
    Right,
    /// To the right, in a text that runs to the left.
    Number,
    Neutral,
}

impl Direction {
    fn of(text: &str) -> Self {
        let Some(letter) = text.chars().find(|letter| letter.is_alphanumeric()) else {
            return Self::Neutral;
        };
        if letter.is_numeric() {
            Self::Number
        } else if runs_left(letter) {
            Self::Left
        } else {
            Self::Right
        }
    }
}

impl Line {
    /// What each piece is: a sign between two digits is part of their number, and so is the sign of its unit beside it.
    fn join_numbers(&self, pieces: &mut [Piece]) {
        let is_number =
            |piece: Option<&Piece>| piece.is_some_and(|piece| piece.direction == Direction::Number);
        for at in 0..pieces.len() {
            let (before, after) = (at.checked_sub(1), at + 1);
            let before = is_number(before.and_then(|before| pieces.get(before)));
            let after = is_number(pieces.get(after));
            let sign = pieces[at].letters.first();
            let sign = sign.map_or("", |&letter| self.of(&self.letters[letter]));
            let is_unit = UNITS.contains(&sign) && (before || after);
            let is_part = !sign.trim().is_empty() && before && after;
            if pieces[at].direction == Direction::Neutral && (is_unit || is_part) {
                pieces[at].direction = Direction::Number;
            }
        }
    }
}

/// The longest parts that begin and end with one of `ends`, and hold only what goes on.
fn parts(
    pieces: &[Piece],
    ends: impl Fn(Direction) -> bool,
    goes_on: impl Fn(Direction) -> bool,
) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut is_open = false;
    for (at, piece) in pieces.iter().enumerate() {
        if ends(piece.direction) {
            match found.last_mut().filter(|_| is_open) {
                Some(part) => part.end = at + 1,
                None => found.push(at..at + 1),
            }
            is_open = true;
        } else {
            is_open &= goes_on(piece.direction);
        }
    }
    found
}

/// Turns what runs to the right in a line that was turned as a whole: words with what is between them, but of numbers that
/// stand alone each by itself.
fn turn_again(order: &mut [(usize, bool)], pieces: &[Piece], part: Range<usize>) {
    let has_words = pieces[part.clone()]
        .iter()
        .any(|piece| piece.direction == Direction::Right);
    if has_words {
        let places = pieces.len() - part.end..pieces.len() - part.start;
        return turn(&mut order[places]);
    }
    for number in parts(
        &pieces[part.clone()],
        |direction| direction == Direction::Number,
        |_| false,
    ) {
        let (start, end) = (part.start + number.start, part.start + number.end);
        turn(&mut order[pieces.len() - end..pieces.len() - start]);
    }
}

/// Turns a part around; what is turned twice is as it was.
fn turn(order: &mut [(usize, bool)]) {
    order.reverse();
    for (_, is_turned) in order {
        *is_turned = !*is_turned;
    }
}

fn mirrored(text: &str) -> Option<char> {
    Some(match text {
        "(" => ')',
        ")" => '(',
        "[" => ']',
        "]" => '[',
        "{" => '}',
        "}" => '{',
        "<" => '>',
        ">" => '<',
        "\u{ab}" => '\u{bb}',
        "\u{bb}" => '\u{ab}',
        _ => return None,
    })
}

/// Brackets that close before they open, or never.
fn unpaired(text: &str) -> usize {
    let (mut open, mut wrong) = (0_usize, 0_usize);
    for letter in text.chars() {
        match letter {
            '(' | '[' | '{' | '<' | '\u{ab}' => open += 1,
            ')' | ']' | '}' | '>' | '\u{bb}' if open == 0 => wrong += 1,
            ')' | ']' | '}' | '>' | '\u{bb}' => open -= 1,
            _ => {}
        }
    }
    wrong + open
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of letters that are ten wide, at the places where they start.
    fn read(letters: &[(&str, f64)]) -> String {
        let (mut line, mut end) = (Line::default(), None);
        for &(letter, start) in letters {
            let gap = end.map_or(0.0, |end| (start - end) / 10.0);
            let width = if letter.contains(is_combining_mark) {
                0.0
            } else {
                10.0
            };
            line.place(letter, (start, start + width), gap, 10.0);
            end = Some(start + width);
        }
        line.read_leftward(false)
    }

    #[test]
    fn marks_stay_with_their_letters() {
        let (alef, bet, point) = ("\u{5d0}", "\u{5d1}", "\u{5b7}");
        for letters in [
            [(bet, 0.0), (point, 5.0), (alef, 10.0)],
            [(alef, 10.0), (bet, 0.0), (point, 5.0)],
            [(point, 5.0), (bet, 0.0), (alef, 10.0)],
        ] {
            assert_eq!(read(&letters), "\u{5d0}\u{5d1}\u{5b7}");
        }
    }

    #[test]
    fn numbers_that_stand_alone_keep_their_order() {
        let (alef, bet) = ("\u{5d0}", "\u{5d1}");
        let drawn = [
            ("3", 0.0),
            ("4", 10.0),
            (" ", 20.0),
            ("1", 30.0),
            (".", 40.0),
            ("2", 50.0),
            (" ", 60.0),
            (bet, 70.0),
            (alef, 80.0),
        ];
        assert_eq!(read(&drawn), "\u{5d0}\u{5d1} 1.2 34");
    }

    #[test]
    fn letters_without_a_width_stay_in_the_order_in_which_they_are_drawn() {
        let mut line = Line::default();
        for letter in ["\u{5d0}", "\u{5d1}", "\u{5b7}", "\u{5d2}", " ", "a", "b"] {
            let end = if letter == "\u{5d0}" { 10.0 } else { 0.0 };
            line.place(letter, (10.0 - end, 10.0), 0.0, 10.0);
        }
        assert_eq!(line.read_leftward(false), "\u{5d0}\u{5d1}\u{5b7}\u{5d2} ab");
    }

    #[test]
    fn a_glyph_that_says_words_of_both_directions_stands_for_each() {
        let mut line = Line::default();
        line.place_glyph("\u{5d0}\u{5b7}\u{5d1} h", (0.0, 10.0), 0.0, 10.0);
        line.place_glyph("a", (10.0, 20.0), 0.0, 10.0);
        line.place_glyph(" ", (20.0, 30.0), 0.0, 10.0);
        line.place_glyph("\u{5d2}\u{5d3}", (30.0, 40.0), 0.0, 10.0);
        let words = "\u{5d2}\u{5d3} ha \u{5d0}\u{5b7}\u{5d1}";
        assert_eq!(line.read_leftward(true), words);
    }

    #[test]
    fn a_line_of_any_length_is_read() {
        let letters: Vec<(&str, f64)> = (0..100_000)
            .map(|at| (["\u{5d0}", "\u{5b7}"][at % 2], 10.0))
            .collect();
        assert_eq!(read(&letters).chars().count(), letters.len());
        assert_eq!(read(&[]), "");
    }
}
