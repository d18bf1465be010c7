//! Mbox: the mails of a mailbox, each in memory alone.
//!
//! A mail begins at a line that starts with `From ` at the start or behind an empty line. Its id is its `Message-ID`, so
//! that it stays when others are deleted; without one it is a digest of the mail.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};

use contract::digest::Digest;
use memchr::memmem;

use super::{Counted, Opened};
use crate::extract::{Extractor, Limit, bytes_of};
use crate::source::{Format, Input, Member, SourceError};

/// Digits of a digest that is an id: enough that two mails of a mailbox never share them.
const DIGEST_DIGITS: usize = 32;

/// The mails of a mailbox.
pub struct Mbox {
    opened: Opened,
    reader: BufReader<Box<dyn Read + Send>>,
    limit: Limit,
    state: State,
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
            state: State::Start,
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
            line.clear();
            let read = (&mut self.reader)
                .take(most + 1)
                .read_until(b'\n', &mut line)?;
            if read == 0 {
                let state = std::mem::replace(&mut self.state, State::End);
                let is_mail = state == State::Began;
                return Ok(if is_mail {
                    self.whole(mail, bytes)
                } else {
                    Mail::End
                });
            }
            if after_empty && line.starts_with(b"From ") {
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
