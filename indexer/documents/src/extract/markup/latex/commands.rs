//! Commands: what each of them sets.

use super::super::super::extracted::Block;
use super::accents;
use super::scan::Scan;
use super::{MAX_EXPANDED, Reader};
use crate::document::Reason;

/// Commands whose arguments are no text: how many of them there are.
const SILENT: [(&str, usize); 62] = [
    ("label", 1),
    ("ref", 1),
    ("eqref", 1),
    ("pageref", 1),
    ("autoref", 1),
    ("cref", 1),
    ("Cref", 1),
    ("nameref", 1),
    ("cite", 1),
    ("citep", 1),
    ("citet", 1),
    ("citeauthor", 1),
    ("citeyear", 1),
    ("parencite", 1),
    ("textcite", 1),
    ("nocite", 1),
    ("usepackage", 1),
    ("documentclass", 1),
    ("includegraphics", 1),
    ("vspace", 1),
    ("hspace", 1),
    ("setlength", 2),
    ("addtolength", 2),
    ("setcounter", 2),
    ("addtocounter", 2),
    ("bibliography", 1),
    ("bibliographystyle", 1),
    ("pagestyle", 1),
    ("thispagestyle", 1),
    ("pagenumbering", 1),
    ("color", 1),
    ("index", 1),
    ("hypersetup", 1),
    ("addcontentsline", 3),
    ("rule", 2),
    ("graphicspath", 1),
    ("selectlanguage", 1),
    ("hyphenation", 1),
    ("fontsize", 2),
    ("fontfamily", 1),
    ("usefont", 4),
    ("cline", 1),
    ("cmidrule", 1),
    ("newpage", 0),
    ("phantom", 1),
    ("vphantom", 1),
    ("hphantom", 1),
    ("tikzset", 1),
    ("pgfplotsset", 1),
    ("usetikzlibrary", 1),
    ("lstset", 1),
    ("include@", 1),
    ("geometry", 1),
    ("titleformat", 5),
    ("renewbibmacro", 2),
    ("DeclareUnicodeCharacter", 2),
    ("theoremstyle", 1),
    ("allowdisplaybreaks", 0),
    ("bibitem@", 0),
    ("hline", 0),
    ("linewidth", 0),
    ("textwidth", 0),
];
/// Commands that make entries of an index, which say nothing where they stand: those of indexes themselves, and those of the
/// C++ standard, which has them everywhere and defines them in another file.
const ENTRIES: [&str; 20] = [
    "indexentry",
    "indexsetup",
    "indexconcept",
    "indexdefn",
    "indexgram",
    "indexgrammar",
    "indexhdr",
    "indexheader",
    "indeximpldef",
    "indexlibrary",
    "indexlibraryboth",
    "indexlibraryctor",
    "indexlibrarydtor",
    "indexlibraryglobal",
    "indexlibrarymember",
    "indexlibrarymemberexpos",
    "indexlibrarymemberx",
    "indexlibrarymisc",
    "indexlibraryzombie",
    "indextext",
];
/// Commands whose first argument says how the second one is set.
const STYLED: [&str; 7] = [
    "textcolor",
    "colorbox",
    "parbox",
    "raisebox",
    "resizebox",
    "foreignlanguage",
    "scalebox",
];

impl Reader<'_> {
    pub fn command(&mut self, scan: &mut Scan<'_>) {
        let line = scan.line;
        let name = scan.name();
        if let Some(level) = level_of(name) {
            return self.heading(level, scan);
        }
        if self.macros.define(name, scan) {
            return;
        }
        if let Some(known) = self.macros.get(name) {
            let text = self.expanded(&known, scan);
            return self.text.push_str(&text);
        }
        if let Some(mark) = accents::mark(name) {
            let argument = match scan.argument() {
                Some(argument) => argument.to_owned(),
                None if scan.peek() == Some('\\') => format!("\\{}", scan.name()),
                None => String::new(),
            };
            let letter = accents::marked(&argument, mark);
            return self.text.push_str(&letter);
        }
        if let Some((_, arguments)) = SILENT.iter().find(|(silent, _)| *silent == name) {
            while scan.optional().is_some() {}
            for _ in 0..*arguments {
                _ = scan.braced();
            }
            return;
        }
        self.other(name, line, scan);
    }

    fn other(&mut self, name: &str, line: u64, scan: &mut Scan<'_>) {
        match name {
            "begin" => self.environment(scan),
            "end" => _ = scan.argument(),
            "item" => self.item(scan),
            "par" | "bigskip" | "medskip" | "smallskip" | "newpage" | "clearpage" => self.flush(),
            "\\" => {
                scan.optional();
                self.space();
            }
            "[" => self.display(scan, "\\]"),
            "(" => {
                let formula = scan.until("\\)");
                self.text.push_str(&format!("${formula}$"));
            }
            "verb" | "lstinline" | "mintinline" => self.text.push_str(code(name, scan)),
            "input" | "include" | "subfile" | "import" => self.leave_out(Reason::Include, scan),
            "footnote" | "thanks" | "footnotetext" => {
                scan.optional();
                if let Some(argument) = scan.argument() {
                    let note = self.set(argument, line);
                    self.text.push_str(&format!(" ({})", note.trim()));
                }
            }
            "href" => {
                _ = scan.argument();
                self.argument(scan);
            }
            "multicolumn" | "multirow" => {
                _ = (scan.braced(), scan.braced());
                self.argument(scan);
            }
            "caption" | "captionof" => {
                scan.optional();
                if let Some(argument) = scan.argument() {
                    let caption = self.set(argument, line);
                    self.write(Block::Paragraph(&caption), line);
                }
            }
            "bibitem" => {
                self.flush();
                scan.optional();
                _ = scan.argument();
                self.item = Some(None);
            }
            name if STYLED.contains(&name) => {
                while scan.optional().is_some() {}
                _ = scan.braced();
                self.argument(scan);
            }
            name => self.unknown(name, scan),
        }
    }

    fn unknown(&mut self, name: &str, scan: &mut Scan<'_>) {
        if ENTRIES.contains(&name) {
            while scan.optional().is_some() {}
            while scan.adjacent().is_some() {}
            return;
        }
        if let Some(letters) = accents::letter(name) {
            // Space behind the name of a letter ends the name, and braces set it off.
            scan.take("{}");
            return self.text.push_str(letters);
        }
        self.argument(scan);
        // Nobody knows what stands between the arguments.
        while let Some(argument) = scan.adjacent() {
            let text = self.set(argument, scan.line);
            self.space();
            self.text.push_str(&text);
        }
    }

    /// Sets an argument where it stands; what is in brackets says how.
    fn argument(&mut self, scan: &mut Scan<'_>) {
        while scan.optional().is_some() {}
        let line = scan.line;
        if let Some(argument) = scan.braced() {
            let text = self.set(argument, line);
            self.text.push_str(&text);
        }
    }

    fn heading(&mut self, level: usize, scan: &mut Scan<'_>) {
        self.flush();
        scan.optional();
        let line = scan.line;
        if let Some(argument) = scan.argument() {
            let title = self.set(argument, line);
            self.write(Block::Heading(level, &title), line);
        }
    }

    fn item(&mut self, scan: &mut Scan<'_>) {
        self.flush();
        scan.skip_space();
        let line = scan.line;
        let term = scan.optional().map(str::to_owned);
        let number = self.lists.last_mut().and_then(|next| {
            let number = *next;
            *next = next.map(|next| next + 1);
            number
        });
        self.item = Some(number);
        if let Some(term) = term {
            let term = self.set(&term, line);
            self.text.push_str(&format!("{}: ", term.trim()));
        }
    }

    /// A macro with its arguments in their places, set as far as the bounds allow.
    fn expanded(&mut self, known: &super::scan::Macro, scan: &mut Scan<'_>) -> String {
        let mut arguments = Vec::new();
        if let Some(default) = &known.default {
            arguments.push(scan.optional().unwrap_or(default).to_owned());
        }
        while arguments.len() < known.arguments {
            arguments.push(scan.argument().unwrap_or_default().to_owned());
        }
        let room = MAX_EXPANDED.saturating_sub(self.macros.expanded + 1);
        if known.body.len() > room {
            return arguments.join(" ");
        }
        let mut body = String::new();
        let mut parts = known.body.split('#');
        body.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let number = part.chars().next().and_then(|c| c.to_digit(10));
            let argument =
                number.and_then(|number| arguments.get((number as usize).checked_sub(1)?));
            let (argument, part) = match argument {
                Some(argument) => (argument.as_str(), &part[1..]),
                None => ("", part),
            };
            if body.len() + argument.len() + part.len() > room {
                return arguments.join(" ");
            }
            body.push_str(argument);
            body.push_str(part);
        }
        self.macros.expanded += body.len() + 1;
        let line = scan.line;
        self.set(&body, line)
    }
}

/// Code inside of a sentence, between two signs that are alike, or in braces where its command may have these.
fn code<'t>(name: &str, scan: &mut Scan<'t>) -> &'t str {
    if name == "verb" {
        return scan.between_signs();
    }
    scan.optional();
    // Its language.
    if name == "mintinline" {
        scan.braced();
    }
    match scan.braced() {
        Some(code) => code,
        None => scan.between_signs(),
    }
}

fn level_of(name: &str) -> Option<usize> {
    Some(match name {
        "part" | "chapter" => 1,
        "section" => 2,
        "subsection" => 3,
        "subsubsection" => 4,
        "paragraph" => 5,
        "subparagraph" => 6,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::extract::extracted::Extracted;
    use crate::extract::markup::latex;

    #[test]
    fn code_in_a_sentence_of_latex_is_between_signs_or_in_braces() {
        for (source, expected) in [
            (
                r"A \lstinline{fork} and \lstinline[a=b]{exec{}} of \verb|a b| and \verb*+a b+.",
                "A fork and exec{} of a b and a b.",
            ),
            (
                r"\mintinline{rust}{let x;} or \mintinline{rust}|a| or \lstinline!b!",
                "let x; or a or b",
            ),
            (r"A \lstinline*a b* and c.", "A a b and c."),
        ] {
            assert_eq!(text_of(source), expected);
        }
    }

    #[test]
    fn arguments_of_a_command_that_is_not_known_are_words_of_their_own() {
        for (source, expected) in [
            (r"A \unknown{one}{two} b.", "A one two b."),
            (r"A \unknown[x]{one}[y]{two}b {c}", "A one[y]twob c"),
            (
                r"\indexlibrarymember{basic_string}{traits}\index[x]{y}A\indextext{string!\tcode{view}}b",
                "Ab",
            ),
            (r"\indexed{word}, \indexentry{a}{1}b", "word, b"),
            (r"\emph{a} {b}, \emph{a}{b}", "a b, a b"),
            (r"\unknown{a}{", "a"),
        ] {
            assert_eq!(text_of(source), expected, "{source}");
        }
    }

    fn text_of(source: &str) -> String {
        let mut out = Extracted::default();
        latex(source.as_bytes(), &mut out).unwrap();
        out.text.trim().to_owned()
    }
}
