//! Environments: lists, tables, code and formulas.

use super::super::super::extracted::Block;
use super::super::lines::squared;
use super::Reader;
use super::scan::Scan;
use crate::document::Reason;

const FORMULAS: [&str; 12] = [
    "equation",
    "align",
    "gather",
    "multline",
    "eqnarray",
    "math",
    "displaymath",
    "flalign",
    "alignat",
    "array",
    "IEEEeqnarray",
    "dmath",
];
const CODE: [&str; 8] = [
    "verbatim",
    "lstlisting",
    "minted",
    "Verbatim",
    "alltt",
    "code",
    "pycode",
    "filecontents",
];
const TABLES: [&str; 6] = [
    "tabular",
    "tabularx",
    "longtable",
    "tabulary",
    "supertabular",
    "tblr",
];
const DRAWINGS: [&str; 4] = ["tikzpicture", "picture", "pspicture", "forest"];

impl Reader<'_> {
    pub fn environment(&mut self, scan: &mut Scan<'_>) {
        let line = scan.line;
        let Some(name) = scan.argument().map(str::to_owned) else {
            return;
        };
        let bare = name.trim_end_matches('*');
        let end = format!("\\end{{{name}}}");
        if CODE.contains(&bare) {
            self.flush();
            scan.optional();
            let code = scan.until(&end);
            let code = if bare == "minted" {
                code.trim_start_matches(|c| c != '}')
                    .trim_start_matches('}')
            } else {
                code
            };
            return self.write(Block::Verbatim(code), line);
        }
        if FORMULAS.contains(&bare) {
            return self.display(scan, &end);
        }
        if TABLES.contains(&bare) {
            self.flush();
            let body = scan.until(&end);
            return self.table(body, line);
        }
        if DRAWINGS.contains(&bare) {
            let drawing = scan.until(&end);
            return self
                .out
                .dropped
                .add(Reason::Embedded, drawing.len() as u64, None);
        }
        self.other_environment(&name, &end, line, scan);
    }

    fn other_environment(&mut self, name: &str, end: &str, line: u64, scan: &mut Scan<'_>) {
        let bare = name.trim_end_matches('*');
        match bare {
            "comment" => {
                let comment = scan.until(end);
                self.out
                    .dropped
                    .add(Reason::Comment, comment.len() as u64, None);
            }
            "itemize" | "enumerate" | "description" | "list" | "compactitem" | "compactenum" => {
                self.flush();
                scan.optional();
                let body = scan.until_balanced(name);
                self.nested(body, line, Some((bare == "enumerate").then_some(1)));
            }
            "abstract" => {
                self.flush();
                self.write(Block::Heading(2, "Abstract"), line);
            }
            "thebibliography" => {
                self.flush();
                _ = scan.argument();
                self.write(Block::Heading(2, "References"), line);
            }
            _ => {
                self.flush();
                // What stands in brackets behind a theorem is its name; elsewhere it says where something is to be set.
                let note = scan
                    .optional()
                    .filter(|note| note.len() > 5 && !note.contains('='));
                if let Some(note) = note.map(str::to_owned) {
                    let note = self.set(&note, line);
                    self.text.push_str(&format!("({}) ", note.trim()));
                }
                if matches!(
                    bare,
                    "minipage" | "wrapfigure" | "multicols" | "adjustbox" | "subfigure"
                ) {
                    while scan.optional().is_some() || scan.braced().is_some() {}
                }
            }
        }
    }

    /// Reads what is inside of an environment as blocks of its own.
    fn nested(&mut self, body: &str, line: u64, list: Option<Option<u64>>) {
        if self.depth >= super::DEEPEST {
            return self.write(Block::Paragraph(body), line);
        }
        self.depth += 1;
        self.lists.extend(list);
        let mut inner = Scan::new(body, line);
        self.read(&mut inner);
        self.flush();
        self.item = None;
        if list.is_some() {
            self.lists.pop();
        }
        self.depth -= 1;
    }

    pub fn display(&mut self, scan: &mut Scan<'_>, end: &str) {
        self.flush();
        let line = scan.line;
        let formula = scan.until(end);
        self.write(Block::Verbatim(formula.trim_matches(['\n', ' '])), line);
    }

    fn table(&mut self, body: &str, line: u64) {
        let mut scan = Scan::new(body, line);
        while scan.optional().is_some() || scan.braced().is_some() {}
        let body = scan.until("\\end{no such environment}");
        let mut rows = Vec::new();
        let mut at = line;
        for row in body.split("\\\\") {
            let text = self.set(row, at);
            at += row.matches('\n').count() as u64;
            let row = text.trim().trim_start_matches(']');
            rows.push(
                row.split(" | ")
                    .map(|cell| cell.trim().to_owned())
                    .collect(),
            );
        }
        let rows = squared(rows);
        if !rows.is_empty() {
            self.write(Block::Table(&rows), line);
        }
    }
}

impl<'t> Scan<'t> {
    /// The text up to the end of an environment, with others of the same name inside of it.
    fn until_balanced(&mut self, name: &str) -> &'t str {
        let (begin, end) = (format!("\\begin{{{name}}}"), format!("\\end{{{name}}}"));
        let all = self.rest();
        let (mut at, mut depth) = (0, 1_usize);
        loop {
            let next_end = all[at..].find(&end);
            let Some(next_end) = next_end else {
                return self.until(&end);
            };
            match all[at..].find(&begin).filter(|next| *next < next_end) {
                Some(next) => {
                    depth += 1;
                    at += next + begin.len();
                }
                None => {
                    depth -= 1;
                    at += next_end;
                    if depth == 0 {
                        return self.until_place(at, end.len());
                    }
                    at += end.len();
                }
            }
        }
    }
}
