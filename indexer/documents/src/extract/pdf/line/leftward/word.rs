//! Words: letters that were drawn beside each other, whatever is drawn over them later.

use super::super::{Line, USUAL_GAP};
use super::Direction;

/// Letters no farther apart than this, in parts of their size, stand at the same place.
const SAME_PLACE: f64 = 0.01;

/// Letters that were drawn one after another, and one beside another.
pub struct Word {
    /// In the order in which they were drawn.
    letters: Vec<usize>,
    pub start: f64,
    pub end: f64,
    /// Whether each stands to the left of the one before; not known of one alone.
    is_drawn_leftward: Option<bool>,
    /// Whether letters that run to the left are drawn at the same place: nobody could see another order in them.
    stands: bool,
    is_leftward: bool,
}

impl Word {
    pub fn of(line: &Line, at: usize) -> Self {
        let letter = &line.letters[at];
        Self {
            letters: vec![at],
            start: letter.start,
            end: letter.end,
            is_drawn_leftward: None,
            stands: false,
            is_leftward: Direction::of(line.of(letter)) == Direction::Left,
        }
    }

    /// Adds the next letter, if it stands beside the last one on the side where the others stand.
    pub fn takes(&mut self, line: &Line, at: usize) -> bool {
        let Some(&last) = self.letters.last() else {
            return false;
        };
        let (letter, last) = (&line.letters[at], &line.letters[last]);
        let (right, left) = (letter.start - last.end, last.start - letter.end);
        let is_beside = right.abs().min(left.abs()) <= USUAL_GAP * letter.size;
        if line.is_space(last) || !is_beside {
            return false;
        }
        let stands = (letter.middle() - last.middle()).abs() <= SAME_PLACE * letter.size;
        let is_leftward = (!stands).then_some(left.abs() < right.abs());
        let is_turned = |leftward: bool| self.is_drawn_leftward.is_some_and(|own| own != leftward);
        if is_leftward.is_some_and(is_turned) {
            return false;
        }
        self.is_drawn_leftward = self.is_drawn_leftward.or(is_leftward);
        self.stands |= stands;
        self.is_leftward |= Direction::of(line.of(letter)) == Direction::Left;
        (self.start, self.end) = (self.start.min(letter.start), self.end.max(letter.end));
        self.letters.push(at);
        true
    }

    pub fn side_by_side(mut self) -> Vec<usize> {
        let is_logical = self.is_leftward && self.stands;
        if is_logical || self.is_drawn_leftward == Some(true) {
            self.letters.reverse();
        }
        self.letters
    }
}
