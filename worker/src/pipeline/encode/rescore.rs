//! Rows of rescore jobs: pairs for a cross-encoder, single texts for a classifier.

use contract::job::{Item, Rescore};
use contract::tokenizer::Tokens;

use super::encoder::{Encoded, Encoder, FittingRows, LongTexts};
use crate::batch::Reading;
use crate::error::Refusal;
use crate::frame::Framed;

impl Encoder {
    /// The rows of the items that fit. Takes the others out of the job, unless somebody waits for an answer, which has no holes.
    pub(super) fn rescore_rows(
        &self,
        rescore: &mut Rescore,
        long: &mut LongTexts,
    ) -> Result<FittingRows, Refusal> {
        let answers = rescore.reply.is_some();
        if answers {
            self.check_answer(rescore.items.len())?;
        }
        let mut taken = FittingRows::whole(Vec::new());
        let mut kept = Vec::new();
        for (row, item) in std::mem::take(&mut rescore.items).into_iter().enumerate() {
            match self.item(row, &item, long) {
                Ok(tokens) => {
                    let reading = Reading::default();
                    taken.rows.push(Encoded::Tokens(Framed { tokens, reading }));
                    kept.push(item);
                }
                Err(refusal) if refusal.is_of_row() && !answers => {
                    taken.left_out.get_or_insert(refusal);
                }
                Err(refusal) => return Err(refusal),
            }
        }
        rescore.items = kept;
        taken.or_refuse()
    }

    fn item(&self, row: usize, item: &Item, long: &mut LongTexts) -> Result<Tokens, Refusal> {
        let prefixes = &self.manifest.identity.prefixes;
        let text = format!("{}{}", prefixes.document, item.text);
        match &item.query {
            Some(query) => {
                let query = format!("{}{query}", prefixes.query);
                let tokens = self.pair(row, (&query, &text), long)?;
                self.check_ids(row, &tokens.ids)?;
                Ok(tokens)
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
