//! Evaluation: what the queries found in one collection.

use contract::digest::Digest;
use contract::names::{CollectionName, ModelName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::measure::{Measures, at, means, measure};
use super::rank::Hit;
use super::read::Topic;
use super::scores::Scores;
use crate::retrieval::{Mode, Search};

/// Hits of a query that a report keeps: enough to see what went wrong.
const KEPT_HITS: usize = 10;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Subject {
    /// The alias, or the collection, as it was asked for.
    pub alias: CollectionName,
    /// The collection that it led to.
    pub collection: CollectionName,
    /// Model of queries and vectors.
    pub model: ModelName,
    pub fingerprint: Digest,
    /// Whether the search was exact, without the graph.
    pub exact: bool,
    /// By which vectors; reports of earlier versions knew one alone.
    #[serde(default = "dense")]
    pub search: Search,
}

const fn dense() -> Search {
    Search::of(Mode::Dense)
}

/// A hit with its grade.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JudgedHit {
    #[serde(flatten)]
    pub hit: Hit,
    /// Its grade; nothing if nobody has judged it, which counts as not relevant.
    pub grade: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueryOutcome {
    pub id: String,
    pub text: String,
    /// How many documents are relevant.
    pub relevant: usize,
    pub measures: Vec<Measures>,
    /// The first ten documents.
    pub hits: Vec<JudgedHit>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evaluation {
    pub subject: Subject,
    /// Means over the queries at each cutoff.
    pub means: Vec<Measures>,
    /// Share of the first ten documents that somebody has judged. A low one says that the measures say little.
    pub judged: f64,
    /// Judged documents that the collection does not have.
    pub missing_documents: usize,
    /// Queries that the model does not take whole: their vectors are of the beginning alone.
    #[serde(default)]
    pub truncated_queries: usize,
    /// Scores of relevant and of other documents.
    pub scores: Scores,
    /// Each query, in the order of its file.
    pub queries: Vec<QueryOutcome>,
}

impl Evaluation {
    /// An evaluation without queries yet.
    pub fn new(subject: Subject) -> Self {
        Self {
            subject,
            means: Vec::new(),
            judged: 0.0,
            missing_documents: 0,
            truncated_queries: 0,
            scores: Scores::default(),
            queries: Vec::new(),
        }
    }

    /// Takes what a query found, best first.
    pub fn add(&mut self, topic: &Topic, hits: Vec<Hit>, cutoffs: &[usize]) {
        let grade = |hit: &Hit| topic.grades.get(&hit.id).copied();
        let ranking: Vec<_> = hits.iter().map(|hit| grade(hit).unwrap_or(0)).collect();
        for (hit, grade) in hits.iter().zip(&ranking) {
            self.scores.add(hit.score, *grade > 0);
        }
        let judged = |hit: Hit| JudgedHit {
            grade: grade(&hit),
            hit,
        };
        self.queries.push(QueryOutcome {
            id: topic.id.clone(),
            text: topic.text.clone(),
            relevant: topic.ideal.len(),
            measures: cutoffs
                .iter()
                .map(|k| measure(&ranking, &topic.ideal, *k))
                .collect(),
            hits: hits.into_iter().take(KEPT_HITS).map(judged).collect(),
        });
    }

    /// Computes the measures over all queries.
    pub fn finish(&mut self) {
        self.means = means(self.queries.iter().map(|query| query.measures.as_slice()));
        let hits = self.queries.iter().flat_map(|query| &query.hits);
        let (mut all, mut judged) = (0_u64, 0_u64);
        for hit in hits {
            all += 1;
            judged += u64::from(hit.grade.is_some());
        }
        self.judged = judged as f64 / all.max(1) as f64;
    }

    /// Mean nDCG at a cutoff.
    pub fn ndcg(&self, k: usize) -> Option<f64> {
        at(&self.means, k).map(|mean| mean.ndcg)
    }
}

impl QueryOutcome {
    /// nDCG at a cutoff, 0 at one that was not measured.
    pub fn ndcg(&self, k: usize) -> f64 {
        at(&self.measures, k).map_or(0.0, |measures| measures.ndcg)
    }
}
