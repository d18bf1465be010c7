//! Rows of attach jobs: the texts of points, as this model reads those of documents.

use contract::job::Attach;

use super::encoder::{Encoded, Encoder, LongTexts, Rows};
use crate::error::Refusal;

impl Encoder {
    /// A text that this model does not take whole was cut for another one, as all of its neighbours were: it leaves the job
    /// alone, which becomes a dead letter when the rest of it is written.
    pub(super) fn attach_rows(
        &self,
        attach: &mut Attach,
        long: &mut LongTexts,
    ) -> Result<(Rows, Option<Refusal>), Refusal> {
        let ours = &self.manifest.fingerprint;
        if attach.fingerprint != *ours {
            return Err(Refusal::OtherModel {
                expected: attach.fingerprint.clone(),
                found: ours.clone(),
            });
        }
        let prefix = &self.manifest.identity.prefixes.document;
        let (mut rows, mut kept, mut refused) = (Vec::new(), Vec::new(), None);
        for (row, item) in attach.items.drain(..).enumerate() {
            match self.tokenize(row, &format!("{prefix}{}", item.text), long) {
                Ok(tokens) => {
                    rows.push(Encoded::Tokens(tokens, self.prompts.document));
                    kept.push(item);
                }
                Err(refusal) => refused = refused.or(Some(refusal)),
            }
        }
        attach.items = kept;
        match refused {
            Some(refusal) if attach.items.is_empty() => Err(refusal),
            refused => Ok((rows, refused)),
        }
    }
}
