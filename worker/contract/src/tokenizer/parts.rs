//! Parts: tokenizes a text from seam to seam, each part by looking it up or, where it is new, by the library.

use std::sync::{Mutex, PoisonError};

use tokenizers::{Model as _, Token};

use super::seams::Seams;
use super::words::{Piece, Words};
use super::{Tokenizer, TokenizerError};

/// What stands before a part that does not start its text: tokenizers treat the first word of a text in their own way.
const LEAD: &str = "a";

/// Texts that show whether parts add up: a tokenizer for which one does not is used on whole texts only.
const PROBES: [&str; 12] = [
    "",
    " ",
    "a",
    "The tide goes out, twice a day.",
    "# Queue-driven (batch) inference\n\n- `indexer publish docs/*.md`\n- [link](http://a.b/c?d=e#f)\r\n",
    " leading and trailing \t\n",
    "a  b   c\td\n\ne \n f",
    "don't I'LL we've 12345 3.14 v1.2.3-rc.4 x_y_z",
    "Zürich, café \u{301}e\u{301} naïve İstanbul Straße ΣΊΣΥΦΟΣ",
    "漢字 かな ｶﾅ 한국어 ไทย नमस्ते 👩‍👩‍👧 🇩🇪",
    "nul\u{0}byte soft\u{ad}hyphen zero\u{200b}width nbsp\u{a0}x \u{b}\u{c}\u{85} \u{fffd} \u{2028}y",
    "<s> a</s> [SEP] b[MASK] <|endoftext|> <unk> <mask>",
];

/// Tokens of a text, special tokens left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// Their ids.
    pub ids: Vec<u32>,
    /// Where each starts, in bytes; in order.
    pub starts: Vec<usize>,
}

impl Pieces {
    /// Nothing yet, with room for the tokens of a text of so many bytes: a token of prose has four.
    #[must_use]
    pub fn with_room_for(bytes: usize) -> Self {
        let tokens = bytes / 3 + 4;
        Self {
            ids: Vec::with_capacity(tokens),
            starts: Vec::with_capacity(tokens),
        }
    }

    /// Tokens that stand for nothing in the text may claim to start at its start: they start where the one before
    /// does, and not before `least`.
    pub(super) fn push(&mut self, id: u32, start: usize, least: usize) {
        let least = self.starts.last().map_or(least, |&last| last.max(least));
        self.ids.push(id);
        self.starts.push(start.max(least));
    }
}

/// Special tokens of a single text.
#[derive(Debug)]
pub(super) struct Frame {
    before: Vec<u32>,
    after: Vec<u32>,
}

impl Frame {
    fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let bare = tokenizer.inner.encode(LEAD, false).ok()?;
        let framed = tokenizer.inner.encode(LEAD, true).ok()?;
        let special = framed.get_special_tokens_mask().iter();
        let before = special.take_while(|&&special| special == 1).count();
        let (before, rest) = framed.get_ids().split_at(before);
        let after = rest.strip_prefix(bare.get_ids())?;
        Some(Self {
            before: before.to_vec(),
            after: after.to_vec(),
        })
    }

    pub(super) fn around<'a>(&self, ids: impl IntoIterator<Item = &'a [u32]>) -> Vec<u32> {
        let mut all = self.before.clone();
        for ids in ids {
            all.extend_from_slice(ids);
        }
        all.extend_from_slice(&self.after);
        all
    }
}

/// A tokenizer that has seams.
pub(super) struct Parts {
    pub(super) seams: Seams,
    pub(super) frame: Frame,
    /// Tokens of [`LEAD`].
    lead_tokens: usize,
    /// As many as texts were tokenized at the same time.
    words: Mutex<Vec<Words>>,
}

impl Parts {
    /// `None` where whole texts are all that is known to work.
    pub(super) fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let seams = Seams::of(&tokenizer.inner);
        if seams == Seams::None {
            return None;
        }
        let parts = Self {
            seams,
            frame: Frame::of(tokenizer)?,
            lead_tokens: tokenizer.inner.encode(LEAD, false).ok()?.len(),
            words: Mutex::default(),
        };
        PROBES
            .iter()
            .all(|probe| parts.agrees(tokenizer, probe))
            .then_some(parts)
    }

    /// Whether parts have the tokens of the whole. Their places may differ: an added token that takes the white space
    /// before it starts there in the whole, and behind it where a part does.
    fn agrees(&self, tokenizer: &Tokenizer, text: &str) -> bool {
        let whole = tokenizer.encode_whole(text);
        whole.is_ok_and(|whole| self.encode(tokenizer, text).is_ok_and(|ids| ids == whole))
    }

    pub(super) fn encode(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
    ) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 8);
        ids.extend_from_slice(&self.frame.before);
        self.walk(tokenizer, text, |_, pieces| {
            ids.extend(pieces.iter().map(|piece| piece.id));
        })?;
        ids.extend_from_slice(&self.frame.after);
        Ok(ids)
    }

    pub(super) fn add(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        base: usize,
        all: &mut Pieces,
    ) -> Result<(), TokenizerError> {
        self.walk(tokenizer, text, |at, pieces| {
            for piece in pieces {
                all.push(piece.id, base + at + piece.start as usize, base + at);
            }
        })
    }

    /// Gives the tokens of part after part to `take`, with where the part starts.
    fn walk(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        mut take: impl FnMut(usize, &[Piece]),
    ) -> Result<(), TokenizerError> {
        let mut words = self.lock().pop().unwrap_or_default();
        let mut at = self.seams.start(text, 0);
        while at < text.len() {
            let end = self.seams.end(text, at);
            let part = &text[at..end];
            // The first word of a text may have tokens of its own.
            let leads = at == 0 && self.seams == Seams::Spaces;
            if let Some(pieces) = words.get(part.as_bytes()).filter(|_| !leads) {
                take(at, pieces);
            } else {
                let pieces = self.tokenize(tokenizer, part, leads)?;
                if !leads {
                    words.keep(part.as_bytes(), &pieces);
                }
                take(at, &pieces);
            }
            at = self.seams.start(text, end);
        }
        self.lock().push(words);
        Ok(())
    }

    fn tokenize(
        &self,
        tokenizer: &Tokenizer,
        part: &str,
        leads: bool,
    ) -> Result<Vec<Piece>, TokenizerError> {
        if let Some(word) = self.seams.plain(part) {
            let model = tokenizer.inner.get_model();
            let tokens = tokenizer.guarded(part.len(), |_| model.tokenize(&word))?;
            let piece = |token: Token| Piece {
                id: token.id,
                start: u32::try_from(token.offsets.0).unwrap_or(u32::MAX),
            };
            return Ok(tokens.into_iter().map(piece).collect());
        }
        let (lead, skip) = if leads || self.seams != Seams::Spaces {
            ("", 0)
        } else {
            (LEAD, self.lead_tokens)
        };
        let whole = [lead, part].concat();
        let encoding =
            tokenizer.guarded(part.len(), |inner| inner.encode(whole.as_str(), false))?;
        let (ids, offsets) = (encoding.get_ids(), encoding.get_offsets());
        let pieces = ids.iter().zip(offsets).skip(skip);
        Ok(pieces
            .map(|(&id, &(start, _))| Piece {
                id,
                start: u32::try_from(start.saturating_sub(lead.len())).unwrap_or(u32::MAX),
            })
            .collect())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Words>> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
