//! The fields of a JSON object: what a plain map would lose unsaid is noticed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Digits that any integer of 64 bits can have.
const SAFE_DIGITS: usize = 18;

/// What a line of JSON is. Errors of the library about a wrong type would quote the text.
#[derive(Debug, PartialEq)]
pub enum Top {
    Fields(Map<String, Value>),
    /// This field comes twice: a map would keep the last one.
    Repeated(String),
    /// It is no object.
    Other(&'static str),
}

impl<'de> Deserialize<'de> for Top {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TopVisitor)
    }
}

struct TopVisitor;

impl<'de> Visitor<'de> for TopVisitor {
    type Value = Top;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Top, A::Error> {
        let (mut fields, mut repeated) = (Map::new(), None);
        while let Some((name, value)) = entries.next_entry::<String, Value>()? {
            if fields.contains_key(&name) {
                repeated.get_or_insert(name);
            } else {
                fields.insert(name, value);
            }
        }
        Ok(repeated.map_or(Top::Fields(fields), Top::Repeated))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Top, A::Error> {
        while values.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Top::Other("an array"))
    }

    fn visit_str<E>(self, _: &str) -> Result<Top, E> {
        Ok(Top::Other("a string"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Top, E> {
        Ok(Top::Other("a boolean"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Top, E> {
        Ok(Top::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Top, E> {
        Ok(Top::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Top, E> {
        Ok(Top::Other("a number"))
    }

    fn visit_unit<E>(self) -> Result<Top, E> {
        Ok(Top::Other("null"))
    }
}

/// Integers that no payload can hold become strings of the same digits: as numbers they would be rounded.
pub fn with_long_integers_as_text(line: &str) -> Cow<'_, str> {
    if !has_long_run_of_digits(line.as_bytes()) {
        return Cow::Borrowed(line);
    }
    let bytes = line.as_bytes();
    let (mut text, mut copied, mut at) = (String::new(), 0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = end_of_string(bytes, at),
            b'-' | b'0'..=b'9' => {
                let is_part =
                    |byte: &&u8| matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E' | b'0'..=b'9');
                let end = at + bytes[at..].iter().take_while(is_part).count();
                let number = &line[at..end];
                let is_whole = number
                    .trim_start_matches('-')
                    .bytes()
                    .all(|byte| byte.is_ascii_digit());
                if is_whole && number.parse::<i64>().is_err() {
                    text.push_str(&line[copied..at]);
                    text.push_str(&format!("\"{number}\""));
                    copied = end;
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    text.push_str(&line[copied..]);
    Cow::Owned(text)
}

/// Where the string ends that starts at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// Looks at one byte of so many: a run that is longer cannot be missed.
fn has_long_run_of_digits(bytes: &[u8]) -> bool {
    let mut at = SAFE_DIGITS;
    while at < bytes.len() {
        if bytes[at].is_ascii_digit() {
            let before = bytes[..at]
                .iter()
                .rev()
                .take_while(|byte| byte.is_ascii_digit());
            let after = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit());
            if before.take(SAFE_DIGITS + 1).count() + after.take(SAFE_DIGITS + 1).count()
                > SAFE_DIGITS
            {
                return true;
            }
        }
        at += SAFE_DIGITS;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_beyond_64_bits_keep_their_digits() {
        for (line, expected) in [
            (
                r#"{"a":123456789012345678901234567890}"#,
                r#"{"a":"123456789012345678901234567890"}"#,
            ),
            (
                r#"{"a":[-9223372036854775808,-9223372036854775809]}"#,
                r#"{"a":[-9223372036854775808,"-9223372036854775809"]}"#,
            ),
            (
                r#"{"a":18446744073709551615}"#,
                r#"{"a":"18446744073709551615"}"#,
            ),
            (
                r#"{"a":1234567890123456789.5,"b":"\"12345678901234567890"}"#,
                r#"{"a":1234567890123456789.5,"b":"\"12345678901234567890"}"#,
            ),
            (
                r#"{"12345678901234567890":1}"#,
                r#"{"12345678901234567890":1}"#,
            ),
            (
                r#"{"a":12345678901234567890"#,
                r#"{"a":"12345678901234567890""#,
            ),
            (
                r#"{"b":"12345678901234567890\"#,
                r#"{"b":"12345678901234567890\"#,
            ),
        ] {
            assert_eq!(with_long_integers_as_text(line), expected);
        }
    }

    #[test]
    fn a_long_run_of_digits_is_found_wherever_it_is() {
        for start in 0..60 {
            let line = |digits| format!("{}{}x", " ".repeat(start), "7".repeat(digits));
            assert!(has_long_run_of_digits(line(19).as_bytes()), "{start}");
            assert!(!has_long_run_of_digits(line(18).as_bytes()), "{start}");
        }
    }

    #[test]
    fn a_field_that_comes_twice_is_noticed() {
        let top = serde_json::from_str::<Top>(r#"{"a":1,"b":2,"a":3}"#);
        assert_eq!(top.unwrap(), Top::Repeated("a".to_owned()));
        for (line, kind) in [
            ("[1,\"x\"]", "an array"),
            ("-1", "a number"),
            ("1.5", "a number"),
            ("null", "null"),
        ] {
            assert_eq!(serde_json::from_str::<Top>(line).unwrap(), Top::Other(kind));
        }
    }
}
