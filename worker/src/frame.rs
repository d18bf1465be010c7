//! Frame: what a model wants around the tokens of a text, and how the row is read that comes of it.
//!
//! Indexers and workers share token ids of texts. What a model of late interaction puts between them is put there here, whoever
//! has tokenized the text.

use contract::model::{Identity, QueryWeights, TokenVectors};
use contract::tokenizer::{Tokenizer, TokenizerError, Tokens};

use crate::batch::Reading;

/// How texts are framed for one model.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Tokens of the prefixes, where pooling leaves them out.
    query_prompt: usize,
    document_prompt: usize,
    max_tokens: usize,
    token_vectors: Option<TokenVectors>,
}

/// Everything that is needed to make rows of texts.
#[derive(Clone, Debug)]
pub struct Texts {
    pub tokenizer: Tokenizer,
    pub frame: Frame,
    /// The weights that make vectors of queries in place of the model.
    pub query_weights: Option<QueryWeights>,
}

/// The row of a text, before it has a place in a tensor.
#[derive(Clone, Debug)]
pub struct Framed {
    pub tokens: Tokens,
    pub reading: Reading,
}

impl Frame {
    /// # Errors
    /// If the tokenizer fails on a prefix.
    pub fn of(tokenizer: &Tokenizer, identity: &Identity) -> Result<Self, TokenizerError> {
        let tokens = |prefix: &str| {
            if identity.head.exclude_prompt {
                tokenizer.prompt_tokens(prefix)
            } else {
                Ok(0)
            }
        };
        Ok(Self {
            query_prompt: tokens(&identity.prefixes.query)?,
            document_prompt: tokens(&identity.prefixes.document)?,
            max_tokens: identity.max_tokens,
            token_vectors: identity.output.token_vectors().cloned(),
        })
    }

    /// Most tokens of a document that the frame leaves room for, special tokens included.
    pub fn document_tokens(&self) -> usize {
        let marker = self
            .token_vectors
            .as_ref()
            .and_then(|it| it.document_marker);
        self.max_tokens
            .saturating_sub(usize::from(marker.is_some()))
    }

    /// Most tokens of a query that the frame leaves room for, special tokens included.
    pub fn query_tokens(&self) -> usize {
        match &self.token_vectors {
            Some(late) => {
                let marker = usize::from(late.query_marker.is_some());
                late.query_tokens.saturating_sub(marker)
            }
            None => self.max_tokens,
        }
    }

    /// The row of a document's chunk.
    pub fn document(&self, tokens: Tokens) -> Framed {
        let marker = self
            .token_vectors
            .as_ref()
            .and_then(|it| it.document_marker);
        Framed {
            tokens: marked(tokens, marker),
            reading: Reading {
                prompt: self.document_prompt,
                ..Reading::default()
            },
        }
    }

    /// The row of a query, filled up where the model expands queries.
    pub fn query(&self, tokens: Tokens) -> Framed {
        let mut reading = Reading {
            prompt: self.query_prompt,
            unattended: 0,
            is_query: true,
        };
        let Some(late) = &self.token_vectors else {
            return Framed { tokens, reading };
        };
        let mut tokens = marked(tokens, late.query_marker);
        if let Some(fill) = late.expansion {
            let missing = late.query_tokens.saturating_sub(tokens.ids.len());
            tokens.ids.extend(std::iter::repeat_n(fill, missing));
            reading.unattended = if late.attend_to_expansion { 0 } else { missing };
        }
        Framed { tokens, reading }
    }
}

/// Puts a marker behind the first token, which is the special one before the text.
fn marked(mut tokens: Tokens, marker: Option<u32>) -> Tokens {
    if let Some(marker) = marker {
        let behind_first = tokens.ids.len().min(1);
        tokens.ids.insert(behind_first, marker);
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(expansion: Option<u32>, attend_to_expansion: bool) -> Frame {
        Frame {
            query_prompt: 0,
            document_prompt: 0,
            max_tokens: 10,
            token_vectors: Some(TokenVectors {
                query_marker: Some(7),
                document_marker: Some(8),
                query_tokens: 6,
                expansion,
                attend_to_expansion,
                skipped: Vec::new(),
            }),
        }
    }

    #[test]
    fn a_query_is_marked_and_filled_up_and_a_document_is_marked() {
        let frame = late(Some(103), false);
        let query = frame.query(vec![101, 5, 102].into());
        assert_eq!(query.tokens.ids, [101, 7, 5, 102, 103, 103]);
        assert_eq!(
            (query.reading.unattended, query.reading.is_query),
            (2, true)
        );
        let document = frame.document(vec![101, 5, 102].into());
        assert_eq!(document.tokens.ids, [101, 8, 5, 102]);
        assert_eq!(document.reading, Reading::default());
        assert_eq!((frame.query_tokens(), frame.document_tokens()), (5, 9));
        let full = frame.query(vec![101, 1, 2, 3, 102].into());
        assert_eq!((full.tokens.ids.len(), full.reading.unattended), (6, 0));
    }

    #[test]
    fn other_tokens_attend_to_the_expansion_only_where_the_model_wants_it() {
        let attended = late(Some(103), true).query(vec![101, 102].into());
        assert_eq!(
            (attended.tokens.ids.len(), attended.reading.unattended),
            (6, 0)
        );
        let none = late(None, false).query(vec![101, 102].into());
        assert_eq!(none.tokens.ids, [101, 7, 102]);
    }
}
