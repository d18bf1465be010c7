//! Outcome: what a verb found or did, for people and as JSON, and the one way in which it is printed.

mod exit;
pub mod output;

use std::borrow::Cow;
use std::io::{self, Write};
use std::process::ExitCode;

use points::connect::of_qdrant;
use points::options::missing_index;
use points::refusal::login_advice;
use schemars::JsonSchema;
use serde::Serialize;

pub use exit::{Failure, LeaseTaken};

/// The outcome of a verb. Its JSON is one object on one line.
pub trait Outcome: Serialize + JsonSchema {
    fn write(&self, out: &mut dyn Write) -> io::Result<()>;

    /// Problems that somebody has to look at; they are written to standard error.
    fn complaints(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether it is not all that was asked for.
    fn is_failure(&self) -> bool {
        false
    }

    /// The kind of the failure, where [`Self::is_failure`].
    fn failure(&self) -> Failure {
        Failure::Other
    }
}

/// Prints an outcome; gives the exit code that it means.
pub fn print(outcome: &impl Outcome, json: bool, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if json {
        print_json(outcome, out)?;
    } else {
        let mut text = Vec::new();
        outcome.write(&mut text)?;
        out.write_all(shown(&String::from_utf8_lossy(&text)).as_bytes())?;
    }
    for complaint in outcome.complaints() {
        tracing::error!("{complaint}");
    }
    Ok(match outcome.is_failure() {
        true => outcome.failure().code(),
        false => ExitCode::SUCCESS,
    })
}

/// A text without what a terminal would obey: ids and texts of documents come from anywhere.
pub fn shown(text: &str) -> Cow<'_, str> {
    let is_obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// A text on one line: all characters that would move the cursor of a terminal are written as escapes. Anybody may publish a
/// dead letter, or write to a collection.
pub fn escaped(text: &str) -> String {
    let escape = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    text.chars().map(escape).collect()
}

/// Says what to do about a login or a filter that Qdrant refused.
pub fn explained(error: anyhow::Error) -> anyhow::Error {
    let of_qdrant = error.chain().find_map(of_qdrant);
    if let Some(advice) = of_qdrant.and_then(login_advice) {
        return error.context(advice);
    }
    match of_qdrant.and_then(missing_index) {
        Some(missing) => error.context(missing.to_string()),
        None => error,
    }
}

/// What an error says, without the headers of a response that some libraries write out with it.
pub fn without_headers(message: &str) -> Cow<'_, str> {
    const HEADERS: &str = "MetadataMap {";
    const LABEL: &str = ", metadata: ";
    let Some(start) = message.find(HEADERS) else {
        return Cow::Borrowed(message);
    };
    let mut depth = 0_usize;
    let end = message[start..].char_indices().find_map(|(at, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => return None,
        }
        (depth == 0).then_some(start + at + 1)
    });
    let before = message[..start].trim_end_matches(LABEL);
    let after = end.map_or("", |end| &message[end..]);
    Cow::Owned(format!("{before}{}", without_headers(after)))
}

/// Writes one object on one line.
pub fn print_json(value: &(impl Serialize + ?Sized), out: &mut dyn Write) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)?;
    Ok(())
}

/// How many of something there are: one has no plural.
pub fn many(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// Writes a line for each count that is not 0: what there are so many of.
pub fn write_counts(counts: &[(u64, &str)], out: &mut dyn Write) -> io::Result<()> {
    let mut counts = counts.iter().filter(|(count, _)| *count > 0);
    counts.try_for_each(|(count, what)| writeln!(out, "{count} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_text() {
        let text = "a\u{1b}[31mb\tc\u{9b}2J\n";
        assert_eq!(shown(text), "a\\u{1b}[31mb\tc\\u{9b}2J\n");
        assert!(matches!(shown("plain\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn headers_of_a_response_are_left_out_of_an_error() {
        let message = "failed: code: 'x', message: \"no\", metadata: MetadataMap { headers: {\"a\": \"b\"} }: again";
        assert_eq!(
            without_headers(message),
            "failed: code: 'x', message: \"no\": again"
        );
        assert_eq!(without_headers("MetadataMap { cut"), "");
        assert_eq!(without_headers("plain"), "plain");
    }

    #[derive(JsonSchema, Serialize)]
    struct Counted {
        refused: u64,
    }

    impl Outcome for Counted {
        fn write(&self, out: &mut dyn Write) -> io::Result<()> {
            write_counts(&[(0, "were skipped"), (self.refused, "were refused")], out)
        }

        fn is_failure(&self) -> bool {
            self.refused > 0
        }
    }

    #[test]
    fn an_outcome_is_printed_as_text_or_json_and_tells_the_exit_code() {
        let printed = |refused, json| {
            let mut out = Vec::new();
            let code = print(&Counted { refused }, json, &mut out).unwrap();
            (String::from_utf8(out).unwrap(), code)
        };
        let failed = ("2 were refused\n".to_owned(), ExitCode::FAILURE);
        assert_eq!(printed(2, false), failed);
        assert_eq!(printed(0, false), (String::new(), ExitCode::SUCCESS));
        let json = ("{\"refused\":2}\n".to_owned(), ExitCode::FAILURE);
        assert_eq!(printed(2, true), json);
    }
}
