//! Mails that break the rules of MIME: a parser that keeps to these gives such a part as it was encoded.
//!
//! A part may lack the line that closes it, as in a mail that was cut, and an encoded text may hold signs that its encoding
//! does not know. Readers of mail show the text all the same.

use std::collections::HashMap;

use mail_parser::{Message, MessagePart, MimeHeaders as _, PartType};

/// Whether a part was not decoded.
pub fn is_broken(message: &Message<'_>) -> bool {
    let mut messages = vec![message];
    while let Some(message) = messages.pop() {
        for part in &message.parts {
            if part.is_encoding_problem {
                return true;
            }
            if let PartType::Message(inside) = &part.body {
                messages.push(inside);
            }
        }
    }
    false
}

/// The mail with a closing line for each part that has none: it ends where one around it goes on, or with the mail.
pub fn with_closed_parts(mail: &[u8]) -> Vec<u8> {
    let mut closed = Vec::with_capacity(mail.len() + 128);
    // Boundaries that a header names, and how deep they are open.
    let mut depths: HashMap<&[u8], Option<usize>> = HashMap::new();
    let mut open: Vec<&[u8]> = Vec::new();
    for line in mail.split_inclusive(|&byte| byte == b'\n') {
        if let Some(boundary) = boundary_of(line) {
            depths.entry(boundary).or_insert(None);
        }
        if let Some(name) = line.strip_prefix(b"--").map(<[u8]>::trim_ascii_end) {
            let end = name.strip_suffix(b"--");
            let known = [Some(name), end]
                .into_iter()
                .flatten()
                .find_map(|name| Some((name, *depths.get(name)?)));
            if let Some((name, depth)) = known {
                // This line itself belongs to the one that it names.
                let is_end = end == Some(name);
                let depth = depth.unwrap_or_else(|| {
                    open.push(name);
                    open.len() - 1
                });
                close(&mut closed, open.drain(depth + 1..).rev(), &mut depths);
                depths.insert(name, Some(depth));
                if is_end {
                    open.truncate(depth);
                    depths.insert(name, None);
                }
            }
        }
        closed.extend_from_slice(line);
    }
    close(&mut closed, open.drain(..).rev(), &mut depths);
    closed
}

fn close<'m>(
    closed: &mut Vec<u8>,
    boundaries: impl Iterator<Item = &'m [u8]>,
    depths: &mut HashMap<&'m [u8], Option<usize>>,
) {
    for boundary in boundaries {
        if !closed.ends_with(b"\n") {
            closed.push(b'\n');
        }
        closed.extend_from_slice(b"--");
        closed.extend_from_slice(boundary);
        closed.extend_from_slice(b"--\n");
        depths.insert(boundary, None);
    }
}

/// The boundary that a line of a header names.
fn boundary_of(line: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"boundary";
    let at = line
        .windows(NAME.len())
        .position(|name| name.eq_ignore_ascii_case(NAME))?;
    let value = line[at + NAME.len()..].trim_ascii_start();
    let value = value.strip_prefix(b"=")?.trim_ascii();
    let value = match value.strip_prefix(b"\"") {
        Some(quoted) => quoted.split(|&byte| byte == b'"').next()?,
        None => value
            .split(|&byte| byte == b';' || byte.is_ascii_whitespace())
            .next()?,
    };
    (!value.is_empty()).then_some(value)
}

/// The mail with encoded texts as their encodings want them; `None` if no part was broken like that.
pub fn with_valid_encodings(mail: &[u8], message: &Message<'_>) -> Option<Vec<u8>> {
    let mut valid = Vec::with_capacity(mail.len());
    let mut from = 0;
    for part in message.parts.iter().filter(|part| part.is_encoding_problem) {
        let range = part.offset_body as usize..part.offset_end as usize;
        let Some(body) = mail.get(range.clone()).filter(|_| range.start >= from) else {
            continue;
        };
        let Some(body) = valid_body(part, body) else {
            continue;
        };
        valid.extend_from_slice(&mail[from..range.start]);
        valid.extend_from_slice(&body);
        from = range.end;
    }
    valid.extend_from_slice(&mail[from..]);
    (from > 0).then_some(valid)
}

fn valid_body(part: &MessagePart<'_>, body: &[u8]) -> Option<Vec<u8>> {
    let encoding = part.content_transfer_encoding()?.trim();
    if encoding.eq_ignore_ascii_case("quoted-printable") {
        Some(valid_quoted(body))
    } else if encoding.eq_ignore_ascii_case("base64") {
        Some(valid_base64(body))
    } else {
        None
    }
}

/// Encodes each `=` that does not stand before two digits or at the end of a line.
fn valid_quoted(body: &[u8]) -> Vec<u8> {
    let mut valid = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = memchr::memchr(b'=', rest) {
        let (before, behind) = (&rest[..at], &rest[at + 1..]);
        valid.extend_from_slice(before);
        let is_byte = matches!(behind, [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
        let is_end = ends_line(behind);
        valid.extend_from_slice(if is_byte || is_end { b"=" } else { b"=3D" });
        rest = behind;
    }
    valid.extend_from_slice(rest);
    valid
}

/// Whether there is nothing but white space up to the end of the line.
fn ends_line(text: &[u8]) -> bool {
    /// More white space is text.
    const MOST: usize = 80;
    let mut reach = text.iter().take(MOST);
    match reach.find(|byte| !b" \t".contains(byte)) {
        Some(byte) => b"\r\n".contains(byte),
        None => text.len() < MOST,
    }
}

/// Leaves out what is no digit of the encoding. Each padding ends a text of its own, as where some were joined.
fn valid_base64(body: &[u8]) -> Vec<u8> {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    let mut valid = Vec::with_capacity(body.len());
    for text in body.split(|&byte| byte == b'=') {
        let start = valid.len();
        valid.extend(text.iter().copied().filter(is_digit));
        // One digit alone is no byte.
        if (valid.len() - start) % 4 == 1 {
            valid.pop();
        }
        while !(valid.len() - start).is_multiple_of(4) {
            valid.push(b'=');
        }
    }
    valid.push(b'\n');
    valid
}

#[cfg(test)]
mod tests;
