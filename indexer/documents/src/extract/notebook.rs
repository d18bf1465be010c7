//! Notebook: a notebook of Jupyter, one document per file.
//!
//! Text cells are Markdown already; code and what it printed are kept as they stand. Of a result that is there in several
//! forms the plain text is kept, or the page where the text only says that there is one; pictures, and results of other forms
//! alone, are left out and counted.

use serde::Deserialize;
use serde_json::Value;

use super::extracted::{Block, Extracted};
use super::html;
use crate::document::{Location, Reason, markdown};

#[derive(Deserialize)]
struct Notebook {
    #[serde(default)]
    cells: Vec<Cell>,
    /// Where the cells of notebooks before version 4 are.
    #[serde(default)]
    worksheets: Vec<Worksheet>,
    #[serde(default)]
    metadata: Value,
}

#[derive(Deserialize)]
struct Worksheet {
    #[serde(default)]
    cells: Vec<Cell>,
}

#[derive(Deserialize)]
struct Cell {
    #[serde(default)]
    cell_type: String,
    #[serde(default)]
    source: Text,
    /// The source of a cell of code before version 4.
    #[serde(default)]
    input: Text,
    #[serde(default)]
    level: Option<usize>,
    #[serde(default)]
    outputs: Vec<serde_json::Map<String, Value>>,
}

/// A text, or its lines.
#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Text {
    Whole(String),
    Lines(Vec<String>),
    #[default]
    None,
}

impl Text {
    fn into_string(self) -> String {
        match self {
            Self::Whole(text) => text,
            // Before version 3 lines have no line ends.
            Self::Lines(lines) if !lines.iter().any(|line| line.ends_with('\n')) => {
                lines.join("\n")
            }
            Self::Lines(lines) => lines.concat(),
            Self::None => String::new(),
        }
    }
}

/// Reads the text of an ipynb.
pub fn notebook(bytes: &[u8], extracted: &mut Extracted) -> Result<(), String> {
    extracted.is_markdown = true;
    let notebook: Notebook = serde_json::from_slice(bytes).map_err(|error| {
        format!(
            "it is not valid json at line {} column {}",
            error.line(),
            error.column()
        )
    })?;
    let Notebook {
        cells,
        worksheets,
        metadata,
    } = notebook;
    let cells = cells
        .into_iter()
        .chain(worksheets.into_iter().flat_map(|sheet| sheet.cells));
    for (number, cell) in (1..).zip(cells) {
        extracted.at(Location::Cell(number));
        add(cell, extracted);
    }
    let title = metadata
        .get("title")
        .and_then(Value::as_str)
        .map(str::to_owned);
    extracted.title = title.or_else(|| markdown::title(&extracted.text));
    Ok(())
}

fn add(cell: Cell, extracted: &mut Extracted) {
    let source = match cell.source {
        Text::None => cell.input.into_string(),
        source @ (Text::Whole(_) | Text::Lines(_)) => source.into_string(),
    };
    match cell.cell_type.as_str() {
        "markdown" => extracted.add(Block::Markdown(&closed(source))),
        "heading" => extracted.add(Block::Heading(cell.level.unwrap_or(1), &source)),
        "code" => extracted.add(Block::Verbatim(&source)),
        _ => extracted.add(Block::Paragraph(&source)),
    }
    for output in cell.outputs {
        add_output(output, extracted);
    }
}

/// A text that closes its last fence, so that the next cell is none of it.
fn closed(mut text: String) -> String {
    let mut open: Option<markdown::Fence> = None;
    for line in text.lines() {
        open = match open {
            Some(fence) if fence.closed_by(line) => None,
            Some(fence) => Some(fence),
            None => markdown::Fence::opened_by(line),
        };
    }
    if let Some(fence) = open {
        text.push('\n');
        text.push_str(&fence.closing());
    }
    text
}

fn add_output(mut output: serde_json::Map<String, Value>, extracted: &mut Extracted) {
    if let Some(text) = output.remove("text") {
        extracted.add(Block::Verbatim(&plain(&joined(text))));
        return;
    }
    if let (Some(name), Some(value)) = (output.get("ename"), output.get("evalue")) {
        let text = format!(
            "{}: {}",
            name.as_str().unwrap_or_default(),
            value.as_str().unwrap_or_default()
        );
        extracted.add(Block::Verbatim(&plain(&text)));
        return;
    }
    // Before version 4 the forms stand beside the other fields.
    let mut forms = match output.remove("data") {
        Some(Value::Object(forms)) => forms,
        _ => output,
    };
    let pictures = forms
        .keys()
        .filter(|form| form.starts_with("image/") || matches!(form.as_str(), "png" | "jpeg"));
    let pictures = pictures.count() as u64;
    if pictures > 0 {
        extracted
            .dropped
            .add_many(Reason::Picture, pictures, 0, None);
    }
    if let Some(page) = page_of(&mut forms, extracted) {
        extracted.add(Block::Markdown(&page));
        return;
    }
    let is_markdown = forms.contains_key("text/markdown");
    let form = ["text/markdown", "text/plain", "text/latex"]
        .into_iter()
        .find_map(|form| forms.remove(form));
    if let Some(text) = form {
        let text = plain(&joined(text));
        extracted.add(if is_markdown {
            Block::Markdown(&text)
        } else {
            Block::Verbatim(&text)
        });
    } else if pictures == 0 && !forms.is_empty() {
        let forms: Vec<&str> = forms.keys().map(String::as_str).collect();
        let name = forms.join(", ");
        extracted
            .dropped
            .add(Reason::UnreadAttachment, 0, Some(name));
    }
}

/// A result as a page, where its other forms only say that there is one.
fn page_of(
    forms: &mut serde_json::Map<String, Value>,
    extracted: &mut Extracted,
) -> Option<String> {
    let plain = forms.get("text/plain").cloned().map(joined);
    let is_placeholder = |plain: String| {
        let plain = plain.trim();
        plain.starts_with('<') && plain.ends_with("object>")
    };
    if forms.contains_key("text/markdown") || !plain.is_none_or(is_placeholder) {
        return None;
    }
    let page = joined(forms.remove("text/html")?);
    let page = html::page_of(&page, &mut extracted.dropped)?;
    Some(page.text)
}

fn joined(text: Value) -> String {
    match text {
        Value::String(text) => text,
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

/// A text without the sequences that colour it on a terminal, and link it.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '\u{1b}' {
            plain.push(letter);
        } else if letters.next_if_eq(&'[').is_some() {
            while letters
                .next_if(|c| c.is_ascii_digit() || *c == ';')
                .is_some()
            {}
            letters.next();
        } else if letters.next_if_eq(&']').is_some() {
            // A name or a link, up to a bell or to the sign that ends a string.
            let is_end = |letter: char| matches!(letter, '\u{7}' | '\u{1b}' | '\n');
            while letters.next_if(|&letter| !is_end(letter)).is_some() {}
            letters.next_if_eq(&'\u{7}');
        } else if letters.peek() == Some(&'\\') {
            letters.next();
        }
    }
    plain
}
