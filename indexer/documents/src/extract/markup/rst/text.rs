//! Text with roles, literals, references and replacements.

use super::super::inline::{closing, unmarked};
use super::Reader;

/// Replacements that a text may have: one that stands for many others would grow without end.
const MOST_REPLACED: usize = 256;

impl Reader<'_> {
    /// Text without marks; of a reference its words.
    pub fn inline(&self, text: &str) -> String {
        let mut kept = String::with_capacity(text.len());
        let (mut at, mut replaced) = (0, 0);
        // Literals are set aside, so that no mark is looked for in them.
        let mut plain = String::new();
        while let Some(c) = text[at..].chars().next() {
            let rest = &text[at..];
            if rest.starts_with("``")
                && let Some(end) = closing(text, at + 2, "``")
            {
                flush(&mut plain, &mut kept);
                kept.push_str(&text[at + 2..end]);
                at = end + 2;
            } else if c == '`'
                && let Some(end) = closing(text, at + 1, "`")
            {
                drop_role(&mut plain);
                flush(&mut plain, &mut kept);
                kept.push_str(words_of(&text[at + 1..end]));
                at = after_reference(text, end + 1);
            } else if c == '|'
                && let Some((name, end)) = replacement(text, at)
            {
                let stands_for = self
                    .replacements
                    .get(name)
                    .filter(|_| replaced < MOST_REPLACED);
                replaced += 1;
                plain.push_str(stands_for.map_or(name, String::as_str));
                at = after_reference(text, end);
            } else if c == '\\' {
                let next = rest[1..].chars().next();
                plain.extend(next.filter(|next| !next.is_whitespace()));
                at += 1 + next.map_or(0, char::len_utf8);
            } else if c == '_' && is_end_of_reference(text, at) {
                at = after_reference(text, at);
            } else {
                plain.push(c);
                at += c.len_utf8();
            }
        }
        flush(&mut plain, &mut kept);
        kept
    }
}

fn flush(plain: &mut String, kept: &mut String) {
    kept.push_str(&unmarked(plain, &["**", "*"], &[]));
    plain.clear();
}

/// Takes the name of a role, between colons, off the end.
fn drop_role(plain: &mut String) {
    let Some(before) = plain.strip_suffix(':') else {
        return;
    };
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | ':');
    let name = before.trim_end_matches(is_name).len();
    let role = &before[name..];
    if let Some(colon) = role.find(':').filter(|colon| colon + 1 < role.len()) {
        plain.truncate(name + colon);
    }
}

/// Of `words <target>` the words.
fn words_of(reference: &str) -> &str {
    let reference = reference.trim_start_matches(['~', '!']);
    match reference.rsplit_once('<') {
        Some((words, target)) if target.ends_with('>') && !words.trim().is_empty() => {
            words.trim_end()
        }
        Some((_, target)) if target.ends_with('>') => target.trim_end_matches('>'),
        _ => reference,
    }
}

/// The place behind the underscores, or the role, that end a reference.
fn after_reference(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    let underscores = rest
        .bytes()
        .take(2)
        .take_while(|byte| *byte == b'_')
        .count();
    at + underscores
}

/// Whether the underscore here ends a word that refers to something.
fn is_end_of_reference(text: &str, at: usize) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | ':');
    let word = text[..at].trim_end_matches(is_name).len();
    // A name with underscores around it is none of these.
    let begins = text[word..]
        .chars()
        .next()
        .is_some_and(char::is_alphanumeric);
    let before = text[..at]
        .chars()
        .next_back()
        .filter(|c| begins || *c == ']');
    let after = text[after_reference(text, at)..].chars().next();
    before.is_some_and(|c| c.is_alphanumeric() || c == ']')
        && after.is_none_or(|c| c.is_whitespace() || ".,:;!?)'\"-".contains(c))
}

/// The name between bars, and the place behind them.
fn replacement(text: &str, at: usize) -> Option<(&str, usize)> {
    const LONGEST: usize = 100;
    let rest = &text[at + 1..];
    let end = rest.find('|').filter(|end| (1..=LONGEST).contains(end))?;
    let name = &rest[..end];
    let is_name = !name.starts_with(' ') && !name.ends_with(' ') && !name.contains('\n');
    is_name.then(|| (name, at + 1 + end + 1))
}
