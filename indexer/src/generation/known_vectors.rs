//! Known vectors: those that a collection already has, by the digest of the text and the fingerprint of the model.

use std::collections::{HashMap, HashSet};

use contract::field;
use contract::model::Manifest;
use contract::score::SCORES;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use points::Points;
use points::payload::{id, text, vector};
use points::reuse::{CONCURRENT_LOOKUPS, Wanted};
use points::selection::VectorSelection;
use qdrant_client::qdrant::{Condition, Filter, RetrievedPoint, Value};

/// Fields that are read.
const FIELDS: [&str; 3] = [field::DIGEST, field::FINGERPRINT, SCORES];
/// Largest deviation of a vector's length from 1.
pub const NORM_TOLERANCE: f64 = 1e-3;

/// The results of models for a text.
#[derive(Clone, Debug)]
pub struct Known {
    pub vector: Vec<f32>,
    /// Its scores by rescorers, if it has any.
    pub scores: Option<Value>,
}

/// Vectors and scores that are known of texts.
#[derive(Clone, Debug, Default)]
pub struct KnownVectors {
    /// By the digest of the text.
    texts: HashMap<String, Known>,
    /// By the id of the point that has the text, its own scores: of two points with the same text, a rescorer may have
    /// been asked about one.
    scores: HashMap<String, Option<Value>>,
}

impl KnownVectors {
    pub fn vector(&self, digest: &str) -> Option<&Vec<f32>> {
        self.texts.get(digest).map(|known| &known.vector)
    }

    /// The scores of a text at its point. Where it was elsewhere, it has moved with its scores.
    pub fn scores(&self, wanted: &Wanted<'_>) -> Option<Value> {
        let own = self.scores.get(wanted.id).cloned();
        let moved = || self.texts.get(wanted.digest)?.scores.clone();
        own.unwrap_or_else(moved)
    }
}

/// Finds vectors: first where the chunk was before, then wherever the same text is.
pub async fn find(
    (serving, selection): (Points<'_>, &VectorSelection),
    manifest: &Manifest,
    wanted: &[Wanted<'_>],
) -> anyhow::Result<KnownVectors> {
    let mut found = KnownVectors::default();
    if wanted.is_empty() {
        return Ok(found);
    }
    let ids = wanted.iter().map(|wanted| wanted.id);
    let points = serving.get_with(selection, ids, &FIELDS).await?;
    let digests: HashMap<_, _> = wanted.iter().map(|it| (it.id, it.digest)).collect();
    for point in &points {
        let Some((digest, known)) = entry(point, manifest) else {
            continue;
        };
        let id = id(point);
        if digests.get(id.as_str()) == Some(&digest.as_str()) {
            found.scores.insert(id, known.scores.clone());
        }
        found.texts.insert(digest, known);
    }
    let moved: HashSet<&str> = wanted
        .iter()
        .map(|wanted| wanted.digest)
        .filter(|digest| !found.texts.contains_key(*digest))
        .collect();
    let moved: Vec<Option<(String, Known)>> = stream::iter(moved)
        .map(|digest| by_digest((serving, selection), manifest, digest.to_owned()))
        .buffer_unordered(CONCURRENT_LOOKUPS)
        .try_collect()
        .await?;
    found.texts.extend(moved.into_iter().flatten());
    Ok(found)
}

async fn by_digest(
    (serving, selection): (Points<'_>, &VectorSelection),
    manifest: &Manifest,
    digest: String,
) -> anyhow::Result<Option<(String, Known)>> {
    let same_text = Filter::must([Condition::matches(field::DIGEST, digest)]);
    let pages = serving.pages(same_text, &FIELDS, 1);
    let mut pages = pages.with_vectors(selection.clone());
    let first = pages.next().await?.unwrap_or_default();
    Ok(first.first().and_then(|point| entry(point, manifest)))
}

/// Digest and vector of a point, if the vector is one of this model's and sound.
fn entry(point: &RetrievedPoint, manifest: &Manifest) -> Option<(String, Known)> {
    let same_model = text(point, field::FINGERPRINT)? == manifest.fingerprint.as_str();
    let vector = vector(point, manifest.name.as_str())?;
    let scores = point.payload.get(SCORES).cloned();
    (same_model && unsound(&vector, manifest).is_none())
        .then(|| Some((text(point, field::DIGEST)?, Known { vector, scores })))?
}

/// What is wrong with a vector of this model, if anything.
pub fn unsound(vector: &[f32], manifest: &Manifest) -> Option<String> {
    let expected = manifest.identity.dimensions;
    if vector.len() != expected {
        return Some(format!("{} dimensions, expected {expected}", vector.len()));
    }
    if !vector.iter().all(|value| value.is_finite()) {
        return Some("a value that is not finite".to_owned());
    }
    let squares: f64 = vector.iter().map(|value| f64::from(*value).powi(2)).sum();
    let norm = squares.sqrt();
    let off = manifest.identity.normalize && (norm - 1.0).abs() > NORM_TOLERANCE;
    off.then(|| format!("length {norm:.4}, expected 1"))
}

#[cfg(test)]
mod tests {
    use contract::digest::Digest;
    use contract::model::{Activation, Dtype, Head, Identity, Pooling, Prefixes, SpecialTokens};
    use contract::topology::Task;

    use super::*;

    fn manifest(normalize: bool) -> Manifest {
        let identity = Identity {
            task: Task::Embed,
            onnx: "model.onnx".to_owned(),
            files: std::collections::BTreeMap::new(),
            pooling: Pooling::Mean,
            normalize,
            prefixes: Prefixes::default(),
            max_tokens: 16,
            dimensions: 2,
            dtype: Dtype::Fp32,
            activation: Activation::Raw,
            labels: Vec::new(),
            head: Head::default(),
            special_tokens: SpecialTokens::Token,
            output: contract::model::Output::Dense,
        };
        Manifest::new("m".parse().unwrap(), identity, Vec::new())
    }

    #[test]
    fn a_vector_that_the_model_cannot_have_made_is_not_copied() {
        let model = manifest(true);
        assert_eq!(unsound(&[0.6, 0.8], &model), None);
        for bad in [&[1.0][..], &[f32::NAN, 1.0], &[0.6, 0.81], &[0.0, 0.0]] {
            assert!(unsound(bad, &model).is_some(), "{bad:?}");
        }
        assert_eq!(unsound(&[3.0, 4.0], &manifest(false)), None);
    }

    #[test]
    fn a_text_keeps_the_scores_of_its_point_and_one_that_has_moved_brings_its_own() {
        let digest = Digest::of(b"a text").to_string();
        let scores = |score: f64| Some(Value::from(score));
        let known = Known {
            vector: vec![0.6, 0.8],
            scores: scores(0.5),
        };
        let known = KnownVectors {
            texts: HashMap::from([(digest.clone(), known)]),
            scores: HashMap::from([
                ("scored".to_owned(), scores(0.7)),
                ("unscored".to_owned(), None),
            ]),
        };
        let of = |id| {
            let digest = digest.as_str();
            known.scores(&Wanted { id, digest })
        };
        assert_eq!(of("scored"), scores(0.7));
        assert_eq!(of("unscored"), None);
        assert_eq!(of("moved"), scores(0.5));
    }
}
