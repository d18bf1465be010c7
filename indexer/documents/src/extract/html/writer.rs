//! Writes the elements of a page as Markdown: blocks between blank lines, white space as a browser shows it.

use scraper::ElementRef;

use crate::extract::extracted::fence_for;

/// Collects the text of a page.
#[derive(Debug, Default)]
pub struct Writer {
    text: String,
    /// What the next block starts with, such as the sign of a heading or an item.
    marker: String,
    /// The text of a `pre` element, where white space counts.
    verbatim: Option<String>,
    /// Inside how many `pre` elements, and the line ends that are due before the outermost.
    depth: usize,
    lines_before: usize,
    /// White space was met since the last word.
    space: bool,
    /// Line ends that are due before the next word.
    lines: usize,
    /// Separators of cells that are due before the next word.
    cells: usize,
    /// Inside how many headings, which are one line.
    headings: usize,
    /// The lists that are open.
    lists: Vec<List>,
    /// The tables that are open, and whether they hold data: their rows are one line each.
    tables: Vec<bool>,
    /// Cells of the row so far.
    row: usize,
    /// Inside how many elements of code on a line, where each sign counts.
    code: usize,
    seam: Seam,
}

/// What stands between the last word and the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Seam {
    #[default]
    Text,
    /// The end of an element of a line.
    End,
    /// The end of one, and the start of another.
    Between,
}

/// A list that is open: the number of its next item if it is ordered, and how much it counts on.
#[derive(Debug, Default)]
struct List {
    next: Option<i64>,
    step: i64,
}

/// The sign that a block of this element starts with; `None` where the element starts no block.
fn marker_of(name: &str) -> Option<&'static str> {
    Some(match name {
        "h1" => "# ",
        "h2" => "## ",
        "h3" => "### ",
        "h4" => "#### ",
        "h5" => "##### ",
        "h6" => "###### ",
        "html" | "body" | "main" | "article" | "section" | "div" | "p" | "blockquote" | "ul"
        | "ol" | "dl" | "dt" | "dd" | "li" | "table" | "thead" | "tbody" | "tfoot" | "caption"
        | "tr" | "pre" | "figure" | "figcaption" | "header" | "footer" | "aside" | "address"
        | "details" | "summary" | "hr" | "fieldset" | "legend" | "center" | "dialog" | "form"
        | "hgroup" | "search" | "menu" | "dir" | "textarea" | "listing" | "xmp" | "plaintext"
        | "frameset" | "noframes" | "optgroup" | "option" => "",
        _ => return None,
    })
}

/// Elements on the same line whose words do not belong to those beside them.
fn is_apart(name: &str) -> bool {
    matches!(
        name,
        "label"
            | "button"
            | "input"
            | "meter"
            | "progress"
            | "output"
            | "img"
            | "video"
            | "audio"
            | "canvas"
            | "picture"
            | "rt"
            | "rp"
    )
}

/// Whether an element is set as a part of the word before it.
fn is_part_of_word(name: &str) -> bool {
    matches!(name, "sub" | "sup")
}

fn is_code(name: &str) -> bool {
    matches!(name, "code" | "kbd" | "samp" | "tt" | "var")
}

/// Whether a word ends before `next`, and no word goes on: a style sheet sets two elements apart like this.
fn is_seam(before: &str, next: &str) -> bool {
    let mut before = before.chars().rev();
    let mut next = next.chars();
    let (Some(last), Some(first)) = (before.next(), next.next()) else {
        return false;
    };
    let ends_word = last.is_lowercase() && before.next().is_some_and(char::is_lowercase);
    let begins_word = first.is_uppercase() && next.next().is_some_and(char::is_lowercase);
    (ends_word && (begins_word || first.is_ascii_digit())) || (last.is_ascii_digit() && begins_word)
}

fn is_heading(name: &str) -> bool {
    matches!(name, "h1" | "h2" | "h3" | "h4" | "h5" | "h6")
}

fn is_list(name: &str) -> bool {
    matches!(name, "ul" | "ol" | "menu" | "dir")
}

/// A table that arranges a page, and holds no rows of data.
fn is_layout(table: ElementRef<'_>) -> bool {
    const BLOCKS: [&str; 8] = ["h1", "h2", "h3", "h4", "h5", "h6", "table", "pre"];
    /// More paragraphs in one cell are a text.
    const MOST_PARAGRAPHS: usize = 3;
    let mut inner = table.descendants().filter_map(ElementRef::wrap).skip(1);
    let paragraphs = |cell: ElementRef<'_>| {
        let inner = cell.descendants().filter_map(ElementRef::wrap);
        inner.filter(|inner| inner.value().name() == "p").count()
    };
    table.attr("role") == Some("presentation")
        || inner.any(|inner| match inner.value().name() {
            "td" | "th" => paragraphs(inner) > MOST_PARAGRAPHS,
            name => BLOCKS.contains(&name),
        })
}

impl Writer {
    pub fn open(&mut self, element: ElementRef<'_>) {
        let name = element.value().name();
        self.code += usize::from(is_code(name));
        self.seam = match self.seam {
            Seam::End | Seam::Between if !is_part_of_word(name) => Seam::Between,
            Seam::End | Seam::Between | Seam::Text => Seam::Text,
        };
        match name {
            "br" if self.is_one_line() => self.space = true,
            "br" if self.verbatim.is_some() => self.text("\n"),
            "br" => self.due(1),
            "img" => {
                self.space = true;
                self.text(element.attr("alt").unwrap_or_default());
                self.space = true;
            }
            "table" => self.tables.push(!is_layout(element)),
            "tr" => self.row = 0,
            _ if is_list(name) => self.open_list(element),
            _ if is_apart(name) => self.space = true,
            _ => {}
        }
        if matches!(name, "td" | "th") {
            return self.cell();
        }
        let Some(marker) = marker_of(name) else {
            return;
        };
        self.open_block(name, marker);
    }

    fn open_block(&mut self, name: &str, marker: &str) {
        if self.is_in_row(name) || (self.headings > 0 && !is_heading(name)) {
            self.space = true;
            return;
        }
        self.headings += usize::from(is_heading(name));
        // The first block of an item stands on the item's own line.
        if self.marker.is_empty() {
            self.due(self.lines_around(name));
        }
        if name == "li" {
            self.marker = self.item();
        } else if !marker.is_empty() {
            self.marker = marker.to_owned();
        }
        if is_verbatim(name) {
            self.depth += 1;
            if self.verbatim.is_none() {
                self.lines_before = std::mem::take(&mut self.lines);
                self.verbatim = Some(String::new());
            }
        }
    }

    pub fn close(&mut self, name: &str) {
        let lines = self.lines_around(name);
        self.code -= usize::from(is_code(name) && self.code > 0);
        if self.seam == Seam::Text {
            self.seam = Seam::End;
        }
        match name {
            "table" => drop(self.tables.pop()),
            _ if is_list(name) => drop(self.lists.pop()),
            _ if is_apart(name) => self.space = true,
            _ => {}
        }
        if matches!(name, "td" | "th") && !self.is_in_row("") {
            return self.due(2);
        }
        if marker_of(name).is_none() {
            return;
        }
        if is_heading(name) {
            self.headings = self.headings.saturating_sub(1);
        }
        if self.is_in_row(name) || self.headings > 0 {
            self.space = true;
            return;
        }
        if is_verbatim(name) {
            self.depth = self.depth.saturating_sub(1);
            if self.depth == 0 {
                self.write_verbatim();
            }
        }
        // An element without text leaves no sign behind.
        self.marker.clear();
        self.due(lines);
    }

    pub fn text(&mut self, text: &str) {
        if let Some(verbatim) = &mut self.verbatim {
            // Code is often set with an element per line.
            if std::mem::take(&mut self.lines) > 0
                && !verbatim.is_empty()
                && !verbatim.ends_with('\n')
            {
                verbatim.push('\n');
            }
            verbatim.push_str(text);
            return;
        }
        self.space |= text.starts_with(char::is_whitespace);
        let seam = std::mem::take(&mut self.seam);
        self.space |= seam == Seam::Between && self.code == 0 && is_seam(&self.text, text);
        for word in text.split_whitespace() {
            self.flush();
            self.text.push_str(word);
            self.space = true;
        }
        let ends_in_space = text.ends_with(char::is_whitespace);
        if !text.trim().is_empty() {
            self.space = ends_in_space;
        }
    }

    pub fn finish(mut self) -> String {
        self.write_verbatim();
        self.text
    }

    /// Whether all is on one line here.
    fn is_one_line(&self) -> bool {
        self.headings > 0 || (self.is_in_row("") && self.verbatim.is_none())
    }

    /// Whether this is inside a row of a table of data, which is one line.
    fn is_in_row(&self, name: &str) -> bool {
        let is_part = matches!(
            name,
            "table" | "thead" | "tbody" | "tfoot" | "caption" | "tr"
        );
        self.tables.last() == Some(&true) && self.row > 0 && !is_part
    }

    /// Items and rows follow each other without a blank line, and so do lists inside of them.
    fn lines_around(&self, name: &str) -> usize {
        let is_inner_list = is_list(name) && self.lists.len() > 1;
        if matches!(name, "li" | "tr" | "dt" | "dd") || is_inner_list {
            1
        } else {
            2
        }
    }

    fn open_list(&mut self, element: ElementRef<'_>) {
        let number = |name| {
            element
                .attr(name)
                .and_then(|value| value.trim().parse().ok())
        };
        let is_ordered = element.value().name() == "ol";
        let is_reversed = element.attr("reversed").is_some();
        let items = element.children().filter_map(ElementRef::wrap);
        let last = if is_reversed {
            items.count().try_into().unwrap_or(1)
        } else {
            1
        };
        self.lists.push(List {
            next: is_ordered.then(|| number("start").unwrap_or(last)),
            step: if is_reversed { -1 } else { 1 },
        });
    }

    /// The sign of the next item.
    fn item(&mut self) -> String {
        /// Deeper lists are set like this one.
        const DEEPEST: usize = 8;
        let indent = "  ".repeat(self.lists.len().saturating_sub(1).min(DEEPEST));
        let number = self.lists.last_mut().and_then(|list| {
            let number = list.next?;
            list.next = Some(number.saturating_add(list.step));
            Some(number)
        });
        match number {
            Some(number) => format!("{indent}{number}. "),
            None => format!("{indent}- "),
        }
    }

    fn write_verbatim(&mut self) {
        self.depth = 0;
        let Some(code) = self.verbatim.take() else {
            return;
        };
        self.lines = self.lines_before;
        let code = code.trim_matches('\n').trim_end();
        if code.trim().is_empty() {
            return;
        }
        let fence = fence_for(code);
        self.flush();
        self.text.push_str(&format!("{fence}\n{code}\n{fence}"));
    }

    fn due(&mut self, lines: usize) {
        self.lines = self.lines.max(lines);
        self.space = false;
    }

    /// Separates a cell from the one before it in its row, if there is one.
    fn cell(&mut self) {
        if self.tables.last() != Some(&true) {
            return self.due(2);
        }
        self.cells += usize::from(self.row > 0);
        self.row += 1;
        self.space = self.row > 1;
    }

    /// Writes what is due before the next word.
    fn flush(&mut self) {
        let is_start = self.lines > 0 || self.text.is_empty();
        if self.lines > 0 && !self.text.is_empty() {
            self.text.extend(std::iter::repeat_n('\n', self.lines));
            self.cells = self.cells.min(self.row.saturating_sub(1));
        } else if self.space && !self.text.is_empty() && self.cells == 0 {
            self.text.push(' ');
        }
        for number in 0..std::mem::take(&mut self.cells) {
            self.text
                .push_str(if is_start && number == 0 { "| " } else { " | " });
        }
        self.text.push_str(&std::mem::take(&mut self.marker));
        (self.lines, self.space) = (0, false);
    }
}

fn is_verbatim(name: &str) -> bool {
    matches!(name, "pre" | "listing" | "xmp" | "plaintext" | "textarea")
}
