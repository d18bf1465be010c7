//! Load: brings a staged model onto its device and proves that it gives the vectors or scores that it gave when staged.

mod another;
mod prove;
mod tolerance;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use contract::digest::Digest;
use contract::model::{Dtype, Identity, Manifest, ModelError, TOKENIZER};
use contract::tokenizer::{Tokenizer, TokenizerError};
use thiserror::Error;

use crate::batch::Tensor;
use crate::config::{ModelConfig, Provider, SessionConfig};
use crate::error::EmbedError;
use crate::failpoint;
use crate::metrics;
use crate::pool::Recipe;
use crate::session::{Engine, Optimized, Session, SessionError, Sessions};
pub use another::Another;
pub use prove::{Agreement, cosine, run_text};
use prove::{compare, pair, prove, tensor};

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
    /// Folder of the optimized graph, if that is what runs.
    pub optimized: Option<PathBuf>,
    /// How close it comes to its golden texts.
    pub golden: Agreement,
    /// A golden text, to see whether the device still works.
    pub canary: Tensor,
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
    let (tokenizer, optimized) = read(model, session, &manifest, since)?;
    let (graph, recipe) = (
        directory.join(&manifest.identity.onnx),
        recipe(&manifest.identity),
    );
    let mut sessions = match optimized {
        Some(optimized) => Sessions::optimized(optimized, &graph, session, recipe),
        None => Sessions::of(&graph, session, recipe)?,
    };
    let (session, golden) = loop {
        let error = match first(&sessions, &tokenizer, &manifest, since) {
            Ok(loaded) => break loaded,
            Err(error) => error,
        };
        let Some(plainer) = sessions.plainer()? else {
            return Err(error);
        };
        let error = anyhow::Error::from(error);
        tracing::warn!("{error:#}; trying again with {plainer}");
        sessions = plainer;
    };
    let (query, text) = manifest.golden.first().map_or((None, ""), pair);
    let canary = tensor(&tokenizer, &manifest.identity, query, text)?;
    Ok(Loaded {
        optimized: sessions.folder().map(Path::to_owned),
        another: another(sessions, manifest.clone(), canary.clone()),
        manifest,
        tokenizer,
        session,
        golden,
        canary,
    })
}

/// Verifies all files, and gives the tokenizer and the optimized graph for this device. An optimized graph is larger than
/// the other, so that it is read at the same time.
fn read(
    model: &ModelConfig,
    session: &SessionConfig,
    manifest: &Manifest,
    since: Instant,
) -> Result<(Tokenizer, Option<Optimized>), LoadError> {
    let directory = &model.staged.model;
    // No signature covers it.
    let unsigned = model.staged.public_key.is_none();
    thread::scope(|scope| {
        let optimized = scope.spawn(|| {
            unsigned
                .then(|| Optimized::find(directory, manifest, session))
                .flatten()
        });
        manifest.verify(directory)?;
        metrics::startup_phase("verified", since.elapsed());
        let tokenizer = Tokenizer::load(&directory.join(TOKENIZER))?;
        metrics::startup_phase("tokenizer", since.elapsed());
        let optimized = optimized
            .join()
            .expect("reading the optimized graph panicked");
        Ok((tokenizer, optimized))
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
