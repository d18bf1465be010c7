//! Org: headings by stars, blocks between `#+BEGIN` and `#+END`, lists, tables and drawers.

use std::collections::HashMap;

use super::super::extracted::{Block, Extracted};
use super::inline::{closing, unmarked};
use super::lines::{DEEPEST, Line, add, add_page, dedented, joined, lines, squared};
use super::utf8;
use crate::document::Reason;

/// Drawers whose content is not part of the text.
const UNSHOWN: [&str; 2] = ["PROPERTIES", "LOGBOOK"];

/// The number of the last line that ends a block, by the name of the block: nobody looks for a line that does not come.
type Ends = HashMap<String, u64>;

pub fn org(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    out.is_markdown = true;
    blocks(&lines(utf8(bytes)?), 0, out);
    Ok(())
}

fn blocks(lines: &[Line<'_>], depth: usize, out: &mut Extracted) {
    let ends = lines
        .iter()
        .filter_map(|line| Some((ended(line)?, line.number)));
    let ends: Ends = ends.collect();
    let mut at = 0;
    while at < lines.len() {
        at += block(&lines[at..], depth, &ends, out).max(1);
    }
}

/// Reads the block that the lines begin with; gives how many of them it has.
fn block(lines: &[Line<'_>], depth: usize, ends: &Ends, out: &mut Extracted) -> usize {
    let line = lines[0];
    let text = line.trimmed();
    if text.is_empty() {
        return 1;
    }
    if let Some((level, title)) = heading(line.text) {
        add(out, line.number, Block::Heading(level, &title));
        return 1;
    }
    if let Some(keyword) = text.strip_prefix("#+") {
        return keyword_block(lines, keyword, depth, ends, out);
    }
    if text == "#" || text.starts_with("# ") {
        out.dropped.add(Reason::Comment, text.len() as u64, None);
        return 1;
    }
    if let Some((name, length)) = drawer(lines) {
        // What people put into drawers of their own is shown with the rest.
        if !UNSHOWN
            .iter()
            .any(|unshown| name.eq_ignore_ascii_case(unshown))
        {
            // It holds no other drawer, so that this ends.
            blocks(&lines[1..length - 1], depth, out);
            return length;
        }
        let bytes = lines[..length].iter().map(|line| line.text.len() as u64);
        out.dropped.add(Reason::Properties, bytes.sum(), None);
        return length;
    }
    if is_planning(text) {
        out.dropped.add(Reason::Properties, text.len() as u64, None);
        return 1;
    }
    if text.starts_with('|') {
        return table(lines, out);
    }
    if text == ":" || text.starts_with(": ") {
        let is_fixed = |line: &&Line<'_>| matches!(line.trimmed().strip_prefix(':'), Some(rest) if rest.is_empty() || rest.starts_with(' '));
        let fixed: Vec<&str> = lines
            .iter()
            .take_while(is_fixed)
            .map(|line| line.trimmed().trim_start_matches(':'))
            .collect();
        add(out, line.number, Block::Verbatim(&fixed.join("\n")));
        return fixed.len();
    }
    if let Some((number, item)) = item(line.text) {
        return list_item(lines, number, item, out);
    }
    if text.len() >= 5 && text.bytes().all(|byte| byte == b'-') {
        return 1;
    }
    let length = 1
        + (1..lines.len())
            .take_while(|next| is_prose(&lines[*next..]))
            .count();
    let prose = inline(&joined(&dedented(&lines[..length])));
    add(out, line.number, Block::Paragraph(&prose));
    length
}

/// Whether the first of these lines goes on with a paragraph.
fn is_prose(lines: &[Line<'_>]) -> bool {
    let line = lines[0];
    let text = line.trimmed();
    !(text.is_empty()
        || heading(line.text).is_some()
        || text.starts_with("#+")
        || text == "#"
        || text.starts_with("# ")
        || text.starts_with('|')
        || text.starts_with(": ")
        || item(line.text).is_some()
        || drawer(lines).is_some())
}

fn heading(line: &str) -> Option<(usize, String)> {
    let stars = line.bytes().take_while(|byte| *byte == b'*').count();
    let title = line[stars..].strip_prefix(' ').filter(|_| stars > 0)?;
    let title = title.trim();
    // Tags are words between colons at the end.
    let (title, tags) = match title.rsplit_once(char::is_whitespace) {
        Some((before, tags)) if tags.len() > 2 && tags.starts_with(':') && tags.ends_with(':') => {
            (before.trim(), tags)
        }
        _ => (title, ""),
    };
    let tags: Vec<&str> = tags.split(':').filter(|tag| !tag.is_empty()).collect();
    let tags = if tags.is_empty() {
        String::new()
    } else {
        format!(" ({})", tags.join(", "))
    };
    Some((stars.min(6), format!("{}{tags}", inline(title))))
}

fn keyword_block(
    lines: &[Line<'_>],
    keyword: &str,
    depth: usize,
    ends: &Ends,
    out: &mut Extracted,
) -> usize {
    let lower = keyword.to_ascii_lowercase();
    let first = lines[0];
    if let Some(name) = lower.strip_prefix("begin_") {
        let name = name.split_whitespace().next().unwrap_or_default();
        return named_block(lines, name, depth, ends, out);
    }
    let value = keyword
        .split_once(':')
        .map_or("", |(_, value)| value.trim());
    let name = lower.split(':').next().unwrap_or_default();
    match name.split('[').next().unwrap_or_default() {
        "title" if out.title.is_none() => {
            out.title = Some(inline(value));
            add(out, first.number, Block::Paragraph(&inline(value)));
        }
        "title" | "subtitle" | "author" | "date" | "caption" | "description" => {
            add(out, first.number, Block::Paragraph(&inline(value)));
        }
        "include" => out.dropped.add(Reason::Include, keyword.len() as u64, None),
        _ => out
            .dropped
            .add(Reason::Properties, keyword.len() as u64, None),
    }
    1
}

fn named_block(
    lines: &[Line<'_>],
    name: &str,
    depth: usize,
    ends: &Ends,
    out: &mut Extracted,
) -> usize {
    let first = lines[0];
    let closes = |line: &Line<'_>| ended(line).as_deref() == Some(name);
    let is_closed = ends.get(name).is_some_and(|last| *last > first.number);
    // One that is not closed is a line without its text.
    let Some(length) = is_closed.then(|| lines.iter().position(closes)).flatten() else {
        add(out, first.number, Block::Paragraph(first.trimmed()));
        return 1;
    };
    let body = &lines[1..length];
    match name {
        "src" | "example" | "verse" => {
            let text = joined(&dedented(body)).replace("\n,*", "\n*");
            add(out, first.number + 1, Block::Verbatim(&text));
        }
        "export"
            if first
                .text
                .split_whitespace()
                .any(|word| word.eq_ignore_ascii_case("html")) =>
        {
            add_page(out, body);
        }
        "comment" | "export" => {
            let bytes = body.iter().map(|line| line.text.len() as u64).sum();
            let reason = if name == "comment" {
                Reason::Comment
            } else {
                Reason::Code
            };
            out.dropped.add(reason, bytes, None);
        }
        _ if depth < DEEPEST => blocks(&dedented(body), depth + 1, out),
        _ => add(
            out,
            first.number + 1,
            Block::Paragraph(&inline(&joined(body))),
        ),
    }
    length + 1
}

/// The name of the block that a line ends, in small letters.
fn ended(line: &Line<'_>) -> Option<String> {
    let (keyword, name) = line.trimmed().split_at_checked("#+end_".len())?;
    let ends = keyword.eq_ignore_ascii_case("#+end_");
    ends.then(|| name.to_ascii_lowercase())
}

/// The name of a drawer, and how many lines it has.
fn drawer<'t>(lines: &[Line<'t>]) -> Option<(&'t str, usize)> {
    /// Longer drawers are taken for text.
    const MOST: usize = 1000;
    let name = drawer_name(lines[0])?;
    // It holds neither a heading nor another drawer; a property without a value looks like one.
    let is_properties = name.eq_ignore_ascii_case("properties");
    let inside = lines[1..]
        .iter()
        .take(MOST)
        .take_while(|line| heading(line.text).is_none())
        .position(|line| {
            drawer_name(*line).is_some_and(|next| {
                !is_properties
                    || next.eq_ignore_ascii_case("end")
                    || next.eq_ignore_ascii_case(name)
            })
        })?;
    let end = inside + 1;
    drawer_name(lines[end])
        .filter(|name| name.eq_ignore_ascii_case("end"))
        .map(|_| (name, end + 1))
}

/// The name between the colons of a line that begins or ends a drawer.
fn drawer_name<'t>(line: Line<'t>) -> Option<&'t str> {
    let name = line.trimmed().strip_prefix(':')?.strip_suffix(':')?;
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    (!name.is_empty() && name.chars().all(is_name)).then_some(name)
}

fn is_planning(text: &str) -> bool {
    ["SCHEDULED:", "DEADLINE:", "CLOSED:", "CLOCK:"]
        .iter()
        .any(|word| text.starts_with(word))
}

fn table(lines: &[Line<'_>], out: &mut Extracted) -> usize {
    let length = lines
        .iter()
        .take_while(|line| line.trimmed().starts_with('|'))
        .count();
    let rows = lines[..length].iter().map(|line| line.trimmed());
    let rows = rows.filter(|row| !row.starts_with("|-"));
    let rows = rows.map(|row| {
        let row = row.trim_start_matches('|').trim_end_matches('|');
        row.split('|').map(|cell| inline(cell.trim())).collect()
    });
    add(out, lines[0].number, Block::Table(&squared(rows.collect())));
    length
}

/// The number and the text of an item.
fn item(line: &str) -> Option<(Option<u64>, &str)> {
    let text = line.trim_start();
    let indent = line.len() - text.len();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (sign, rest) = text.split_at_checked(digits + 1)?;
    let is_sign = match sign {
        "-" | "+" => true,
        "*" => indent > 0,
        _ => (1..=9).contains(&digits) && sign.ends_with(['.', ')']),
    };
    let is_item = is_sign && (rest.is_empty() || rest.starts_with([' ', '\t']));
    is_item.then(|| (sign[..digits].parse().ok(), rest.trim()))
}

fn list_item(lines: &[Line<'_>], number: Option<u64>, first: &str, out: &mut Extracted) -> usize {
    let indent = lines[0].indent();
    let goes_on = |next: &usize| lines[*next].indent() > indent && is_prose(&lines[*next..]);
    let length = 1 + (1..lines.len()).take_while(goes_on).count();
    let mut text = first.to_owned();
    for line in &lines[1..length] {
        text.push('\n');
        text.push_str(line.trimmed());
    }
    let text = inline(&text).replacen(" :: ", ": ", 1);
    let depth = indent / 2;
    add(
        out,
        lines[0].number,
        Block::Item {
            depth,
            number,
            text: &text,
        },
    );
    length
}

/// Text without marks; of a link its words.
fn inline(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("[[") {
        kept.push_str(&rest[..at]);
        let Some(end) = closing(rest, at + 2, "]]") else {
            kept.push_str("[[");
            rest = &rest[at + 2..];
            continue;
        };
        let link = &rest[at + 2..end];
        kept.push_str(link.split_once("][").map_or(link, |(_, words)| words));
        rest = &rest[end + 2..];
    }
    kept.push_str(rest);
    unmarked(&kept, &["*", "/", "_", "+"], &["=", "~"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_org_ends_at_the_first_line_with_its_name_behind_it() {
        for (source, expected) in [
            (
                "#+begin_src\na\n#+END_SRC\n#+end_src\nb\n",
                "```\na\n```\n\nb",
            ),
            ("#+end_quote\n#+begin_quote\na\n", "#+begin_quote\n\na"),
            (
                "#+begin_a\n#+begin_b\nx\n#+end_a\ny\n#+end_b\n",
                "#+begin_b\n\nx\n\ny",
            ),
        ] {
            let mut out = Extracted::default();
            org(source.as_bytes(), &mut out).unwrap();
            assert_eq!(out.text, expected, "{source}");
        }
    }

    #[test]
    fn drawers_that_people_name_are_part_of_a_text_of_org() {
        let source = ":PREAMBLE:\n#+author: x\nThe preamble.\n- one\n:END:\n* Head\n:LOGBOOK:\n- noted\n:END:\n\
            :Properties:\n:id: 1\n:empty:\n:END:\nText.\n";
        let mut out = Extracted::default();
        org(source.as_bytes(), &mut out).unwrap();
        assert_eq!(
            out.text.trim(),
            "x\n\nThe preamble.\n\n- one\n\n# Head\n\nText."
        );
        assert_eq!(out.dropped.count(Reason::Properties), 2);
    }

    #[test]
    fn a_drawer_of_org_without_an_end_takes_no_heading() {
        let source = ":LOGBOOK:\n- noted\n* Head\nText.\n:PROPERTIES:\n:id: 1\n:END:\n";
        let mut out = Extracted::default();
        org(source.as_bytes(), &mut out).unwrap();
        assert!(out.text.contains("# Head\n\nText."), "{}", out.text);
        assert!(!out.text.contains("id: 1"), "{}", out.text);
    }
}
