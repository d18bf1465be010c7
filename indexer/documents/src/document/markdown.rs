//! Recognises the lines of Markdown that carry structure.
//!
//! A line scanner and not a full parser, on purpose: structure only says where a cut would be good, a scanner is
//! linear for any input, and its state (an open fence, the headings in force) can be carried from block to block
//! of a text that is too large to be parsed as a whole.

/// An open code fence: its character and how many of it opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    mark: u8,
    length: usize,
}

/// How far a line is indented, and the rest of it without its line end. Four spaces make code, not structure.
fn unindented(line: &str) -> Option<&str> {
    let text = line.trim_end();
    let rest = text.trim_start_matches(' ');
    (text.len() - rest.len() < 4).then_some(rest)
}

impl Fence {
    /// The fence that `line` opens.
    pub fn opened_by(line: &str) -> Option<Self> {
        let rest = unindented(line)?;
        let mark = *rest
            .as_bytes()
            .first()
            .filter(|byte| matches!(byte, b'`' | b'~'))?;
        let length = run_of(rest, mark);
        let inline = mark == b'`' && rest[length..].contains('`');
        (length >= 3 && !inline).then_some(Self { mark, length })
    }

    /// Whether `line` ends this fence.
    pub fn closed_by(self, line: &str) -> bool {
        unindented(line).is_some_and(|rest| {
            let length = run_of(rest, self.mark);
            length >= self.length && length == rest.len()
        })
    }
}

fn run_of(text: &str, mark: u8) -> usize {
    text.bytes().take_while(|&byte| byte == mark).count()
}

/// Level and title of a heading written with number signs.
pub fn heading(line: &str) -> Option<(usize, &str)> {
    let rest = unindented(line)?;
    let level = run_of(rest, b'#');
    let title = &rest[level..];
    if !(1..=6).contains(&level) || !(title.is_empty() || title.starts_with([' ', '\t'])) {
        return None;
    }
    let title = title.trim();
    let open = title.trim_end_matches('#');
    let closed = open.is_empty() || open.ends_with([' ', '\t']);
    Some((level, if closed { open.trim_end() } else { title }))
}

/// Level of the heading that `line` makes of the single line of text above it.
pub fn underline(line: &str) -> Option<usize> {
    let rest = unindented(line)?;
    let all = |mark| !rest.is_empty() && run_of(rest, mark) == rest.len();
    if all(b'=') {
        Some(1)
    } else if all(b'-') && rest.len() > 1 {
        Some(2)
    } else {
        None
    }
}

/// Whether `line` starts an item of a list.
pub fn is_item(line: &str) -> bool {
    let rest = line.trim_start();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let bullet = match rest.as_bytes().get(digits) {
        Some(b'-' | b'*' | b'+') => digits == 0,
        Some(b'.' | b')') => (1..=9).contains(&digits),
        _ => false,
    };
    bullet && matches!(rest.as_bytes().get(digits + 1), Some(b' ' | b'\t'))
}

/// Whether `line` is a row of a table.
pub fn is_row(line: &str) -> bool {
    line.trim_start().starts_with('|')
}

/// Length of the front matter that `text` opens with, its two marker lines included; 0 where there is none.
pub fn front_matter(text: &str) -> usize {
    /// Longer front matter is taken for text between two thematic breaks.
    const MOST_LINES: usize = 200;
    let mut end = 0;
    for (number, line) in text.split_inclusive('\n').take(MOST_LINES).enumerate() {
        end += line.len();
        match (number, line.trim_end()) {
            (0, "---") => {}
            (0, _) => return 0,
            (_, "---" | "...") => return end,
            (_, _) => {}
        }
    }
    0
}

/// The title of a Markdown text: what its front matter says, else its first heading.
pub fn title(text: &str) -> Option<&str> {
    let (front, body) = text.split_at(front_matter(text));
    let named = front.lines().find_map(|line| line.strip_prefix("title:"));
    let named = named
        .map(|title| title.trim().trim_matches(['"', '\'']))
        .filter(|t| !t.is_empty());
    named.or_else(|| first_heading(body))
}

fn first_heading(text: &str) -> Option<&str> {
    let (mut fence, mut above) = (None::<Fence>, "");
    for line in text.lines() {
        match fence {
            Some(open) if open.closed_by(line) => fence = None,
            Some(_) => {}
            None => {
                if let Some((_, title)) = heading(line).filter(|(_, title)| !title.is_empty()) {
                    return Some(title);
                }
                if !above.trim().is_empty() && underline(line).is_some() {
                    return Some(above.trim());
                }
                fence = Fence::opened_by(line);
                above = line;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_have_a_level_a_space_and_a_title() {
        assert_eq!(heading("## Two ##\r\n"), Some((2, "Two")));
        assert_eq!(heading("   # C#"), Some((1, "C#")));
        assert_eq!(heading("#"), Some((1, "")));
        for line in ["#hash", "    # code", "####### seven", "text"] {
            assert_eq!(heading(line), None, "{line}");
        }
    }

    #[test]
    fn fences_close_with_at_least_as_many_of_the_same_mark() {
        let fence = Fence::opened_by("````rust\n").expect("a fence");
        assert!(!fence.closed_by("```\n"));
        assert!(!fence.closed_by("~~~~\n"));
        assert!(fence.closed_by("`````\r\n"));
        assert_eq!(Fence::opened_by("```inline```"), None);
    }

    #[test]
    fn items_and_underlines() {
        assert!(is_item("  - a") && is_item("12. b") && is_item("* c"));
        assert!(!is_item("-a") && !is_item("1234567890. b") && !is_item("3-4 c"));
        assert_eq!(
            (underline("==="), underline("---"), underline("-")),
            (Some(1), Some(2), None)
        );
    }

    #[test]
    fn the_title_is_front_matter_or_first_heading() {
        assert_eq!(title("---\ntitle: \"A\"\n---\n# B\n"), Some("A"));
        assert_eq!(title("---\nx: y\n---\n```\n# no\n```\n# B\n"), Some("B"));
        assert_eq!(title("Top\n===\n# B\n"), Some("Top"));
        assert_eq!(title("nothing\n"), None);
    }
}
