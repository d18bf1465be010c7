//! Encodings: turns the bytes of a text into UTF-8.
//!
//! How bytes are read is a [`Choice`]. A text of which most is UTF-8 is damaged UTF-8, whatever says so: what is broken in it
//! is replaced, and counted.

use std::io::{self, BufRead as _, BufReader, Read};

use encoding_rs::{DecoderResult, Encoding, UTF_8};

use crate::document::{Ledger, Reason};
use crate::source::{Origin, SourceError};

mod choice;
mod wide;

pub use choice::{Choice, TextEncoding, has_most_letters_in_utf8};
use choice::{Evidence, was_meant_as_utf8};
pub use wide::narrowed;

/// What is looked at of a stream.
const HEAD_BYTES: usize = 256 << 10;

/// A text with what is to be told about how it was read.
#[derive(Debug)]
pub struct Text {
    pub text: String,
    /// That its encoding was guessed, or what of it is broken.
    pub notes: Ledger,
}

/// A note that an encoding was guessed.
pub fn guessed(told: String) -> Ledger {
    let mut notes = Ledger::default();
    notes.add(Reason::GuessedEncoding, 0, Some(told));
    notes
}

/// Decodes a whole text.
///
/// # Errors
/// [`SourceError::Wide`], [`SourceError::Binary`], [`SourceError::NotUtf8`], [`SourceError::NotEncoded`].
pub fn decode(
    bytes: Vec<u8>,
    origin: &Origin,
    option: Option<TextEncoding>,
    declared: Option<&'static Encoding>,
) -> Result<Text, SourceError> {
    if let Some(wide) = wide::decode(&bytes, option).transpose() {
        return wide.map_err(|encoding| SourceError::Wide {
            origin: origin.clone(),
            encoding,
        });
    }
    let choice = Choice::by_word(&bytes, option, declared);
    let is_wide = choice.is_some_and(|choice| choice.encoding != UTF_8);
    if let Some(offset) = bytes
        .iter()
        .position(|&byte| byte == 0)
        .filter(|_| !is_wide)
    {
        return Err(SourceError::Binary {
            origin: origin.clone(),
            offset: offset as u64,
        });
    }
    let (bytes, choice) = match choice {
        Some(choice) if choice.encoding != UTF_8 => (bytes, choice),
        said => match utf8(bytes, said) {
            Ok(text) => return Ok(text),
            Err(broken) => {
                let guess = || Choice::guessed(&broken.bytes, true);
                let guess = said.is_none().then(guess).flatten();
                let not_utf8 = || SourceError::NotUtf8 {
                    origin: origin.clone(),
                    offset: broken.at as u64,
                };
                (broken.bytes, guess.ok_or_else(not_utf8)?)
            }
        },
    };
    let body = &bytes[choice.mark..];
    let text = choice
        .encoding
        .decode_without_bom_handling_and_without_replacement(body);
    match text {
        Some(text) if !text.contains('\0') => Ok(Text {
            text: text.into_owned(),
            notes: choice.told().map(guessed).unwrap_or_default(),
        }),
        Some(_) => Err(SourceError::Binary {
            origin: origin.clone(),
            offset: 0,
        }),
        None => Err(SourceError::NotEncoded {
            origin: origin.clone(),
            encoding: choice.encoding.name(),
            is_guess: choice.guess.is_some(),
        }),
    }
}

/// Bytes that are no UTF-8, and were not meant to be.
#[derive(Debug)]
pub struct NotUtf8 {
    bytes: Vec<u8>,
    /// The first place where they are not.
    at: usize,
}

/// A text that is UTF-8, or was meant to be, by what says so or by what is in it.
pub fn utf8(mut bytes: Vec<u8>, said: Option<Choice>) -> Result<Text, NotUtf8> {
    let mark = said.map_or(0, |choice| choice.mark);
    bytes.drain(..mark);
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Text {
            text,
            notes: Ledger::default(),
        }),
        Err(error) if was_meant_as_utf8(error.as_bytes(), said.is_some()) => {
            Ok(mended(error.as_bytes()))
        }
        Err(error) => Err(NotUtf8 {
            at: mark + error.utf8_error().valid_up_to(),
            bytes: error.into_bytes(),
        }),
    }
}

/// A text of which most is UTF-8, with a sign in place of each part that is broken.
fn mended(bytes: &[u8]) -> Text {
    let (mut text, mut notes) = (String::with_capacity(bytes.len()), Ledger::default());
    let mut line = 1;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        line += memchr::memchr_iter(b'\n', chunk.valid().as_bytes()).count();
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            let (bytes, place) = (chunk.invalid().len() as u64, format!("line {line}"));
            notes.add(Reason::BrokenLetter, bytes, Some(place));
        }
    }
    Text { text, notes }
}

/// A stream of bytes in UTF-8, with what is to be told about it. Bytes that are no UTF-8 pass as they are if nothing says
/// what they are: whoever reads records names the record.
pub struct Stream {
    pub reader: BufReader<Box<dyn Read + Send>>,
    /// That its encoding was guessed.
    pub notes: Ledger,
    /// Bytes of a mark that were taken away.
    pub mark: usize,
}

/// Decodes a stream. UTF-16 without a mark is known by its zero bytes in each; beyond it, an encoding is guessed only where
/// `guesses` says so.
pub fn stream(
    bytes: Box<dyn Read + Send>,
    option: Option<TextEncoding>,
    guesses: bool,
) -> io::Result<Stream> {
    let mut reader = BufReader::with_capacity(HEAD_BYTES, bytes);
    let head = reader.fill_buf()?;
    if let Some(name) = wide::utf32_mark(head) {
        let reason = format!("it is {name}, which is not read in records: convert it");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    let choice = Choice::by_word(head, option, None);
    let choice = match choice.or_else(|| wide::choice(head)) {
        None if guesses => Choice::by_head(head, head.len() < HEAD_BYTES),
        other => other,
    };
    let choice = choice.unwrap_or(Choice::said(UTF_8));
    reader.consume(choice.mark);
    if choice.encoding == UTF_8 {
        let rest: Box<dyn Read + Send> = Box::new(reader);
        return Ok(Stream {
            reader: BufReader::with_capacity(1 << 16, rest),
            notes: Ledger::default(),
            mark: choice.mark,
        });
    }
    let decoded: Box<dyn Read + Send> = Box::new(Decoded::new(reader, choice.encoding));
    Ok(Stream {
        reader: BufReader::with_capacity(1 << 16, decoded),
        notes: choice.told().map(guessed).unwrap_or_default(),
        mark: 0,
    })
}

/// Decodes while it is read.
struct Decoded<R> {
    reader: BufReader<R>,
    decoder: encoding_rs::Decoder,
    encoding: &'static Encoding,
    text: Vec<u8>,
    /// How much of the text was given.
    given: usize,
    ended: bool,
}

impl<R: Read> Decoded<R> {
    const TEXT_BYTES: usize = 64 << 10;

    fn new(reader: BufReader<R>, encoding: &'static Encoding) -> Self {
        Self {
            reader,
            decoder: encoding.new_decoder_without_bom_handling(),
            encoding,
            text: Vec::new(),
            given: 0,
            ended: false,
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.given = 0;
        self.text.resize(Self::TEXT_BYTES, 0);
        let input = self.reader.fill_buf()?;
        let is_last = input.is_empty();
        let (result, read, written) =
            self.decoder
                .decode_to_utf8_without_replacement(input, &mut self.text, is_last);
        self.reader.consume(read);
        self.text.truncate(written);
        match result {
            DecoderResult::InputEmpty => {
                self.ended = is_last;
                Ok(())
            }
            DecoderResult::OutputFull => Ok(()),
            DecoderResult::Malformed(..) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "it is not {}; name its encoding with --encoding",
                    self.encoding.name()
                ),
            )),
        }
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.text.len() && !self.ended {
            self.fill()?;
        }
        let rest = &self.text[self.given..];
        let bytes = rest.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&rest[..bytes]);
        self.given += bytes;
        Ok(bytes)
    }
}
