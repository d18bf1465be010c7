//! Tables: cells begin with bars, several on a line or one on each.

use super::super::lines::{Line, add, squared};
use super::Reader;
use crate::extract::extracted::Block;

impl Reader<'_> {
    pub fn table(&mut self, body: &[Line<'_>], delimiter: &str, attributes: &str) {
        let Some(first) = body.iter().find(|line| !line.is_blank()) else {
            return;
        };
        let rows = if delimiter.starts_with([',', ':']) || attributes.contains("csv") {
            let sign = if delimiter.starts_with(':') { ':' } else { ',' };
            let lines = body.iter().filter(|line| !line.is_blank());
            let cells = |line: &Line<'_>| {
                line.text
                    .split(sign)
                    .map(|cell| cell.trim().trim_matches('"').to_owned())
                    .collect()
            };
            lines.map(cells).collect()
        } else {
            let sign = if delimiter.starts_with('!') { '!' } else { '|' };
            rows_of(body, sign, columns(attributes))
        };
        let rows: Vec<Vec<String>> = squared(rows)
            .iter()
            .map(|row| row.iter().map(|cell| self.inline(cell)).collect())
            .collect();
        if !rows.is_empty() {
            add(self.out, first.number, Block::Table(&rows));
        }
    }
}

/// How many columns the attributes of a table say.
fn columns(attributes: &str) -> Option<usize> {
    let (_, rest) = attributes.split_once("cols=")?;
    let value = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => rest.split(',').next()?,
    };
    let columns = value.split([',', ';']).map(|column| {
        let (times, _) = column.split_once('*').unwrap_or(("1", ""));
        times.trim().parse::<usize>().unwrap_or(1).min(100)
    });
    Some(columns.sum::<usize>()).filter(|columns| *columns > 0)
}

/// Cells in rows. Without a number of columns, the first line has as many as there are.
fn rows_of(body: &[Line<'_>], sign: char, columns: Option<usize>) -> Vec<Vec<String>> {
    let mut cells: Vec<String> = Vec::new();
    let mut columns = columns;
    for line in body {
        if line.is_blank() {
            continue;
        }
        let parts = split(line.text, sign);
        let mut parts = parts.iter();
        if let (Some(before), Some(last)) = (parts.next(), cells.last_mut())
            && !before.trim().is_empty()
        {
            last.push('\n');
            last.push_str(before.trim());
        }
        let first_is_text = cells.is_empty() && !line.text.contains(sign);
        if first_is_text {
            cells.push(line.text.trim().to_owned());
        }
        cells.extend(parts.map(|cell| cell.trim().to_owned()));
        columns = columns.or(Some(cells.len()).filter(|found| *found > 0));
    }
    cells
        .chunks(columns.unwrap_or(1).max(1))
        .map(<[String]>::to_vec)
        .collect()
}

/// The parts between signs that are not escaped, without what says how a cell is set, which stands before its sign.
fn split(line: &str, sign: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut is_escaped = false;
    for c in line.chars() {
        if c == sign && !is_escaped {
            if let Some(last) = parts.last_mut() {
                let kept = without_specifier(last).len();
                last.truncate(kept);
            }
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            if is_escaped && c == sign {
                last.pop();
            }
            last.push(c);
        }
        is_escaped = c == '\\';
    }
    parts
}

/// A cell without the specifier of the next one, such as `2+` or `.3+^` or `a`.
fn without_specifier(cell: &str) -> &str {
    let word = cell.rsplit(' ').next().unwrap_or_default();
    let spans = word.trim_end_matches(['a', 'e', 'h', 'l', 'm', 's', 'v', 'd']);
    let is_specifier = !word.is_empty()
        && word.len() - spans.len() <= 1
        && spans
            .chars()
            .all(|c| c.is_ascii_digit() || "+*.<>^".contains(c))
        && (spans.is_empty() || spans.contains(['+', '*', '<', '>', '^', '.']));
    let is_alone = cell.len() == word.len() || cell.ends_with(&format!(" {word}"));
    // A letter alone may be a word; it is taken for one unless it is all that stands before the sign.
    if is_specifier && is_alone && (!spans.is_empty() || cell.len() == word.len()) {
        return &cell[..cell.len() - word.len()];
    }
    cell
}
