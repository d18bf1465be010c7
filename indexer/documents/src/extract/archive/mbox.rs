//! Mbox: the mails of a mailbox, each in memory alone.
//!
//! A mail begins at a line of `From ` behind an empty line or at the start. Sentences begin with that word as well, so the
//! line has a sender and a date as `asctime` writes it. Some writers leave out the date, write it in another way, or leave
//! out the empty line: then a header stands below, and the line has an address, or the mailbox began with such a line.
//!
//! The id of a mail is its `Message-ID`, so that it stays when others are deleted; without one it is a digest of the mail.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};

use contract::digest::Digest;
use memchr::memmem;

use super::{Counted, Opened};
use crate::extract::{Extractor, Limit, bytes_of};
use crate::source::{Format, Input, Member, SourceError};

/// Digits of a digest that is an id: enough that two mails of a mailbox never share them.
const DIGEST_DIGITS: usize = 32;

/// Bytes that a line is looked at for the name of a header: most names are much shorter.
const NAME_BYTES: u64 = 80;
/// Words that a line may have which begins a mail: an address may be written as several.
const MOST_WORDS: usize = 24;
/// Words of a date from the day of the month on: a time, a year and up to two of a time zone.
const DATE_WORDS: usize = 5;
/// Words that may stand behind a date, as in `remote from host`.
const WORDS_BEHIND_DATE: usize = 3;
/// Headers that a mail begins with where its first line does not say that it is one.
const HEADERS: [&str; 26] = [
    "apparently-to",
    "approved",
    "authentication-results",
    "bcc",
    "cc",
    "date",
    "delivered-to",
    "dkim-signature",
    "envelope-to",
    "errors-to",
    "from",
    "in-reply-to",
    "message-id",
    "mime-version",
    "newsgroups",
    "path",
    "received",
    "references",
    "reply-to",
    "return-path",
    "sender",
    "status",
    "subject",
    "to",
    "user-agent",
    "xref",
];
/// How the names of further ones begin.
const HEADER_PREFIXES: [&str; 5] = ["arc-", "content-", "list-", "resent-", "x-"];
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The mails of a mailbox.
pub struct Mbox {
    opened: Opened,
    reader: BufReader<Box<dyn Read + Send>>,
    limit: Limit,
    /// What was read of the next line to see whether it is a header.
    ahead: Vec<u8>,
    state: State,
    /// Whether its first line has a date: then the others have one too, as one program wrote them.
    is_dated: bool,
    /// How often each id came: copies of a mail are told apart by their number.
    ids: HashMap<u128, u32>,
    number: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    /// The line that begins the next mail was read.
    Began,
    End,
}

enum Mail {
    Read(Vec<u8>),
    TooLarge(u64),
    End,
}

impl Mbox {
    pub fn open(input: &Input, opened: Opened, extractor: &Extractor) -> Result<Self, SourceError> {
        let counted = Counted {
            reader: bytes_of(input)?,
            allowance: std::sync::Arc::clone(&opened.container.allowance),
        };
        Ok(Self {
            opened,
            reader: BufReader::with_capacity(64 << 10, Box::new(counted)),
            limit: extractor.options.office(),
            ahead: Vec::new(),
            state: State::Start,
            is_dated: false,
            ids: HashMap::new(),
            number: 0,
        })
    }

    /// Reads to the next mail, and gives this mail without its first line.
    fn read(&mut self) -> io::Result<Mail> {
        let (mut mail, mut bytes, mut line) = (Vec::new(), 0_u64, Vec::new());
        // A mailbox begins as behind an empty line.
        let mut after_empty = self.state == State::Start;
        let most = self.limit.bytes as u64;
        loop {
            let read = self.line(&mut line, most + 1)?;
            if read == 0 {
                let state = std::mem::replace(&mut self.state, State::End);
                let is_mail = state == State::Began;
                return Ok(if is_mail {
                    self.whole(mail, bytes)
                } else {
                    Mail::End
                });
            }
            if line.starts_with(b"From ") && self.begins_mail(&line, after_empty)? {
                if self.state == State::Began {
                    return Ok(self.whole(mail, bytes));
                }
                self.state = State::Began;
                after_empty = false;
                continue;
            }
            after_empty = line == b"\n" || line == b"\r\n";
            bytes += read as u64;
            match self.state {
                State::Began if bytes <= most => mail.extend_from_slice(unquoted(&line)),
                State::Start if !after_empty => {
                    return Err(io::Error::other("it does not begin with a line `From `"));
                }
                State::Start | State::Began | State::End => {}
            }
        }
    }

    /// Reads a line, or its first bytes if it has more than `most`.
    fn line(&mut self, line: &mut Vec<u8>, most: u64) -> io::Result<usize> {
        line.clear();
        line.append(&mut self.ahead);
        if !line.ends_with(b"\n") {
            let most = most.saturating_sub(line.len() as u64);
            (&mut self.reader).take(most).read_until(b'\n', line)?;
        }
        Ok(line.len())
    }

    /// Whether a line of `From ` begins a mail: the first one does.
    fn begins_mail(&mut self, line: &[u8], is_after_empty: bool) -> io::Result<bool> {
        let is_dated = has_date(line);
        if self.state == State::Start {
            self.is_dated = is_dated;
            return Ok(true);
        }
        if is_dated && is_after_empty {
            return Ok(true);
        }
        let may_begin = is_dated || (is_after_empty && (!self.is_dated || has_address(line)));
        if !may_begin {
            return Ok(false);
        }
        let mut next = (&mut self.reader).take(NAME_BYTES);
        next.read_until(b'\n', &mut self.ahead)?;
        Ok(begins_header(&self.ahead))
    }

    fn whole(&self, mail: Vec<u8>, bytes: u64) -> Mail {
        if bytes > self.limit.bytes as u64 {
            Mail::TooLarge(bytes)
        } else {
            Mail::Read(mail)
        }
    }

    fn member(&mut self, mail: Vec<u8>) -> Result<Option<Input>, SourceError> {
        let id = id_of(&mail);
        let copies = self.ids.entry(key_of(&id)).or_insert(0);
        *copies += 1;
        let name = match copies {
            1 => id,
            copies => format!("{id}~{copies}"),
        };
        let container = self.opened.container.clone();
        self.opened.member(&name, Some(Format::Eml), |path| {
            Member::of_bytes(path, mail.into(), container)
        })
    }
}

impl Iterator for Mbox {
    type Item = Result<Input, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::End {
            return None;
        }
        self.number += 1;
        match self.read() {
            Ok(Mail::Read(mail)) => self.member(mail).transpose(),
            Ok(Mail::TooLarge(bytes)) => {
                let origin = self.opened.origin.at_mail(self.number);
                Some(Err(self.limit.exceeded(origin, bytes)))
            }
            Ok(Mail::End) => (self.number == 1).then(|| {
                let origin = self.opened.origin.clone();
                Err(SourceError::Empty { origin })
            }),
            Err(error) => {
                self.state = State::End;
                Some(Err(self.opened.refuse(error.to_string())))
            }
        }
    }
}

/// Whether a line has a sender behind `From ` and then a date as `asctime` writes it, with or without a time zone.
fn has_date(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    let words: Vec<&str> = line
        .split_ascii_whitespace()
        .skip(1)
        .take(MOST_WORDS)
        .collect();
    let Some(day) = words
        .windows(2)
        .position(|pair| DAYS.contains(&pair[0]) && MONTHS.contains(&pair[1]))
    else {
        return false;
    };
    let date = &words[day + 2..];
    let is_year = |word: &&str| word.len() == 4 && is_number(word);
    let Some(year) = date.iter().take(DATE_WORDS).position(is_year) else {
        return false;
    };
    let has_day = date[0].len() <= 2 && is_number(date[0]);
    let has_time = date.iter().take(DATE_WORDS).any(|word| is_time(word));
    day > 0 && has_day && has_time && date.len() <= year + 1 + WORDS_BEHIND_DATE
}

/// Whether a line has an address behind `From `, and nothing or a date in any form behind that.
fn has_address(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_ascii_whitespace().skip(1).take(MOST_WORDS);
    let is_address = |word: &str| {
        let parts = word.split_once('@');
        parts.is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
    };
    if !words.next().is_some_and(is_address) {
        return false;
    }
    let mut date = words.peekable();
    date.peek().is_none() || date.any(is_time)
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a word is a time, or a date that ends in one.
fn is_time(word: &str) -> bool {
    let mut parts = word.split(':');
    let ends_in_hour = |part: &str| part.ends_with(|last: char| last.is_ascii_digit());
    parts.next().is_some_and(ends_in_hour)
        && parts
            .next()
            .is_some_and(|part| part.starts_with(|first: char| first.is_ascii_digit()))
}

/// Whether a line begins with the name of a header of mails.
fn begins_header(line: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', line) else {
        return false;
    };
    let name = line[..colon].to_ascii_lowercase();
    let prefixes = HEADER_PREFIXES.iter();
    HEADERS.iter().any(|header| header.as_bytes() == name)
        || prefixes
            .map(|prefix| prefix.as_bytes())
            .any(|prefix| name.starts_with(prefix) && name.iter().all(is_of_name))
}

fn is_of_name(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'-'
}

/// What tells ids apart in 16 bytes.
fn key_of(id: &str) -> u128 {
    let digest = Digest::of(id.as_bytes());
    u128::from_str_radix(&digest.as_str()[..DIGEST_DIGITS], 16).unwrap_or_default()
}

/// A line that begins with `From ` inside a mail is quoted by one sign more than it had.
fn unquoted(line: &[u8]) -> &[u8] {
    let signs = line.iter().take_while(|&&byte| byte == b'>').count();
    if signs > 0 && line[signs..].starts_with(b"From ") {
        &line[1..]
    } else {
        line
    }
}

/// The `Message-ID` of a mail without its brackets, else a digest.
fn id_of(mail: &[u8]) -> String {
    let end = memmem::find(mail, b"\n\n").or_else(|| memmem::find(mail, b"\n\r\n"));
    let head = String::from_utf8_lossy(&mail[..end.unwrap_or(mail.len())]);
    let mut lines = head.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if !name.trim().eq_ignore_ascii_case("message-id") {
            continue;
        }
        let mut value = value.trim();
        if value.is_empty() {
            value = lines.peek().map_or("", |next| next.trim());
        }
        let id = value
            .trim_start_matches('<')
            .split('>')
            .next()
            .unwrap_or_default();
        if !id.is_empty() {
            return id.trim().replace('/', "_");
        }
    }
    Digest::of(mail).as_str()[..DIGEST_DIGITS].to_owned()
}

#[cfg(test)]
mod tests;
