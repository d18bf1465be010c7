//! Seams: places of a text where an element of a sentence starts right behind another one, and where a word may end.

/// The seams of a text, in its order.
#[derive(Debug, Default)]
pub struct Seams(Vec<Seam>);

#[derive(Clone, Copy, Debug)]
struct Seam {
    /// How many elements are around it.
    depth: usize,
    at: usize,
}

impl Seams {
    /// Notes a place that is not before the last one.
    pub fn add(&mut self, depth: usize, at: usize) {
        self.0.push(Seam { depth, at });
    }

    /// Takes the seams from a depth on, and puts a space into each whose element holds elements alone: where there are letters
    /// between elements, spaces are written where they are meant.
    pub fn part(&mut self, text: &mut String, depth: usize, has_letters: impl Fn(usize) -> bool) {
        let first = self.0.partition_point(|seam| seam.depth < depth);
        let seams = self.0.split_off(first);
        let Some(start) = seams.first().map(|seam| seam.at) else {
            return;
        };
        let tail = text.split_off(start);
        let mut at = 0;
        for seam in seams {
            let (before, behind) = tail[at..].split_at(seam.at - start - at);
            text.push_str(before);
            at = seam.at - start;
            let is_open = !text.is_empty() && !text.ends_with(char::is_whitespace);
            if is_open && !has_letters(seam.depth) && !behind.starts_with(char::is_whitespace) {
                text.push(' ');
            }
        }
        text.push_str(&tail[at..]);
    }
}
