//! Tokens of Rich Text Format.

#[derive(Debug, PartialEq, Eq)]
pub enum Token<'a> {
    Open,
    Close,
    /// A star: whoever does not know the word that follows passes the group over.
    Optional,
    /// A byte of text in some code page.
    Byte(u8),
    Letter(char),
    /// A control word with its number.
    Word(&'a str, Option<i32>),
}

pub struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn control(&mut self) -> Option<Token<'a>> {
        let next = *self.bytes.get(self.at)?;
        if next.is_ascii_alphabetic() {
            return Some(self.word());
        }
        self.at += 1;
        Some(match next {
            b'\'' => {
                let digits = self.bytes.get(self.at..self.at + 2);
                let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
                match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    Some(byte) => {
                        self.at += 2;
                        Token::Byte(byte)
                    }
                    None => Token::Letter('\''),
                }
            }
            b'*' => Token::Optional,
            b'~' => Token::Letter('\u{a0}'),
            b'_' => Token::Letter('-'),
            b'\n' | b'\r' => Token::Word("par", None),
            b'\t' => Token::Word("tab", None),
            b'\\' | b'{' | b'}' => Token::Byte(next),
            // A place where a word may be broken, and marks of an index.
            b'-' | b':' | b'|' => return self.next(),
            other => Token::Byte(other),
        })
    }

    fn word(&mut self) -> Token<'a> {
        /// No word that is known is longer.
        const LONGEST: usize = 32;
        let rest = &self.bytes[self.at..];
        let letters = rest
            .iter()
            .take(LONGEST)
            .take_while(|byte| byte.is_ascii_alphabetic())
            .count();
        let word = std::str::from_utf8(&rest[..letters]).unwrap_or_default();
        let rest = &rest[letters..];
        let sign = usize::from(rest.first() == Some(&b'-'));
        let digits = rest[sign..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let length = if digits > 0 { sign + digits } else { 0 };
        let number = std::str::from_utf8(&rest[..length])
            .ok()
            .and_then(|digits| digits.parse().ok());
        self.at += letters + length;
        if self.bytes.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
        // Bytes that are no text at all follow this word.
        if let ("bin", Some(bytes)) = (word, number) {
            self.at = self
                .at
                .saturating_add(usize::try_from(bytes).unwrap_or(0))
                .min(self.bytes.len());
        }
        Token::Word(word, number)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            return match byte {
                b'{' => Some(Token::Open),
                b'}' => Some(Token::Close),
                b'\r' | b'\n' | 0 => continue,
                b'\t' => Some(Token::Word("tab", None)),
                b'\\' => self.control(),
                byte => Some(Token::Byte(byte)),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_numbers_and_end_with_a_space() {
        let tokens: Vec<Token<'_>> = Tokens::of(b"{\\b0 x\\u-3913?\\'e9\\bin3 }}}\\*y\\").collect();
        let expected = [
            Token::Open,
            Token::Word("b", Some(0)),
            Token::Byte(b'x'),
            Token::Word("u", Some(-3913)),
            Token::Byte(b'?'),
            Token::Byte(0xe9),
            Token::Word("bin", Some(3)),
            Token::Optional,
            Token::Byte(b'y'),
        ];
        assert_eq!(tokens, expected);
    }
}
