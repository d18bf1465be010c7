//! Rows of rescore jobs: pairs for a cross-encoder, single texts for a classifier.

use contract::job::{Item, Rescore};
use contract::tokenizer::Tokens;

use super::encoder::{Encoded, Encoder, LongTexts, Rows};
use crate::batch::Reading;
use crate::error::Refusal;
use crate::frame::Framed;

impl Encoder {
    pub(super) fn rescore_rows(
        &self,
        rescore: &Rescore,
        long: &mut LongTexts,
    ) -> Result<Rows, Refusal> {
        if rescore.reply.is_some() {
            self.check_answer(rescore.items.len())?;
        }
        let items = rescore.items.iter().enumerate();
        let tokens = items.map(|(row, item)| self.item(row, item, long));
        tokens
            .map(|row| {
                let reading = Reading::default();
                row.map(|tokens| Encoded::Tokens(Framed { tokens, reading }))
            })
            .collect()
    }

    fn item(&self, row: usize, item: &Item, long: &mut LongTexts) -> Result<Tokens, Refusal> {
        let prefixes = &self.manifest.identity.prefixes;
        let text = format!("{}{}", prefixes.document, item.text);
        match &item.query {
            Some(query) => {
                let query = format!("{}{query}", prefixes.query);
                self.pair(row, (&query, &text), long)
            }
            None => self.tokenize(row, &text, (self.manifest.identity.max_tokens, long)),
        }
    }

    /// A pair that is too long is counted once, whichever of its texts is cut.
    fn pair(
        &self,
        row: usize,
        (query, text): (&str, &str),
        long: &mut LongTexts,
    ) -> Result<Tokens, Refusal> {
        let max = self.manifest.identity.max_tokens;
        let (short_query, short_text) = (self.within_bytes(query), self.within_bytes(text));
        let whole = short_query.len() == query.len() && short_text.len() == text.len();
        if whole {
            let tokens = self.tokenizer.encode_pair(query, text)?;
            if tokens.ids.len() <= max {
                return Ok(tokens);
            }
            long.refuse_or_count(row, tokens.ids.len(), max)?;
        } else {
            long.refuse_or_count(row, self.least_tokens(query.len() + text.len()), max)?;
        }
        Ok(self
            .tokenizer
            .encode_pair_within(short_query, short_text, max)?)
    }
}
