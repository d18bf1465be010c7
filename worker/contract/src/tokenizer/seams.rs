//! Seams: where a text may be cut so that the tokens of its parts, one after another, are the tokens of the whole.
//!
//! A tokenizer normalizes a text, splits it, and looks at each split alone. Where no normalizer looks across a place
//! and every text is split there, tokens on its left do not depend on its right, and the other way round. Two rules
//! are known to hold, each for the settings named with it. Settings that are not named have no seams, and their texts
//! are tokenized as a whole.
//!
//! Added tokens are searched for before all that. None lies across a seam, because none may contain white space.

use std::borrow::Cow;

use tokenizers::models::ModelWrapper;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::normalizers::replace::{Replace, ReplacePattern};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::{NormalizedString, Normalizer as _, SplitDelimiterBehavior};
use tokenizers::{AddedToken, Tokenizer};

/// How the texts of a tokenizer may be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seams {
    /// Nowhere that is known.
    None,
    /// Beside white space, and beside ASCII punctuation that starts none of the `added` tokens: BERT, whose
    /// normalizer goes character by character (reordering of combining marks stops at ASCII), whose pre-tokenizer
    /// drops white space and isolates punctuation. Without `added`, beside white space only.
    Words {
        added: Option<Vec<String>>,
        lowercase: bool,
    },
    /// Before a single space between two printable ASCII characters: byte-level BPE and SentencePiece, which give
    /// the space to what follows it. A line end they may give to either side.
    Spaces,
}

/// How GPT-2, Llama 3 and Qwen 2 split texts. None has a match that goes on beyond a character into a space, and none
/// looks back.
const PATTERNS: [&str; 3] = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];

impl Seams {
    /// The rule that `tokenizer` follows.
    pub(super) fn of(tokenizer: &Tokenizer) -> Self {
        let added: Vec<AddedToken> = tokenizer.get_added_tokens_decoder().into_values().collect();
        if is_random(tokenizer.get_model())
            || added
                .iter()
                .any(|token| token.content.contains(char::is_whitespace))
        {
            return Self::None;
        }
        match (tokenizer.get_normalizer(), tokenizer.get_pre_tokenizer()) {
            (
                Some(NormalizerWrapper::BertNormalizer(normalizer)),
                Some(PreTokenizerWrapper::BertPreTokenizer(_)),
            ) => Self::Words {
                added: beside_punctuation(added),
                lowercase: normalizer.lowercase,
            },
            (normalizer, Some(splits))
                if !added.iter().any(|token| token.rstrip)
                    && normalizer.is_none_or(keeps_spaces)
                    && splits_at_spaces(splits) =>
            {
                Self::Spaces
            }
            (Some(_) | None, Some(_) | None) => Self::None,
        }
    }

    /// Whether `at` is a seam of every text that is the same around it as `text` is.
    pub(super) fn at(&self, text: &str, at: usize) -> bool {
        let bytes = text.as_bytes();
        if at == 0 || at >= bytes.len() {
            return *self != Self::None;
        }
        match self {
            Self::None => false,
            Self::Words { .. } => is_space(bytes[at - 1]) || is_space(bytes[at]),
            Self::Spaces => is_single_space(bytes, at),
        }
    }

    /// Where the part of `text` that starts at `at` ends.
    pub(super) fn end(&self, text: &str, at: usize) -> usize {
        let bytes = text.as_bytes();
        match self {
            Self::None => bytes.len(),
            Self::Words { added: None, .. } => end_of(bytes, at, |byte| !is_space(byte)),
            Self::Words {
                added: Some(added), ..
            } => match bytes[at] {
                mark if mark.is_ascii_punctuation() => {
                    let here = |token: &&String| bytes[at..].starts_with(token.as_bytes());
                    let longest = added.iter().filter(here).map(String::len).max();
                    at + longest.unwrap_or(1)
                }
                _ => end_of(bytes, at, |byte| IN_WORDS[usize::from(byte)]),
            },
            Self::Spaces => {
                let mut end = at + 1;
                while end < bytes.len() && !is_single_space(bytes, end) {
                    end += 1;
                }
                end
            }
        }
    }

    /// Where the first part at or after `at` starts: white space that has no tokens is passed over.
    pub(super) fn start(&self, text: &str, at: usize) -> usize {
        match self {
            Self::Words { .. } => end_of(text.as_bytes(), at, is_space),
            Self::Spaces | Self::None => at,
        }
    }

    /// What the model is given of `part`, where that is known without the library: a word of ASCII letters and digits
    /// is one split, which normalizing does nothing to but write it in small letters.
    pub(super) fn plain<'a>(&self, part: &'a str) -> Option<Cow<'a, str>> {
        let Self::Words {
            added: Some(_),
            lowercase,
        } = self
        else {
            return None;
        };
        if !part.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        let lower = *lowercase && part.bytes().any(|byte| byte.is_ascii_uppercase());
        Some(if lower {
            Cow::Owned(part.to_ascii_lowercase())
        } else {
            Cow::Borrowed(part)
        })
    }
}

/// Bytes that are neither white space nor ASCII punctuation.
const IN_WORDS: [bool; 256] = in_words();

const fn in_words() -> [bool; 256] {
    let mut inside = [true; 256];
    let mut byte: u8 = 0;
    while byte < 0x80 {
        inside[byte as usize] =
            !byte.is_ascii_punctuation() && !matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        byte += 1;
    }
    inside
}

fn end_of(bytes: &[u8], at: usize, inside: impl Fn(u8) -> bool) -> usize {
    let rest = &bytes[at..];
    at + rest
        .iter()
        .position(|&byte| !inside(byte))
        .unwrap_or(rest.len())
}

/// White space to every BERT; other control characters may be removed, which joins words.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_single_space(bytes: &[u8], at: usize) -> bool {
    bytes[at] == b' '
        && bytes[at - 1].is_ascii_graphic()
        && bytes.get(at + 1).is_some_and(u8::is_ascii_graphic)
}

/// Contents of added tokens where each can only start at punctuation, and is one wherever it occurs.
fn beside_punctuation(added: Vec<AddedToken>) -> Option<Vec<String>> {
    added
        .into_iter()
        .map(|token| {
            let starts = token
                .content
                .starts_with(|c: char| c.is_ascii_punctuation());
            (starts && !token.normalized && !token.single_word).then_some(token.content)
        })
        .collect()
}

/// Whether the same split may have other tokens the next time.
fn is_random(model: &ModelWrapper) -> bool {
    match model {
        ModelWrapper::BPE(bpe) => bpe.dropout.is_some_and(|dropout| dropout > 0.0),
        ModelWrapper::WordPiece(_) | ModelWrapper::WordLevel(_) | ModelWrapper::Unigram(_) => false,
    }
}

/// Whether a seam between spaces stays one: `normalizer` looks at single characters, or at what belongs to one
/// character as readers see it, and leaves spaces between printable characters alone.
fn keeps_spaces(normalizer: &NormalizerWrapper) -> bool {
    let normalized = |text: &str| {
        let mut text = NormalizedString::from(text);
        normalizer
            .normalize(&mut text)
            .ok()
            .map(|()| text.get().to_owned())
    };
    is_local(normalizer)
        && (b'!'..=b'~').map(char::from).all(|c| {
            normalized(&c.to_string()).is_some_and(|one| {
                let between = normalized(&format!("{c} {c}"));
                !one.is_empty()
                    && !one.contains(char::is_whitespace)
                    && between == Some(format!("{one} {one}"))
            })
        })
}

fn is_local(normalizer: &NormalizerWrapper) -> bool {
    match normalizer {
        NormalizerWrapper::BertNormalizer(_)
        | NormalizerWrapper::StripAccents(_)
        | NormalizerWrapper::NFC(_)
        | NormalizerWrapper::NFD(_)
        | NormalizerWrapper::NFKC(_)
        | NormalizerWrapper::NFKD(_)
        | NormalizerWrapper::Lowercase(_)
        | NormalizerWrapper::Nmt(_)
        | NormalizerWrapper::Precompiled(_) => true,
        NormalizerWrapper::Replace(replace) => {
            let one_space = Replace::new(ReplacePattern::Regex(" {2,}".to_owned()), " ");
            one_space.is_ok_and(|one_space| *replace == one_space)
        }
        NormalizerWrapper::Sequence(sequence) => sequence.as_ref().iter().all(is_local),
        NormalizerWrapper::StripNormalizer(_)
        | NormalizerWrapper::Prepend(_)
        | NormalizerWrapper::ByteLevel(_) => false,
    }
}

/// What a step does to a space between two printable characters, looking at nothing beyond them.
enum Step {
    /// Splits there.
    Splits,
    /// Leaves it as it is.
    Keeps,
    /// Hides it from the steps after.
    Hides,
    Unknown,
}

fn splits_at_spaces(splits: &PreTokenizerWrapper) -> bool {
    let steps = match splits {
        PreTokenizerWrapper::Sequence(sequence) => sequence.as_ref(),
        one @ (PreTokenizerWrapper::BertPreTokenizer(_)
        | PreTokenizerWrapper::ByteLevel(_)
        | PreTokenizerWrapper::Delimiter(_)
        | PreTokenizerWrapper::Metaspace(_)
        | PreTokenizerWrapper::Whitespace(_)
        | PreTokenizerWrapper::Split(_)
        | PreTokenizerWrapper::Punctuation(_)
        | PreTokenizerWrapper::WhitespaceSplit(_)
        | PreTokenizerWrapper::Digits(_)
        | PreTokenizerWrapper::UnicodeScripts(_)
        | PreTokenizerWrapper::FixedLength(_)) => std::slice::from_ref(one),
    };
    let mut split = false;
    for step in steps {
        match step_of(step) {
            Step::Splits => split = true,
            Step::Keeps => {}
            Step::Hides if split => {}
            Step::Hides | Step::Unknown => return false,
        }
    }
    split
}

fn step_of(step: &PreTokenizerWrapper) -> Step {
    match step {
        PreTokenizerWrapper::BertPreTokenizer(_)
        | PreTokenizerWrapper::Whitespace(_)
        | PreTokenizerWrapper::WhitespaceSplit(_) => Step::Splits,
        PreTokenizerWrapper::ByteLevel(bytes) if bytes.use_regex => Step::Splits,
        PreTokenizerWrapper::Metaspace(metaspace) if metaspace.split => Step::Splits,
        PreTokenizerWrapper::Split(split) if is_known(split) => Step::Splits,
        PreTokenizerWrapper::ByteLevel(_) | PreTokenizerWrapper::Metaspace(_) => Step::Hides,
        PreTokenizerWrapper::Digits(_) => Step::Keeps,
        PreTokenizerWrapper::Split(_)
        | PreTokenizerWrapper::Delimiter(_)
        | PreTokenizerWrapper::Sequence(_)
        | PreTokenizerWrapper::Punctuation(_)
        | PreTokenizerWrapper::UnicodeScripts(_)
        | PreTokenizerWrapper::FixedLength(_) => Step::Unknown,
    }
}

fn is_known(split: &Split) -> bool {
    let SplitPattern::Regex(pattern) = &split.pattern else {
        return false;
    };
    // The patterns match everything, so that removing what is between matches removes nothing.
    let kept = match split.behavior {
        SplitDelimiterBehavior::Isolated => !split.invert,
        SplitDelimiterBehavior::Removed => split.invert,
        SplitDelimiterBehavior::MergedWithPrevious
        | SplitDelimiterBehavior::MergedWithNext
        | SplitDelimiterBehavior::Contiguous => false,
    };
    kept && PATTERNS.contains(&pattern.as_str())
}
