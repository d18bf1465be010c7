//! A line: letters at places, put together to words in the order in which people read them.
//!
//! Where a word ends is judged by the gaps of the whole line: some lines are set tightly, some are set with space between all
//! letters, and some fonts say wrong widths. Lines with letters that run to the left are drawn in any order: what counts there
//! is where each word stands, see [`leftward`].

use std::ops::Range;

use unicode_normalization::char::is_combining_mark;

mod leftward;

/// Gaps between letters, in parts of their size. A word ends behind the usual one in a line of which nothing else is known.
const USUAL_GAP: f64 = 0.15;
/// The same in a line that has its spaces.
const SPACED_GAP: f64 = 0.18;
/// The least gap between words, in a line without spaces whose words it makes long enough, and whose letters stand clearly
/// closer than that.
const TIGHT_GAP: f64 = 0.13;
const CLOSE_GAP: f64 = 0.06;
/// How much wider the gap between words is than the gap between letters that are set apart.
const WIDER: f64 = 0.15;
/// A gap that no setting of letters makes: the next column begins.
const COLUMN_GAP: f64 = 1.0;
/// A step back of more than this begins another piece of text.
const STEP_BACK: f64 = -1.0;
/// Letters of a word at least, in the mean of a line, for gaps to be those between words.
const LEAST_WORD: f64 = 2.5;
/// Letters of a word at most, in the mean of a line, if the line has its spaces.
const LONGEST_WORD: usize = 12;
/// Fewer letters tell nothing about how a line is set.
const LEAST_LETTERS: usize = 8;
/// The part of the letters behind which gaps are wide, from which on it is the setting of the line that makes them so: in one
/// that has its spaces, and in one that has not.
const SET_APART: f64 = 0.3;
const ALL_APART: f64 = 0.75;

/// A line that is being read.
#[derive(Debug, Default)]
pub struct Line {
    text: String,
    letters: Vec<Placed>,
    /// Of its letters.
    pub directions: DirectionCounts,
}

/// How many letters run to the left, and how many to the right.
#[derive(Clone, Copy, Debug, Default)]
pub struct DirectionCounts {
    pub left: u64,
    pub right: u64,
}

impl DirectionCounts {
    pub fn add(&mut self, other: Self) {
        self.left += other.left;
        self.right += other.right;
    }

    /// Whether a text of such letters runs to the left as a whole.
    pub fn are_leftward(self) -> bool {
        self.left > 0 && self.left >= self.right
    }
}

/// What one glyph says, which may be several letters or none, and where it stands along the line.
#[derive(Clone, Debug)]
struct Placed {
    text: Range<usize>,
    start: f64,
    end: f64,
    /// The distance from the end of the glyph before, in parts of the size of letters.
    gap: f64,
    size: f64,
}

impl Placed {
    fn middle(&self) -> f64 {
        f64::midpoint(self.start, self.end)
    }
}

impl Line {
    /// Adds letters that stand between two places.
    pub fn place(&mut self, letters: &str, places: (f64, f64), gap: f64, size: f64) {
        let start = self.text.len();
        self.text.extend(letters.chars().filter(|letter| {
            // Tabs and the like are spaces.
            letter.is_whitespace() || !letter.is_control()
        }));
        for letter in letters.chars().filter(|letter| letter.is_alphabetic()) {
            if runs_left(letter) {
                self.directions.left += 1;
            } else {
                self.directions.right += 1;
            }
        }
        self.letters.push(Placed {
            text: start..self.text.len(),
            start: places.0.min(places.1),
            end: places.0.max(places.1),
            gap,
            size,
        });
    }

    /// Adds what a glyph says by itself. Words of both directions in one glyph stand beside each other from left to right, as
    /// nothing says otherwise.
    pub fn place_glyph(&mut self, letters: &str, places: (f64, f64), gap: f64, size: f64) {
        if letters.chars().nth(1).is_none() || !letters.contains(runs_left) {
            return self.place(letters, places, gap, size);
        }
        let kind = |letter: &char| {
            let is_left = runs_left(*letter) || is_combining_mark(*letter);
            (is_left, letter.is_whitespace())
        };
        let letters: Vec<char> = letters.chars().collect();
        let step = (places.1 - places.0) / count(letters.len());
        let mut start = places.0;
        for part in letters.chunk_by(|a, b| kind(a) == kind(b)) {
            let end = start + step * count(part.len());
            let gap = if start == places.0 { gap } else { 0.0 };
            self.place(&part.iter().collect::<String>(), (start, end), gap, size);
            start = end;
        }
    }

    /// Adds another glyph to what the last one says.
    pub fn extend(&mut self, places: (f64, f64)) {
        if let Some(letter) = self.letters.last_mut() {
            letter.start = letter.start.min(places.0).min(places.1);
            letter.end = letter.end.max(places.0).max(places.1);
        }
    }

    fn of(&self, letter: &Placed) -> &str {
        &self.text[letter.text.clone()]
    }

    fn is_space(&self, letter: &Placed) -> bool {
        let text = self.of(letter);
        !text.is_empty() && text.chars().all(char::is_whitespace)
    }

    /// The text in the order in which it was drawn.
    pub fn read(&self) -> String {
        let word_gap = self.word_gap(self.letters.iter().map(|letter| (letter, letter.gap)));
        let mut text = String::with_capacity(self.text.len() + 16);
        for letter in &self.letters {
            if letter.gap > word_gap || letter.gap < STEP_BACK {
                space(&mut text);
            }
            write(&mut text, self.of(letter));
        }
        text
    }

    /// The gap behind which a word ends, by letters that stand beside each other with the gaps before them.
    fn word_gap<'l>(&self, letters: impl Iterator<Item = (&'l Placed, f64)>) -> f64 {
        let (mut gaps, mut spaces, mut alphabetic) = (Vec::new(), 0_usize, 0_usize);
        let mut is_behind_letter = false;
        for (letter, gap) in letters {
            if self.is_space(letter) {
                spaces += usize::from(is_behind_letter);
                is_behind_letter = false;
                continue;
            }
            if letter.text.is_empty() {
                continue;
            }
            alphabetic += usize::from(self.of(letter).chars().all(char::is_alphabetic));
            if is_behind_letter && (STEP_BACK..=COLUMN_GAP).contains(&gap) {
                gaps.push(gap);
            }
            is_behind_letter = true;
        }
        if gaps.is_empty() {
            return USUAL_GAP;
        }
        let wider = |least: f64| gaps.iter().filter(|&&gap| gap > least).count();
        let length = |least: f64| count(gaps.len() + 1) / count(wider(least) + 1);
        let are_letters = gaps.len() >= LEAST_LETTERS && 2 * alphabetic > gaps.len();
        let are_apart =
            |part: f64| are_letters && count(wider(USUAL_GAP)) > part * count(gaps.len());
        let are_clear = wider(CLOSE_GAP) == wider(TIGHT_GAP);
        let has_spaces = spaces > 0 && gaps.len() <= spaces * LONGEST_WORD;
        if has_spaces && are_apart(SET_APART) {
            COLUMN_GAP
        } else if has_spaces {
            SPACED_GAP
        } else if are_apart(ALL_APART) {
            gaps.sort_unstable_by(f64::total_cmp);
            (gaps[gaps.len() / 2] + WIDER).max(USUAL_GAP)
        } else if are_clear && length(TIGHT_GAP) >= LEAST_WORD {
            TIGHT_GAP
        } else {
            USUAL_GAP
        }
    }
}

/// Whether a letter runs to the left.
fn runs_left(letter: char) -> bool {
    matches!(letter, '\u{590}'..='\u{65f}' | '\u{66a}'..='\u{6ef}' | '\u{6fa}'..='\u{8ff}'
        | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}')
}

fn space(text: &mut String) {
    if !text.is_empty() && !text.ends_with(' ') {
        text.push(' ');
    }
}

fn write(text: &mut String, letters: &str) {
    for letter in letters.chars() {
        if letter.is_whitespace() {
            space(text);
        } else {
            text.push(letter);
        }
    }
}

/// A number of letters as what it is divided by.
fn count(letters: usize) -> f64 {
    u32::try_from(letters).map_or(f64::MAX, f64::from)
}
