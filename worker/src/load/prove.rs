//! Prove: checks that a model gives the vectors or scores that were recorded for its golden texts.

use std::fmt;

use contract::embedding::Embedding;
use contract::model::{Dtype, Golden, Identity, Invariance, Manifest};
use contract::tokenizer::{Tokenizer, TokenizerError};
use contract::topology::Task;

use super::LoadError;
use crate::batch::{Reading, RowKey, Tensor};
use crate::frame::{Frame, Framed};
use crate::plan::{Row, fill};
use crate::session::{Engine, Session};

/// How close a model comes to the results that were recorded when it was staged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Agreement {
    /// Smallest cosine of a vector.
    Cosine(f32),
    /// Largest difference of a score.
    Difference(f32),
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cosine(cosine) => write!(f, "cosine {cosine:.5}"),
            Self::Difference(difference) => write!(f, "scores within {difference:.5}"),
        }
    }
}

/// Runs one text alone: as a chunk of a document, as a query, or for a rescorer as the passage of a pair. Returns its vector or
/// its scores.
///
/// # Errors
/// If the tokenizer or the session fails.
pub fn run_text(
    session: &mut Session,
    tokenizer: &Tokenizer,
    identity: &Identity,
    query: Option<&str>,
    text: &str,
) -> Result<Embedding, LoadError> {
    let vectors = session.run(&tensor(tokenizer, identity, query, text)?)?;
    Ok(vectors.into_iter().next().unwrap_or_else(nothing))
}

/// The result of an engine that gives none.
pub(super) fn nothing() -> Embedding {
    Embedding::Dense(Vec::new())
}

pub(super) fn pair(golden: &Golden) -> (Option<&str>, &str) {
    (golden.query.as_deref(), &golden.text)
}

/// A tensor of one text or pair.
pub(super) fn tensor(
    tokenizer: &Tokenizer,
    identity: &Identity,
    query: Option<&str>,
    text: &str,
) -> Result<Tensor, TokenizerError> {
    let row = row(tokenizer, identity, query, text)?;
    Ok(fill(&[row], tokenizer.padding_id()))
}

/// The row of one text: as a chunk of a document, as a query, or for a rescorer of a pair.
///
/// # Errors
/// If the tokenizer fails on it.
pub fn row(
    tokenizer: &Tokenizer,
    identity: &Identity,
    query: Option<&str>,
    text: &str,
) -> Result<Row, TokenizerError> {
    let (prefixes, frame) = (&identity.prefixes, Frame::of(tokenizer, identity)?);
    let cut = |text: &str, max: usize| {
        let mut ids = tokenizer.encode(text)?;
        tokenizer.truncate(&mut ids, max);
        Ok::<_, TokenizerError>(ids.into())
    };
    let text = format!("{}{text}", prefixes.document);
    let framed = match (query, identity.task) {
        (Some(query), Task::Rescore) => {
            let query = format!("{}{query}", prefixes.query);
            Framed {
                tokens: tokenizer.encode_pair_within(&query, &text, identity.max_tokens)?,
                reading: Reading::default(),
            }
        }
        (Some(query), Task::Embed) => {
            let query = format!("{}{query}", prefixes.query);
            frame.query(cut(&query, frame.query_tokens())?)
        }
        (None, _) => frame.document(cut(&text, frame.document_tokens())?),
    };
    Ok(Row {
        key: RowKey { job: 0, row: 0 },
        token_ids: framed.tokens.ids,
        type_ids: framed.tokens.types,
        reading: framed.reading,
    })
}

/// Runs the golden texts. Returns how close the session comes to them, if that is close enough.
pub(super) fn prove(
    session: &mut Session,
    tokenizer: &Tokenizer,
    manifest: &Manifest,
) -> Result<Agreement, LoadError> {
    let task = manifest.identity.task;
    let tolerance = Tolerance::of(manifest);
    let mut agreements = Vec::new();
    for (index, golden) in manifest.golden.iter().enumerate() {
        let (query, text) = pair(golden);
        let now = run_text(session, tokenizer, &manifest.identity, query, text)?;
        agreements.push(compare(tolerance, task, index, golden, now)?);
    }
    let all = agreements.into_iter();
    Ok(match task {
        Task::Embed => Agreement::Cosine(all.fold(1.0, f32::min)),
        Task::Rescore => Agreement::Difference(all.fold(0.0, f32::max)),
    })
}

/// How close a result comes to that of the golden text, if that is close enough.
pub(super) fn compare(
    tolerance: Tolerance,
    task: Task,
    index: usize,
    golden: &Golden,
    now: Embedding,
) -> Result<f32, LoadError> {
    match task {
        Task::Embed => tolerance.vector(index, golden, &now),
        Task::Rescore => tolerance.scores(index, golden, &now),
    }
}

/// How much the results of golden texts may differ from those that were recorded. Devices and precisions change the last
/// digits; another model, pooling or prefix changes the first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance {
    /// Smallest cosine of a vector.
    cosine: f32,
    /// Largest difference of a score, relative to scores above 1.
    difference: f32,
}

impl Tolerance {
    /// Another device rounds as other neighbours do. What staging has measured of them may be wider than what is usual.
    pub(super) fn of(manifest: &Manifest) -> Self {
        let measured = manifest.measured.as_ref().map(|it| it.invariance);
        Self::usual(manifest.identity.dtype).widened(measured)
    }

    fn widened(self, measured: Option<Invariance>) -> Self {
        match measured {
            Some(Invariance::Cosine(cosine)) => Self {
                cosine: self.cosine.min(cosine),
                ..self
            },
            Some(Invariance::Difference(difference)) => Self {
                difference: self.difference.max(difference),
                ..self
            },
            None => self,
        }
    }

    /// The difference that is usual for a type of weights.
    pub(super) fn usual(dtype: Dtype) -> Self {
        let (cosine, difference) = match dtype {
            Dtype::Fp32 | Dtype::Fp16 => (0.999, 0.02),
            // 8 bits of precision instead of the 11 of the other kind.
            Dtype::Bf16 => (0.995, 0.05),
            // A change of the last digit may round an activation to another byte.
            Dtype::Int8 | Dtype::Int4 => (0.99, 0.1),
        };
        Self { cosine, difference }
    }

    fn vector(self, index: usize, golden: &Golden, now: &Embedding) -> Result<f32, LoadError> {
        let (cosine, expected) = (now.cosine(&golden.vector), self.cosine);
        if cosine.is_nan() || cosine < expected {
            return Err(LoadError::Golden {
                index,
                cosine,
                expected,
            });
        }
        Ok(cosine)
    }

    /// A single score has no direction, so the numbers themselves are compared.
    fn scores(self, index: usize, golden: &Golden, now: &Embedding) -> Result<f32, LoadError> {
        let (now, expected) = (now.values(), golden.vector.values());
        let differ = |(now, then): (&f32, &f32)| (now - then).abs() / then.abs().max(1.0);
        let differences: Vec<f32> = now.iter().zip(expected).map(differ).collect();
        let close = |difference: &f32| *difference <= self.difference;
        if now.len() != expected.len() || !differences.iter().all(close) {
            return Err(LoadError::GoldenScore {
                index,
                found: now.to_vec(),
                expected: expected.to_vec(),
            });
        }
        Ok(differences.into_iter().fold(0.0, f32::max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_moved_are_not_those_of_the_staged_model() {
        let golden = Golden {
            query: Some("q".to_owned()),
            text: "t".to_owned(),
            vector: Embedding::Dense(vec![0.5, 100.0]),
        };
        let fp32 = Tolerance::usual(Dtype::Fp32);
        let close = fp32.scores(0, &golden, &vec![0.51, 101.0].into()).unwrap();
        assert!((close - 0.01).abs() < 1e-6, "{close}");
        for other in [
            vec![0.53, 100.0],
            vec![0.5, 97.0],
            vec![f32::NAN, 100.0],
            vec![0.5],
        ] {
            assert!(fp32.scores(0, &golden, &other.into()).is_err());
        }
    }

    #[test]
    fn what_staging_has_measured_widens_what_is_usual() {
        let usual = Tolerance::usual(Dtype::Int8);
        let widened = |invariance| {
            let measured = Some(invariance);
            (
                usual.widened(measured).cosine,
                usual.widened(measured).difference,
            )
        };
        let (cosine, difference) = widened(Invariance::Cosine(0.98));
        assert!((cosine - 0.98).abs() < 1e-6, "{cosine}");
        assert_eq!(difference.to_bits(), usual.difference.to_bits());
        assert_eq!(
            widened(Invariance::Cosine(0.999)).0.to_bits(),
            usual.cosine.to_bits()
        );
        assert!((widened(Invariance::Difference(0.2)).1 - 0.2).abs() < 1e-6);
    }
}
