//! Rank: from scores of documents to an order that is the same in each run.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A document that was found, with the score of its best chunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hit {
    /// Id of the document.
    pub id: String,
    /// Similarity to the query.
    pub score: f32,
}

/// The documents by score and, where scores are equal, by id, both falling. It is the order of trec_eval, so that
/// its measures of the same run are the same.
#[must_use]
pub fn ranked(scores: HashMap<String, f32>) -> Vec<Hit> {
    let hits = scores.into_iter().map(|(id, score)| Hit { id, score });
    let mut hits: Vec<_> = hits.collect();
    hits.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then_with(|| b.id.cmp(&a.id)));
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_are_ordered_by_id() {
        let scores = [("a", 0.5), ("c", 0.5), ("b", 0.9)];
        let hits = ranked(scores.map(|(id, score)| (id.to_owned(), score)).into());
        let ids: Vec<_> = hits.iter().map(|hit| hit.id.as_str()).collect();
        assert_eq!(ids, ["b", "c", "a"]);
    }
}
