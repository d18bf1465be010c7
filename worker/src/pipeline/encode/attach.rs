//! Rows of attach jobs: the texts of points, as this model reads those of documents.

use contract::job::Attach;

use super::encoder::{Encoded, Encoder, FittingRows, LongTexts};
use crate::error::Refusal;

impl Encoder {
    /// The rows of the items that fit; takes the others out of the job. Their texts were cut for another model, so that one
    /// which does not fit says nothing against its neighbours.
    pub(super) fn attach_rows(
        &self,
        attach: &mut Attach,
        long: &mut LongTexts,
    ) -> Result<FittingRows, Refusal> {
        let ours = &self.manifest.fingerprint;
        if attach.fingerprint != *ours {
            return Err(Refusal::OtherModel {
                expected: attach.fingerprint.clone(),
                found: ours.clone(),
            });
        }
        let prefix = &self.manifest.identity.prefixes.document;
        let mut taken = FittingRows::whole(Vec::new());
        let mut kept = Vec::new();
        for (row, item) in std::mem::take(&mut attach.items).into_iter().enumerate() {
            let text = format!("{prefix}{}", item.text);
            match self.tokenize(row, &text, (self.frame.document_tokens(), long)) {
                Ok(tokens) => {
                    taken
                        .rows
                        .push(Encoded::Tokens(self.frame.document(tokens)));
                    kept.push(item);
                }
                Err(refusal) if refusal.is_of_row() => {
                    taken.left_out.get_or_insert(refusal);
                }
                Err(refusal) => return Err(refusal),
            }
        }
        attach.items = kept;
        taken.or_refuse()
    }
}
