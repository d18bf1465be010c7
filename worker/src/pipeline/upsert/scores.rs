//! Scores of points: written into the payload, on condition that the point still has the version that was scored.

use std::collections::BTreeMap;

use contract::embedding::Embedding;
use contract::field;
use contract::job::{Item, Job};
use contract::model::Manifest;
use contract::names::CollectionName;
use contract::score::ScoreField;
use points::Points;
use points::guard::tombstones;
use points::replicas::Replicas;
use points::store::{PointsError, Store, selector};
use qdrant_client::qdrant::points_update_operation::{Operation, SetPayload};
use qdrant_client::qdrant::{Condition, Filter, PointId, Value};
use serde_json::json;

use crate::batch::Vectors;
use runtime::failpoint;

/// Points of one request.
const SCORES_PER_REQUEST: usize = 128;

/// The score of one point.
#[derive(Debug)]
pub(super) struct Score<'a> {
    id: &'a str,
    version: Option<u64>,
    field: ScoreField,
    value: serde_json::Value,
}

/// The scores of a batch by the collection that they go to, in the order of their jobs.
pub(super) fn scores<'a>(
    vectors: &'a Vectors,
    manifest: &Manifest,
) -> BTreeMap<&'a CollectionName, Vec<Score<'a>>> {
    let mut by_collection: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (decoded, rows) in vectors.jobs.iter().zip(&vectors.vectors) {
        let Job::Rescore(job) = &decoded.job else {
            continue;
        };
        let Some(collection) = &job.collection else {
            continue;
        };
        let default = || ScoreField::of(&manifest.name);
        let field = job.field.clone().unwrap_or_else(default);
        let labels = &manifest.identity.labels;
        let score = |(item, row): (&'a Item, &Embedding)| {
            Some(Score {
                id: item.point.as_deref()?,
                version: item.version,
                field: field.clone(),
                value: value(labels, row.values()),
            })
        };
        let scores = job.items.iter().zip(rows).filter_map(score);
        by_collection.entry(collection).or_default().extend(scores);
    }
    by_collection
}

/// A number, or one for each label.
fn value(labels: &[String], scores: &[f32]) -> serde_json::Value {
    match scores {
        [score] => json!(score),
        scores => labels
            .iter()
            .zip(scores)
            .map(|(label, score)| (label.clone(), json!(score)))
            .collect(),
    }
}

/// Writes scores one request after the other: a later score of the same point wins. While Qdrant leaves a replica out,
/// the last question fails.
pub(super) async fn write(
    points: Points<'_, impl Store>,
    scores: &[Score<'_>],
    replicas: Replicas,
) -> Result<(), PointsError> {
    for part in scores.chunks(SCORES_PER_REQUEST) {
        let operations = part.iter().map(Score::operation).collect();
        points.update("write scores into", operations).await?;
        failpoint::pass("after-scores");
    }
    if replicas.are_several() {
        points.ask_all_replicas().await?;
    }
    Ok(())
}

impl Score<'_> {
    /// Sets one field of the point and leaves the rest of its payload, and its vectors, alone.
    fn operation(&self) -> Operation {
        let (above, name) = self.field.split();
        Operation::SetPayload(SetPayload {
            payload: [(name.to_owned(), Value::from(self.value.clone()))].into(),
            points_selector: Some(selector(self.scored_point())),
            key: above.map(str::to_owned),
            ..SetPayload::default()
        })
    }

    /// The point, if it is still what was scored. A selection by filter creates no point, and does not fail if the
    /// point is missing.
    fn scored_point(&self) -> Filter {
        let id = match self.id.parse::<u64>() {
            Ok(number) => PointId::from(number),
            Err(_) => PointId::from(self.id),
        };
        let mut must = vec![Condition::has_id([id])];
        if !failpoint::skips("score-guard") {
            let version = self
                .version
                .map(|version| i64::try_from(version).unwrap_or(i64::MAX));
            must.extend(version.map(|version| Condition::matches(field::VERSION, version)));
        }
        Filter {
            must,
            must_not: vec![tombstones()],
            ..Filter::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;

    use super::*;

    fn operation(version: Option<u64>, field: &str, value: serde_json::Value) -> SetPayload {
        let score = Score {
            id: "7",
            version,
            field: field.parse().unwrap(),
            value,
        };
        let Operation::SetPayload(set) = score.operation() else {
            panic!("a score sets a field");
        };
        set
    }

    #[test]
    fn a_single_label_is_a_number_and_several_go_by_their_names() {
        assert_eq!(value(&[], &[0.5]), json!(0.5));
        let labels = ["good".to_owned(), "bad".to_owned()];
        assert_eq!(
            value(&labels, &[0.75, 0.25]),
            json!({ "good": 0.75, "bad": 0.25 })
        );
    }

    #[test]
    fn a_score_asks_for_its_point_in_the_version_that_was_scored() {
        let set = operation(Some(5), "scores.m", json!(0.5));
        let expected = Filter {
            must: vec![
                Condition::has_id([PointId::from(7)]),
                Condition::matches(field::VERSION, 5),
            ],
            must_not: vec![Condition::matches(field::DELETED, true)],
            ..Filter::default()
        };
        let selector = set.points_selector.unwrap().points_selector_one_of;
        assert_eq!(selector, Some(PointsSelectorOneOf::Filter(expected)));
        assert_eq!(set.key.as_deref(), Some("scores"));
        assert_eq!(set.payload["m"], Value::from(0.5));
    }

    #[test]
    fn a_field_at_the_top_has_no_path_above_it() {
        let set = operation(None, "relevance", json!(1.0));
        assert_eq!(set.key, None);
        assert_eq!(set.payload["relevance"], Value::from(1.0));
    }
}
