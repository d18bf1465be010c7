//! Number formats: how a number in a cell is shown, by the format codes of Excel.
//!
//! A code has up to four sections: for positive and negative numbers, zero and text. What a section says of colours, widths
//! and fill is left out; fractions are shown as plain numbers. The formats that follow the language of the reader are shown
//! in ISO 8601.

use std::collections::HashMap;

use super::super::xml::{Node, Xml};
use dates::show_date;
pub use digits::general;
use digits::{fixed, scientific};

mod dates;
mod digits;
#[cfg(test)]
mod tests;

/// How a cell is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberFormat {
    sections: Vec<Section>,
}

/// One section of a code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Section {
    tokens: Vec<Token>,
    /// The condition for it, such as `>=100`, where it has one of its own.
    condition: Option<String>,
    is_date: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(String),
    /// A run of places for digits: `0`, `#`, `?`, `,` and `.`.
    Digits(String),
    /// `E+` or `E-` with its places.
    Exponent(usize),
    Percent,
    General,
    /// The places of a date, such as `yyyy`.
    Date(String),
}

/// The formats of all styles of cells.
pub fn read(xml: &mut Xml<'_>) -> Result<Vec<NumberFormat>, String> {
    let (mut codes, mut formats) = (HashMap::new(), Vec::new());
    let mut in_cells = false;
    while let Some(node) = xml.next()? {
        match node {
            Node::Open(tag) => match &*tag.name() {
                "numFmt" => {
                    let id = tag.number::<u32>("numFmtId").unwrap_or(0);
                    codes.insert(id, tag.attribute("formatCode").unwrap_or_default());
                }
                "cellXfs" => in_cells = true,
                "xf" if in_cells => {
                    let id = tag.number::<u32>("numFmtId").unwrap_or(0);
                    let code = codes.get(&id).map_or_else(|| built_in(id), String::as_str);
                    formats.push(NumberFormat::parse(code));
                }
                _ => {}
            },
            Node::Close(name) if name == "cellXfs" => in_cells = false,
            Node::Close(_) | Node::Text(_) => {}
        }
    }
    Ok(formats)
}

/// The codes that files refer to by number alone.
fn built_in(id: u32) -> &'static str {
    match id {
        1 => "0",
        2 => "0.00",
        3 => "#,##0",
        4 => "#,##0.00",
        5..=8 => "#,##0.00",
        9 => "0%",
        10 => "0.00%",
        11 => "0.00E+00",
        14 => "yyyy-mm-dd",
        15 => "d-mmm-yy",
        16 => "d-mmm",
        17 => "mmm-yy",
        18 => "h:mm AM/PM",
        19 => "h:mm:ss AM/PM",
        20 => "h:mm",
        21 => "h:mm:ss",
        22 => "yyyy-mm-dd h:mm",
        // Dates of East Asian languages.
        27..=31 | 50..=58 => "yyyy-mm-dd",
        32..=36 => "h:mm:ss",
        37..=40 => "#,##0.00",
        45 => "mm:ss",
        46 => "[h]:mm:ss",
        47 => "mm:ss.0",
        48 => "##0.0E+0",
        49 => "@",
        _ => "General",
    }
}

impl NumberFormat {
    pub fn parse(code: &str) -> Self {
        let mut sections = vec![Section::default()];
        let mut letters = code.chars().peekable();
        while let Some(letter) = letters.next() {
            let Some(section) = sections.last_mut() else {
                break;
            };
            match letter {
                ';' => sections.push(Section::default()),
                '"' => section.literal(
                    &letters
                        .by_ref()
                        .take_while(|&c| c != '"')
                        .collect::<String>(),
                ),
                '\\' => section.literal(&letters.next().map(String::from).unwrap_or_default()),
                // The width of a letter, or a letter that fills the cell.
                '_' | '*' => drop(letters.next()),
                '[' => section.bracket(
                    &letters
                        .by_ref()
                        .take_while(|&c| c != ']')
                        .collect::<String>(),
                ),
                'E' | 'e' if matches!(letters.peek(), Some('+' | '-')) => {
                    letters.next();
                    let mut places = 0;
                    while letters.next_if(|c| matches!(c, '0' | '#' | '?')).is_some() {
                        places += 1;
                    }
                    section.tokens.push(Token::Exponent(places));
                }
                '0' | '#' | '?' | '.' | ',' => section.digits(letter),
                '%' => section.tokens.push(Token::Percent),
                'G' | 'g' if starts_general(&mut letters) => section.tokens.push(Token::General),
                'y' | 'm' | 'd' | 'h' | 's' | 'Y' | 'M' | 'D' | 'H' | 'S' => {
                    section.date(letter.to_ascii_lowercase());
                }
                'A' | 'a' if starts_half_of_day(&mut letters) => {
                    section.is_date = true;
                    section.tokens.push(Token::Date("am/pm".to_owned()));
                }
                '@' => section.tokens.push(Token::General),
                other => section.literal(other.encode_utf8(&mut [0; 4])),
            }
        }
        Self { sections }
    }

    /// A number as it is shown.
    pub fn show(&self, number: f64, from_1904: bool) -> String {
        let (section, is_negative_own) = self.section(number);
        if section.is_date {
            return show_date(&section.tokens, number, from_1904)
                .unwrap_or_else(|| general(number));
        }
        let size = number.abs();
        let sign = if number < 0.0 && !is_negative_own {
            "-"
        } else {
            ""
        };
        let shown = section.show_number(size);
        // A number that is shown as nothing but zeros has no sign.
        let is_zero = !shown.chars().any(|c| ('1'..='9').contains(&c));
        if is_zero && section.has_digits() {
            shown
        } else {
            format!("{sign}{shown}")
        }
    }

    /// The section for a number, and whether it says by itself that the number is negative.
    fn section(&self, number: f64) -> (&Section, bool) {
        static GENERAL: Section = Section {
            tokens: Vec::new(),
            condition: None,
            is_date: false,
        };
        let at = |place: usize| self.sections.get(place).unwrap_or(&GENERAL);
        let with_condition = self
            .sections
            .iter()
            .take(2)
            .find(|section| section.applies(number));
        if let Some(section) = with_condition {
            return (section, false);
        }
        match (self.sections.len(), number) {
            (2.., number) if number < 0.0 => (at(1), true),
            (3.., 0.0) => (at(2), false),
            _ => (at(0), false),
        }
    }
}

fn starts_general(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> bool {
    let mut ahead = letters.clone();
    let is_general = "eneral".chars().all(|letter| {
        ahead
            .next()
            .is_some_and(|c| c.eq_ignore_ascii_case(&letter))
    });
    if is_general {
        *letters = ahead;
    }
    is_general
}

fn starts_half_of_day(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> bool {
    for rest in ["M/PM", "/P"] {
        let mut ahead = letters.clone();
        if rest.chars().all(|letter| {
            ahead
                .next()
                .is_some_and(|c| c.eq_ignore_ascii_case(&letter))
        }) {
            *letters = ahead;
            return true;
        }
    }
    false
}

impl Section {
    fn literal(&mut self, text: &str) {
        match self.tokens.last_mut() {
            Some(Token::Literal(literal)) => literal.push_str(text),
            _ => self.tokens.push(Token::Literal(text.to_owned())),
        }
    }

    fn digits(&mut self, letter: char) {
        match self.tokens.last_mut() {
            Some(Token::Digits(digits)) => digits.push(letter),
            // Of a date, only a point may begin the parts of a second.
            _ if self.is_date && !matches!(letter, '0' | '.') => {
                self.literal(letter.encode_utf8(&mut [0; 4]));
            }
            _ => self.tokens.push(Token::Digits(letter.to_string())),
        }
    }

    fn date(&mut self, letter: char) {
        self.is_date = true;
        match self.tokens.last_mut() {
            Some(Token::Date(places)) if places.ends_with(letter) => places.push(letter),
            _ => self.tokens.push(Token::Date(letter.to_string())),
        }
    }

    /// What stands between brackets: a currency, a condition, hours that go on, or a colour.
    fn bracket(&mut self, inside: &str) {
        if let Some(currency) = inside.strip_prefix('$') {
            self.literal(currency.split('-').next().unwrap_or_default());
        } else if inside.starts_with(['<', '>', '=']) {
            self.condition = Some(inside.to_owned());
        } else if matches!(
            inside.to_ascii_lowercase().as_str(),
            "h" | "hh" | "m" | "mm" | "s" | "ss"
        ) {
            self.is_date = true;
            self.tokens
                .push(Token::Date(format!("[{}", inside.to_ascii_lowercase())));
        }
    }

    fn applies(&self, number: f64) -> bool {
        let Some(condition) = &self.condition else {
            return false;
        };
        let digits = condition.trim_start_matches(['<', '>', '=']);
        let Ok(limit) = digits.trim().parse::<f64>() else {
            return false;
        };
        match &condition[..condition.len() - digits.len()] {
            "<" => number < limit,
            "<=" => number <= limit,
            ">" => number > limit,
            ">=" => number >= limit,
            "=" => number == limit,
            "<>" => number != limit,
            _ => false,
        }
    }

    fn has_digits(&self) -> bool {
        self.tokens
            .iter()
            .any(|token| matches!(token, Token::Digits(_)))
    }

    fn show_number(&self, size: f64) -> String {
        if self.tokens.is_empty() {
            return general(size);
        }
        let percents = self
            .tokens
            .iter()
            .filter(|token| **token == Token::Percent)
            .count();
        let scaled = (0..percents).fold(size, |size, _| size * 100.0);
        let exponent = self
            .tokens
            .iter()
            .position(|token| matches!(token, Token::Exponent(_)));
        let mut is_first = true;
        let mut text = String::new();
        for (place, token) in self.tokens.iter().enumerate() {
            match token {
                Token::Literal(literal) => text.push_str(literal),
                Token::Percent => text.push('%'),
                Token::General => text.push_str(&general(scaled)),
                Token::Digits(places) if is_first => {
                    is_first = false;
                    let is_scientific = exponent.is_some_and(|exponent| exponent > place);
                    text.push_str(&if is_scientific {
                        scientific(scaled, places, &self.tokens)
                    } else {
                        fixed(scaled, places)
                    });
                }
                Token::Digits(_) | Token::Exponent(_) | Token::Date(_) => {}
            }
        }
        text
    }
}
