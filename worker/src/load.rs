//! Load: brings a staged model onto its device and proves that it gives the vectors or scores that it gave when staged.

mod another;
mod tolerance;

use std::fmt;
use std::time::Instant;

use contract::digest::Digest;
use contract::model::{Dtype, Golden, Identity, Manifest, ModelError, TOKENIZER};
use contract::tokenizer::{Tokenizer, TokenizerError};
use contract::topology::Task;
use thiserror::Error;

use crate::batch::{RowKey, Tensor};
use crate::config::{ModelConfig, Provider, SessionConfig};
use crate::error::EmbedError;
use crate::failpoint;
use crate::metrics;
use crate::plan::{Row, fill};
use crate::pool::Recipe;
use crate::session::{Engine, Session, SessionError, Sessions};
pub use another::Another;
use tolerance::Tolerance;

/// A model that is ready to run.
#[derive(Debug)]
pub struct Loaded<E = Session> {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// What runs it.
    pub session: E,
    /// Loads others beside it.
    pub another: Another<E>,
    /// How close it comes to its golden texts.
    pub golden: Agreement,
    /// A golden text, to see whether the device still works.
    pub canary: Tensor,
}

/// How close a model comes to what was recorded when it was staged.
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

/// Why a staged model cannot run here.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The directory is not what was staged.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tokenizer does not load or fails on a golden text.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The graph does not load.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The graph does not run.
    #[error("failed to embed a golden text")]
    Embed(#[from] EmbedError),
    /// It is another model than the one that was asked for.
    #[error("model `{name}` has fingerprint {found}, expected {expected}")]
    Fingerprint {
        /// Name of the model.
        name: String,
        /// What is wanted.
        expected: Digest,
        /// What is there.
        found: Digest,
    },
    /// The vectors are not those of the staged model.
    #[error(
        "golden text {index} has cosine {cosine:.5} to its vector when staged, expected at least {expected}; \
         this device or runtime does not compute this model"
    )]
    Golden {
        /// Which text.
        index: usize,
        /// How close it came.
        cosine: f32,
        /// How close it must come.
        expected: f32,
    },
    /// The scores are not those of the staged model.
    #[error(
        "golden pair {index} has the scores {found:?}, when staged it had {expected:?}; this device or runtime does \
         not compute this model"
    )]
    GoldenScore {
        /// Which pair.
        index: usize,
        /// What it has now.
        found: Vec<f32>,
        /// What it had.
        expected: Vec<f32>,
    },
}

/// How a model's outputs become vectors.
#[must_use]
pub fn recipe(identity: &Identity) -> Recipe {
    Recipe {
        pooling: identity.pooling,
        dimensions: identity.dimensions,
        normalize: identity.normalize,
        activation: identity.activation,
    }
}

/// Loads a staged model. `since` is when the process began, for the metrics of its start.
///
/// # Errors
/// [`LoadError`].
pub fn load(
    model: &ModelConfig,
    session: &SessionConfig,
    since: Instant,
) -> Result<Loaded, LoadError> {
    let (directory, key) = (&model.staged.model, model.staged.public_key.as_deref());
    let manifest = Manifest::load_signed(directory, key)?;
    if let Some(expected) = model
        .fingerprint
        .clone()
        .filter(|wanted| *wanted != manifest.fingerprint)
    {
        let (name, found) = (manifest.name.to_string(), manifest.fingerprint);
        return Err(LoadError::Fingerprint {
            name,
            expected,
            found,
        });
    }
    // DynamicQuantizeLinear and MatMulInteger: microsoft/onnxruntime#7745.
    if session.provider == Provider::Cuda && manifest.identity.dtype == Dtype::Int8 {
        tracing::warn!(
            "cuda has no kernels to quantize activations, so that much of this int8 model runs on the cpu; stage it \
             with --quantize fp16 for a gpu"
        );
    }
    manifest.verify(directory)?;
    metrics::startup_phase("verified", since.elapsed());
    let tokenizer = Tokenizer::load(&directory.join(TOKENIZER))?;
    metrics::startup_phase("tokenizer", since.elapsed());
    let graph = directory.join(&manifest.identity.onnx);
    let mut sessions = Sessions::of(&graph, session, recipe(&manifest.identity))?;
    let first = |sessions: &Sessions| first(sessions, &tokenizer, &manifest, since);
    let (session, golden) = match first(&sessions) {
        Err(error) if sessions.share() => {
            let error = anyhow::Error::from(error);
            tracing::warn!("{error:#}; trying again with a copy of the weights for each session");
            sessions = sessions.apart();
            first(&sessions)?
        }
        loaded => loaded?,
    };
    let (query, text) = manifest.golden.first().map_or((None, ""), pair);
    let canary = tensor(&tokenizer, &manifest.identity, query, text)?;
    Ok(Loaded {
        another: another(sessions, manifest.clone(), canary.clone()),
        manifest,
        tokenizer,
        session,
        golden,
        canary,
    })
}

/// Loads a session and proves it.
fn first(
    sessions: &Sessions,
    tokenizer: &Tokenizer,
    manifest: &Manifest,
    since: Instant,
) -> Result<(Session, Agreement), LoadError> {
    let mut session = sessions.load()?;
    metrics::startup_phase("session", since.elapsed());
    failpoint::pass("before-golden");
    let golden = prove(&mut session, tokenizer, manifest)?;
    metrics::startup_phase("golden", since.elapsed());
    Ok((session, golden))
}

/// The weights are the same, so that one text tells whether a session uses them well.
fn another(sessions: Sessions, manifest: Manifest, canary: Tensor) -> Another<Session> {
    Another::new(move || {
        let mut session = sessions.load()?;
        if let Some(golden) = manifest.golden.first() {
            let now = session.run(&canary)?.into_iter().next();
            compare(&manifest, (0, golden), now.unwrap_or_default())?;
        }
        Ok(session)
    })
}

/// Runs one text alone, as a document's chunk or as the passage of a pair. Gives its vector or its scores.
///
/// # Errors
/// If the tokenizer or the session fails.
pub fn run_text(
    session: &mut Session,
    tokenizer: &Tokenizer,
    identity: &Identity,
    (query, text): (Option<&str>, &str),
) -> Result<Vec<f32>, LoadError> {
    let vectors = session.run(&tensor(tokenizer, identity, query, text)?)?;
    Ok(vectors.into_iter().next().unwrap_or_default())
}

fn pair(golden: &Golden) -> (Option<&str>, &str) {
    (golden.query.as_deref(), &golden.text)
}

/// A tensor of one text or pair.
fn tensor(
    tokenizer: &Tokenizer,
    identity: &Identity,
    query: Option<&str>,
    text: &str,
) -> Result<Tensor, TokenizerError> {
    let (prefixes, max) = (&identity.prefixes, identity.max_tokens);
    let text = format!("{}{text}", prefixes.document);
    let tokens = match query {
        Some(query) => {
            let query = format!("{}{query}", prefixes.query);
            tokenizer.encode_pair_within(&query, &text, max)?
        }
        None => {
            let mut ids = tokenizer.encode(&text)?;
            tokenizer.truncate(&mut ids, max);
            ids.into()
        }
    };
    let row = Row {
        key: RowKey { job: 0, row: 0 },
        token_ids: tokens.ids,
        type_ids: tokens.types,
    };
    Ok(fill(&[row], tokenizer.padding_id()))
}

fn prove(
    session: &mut Session,
    tokenizer: &Tokenizer,
    manifest: &Manifest,
) -> Result<Agreement, LoadError> {
    let mut agreements = Vec::new();
    for (index, golden) in manifest.golden.iter().enumerate() {
        let now = run_text(session, tokenizer, &manifest.identity, pair(golden))?;
        agreements.push(compare(manifest, (index, golden), now)?);
    }
    let all = agreements.into_iter();
    Ok(match manifest.identity.task {
        Task::Embed => Agreement::Cosine(all.fold(1.0, f32::min)),
        Task::Rescore => Agreement::Difference(all.fold(0.0, f32::max)),
    })
}

/// How close a golden text comes, if that is close enough.
fn compare(
    manifest: &Manifest,
    (index, golden): (usize, &Golden),
    now: Vec<f32>,
) -> Result<f32, LoadError> {
    let tolerance = Tolerance::of(manifest.identity.dtype);
    match manifest.identity.task {
        Task::Embed => tolerance.vector(index, golden, &now),
        Task::Rescore => tolerance.scores(index, golden, now),
    }
}

/// Cosine of the angle between two vectors; NaN if their lengths differ or one is zero.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the result is wanted in 32 bits"
)]
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() {
        return f32::NAN;
    }
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()) as f32
}
