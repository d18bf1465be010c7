//! Rows of documents. A document with a text that does not fit the model is left out, and the others of its job go on.

use contract::embedding::Embedding;
use contract::job::{Chunk, Embed, KnownVector};

use super::encoder::{Encoded, Encoder, FittingRows, LongTexts};
use crate::config::GivenVectors;
use crate::error::Refusal;

impl Encoder {
    /// The rows of the chunks that fit; takes the other documents out of the job.
    pub(super) fn document_rows(
        &self,
        embed: &mut Embed,
        long: &mut LongTexts,
    ) -> Result<FittingRows, Refusal> {
        let mut taken = FittingRows::whole(Vec::new());
        let (mut kept, mut next) = (Vec::new(), 0);
        for document in std::mem::take(&mut embed.documents) {
            let first = next;
            next += document.chunks.len();
            let chunks = document.chunks.iter().enumerate();
            let rows = chunks.map(|(at, chunk)| self.chunk_row(embed, first + at, chunk, long));
            match rows.collect::<Result<Vec<_>, _>>() {
                Ok(rows) => {
                    taken.rows.extend(rows);
                    kept.push(document);
                }
                Err(refusal) if refusal.is_of_row() => {
                    taken.left_out.get_or_insert(refusal);
                }
                Err(refusal) => return Err(refusal),
            }
        }
        embed.documents = kept;
        taken.or_refuse()
    }

    /// Vectors and token ids that were made for another model are ignored: the text is tokenized again.
    fn chunk_row(
        &self,
        embed: &Embed,
        row: usize,
        chunk: &Chunk,
        long: &mut LongTexts,
    ) -> Result<Encoded, Refusal> {
        let is_used = self.rules.given_vectors == GivenVectors::Use
            && embed.fingerprint.as_ref() == Some(&self.manifest.fingerprint);
        if let Some(KnownVector(vector)) = chunk.vector.as_ref().filter(|_| is_used) {
            return Ok(Encoded::Known(Embedding::Dense(vector.clone())));
        }
        let same_tokens = embed.tokenization.as_ref() == Some(&self.tokenization);
        let tokens = if same_tokens && !chunk.token_ids.is_empty() {
            self.given_ids(row, &chunk.token_ids)?.to_vec().into()
        } else {
            let prefix = &self.manifest.identity.prefixes.document;
            let input = Chunk::model_input(prefix, chunk.context.as_deref(), &chunk.text);
            self.tokenize(row, &input, (self.frame.document_tokens(), long))?
        };
        Ok(Encoded::Tokens(self.frame.document(tokens)))
    }

    /// Ids from a job are input like any other.
    fn given_ids<'a>(&self, row: usize, ids: &'a [u32]) -> Result<&'a [u32], Refusal> {
        let max = self.frame.document_tokens();
        if ids.len() > max {
            return Err(Refusal::TooLong {
                row,
                tokens: ids.len(),
                max,
            });
        }
        self.check_ids(row, ids)?;
        Ok(ids)
    }
}
