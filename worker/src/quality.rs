//! Quality: how well the vectors of a model find the documents of a golden set.

pub(crate) mod golden_set;

use std::collections::HashMap;

use contract::embedding::Embedding;
use contract::model::{Identity, QueryWeights};
use contract::tokenizer::Tokenizer;
use relevance::measure::{CUTOFF, measure};
use relevance::rank::ranked;
use relevance::read::Topic;

use crate::batch::RowKey;
use crate::config::Provider;
use crate::load::row;
use crate::plan::{Row, plan};
use crate::pool::normalize;
use crate::session::{Engine as _, Session};
use golden_set::GoldenSet;

/// A model that is measured.
pub(crate) struct Subject<'a> {
    pub(crate) session: &'a mut Session,
    pub(crate) provider: Provider,
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) identity: &'a Identity,
    /// The weights that make vectors of queries in place of the model.
    pub(crate) query_weights: Option<&'a QueryWeights>,
}

impl Subject<'_> {
    /// Mean nDCG of the questions of a set.
    ///
    /// # Errors
    /// If the set has no question that it can answer, or a text does not run.
    #[expect(clippy::cast_precision_loss, reason = "a count of questions")]
    pub(crate) fn ndcg(&mut self, set: &GoldenSet) -> anyhow::Result<f64> {
        anyhow::ensure!(
            !set.topics.is_empty(),
            "no query of the golden set has a relevant document in its corpus; do both belong together?"
        );
        let documents = set.documents.iter().map(|it| it.text.as_str());
        let documents = self.embed(false, documents)?;
        let queries = set.topics.iter().map(|it| it.text.as_str());
        let queries = self.embed(true, queries)?;
        let ndcg = |(topic, query): (&Topic, &Embedding)| {
            let ids = set.documents.iter().map(|it| it.id.clone());
            let scores = documents.iter().map(|it| query.score(it));
            ndcg(topic, ids.zip(scores).collect())
        };
        let sum: f64 = set.topics.iter().zip(&queries).map(ndcg).sum();
        Ok(sum / queries.len() as f64)
    }

    /// Vectors of texts in their order; a dense one of length 1, for an exact search by cosine.
    fn embed<'t>(
        &mut self,
        is_query: bool,
        texts: impl Iterator<Item = &'t str>,
    ) -> anyhow::Result<Vec<Embedding>> {
        if let Some(weights) = self.query_weights.filter(|_| is_query) {
            let prefix = &self.identity.prefixes.query;
            let terms = texts.map(|text| {
                let ids = self.tokenizer.encode(&format!("{prefix}{text}"))?;
                Ok(weights.embedding(&ids))
            });
            return terms.collect();
        }
        let rows = texts.enumerate().map(|(at, text)| {
            let (query, text) = if is_query {
                (Some(text), "")
            } else {
                (None, text)
            };
            let key = RowKey { job: 0, row: at };
            anyhow::Ok(Row {
                key,
                ..row(self.tokenizer, self.identity, query, text)?
            })
        });
        let rows = rows.collect::<anyhow::Result<Vec<_>>>()?;
        let mut vectors = vec![Embedding::Dense(Vec::new()); rows.len()];
        // All rows of a tensor share the scales of int8, so the tensors are as large as those of a worker.
        let tokens = self.provider.tensor_tokens();
        let shapes = self.provider.shapes(tokens, self.identity.max_tokens);
        for tensor in plan(rows, shapes, self.tokenizer.padding_id()) {
            for (key, vector) in tensor.rows.iter().zip(self.session.run(&tensor)?) {
                vectors[key.row] = of_length_1(vector);
            }
        }
        Ok(vectors)
    }
}

fn ndcg(topic: &Topic, scores: HashMap<String, f32>) -> f64 {
    let grade = |id: &String| topic.grades.get(id).copied().unwrap_or_default();
    let ranking: Vec<_> = ranked(scores).iter().map(|hit| grade(&hit.id)).collect();
    measure(&ranking, &topic.ideal, CUTOFF).ndcg
}

/// Scales a dense vector to length 1: models that do not normalize are searched by cosine, too.
fn of_length_1(mut embedding: Embedding) -> Embedding {
    if let Embedding::Dense(vector) = &mut embedding {
        normalize(vector);
    }
    embedding
}
