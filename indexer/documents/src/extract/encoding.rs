//! Encodings: turns the bytes of a text into UTF-8.
//!
//! What counts, in this order: a byte order mark, the option `--encoding`, what the format declares, UTF-8 if the bytes
//! are, and last a guess. A guess is told for each file, and is not made where little speaks for it: a text that is read
//! wrongly without a word is worse than one that is refused.

use std::io::{self, BufRead as _, BufReader, Read};
use std::str::FromStr;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{DecoderResult, Encoding, UTF_8};

use super::decode::BOM;
use crate::source::{Origin, SourceError};

/// Fewer bytes beyond ASCII tell too little about an encoding.
const MIN_EVIDENCE: usize = 4;
/// What is looked at of a stream.
const HEAD_BYTES: usize = 256 << 10;

/// An encoding by one of its names, such as `windows-1252` or `gb18030`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextEncoding(pub &'static Encoding);

impl FromStr for TextEncoding {
    type Err = String;

    fn from_str(label: &str) -> Result<Self, String> {
        let encoding = Encoding::for_label(label.as_bytes());
        encoding.map(Self).ok_or_else(|| {
            format!("`{label}` is not the name of an encoding: expected one such as utf-8, utf-16le, windows-1252, \
                 shift_jis, gb18030")
        })
    }
}

/// How bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub encoding: &'static Encoding,
    /// Bytes of a byte order mark, which is no text.
    pub mark: usize,
    /// Whether nothing says so but the bytes themselves.
    pub is_guess: bool,
}

impl Choice {
    fn said(encoding: &'static Encoding) -> Self {
        Self {
            encoding,
            mark: 0,
            is_guess: false,
        }
    }

    fn guessed(encoding: &'static Encoding) -> Self {
        Self {
            is_guess: true,
            ..Self::said(encoding)
        }
    }

    /// By the mark at the start, or the option, or what the format declares.
    pub fn by_word(
        bytes: &[u8],
        option: Option<TextEncoding>,
        declared: Option<&'static Encoding>,
    ) -> Option<Self> {
        if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
            return Some(Self {
                mark,
                ..Self::said(encoding)
            });
        }
        let said = option.map(|encoding| encoding.0).or(declared)?;
        Some(Self::said(said))
    }

    /// By all of the bytes; an error if they tell too little.
    fn by_bytes(bytes: &[u8], is_all: bool) -> Result<Self, usize> {
        let Err(error) = std::str::from_utf8(bytes) else {
            return Ok(Self::said(UTF_8));
        };
        if !is_all && error.error_len().is_none() {
            return Ok(Self::said(UTF_8));
        }
        let valid = error.valid_up_to();
        let evidence = bytes.iter().filter(|byte| !byte.is_ascii()).count();
        let guess = guess(bytes, is_all);
        // A text that is mostly UTF-8 is damaged UTF-8.
        let is_damaged = evidence > 0 && is_mostly_utf8(bytes);
        let half = bytes.len() / 2;
        let is_stable = guess == self::guess(&bytes[..half], false)
            || guess == self::guess(&bytes[half..], is_all);
        if evidence < MIN_EVIDENCE || is_damaged || !is_stable || bytes.contains(&0) {
            return Err(valid);
        }
        Ok(Self::guessed(guess))
    }
}

fn guess(bytes: &[u8], is_all: bool) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(bytes, is_all);
    detector.guess(None, Utf8Detection::Deny)
}

/// Whether more sequences beyond ASCII are UTF-8 than not.
fn is_mostly_utf8(bytes: &[u8]) -> bool {
    let (mut good, mut bad) = (0_usize, 0_usize);
    for chunk in bytes.utf8_chunks() {
        good += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        bad += usize::from(!chunk.invalid().is_empty());
    }
    good > bad
}

/// A text with what is to be told about how it was read.
#[derive(Debug)]
pub struct Text {
    pub text: String,
    /// The encoding, if it was guessed.
    pub guessed: Option<&'static str>,
}

/// Decodes a whole text.
///
/// # Errors
/// [`SourceError::Binary`], [`SourceError::NotUtf8`], [`SourceError::NotEncoded`].
pub fn decode(
    bytes: Vec<u8>,
    origin: &Origin,
    option: Option<TextEncoding>,
    declared: Option<&'static Encoding>,
) -> Result<Text, SourceError> {
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
    let not_utf8 = |offset: usize| SourceError::NotUtf8 {
        origin: origin.clone(),
        offset: offset as u64,
    };
    let choice = match choice {
        Some(choice) => choice,
        None => Choice::by_bytes(&bytes, true).map_err(not_utf8)?,
    };
    if choice.encoding == UTF_8 {
        return utf8(bytes, choice.mark).map_err(not_utf8);
    }
    let body = &bytes[choice.mark..];
    let text = choice
        .encoding
        .decode_without_bom_handling_and_without_replacement(body);
    match text {
        Some(text) if !text.contains('\0') => Ok(Text {
            text: text.into_owned(),
            guessed: choice.is_guess.then(|| choice.encoding.name()),
        }),
        Some(_) => Err(SourceError::Binary {
            origin: origin.clone(),
            offset: 0,
        }),
        None => Err(SourceError::NotEncoded {
            origin: origin.clone(),
            encoding: choice.encoding.name(),
            is_guess: choice.is_guess,
        }),
    }
}

fn utf8(mut bytes: Vec<u8>, mark: usize) -> Result<Text, usize> {
    bytes.drain(..mark);
    let text = String::from_utf8(bytes);
    let text = text.map_err(|error| mark + error.utf8_error().valid_up_to())?;
    Ok(Text {
        text,
        guessed: None,
    })
}

/// A stream of bytes in UTF-8, with what is to be told about it. Bytes that are no UTF-8 pass as they are if nothing says
/// what they are: whoever reads records names the record.
pub struct Stream {
    pub reader: BufReader<Box<dyn Read + Send>>,
    pub guessed: Option<&'static str>,
    /// Bytes of a mark that were taken away.
    pub mark: usize,
}

/// Decodes a stream; guesses only where `guesses` says so.
pub fn stream(
    bytes: Box<dyn Read + Send>,
    option: Option<TextEncoding>,
    guesses: bool,
) -> io::Result<Stream> {
    let mut reader = BufReader::with_capacity(HEAD_BYTES, bytes);
    let head = reader.fill_buf()?;
    let choice = Choice::by_word(head, option, None);
    let choice = match choice {
        None if guesses => Choice::by_bytes(head, head.len() < HEAD_BYTES).ok(),
        other => other,
    };
    let choice = choice.unwrap_or(Choice::said(UTF_8));
    reader.consume(choice.mark);
    if choice.encoding == UTF_8 {
        let mark = if choice.mark == BOM.len() {
            BOM.len()
        } else {
            0
        };
        let rest: Box<dyn Read + Send> = Box::new(reader);
        return Ok(Stream {
            reader: BufReader::with_capacity(1 << 16, rest),
            guessed: None,
            mark,
        });
    }
    let decoded: Box<dyn Read + Send> = Box::new(Decoded::new(reader, choice.encoding));
    Ok(Stream {
        reader: BufReader::with_capacity(1 << 16, decoded),
        guessed: choice.is_guess.then(|| choice.encoding.name()),
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
