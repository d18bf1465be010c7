//! Rows of rescore jobs: pairs for a cross-encoder, single texts for a classifier.

use contract::job::{Item, Rescore};
use contract::tokenizer::Tokens;

use super::encoder::{Encoded, Encoder, Rows};
use crate::error::Refusal;

impl Encoder {
    pub(super) fn rescore_rows(&self, rescore: &Rescore) -> Result<Rows, Refusal> {
        if rescore.reply.is_some() {
            self.check_answer(rescore.items.len())?;
        }
        let items = rescore.items.iter().enumerate();
        let tokens = items.map(|(row, item)| self.item(row, item));
        tokens.map(|row| row.map(Encoded::Tokens)).collect()
    }

    fn item(&self, row: usize, item: &Item) -> Result<Tokens, Refusal> {
        let prefixes = &self.manifest.identity.prefixes;
        let text = format!("{}{}", prefixes.document, item.text);
        match &item.query {
            Some(query) => self.pair(row, &format!("{}{query}", prefixes.query), &text),
            None => self.tokenize(row, &text),
        }
    }

    /// A pair that is too long is counted once, whichever of its texts is cut.
    fn pair(&self, row: usize, query: &str, text: &str) -> Result<Tokens, Refusal> {
        let max = self.manifest.identity.max_tokens;
        let (short_query, short_text) = (self.within_bytes(query), self.within_bytes(text));
        let whole = short_query.len() == query.len() && short_text.len() == text.len();
        if whole {
            let tokens = self.tokenizer.encode_pair(query, text)?;
            if tokens.ids.len() <= max {
                return Ok(tokens);
            }
            self.refuse_or_count(row, tokens.ids.len(), max)?;
        } else {
            self.refuse_or_count(row, self.least_tokens(query.len() + text.len()), max)?;
        }
        Ok(self
            .tokenizer
            .encode_pair_within(short_query, short_text, max)?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use bytes::Bytes;
    use contract::digest::Digest;
    use contract::model::{
        Activation, Dtype, Identity, Manifest, Pooling, Prefixes, StagedFile, TOKENIZER,
    };
    use contract::tokenizer::Tokenizer;
    use contract::topology::Task;
    use serde_json::{Value, json};

    use super::super::encoder::Rules;
    use super::*;
    use crate::batch::{Inputs, RawJob};
    use crate::config::{GivenVectors, TooLong};
    use crate::plan::Shapes;

    fn encoder(too_long: TooLong, dimensions: usize) -> Encoder {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../fixtures/models/tiny-rerank/tokenizer.json"
        );
        let file = StagedFile {
            bytes: 1,
            sha256: Digest::of(b"tokenizer"),
        };
        let identity = Identity {
            task: Task::Rescore,
            onnx: "model.onnx".to_owned(),
            files: BTreeMap::from([(TOKENIZER.to_owned(), file)]),
            pooling: Pooling::Graph,
            normalize: false,
            prefixes: Prefixes::default(),
            max_tokens: 16,
            dimensions,
            dtype: Dtype::Fp32,
            activation: Activation::Sigmoid,
            labels: Vec::new(),
        };
        let rules = Rules {
            collections: vec!["docs".parse().unwrap()],
            too_long,
            given_vectors: GivenVectors::Use,
        };
        let manifest = Manifest::new("m".parse().unwrap(), identity, Vec::new());
        Encoder::new(
            Tokenizer::load(Path::new(path)).unwrap(),
            manifest,
            rules,
            Shapes {
                tokens: 1024,
                step: 1,
                longest: 16,
            },
        )
    }

    fn encode(encoder: &Encoder, jobs: &[Value]) -> (Inputs, Vec<(usize, Refusal)>) {
        let deliveries = jobs.iter().map(|items| {
            let job = json!({ "version": "1.0", "kind": "rescore", "reply": "r", "items": items });
            RawJob {
                payload: Bytes::from(job.to_string()),
                default_version: Some(1),
            }
        });
        encoder.encode(deliveries.collect())
    }

    #[test]
    fn pairs_and_single_texts_share_a_tensor_each_with_its_token_types() {
        let items = json!([{ "query": "lag", "text": "stream" }, { "text": "stream" }]);
        let (inputs, refused) = encode(&encoder(TooLong::Refuse, 1), &[items]);
        assert!(refused.is_empty(), "{refused:?}");
        let tensor = &inputs.tensors[0];
        assert_eq!(tensor.lengths, [5, 3]);
        let types = tensor.type_ids.as_ref().expect("a pair has types");
        assert_eq!(types.row(0).to_vec(), [0, 0, 0, 1, 1]);
        assert_eq!(types.row(1).to_vec(), [0; 5]);
    }

    #[test]
    fn a_pair_that_is_too_long_is_refused_or_cut_and_takes_only_its_job() {
        let long = "stream ".repeat(40);
        let huge = "stream ".repeat(4_000);
        let jobs = [
            json!([{ "query": "lag", "text": "stream" }]),
            json!([{ "query": "lag", "text": long }]),
            json!([{ "query": huge, "text": huge }]),
        ];
        let (inputs, refused) = encode(&encoder(TooLong::Refuse, 1), &jobs);
        assert_eq!(inputs.rows, [1]);
        let positions: Vec<_> = refused.iter().map(|(position, _)| *position).collect();
        assert_eq!(positions, [1, 2]);
        assert!(
            refused.iter().all(|(_, refusal)| matches!(refusal, Refusal::TooLong { tokens, max: 16, .. } if *tokens > 16)),
            "{refused:?}"
        );
        let (inputs, refused) = encode(&encoder(TooLong::Truncate, 1), &jobs);
        assert!(refused.is_empty(), "{refused:?}");
        let lengths: Vec<_> = inputs.tensors.iter().flat_map(|t| &t.lengths).collect();
        assert_eq!(lengths, [&16, &16, &5]);
    }

    #[test]
    fn an_answer_that_fits_no_message_is_refused() {
        let items = |count: usize| json!(vec![json!({ "text": "stream" }); count]);
        let many_labels = encoder(TooLong::Refuse, 1_000);
        let (_, refused) = encode(&many_labels, &[items(80), items(60)]);
        assert!(
            matches!(
                refused[..],
                [(
                    0,
                    Refusal::TooManyQueries {
                        queries: 80,
                        most: 70
                    }
                )]
            ),
            "{refused:?}"
        );
    }
}
