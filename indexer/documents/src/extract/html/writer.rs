//! Writes the elements of a page as Markdown: blocks between blank lines, white space as a browser shows it.

/// Collects the text of a page.
#[derive(Debug, Default)]
pub struct Writer {
    text: String,
    /// What the next block starts with, such as the sign of a heading or an item.
    marker: &'static str,
    /// Inside how many `pre` elements, where white space counts.
    verbatim: usize,
    /// White space was met since the last word.
    space: bool,
    /// Line ends that are due before the next word.
    lines: usize,
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
        "li" => "- ",
        "html" | "body" | "main" | "article" | "section" | "div" | "p" | "blockquote" | "ul"
        | "ol" | "dl" | "dt" | "dd" | "table" | "thead" | "tbody" | "tfoot" | "caption" | "tr"
        | "pre" | "figure" | "figcaption" | "header" | "footer" | "aside" | "address"
        | "details" | "summary" | "hr" | "fieldset" => "",
        _ => return None,
    })
}

/// Items and rows follow each other without a blank line.
fn lines_around(name: &str) -> usize {
    if matches!(name, "li" | "tr" | "dt" | "dd") {
        1
    } else {
        2
    }
}

impl Writer {
    pub fn open(&mut self, name: &str) {
        match name {
            "br" => self.due(1),
            "td" | "th" => self.cell(),
            _ => {}
        }
        let Some(marker) = marker_of(name) else {
            return;
        };
        // The first block of an item stands on the item's own line.
        if self.marker.is_empty() {
            self.due(lines_around(name));
        }
        if !marker.is_empty() {
            self.marker = marker;
        }
        if name == "pre" {
            self.flush();
            self.text.push_str("```\n");
            self.verbatim += 1;
        }
    }

    pub fn close(&mut self, name: &str) {
        if marker_of(name).is_none() {
            return;
        }
        if name == "pre" {
            self.verbatim = self.verbatim.saturating_sub(1);
            let end = if self.text.ends_with('\n') {
                "```"
            } else {
                "\n```"
            };
            self.text.push_str(end);
        }
        // An element without text leaves no sign behind.
        self.marker = "";
        self.due(lines_around(name));
    }

    pub fn text(&mut self, text: &str) {
        if self.verbatim > 0 {
            // Code is often set with an element per line.
            if std::mem::take(&mut self.lines) > 0 && !self.text.ends_with('\n') {
                self.text.push('\n');
            }
            self.text.push_str(text);
            return;
        }
        self.space |= text.starts_with(char::is_whitespace);
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

    pub fn finish(self) -> String {
        self.text
    }

    fn due(&mut self, lines: usize) {
        self.lines = self.lines.max(lines);
        self.space = false;
    }

    /// Separates a cell from the one before it in its row, if there is one.
    fn cell(&mut self) {
        if self.lines == 0 && !self.text.is_empty() {
            self.text.push_str(" |");
            self.space = true;
        }
    }

    /// Writes what is due before the next word.
    fn flush(&mut self) {
        if self.lines > 0 && !self.text.is_empty() {
            self.text.extend(std::iter::repeat_n('\n', self.lines));
        } else if self.space && !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(std::mem::take(&mut self.marker));
        (self.lines, self.space) = (0, false);
    }
}
