//! Additions of a batch: the scores of rescore jobs and the vectors of attach jobs, by the place that they go to. How they
//! are written says [`points::additions`].

use std::collections::BTreeMap;

use contract::digest::Digest;
use contract::embedding::Embedding;
use contract::job::{Item, Job};
use contract::model::Manifest;
use contract::names::{CollectionName, VectorName};
use contract::score::ScoreField;
use points::additions::{Addition, AdditionValue};
use points::point::vector_of;
use serde_json::json;

use crate::batch::Vectors;

/// The target of additions: a collection, and the name of the attached vector, unless they are scores.
pub(super) type AdditionTarget<'a> = (&'a CollectionName, Option<&'a VectorName>);

/// The additions of a batch by their place, in the order of their jobs.
pub(super) fn additions<'a>(
    vectors: &'a Vectors,
    manifest: &Manifest,
) -> BTreeMap<AdditionTarget<'a>, Vec<Addition<'a>>> {
    let mut by_place: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (decoded, rows) in vectors.jobs.iter().zip(&vectors.vectors) {
        let Some((place, items)) = target(&decoded.job) else {
            continue;
        };
        let addition = |(item, row): (&'a Item, &Embedding)| {
            Some(Addition {
                point: item.point.as_deref()?,
                version: item.version,
                digest: digest(place, item),
                head: item.head.as_deref(),
                made: made(place, &decoded.job, row, manifest),
            })
        };
        let additions = items.iter().zip(rows).filter_map(addition);
        by_place.entry(place).or_default().extend(additions);
    }
    by_place
}

/// The target of the results of a job, and the items that they are made of.
fn target(job: &Job) -> Option<(AdditionTarget<'_>, &[Item])> {
    match job {
        Job::Rescore(job) => Some(((job.collection.as_ref()?, None), &job.items)),
        Job::Attach(job) => Some(((&job.collection, Some(&job.vector)), &job.items)),
        Job::Embed(_) | Job::Delete(_) => None,
    }
}

/// Digest of the text, as its point has it: what the publisher says. A vector of a version is else of the text that this has;
/// without a version, and for a score, the text is whatever the publisher has chosen.
fn digest((_, vector): AdditionTarget<'_>, item: &Item) -> Option<Digest> {
    let of_text = || {
        let is_of_version = vector.and(item.version).is_some();
        is_of_version.then(|| Digest::of(item.text.as_bytes()))
    };
    item.digest.clone().or_else(of_text)
}

/// The value of an addition, made of the output of a row.
fn made(
    (_, vector): AdditionTarget<'_>,
    job: &Job,
    row: &Embedding,
    manifest: &Manifest,
) -> AdditionValue {
    if let Some(name) = vector {
        return AdditionValue::Vector {
            name: name.to_string(),
            vector: vector_of(row.clone()),
        };
    }
    let field = match job {
        Job::Rescore(job) => job.field.clone(),
        Job::Embed(_) | Job::Delete(_) | Job::Attach(_) => None,
    };
    AdditionValue::Score {
        field: field.unwrap_or_else(|| ScoreField::of(&manifest.name)),
        value: value(&manifest.identity.labels, row.values()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_vector_matters_where_its_version_does() {
        let collection = "docs".parse().unwrap();
        let vector = "second".parse().unwrap();
        let item = |version| Item {
            version,
            text: "a text".to_owned(),
            ..Item::default()
        };
        let of = |vector, version| digest((&collection, vector), &item(version));
        assert_eq!(of(Some(&vector), Some(5)), Some(Digest::of(b"a text")));
        assert_eq!(of(Some(&vector), None), None);
        assert_eq!(of(None, Some(5)), None);
    }

    #[test]
    fn a_publisher_says_which_text_a_point_must_have() {
        let collection = "docs".parse().unwrap();
        let vector = "second".parse().unwrap();
        let own = Some(Digest::of(b"the text of the point"));
        let item = Item {
            digest: own.clone(),
            text: "a summary of it".to_owned(),
            ..Item::default()
        };
        assert_eq!(digest((&collection, None), &item), own);
        assert_eq!(digest((&collection, Some(&vector)), &item), own);
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
}
