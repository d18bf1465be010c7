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

    /// A line that ends this fence.
    pub fn closing(self) -> String {
        String::from(char::from(self.mark)).repeat(self.length)
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

/// Whether `line` is what stands between the header of a table and its rows.
pub fn is_rule(line: &str) -> bool {
    let line = line.trim();
    is_row(line) && line.contains("--") && line.bytes().all(|byte| b"|-: ".contains(&byte))
}

/// The cells of a row, for people.
pub fn cells(row: &str) -> String {
    // A sign that belongs to a cell stands behind a backslash.
    const OWN: &str = "\u{0}";
    let row = row.replace("\\|", OWN);
    let cells = row.trim().trim_matches('|').split('|').map(str::trim);
    let cells: Vec<_> = cells.filter(|cell| !cell.is_empty()).collect();
    cells.join(" | ").replace(OWN, "|")
}

/// What front matter is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FrontMatter {
    Yaml,
    Toml,
}

/// Length of the front matter that `text` opens with, its two marker lines included; 0 where there is none.
pub fn front_matter(text: &str) -> usize {
    find_front_matter(text).map_or(0, |(_, length)| length)
}

fn find_front_matter(text: &str) -> Option<(FrontMatter, usize)> {
    /// Longer front matter is taken for text between two thematic breaks.
    const MOST_LINES: usize = 200;
    let mut lines = text.split_inclusive('\n').take(MOST_LINES);
    let first = lines.next()?;
    let language = match first.trim_end() {
        "---" => FrontMatter::Yaml,
        "+++" => FrontMatter::Toml,
        _ => return None,
    };
    let mut end = first.len();
    for line in lines {
        end += line.len();
        match (language, line.trim_end()) {
            (FrontMatter::Yaml, "---" | "...") | (FrontMatter::Toml, "+++") => {
                return Some((language, end));
            }
            _ => {}
        }
    }
    None
}

/// The title of a Markdown text: what its front matter says, else its first heading.
pub fn title(text: &str) -> Option<String> {
    let Some((language, length)) = find_front_matter(text) else {
        return first_heading(text).map(str::to_owned);
    };
    let (front, body) = text.split_at(length);
    let named = front_title(language, front).filter(|title| !title.is_empty());
    named.or_else(|| first_heading(body).map(str::to_owned))
}

fn front_title(language: FrontMatter, front: &str) -> Option<String> {
    // Most front matter is small, and the rest need not be understood to know that it says no title.
    if !front.contains("title") {
        return None;
    }
    let mut lines: Vec<&str> = front.lines().skip(1).collect();
    lines.pop();
    let front = lines.join("\n");
    let title = match language {
        FrontMatter::Yaml => {
            let Ok(fields) = yaml_serde::from_str::<Named<yaml_serde::Value>>(&front) else {
                return simple_title(&front);
            };
            scalar_of_yaml(fields.title?)?
        }
        FrontMatter::Toml => {
            let fields = toml::from_str::<Named<toml::Value>>(&front).ok()?;
            match fields.title? {
                toml::Value::String(title) => title,
                toml::Value::Integer(title) => title.to_string(),
                toml::Value::Float(title) => title.to_string(),
                toml::Value::Boolean(_)
                | toml::Value::Datetime(_)
                | toml::Value::Array(_)
                | toml::Value::Table(_) => return None,
            }
        }
    };
    let words: Vec<&str> = title.split_whitespace().collect();
    Some(words.join(" "))
}

/// The only field that is looked at.
#[derive(serde::Deserialize)]
struct Named<V> {
    title: Option<V>,
}

fn scalar_of_yaml(value: yaml_serde::Value) -> Option<String> {
    match value {
        yaml_serde::Value::String(title) => Some(title),
        yaml_serde::Value::Number(title) => Some(title.to_string()),
        yaml_serde::Value::Bool(title) => Some(title.to_string()),
        yaml_serde::Value::Null
        | yaml_serde::Value::Sequence(_)
        | yaml_serde::Value::Mapping(_)
        | yaml_serde::Value::Tagged(_) => None,
    }
}

/// The title in front matter that is not quite YAML, as one with a colon in its title.
fn simple_title(front: &str) -> Option<String> {
    let title = front.lines().find_map(|line| line.strip_prefix("title:"))?;
    Some(title.trim().trim_matches(['"', '\'']).to_owned())
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
        for (text, expected) in [
            ("---\ntitle: \"A\"\n---\n# B\n", Some("A")),
            ("---\nx: y\n---\n```\n# no\n```\n# B\n", Some("B")),
            ("Top\n===\n# B\n", Some("Top")),
            ("nothing\n", None),
            (
                "---\ntitle: >-\n  folded\n  title\nx: y\n---\n",
                Some("folded title"),
            ),
            ("---\ntitle: A # note\n---\n", Some("A")),
            ("---\ntitle: 'A # note'\n---\n", Some("A # note")),
            ("---\ntitle: 2024\n---\n", Some("2024")),
            ("---\ntitle: Tea: a guide\n---\n", Some("Tea: a guide")),
            ("---\nparams:\n  title: inner\n---\n# B\n", Some("B")),
            ("---\ntitle: [A, B]\n---\n# B\n", Some("B")),
            (
                "+++\ntitle = \"A \\\"b\\\"\"\n[x]\ny = 1\n+++\n# B\n",
                Some("A \"b\""),
            ),
            ("+++\nno toml\ntitle\n+++\n# B\n", Some("B")),
            ("+++\ntitle = \"A\"\n", None),
        ] {
            assert_eq!(title(text).as_deref(), expected, "{text}");
        }
        assert_eq!(front_matter("+++\nx = 1\n+++\ntext"), 14);
    }
}
