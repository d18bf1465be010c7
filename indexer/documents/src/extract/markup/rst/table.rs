//! Tables drawn with signs.

use super::super::lines::Line;
use super::Reader;

impl Reader<'_> {
    /// A table that the lines begin with; gives how many of them it has.
    pub fn table(&mut self, lines: &[Line<'_>]) -> Option<usize> {
        let first = lines[0].text;
        if first.starts_with("+-") && first.ends_with("-+") {
            let is_row = |line: &&Line<'_>| line.text.starts_with(['+', '|']);
            let length = lines.iter().take_while(is_row).count();
            let rows = grid(&lines[..length]);
            self.rows(lines[0].number, rows);
            return Some(length);
        }
        let is_simple = first.starts_with("==") && first.contains(" =") && is_border(first, '=');
        if !is_simple {
            return None;
        }
        let length = simple_length(lines)?;
        self.rows(lines[0].number, simple(&lines[..length]));
        Some(length)
    }
}

fn is_border(line: &str, sign: char) -> bool {
    line.starts_with(sign) && line.chars().all(|c| c == sign || c == ' ')
}

/// The places at which the bars of a border stand, in characters.
fn bars(border: &str) -> Vec<usize> {
    let signs = border.chars().enumerate();
    signs.filter(|(_, c)| *c == '+').map(|(at, _)| at).collect()
}

/// Cells between bars. One that spans several columns stands in the first of them.
fn grid(lines: &[Line<'_>]) -> Vec<Vec<String>> {
    let bars = bars(lines[0].text);
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = vec![String::new(); bars.len().saturating_sub(1)];
    for line in &lines[1..] {
        if line.text.contains("+-") || line.text.contains("+=") || line.text.contains("-+") {
            rows.push(std::mem::replace(
                &mut row,
                vec![String::new(); bars.len().saturating_sub(1)],
            ));
        }
        let (mut column, mut at) = (0, 0);
        for part in line.text.split_inclusive(['|', '+']) {
            while column + 1 < row.len() && bars.get(column + 1).is_some_and(|bar| *bar <= at) {
                column += 1;
            }
            let cell = part.trim_end_matches('|').trim();
            let is_line = part
                .trim_end_matches('+')
                .chars()
                .all(|c| matches!(c, '-' | '='));
            if let (false, Some(known)) = (is_line || cell.is_empty(), row.get_mut(column)) {
                if !known.is_empty() && !part.starts_with('+') {
                    known.push(' ');
                }
                known.push_str(cell);
            }
            at += part.chars().count();
        }
    }
    rows.push(row);
    rows
}

/// A table goes from its first border to the last one before a blank line.
fn simple_length(lines: &[Line<'_>]) -> Option<usize> {
    let mut borders = 1;
    for (at, line) in lines.iter().enumerate().skip(1) {
        if !is_border(line.text, '=') {
            continue;
        }
        borders += 1;
        let is_end = lines.get(at + 1).is_none_or(|next| next.is_blank());
        if is_end || borders == 3 {
            return Some(at + 1);
        }
    }
    None
}

fn simple(lines: &[Line<'_>]) -> Vec<Vec<String>> {
    let starts = starts(lines[0].text);
    let mut rows: Vec<Vec<String>> = Vec::new();
    for line in &lines[1..] {
        if line.is_blank() || is_border(line.text, '=') || is_border(line.text, '-') {
            continue;
        }
        let cells = cut(line.text, &starts);
        match rows.last_mut() {
            // A row without its first cell goes on with the row above it.
            Some(above) if cells[0].is_empty() => {
                for (cell, more) in above.iter_mut().zip(cells) {
                    if !more.is_empty() {
                        cell.push(' ');
                        cell.push_str(&more);
                    }
                }
            }
            _ => rows.push(cells),
        }
    }
    rows
}

/// Where the columns start, in characters.
fn starts(border: &str) -> Vec<usize> {
    let mut before = ' ';
    let mut starts = Vec::new();
    for (at, c) in border.chars().enumerate() {
        if c == '=' && before == ' ' {
            starts.push(at);
        }
        before = c;
    }
    starts
}

/// The cells of a line. A text that goes on beyond its column is one cell.
fn cut(line: &str, starts: &[usize]) -> Vec<String> {
    let letters: Vec<char> = line.chars().collect();
    let mut cells = vec![String::new(); starts.len()];
    let mut column = 0;
    for (at, letter) in letters.iter().enumerate() {
        let next = starts.iter().position(|start| *start == at);
        let is_free = at == 0 || letters[at - 1] == ' ';
        if let Some(next) = next.filter(|_| is_free) {
            column = next;
        }
        if let Some(cell) = cells.get_mut(column) {
            cell.push(*letter);
        }
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}
