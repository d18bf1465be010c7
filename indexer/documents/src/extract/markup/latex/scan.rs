//! Scan: a text of LaTeX from its start, command by command, with the lines counted.

use std::collections::HashMap;
use std::rc::Rc;

pub struct Scan<'t> {
    rest: &'t str,
    pub line: u64,
}

impl<'t> Scan<'t> {
    pub fn new(text: &'t str, line: u64) -> Self {
        Self { rest: text, line }
    }

    pub fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub fn bump(&mut self) {
        if let Some(c) = self.peek() {
            self.skip(c.len_utf8());
        }
    }

    fn skip(&mut self, bytes: usize) -> &'t str {
        let (passed, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        self.line += memchr::memchr_iter(b'\n', passed.as_bytes()).count() as u64;
        self.rest = rest;
        passed
    }

    pub fn take(&mut self, sign: &str) -> bool {
        let found = self.rest.starts_with(sign);
        if found {
            self.skip(sign.len());
        }
        found
    }

    /// Passes over a comment with the end of its line, and the white space that begins the next.
    pub fn skip_comment(&mut self) {
        let end = self.rest.find('\n').map_or(self.rest.len(), |end| end + 1);
        self.skip(end);
        let spaces = self.rest.len() - self.rest.trim_start_matches([' ', '\t']).len();
        self.skip(spaces);
    }

    pub fn skip_space(&mut self) {
        let space = self.rest.len() - self.rest.trim_start().len();
        self.skip(space);
    }

    /// Whether a blank line begins at this line end.
    pub fn at_blank_line(&self) -> bool {
        let space = self.rest.len() - self.rest.trim_start().len();
        self.rest[..space].matches('\n').count() > 1
    }

    /// The name of the command that begins here: letters, or one sign.
    pub fn name(&mut self) -> &'t str {
        self.skip(1);
        let letters = self
            .rest
            .bytes()
            .take_while(|byte| byte.is_ascii_alphabetic() || *byte == b'@')
            .count();
        if letters == 0 {
            let sign = self.peek().map_or(0, char::len_utf8);
            return self.skip(sign);
        }
        let name = self.skip(letters);
        // A star after these is the sign around the code.
        if !matches!(name, "lstinline" | "mintinline") {
            self.take("*");
        }
        name
    }

    /// The name of the next command, whatever is before it.
    pub fn next_command(&mut self) -> Option<&'t str> {
        loop {
            match self.peek()? {
                '\\' => return Some(self.name()),
                '%' => self.skip_comment(),
                first => {
                    let from = first.len_utf8();
                    let next = self.rest[from..].find(['\\', '%']);
                    self.skip(next.map_or(self.rest.len(), |next| from + next));
                }
            }
        }
    }

    /// What is in braces here, or the one letter or command that stands for it.
    pub fn argument(&mut self) -> Option<&'t str> {
        let space = self.rest.len() - self.rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
        match self.rest[space..].chars().next()? {
            '{' => {
                self.skip(space);
                self.group('{', '}')
            }
            '\\' | '}' => None,
            c if space == 0 && c.is_alphanumeric() => Some(self.skip(c.len_utf8())),
            _ => None,
        }
    }

    /// What is in braces here, if anything is.
    pub fn braced(&mut self) -> Option<&'t str> {
        let space = self.rest.len() - self.rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
        self.rest[space..].starts_with('{').then(|| {
            self.skip(space);
            self.group('{', '}')
        })?
    }

    /// What is in braces right here, if anything is.
    pub fn adjacent(&mut self) -> Option<&'t str> {
        self.rest.starts_with('{').then(|| self.braced())?
    }

    /// What is in brackets here, if anything is.
    pub fn optional(&mut self) -> Option<&'t str> {
        self.rest.starts_with('[').then(|| self.group('[', ']'))?
    }

    /// What is between signs, with those inside of it. One that is not closed is no group.
    fn group(&mut self, open: char, close: char) -> Option<&'t str> {
        /// Longer groups are not looked for: each would be read again for those that are not closed.
        const LONGEST: usize = 256 << 10;
        let (mut depth, mut is_escaped) = (0_usize, false);
        for (at, c) in self.rest.char_indices() {
            if at > LONGEST {
                break;
            }
            if is_escaped {
                is_escaped = false;
                continue;
            }
            if c == '\\' {
                is_escaped = true;
            } else if c == open {
                depth += 1;
            } else if c == close {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    let group = self.skip(at + 1);
                    return Some(&group[1..at]);
                }
            }
        }
        self.bump();
        None
    }

    /// A formula between dollars, with these.
    pub fn formula(&mut self) -> &'t str {
        const LONGEST: usize = 16 << 10;
        let sign = if self.rest.starts_with("$$") {
            "$$"
        } else {
            "$"
        };
        let end = self.rest.floor_char_boundary(LONGEST.min(self.rest.len()));
        let mut from = sign.len();
        while let Some(at) = self
            .rest
            .get(from..end)
            .and_then(|within| within.find(sign))
        {
            let is_escaped = self.rest[..from + at].ends_with('\\');
            from += at + sign.len();
            if !is_escaped {
                return self.skip(from);
            }
        }
        self.skip(sign.len())
    }

    /// The text up to a mark, which is passed over as well; all of the rest without it.
    pub fn until(&mut self, mark: &str) -> &'t str {
        match self.rest.find(mark) {
            Some(at) => {
                let text = self.skip(at);
                self.skip(mark.len());
                text
            }
            None => self.skip(self.rest.len()),
        }
    }

    pub fn rest(&self) -> &'t str {
        self.rest
    }

    /// The text up to a place, which is passed over with so many bytes behind it.
    pub fn until_place(&mut self, at: usize, more: usize) -> &'t str {
        let text = self.skip(at);
        self.skip(more);
        text
    }

    /// The text between the sign that stands here and its like, as `\verb` has it.
    pub fn between_signs(&mut self) -> &'t str {
        /// Code inside of a sentence is shorter.
        const FARTHEST: usize = 16 << 10;
        let Some(sign) = self.peek().filter(|c| !c.is_whitespace()) else {
            return "";
        };
        let reach = self.rest.floor_char_boundary(FARTHEST.min(self.rest.len()));
        let line = self.rest[..reach].find('\n').unwrap_or(reach);
        let from = sign.len_utf8();
        match self
            .rest
            .get(from..line)
            .and_then(|within| within.find(sign))
        {
            Some(at) => {
                let text = self.skip(from + at + sign.len_utf8());
                &text[from..from + at]
            }
            None => "",
        }
    }
}

/// How much of a text is comment.
#[derive(Default)]
pub struct Comments {
    pub count: u64,
    pub bytes: u64,
}

pub fn comment_bytes(text: &str) -> Comments {
    let mut comments = Comments::default();
    for line in text.lines() {
        let mut is_escaped = false;
        let at = line.char_indices().find(|(_, c)| {
            let found = *c == '%' && !is_escaped;
            is_escaped = *c == '\\' && !is_escaped;
            found
        });
        if let Some((at, _)) = at.filter(|(at, _)| !line[at + 1..].trim().is_empty()) {
            comments.count += 1;
            comments.bytes += (line.len() - at - 1) as u64;
        }
    }
    comments
}

/// Macros that a file defines.
#[derive(Debug, Default)]
pub struct Macros {
    known: HashMap<String, Rc<Macro>>,
    /// Bytes that expanding has added so far.
    pub expanded: usize,
}

#[derive(Debug)]
pub struct Macro {
    pub arguments: usize,
    /// What the first argument is where it is left out; it is in brackets otherwise.
    pub default: Option<String>,
    pub body: String,
}

impl Macros {
    /// Most macros of a file.
    const MOST: usize = 4096;

    /// Notes a definition, if the command is one.
    pub fn define(&mut self, name: &str, scan: &mut Scan<'_>) -> bool {
        match name {
            "newcommand" | "renewcommand" | "providecommand" | "DeclareRobustCommand" => {
                let defined = scan.braced();
                let defined = match defined {
                    Some(defined) => defined.trim().trim_start_matches('\\').to_owned(),
                    None if scan.peek() == Some('\\') => scan.name().to_owned(),
                    None => return true,
                };
                let arguments = scan
                    .optional()
                    .and_then(|number| number.trim().parse().ok())
                    .unwrap_or(0);
                let default = scan.optional().map(str::to_owned);
                let body = scan.braced().unwrap_or_default();
                self.insert(defined, arguments, default, body);
            }
            "def" | "gdef" | "edef" | "xdef" => {
                if scan.peek() != Some('\\') {
                    return true;
                }
                let defined = scan.name().to_owned();
                let arguments = parameters(scan);
                let body = scan.braced().unwrap_or_default();
                self.insert(defined, arguments, None, body);
            }
            "DeclareMathOperator"
            | "newtheorem"
            | "let"
            | "newenvironment"
            | "renewenvironment"
            | "newcounter"
            | "newlength"
            | "newif"
            | "definecolor" => while scan.braced().is_some() || scan.optional().is_some() {},
            _ => return false,
        }
        true
    }

    fn insert(&mut self, name: String, arguments: usize, default: Option<String>, body: &str) {
        if self.known.len() < Self::MOST && arguments <= 9 {
            let defined = Macro {
                arguments,
                default,
                body: body.to_owned(),
            };
            self.known.insert(name, Rc::new(defined));
        }
    }

    pub fn get(&self, name: &str) -> Option<Rc<Macro>> {
        self.known.get(name).cloned()
    }
}

/// How many parameters stand before the braces of a definition.
fn parameters(scan: &mut Scan<'_>) -> usize {
    let mut most = 0;
    while let Some(c) = scan.peek().filter(|c| *c != '{') {
        if let Some(number) = c.to_digit(10) {
            most = most.max(number as usize);
        } else if c != '#' && !c.is_whitespace() {
            break;
        }
        scan.bump();
    }
    most
}
