//! Load: loads a staged model onto its device, and proves that it gives the vectors or scores that were recorded when it
//! was staged.

mod canary;
mod prove;
mod warm_up;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use contract::digest::Digest;
use contract::model::{Dtype, Identity, Manifest, ModelError, TOKENIZER};
use contract::tokenizer::{Tokenizer, TokenizerError};
use thiserror::Error;

use crate::config::{ModelConfig, Provider, SessionConfig};
use crate::error::EmbedError;
use crate::metrics;
use crate::pool::Recipe;
use crate::session::{Session, SessionError, Sessions};
pub use canary::Canary;
use prove::prove;
pub use prove::{Agreement, cosine, run_text};
use runtime::failpoint::{self, Verdict};
pub use warm_up::load_and_warm_up;

/// A model that is ready to run.
#[derive(Debug)]
pub struct Loaded<E = Session> {
    pub manifest: Manifest,
    pub tokenizer: Tokenizer,
    pub session: E,
    /// Loads further sessions of the model.
    pub factory: SessionFactory<E>,
    /// How close the session comes to the golden texts.
    pub golden: Agreement,
    pub canary: Canary,
}

/// Why a staged model cannot run here.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tokenizer does not load, or fails on a golden text.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("failed to embed a golden text")]
    Embed(#[from] EmbedError),
    #[error("model `{name}` has fingerprint {found}, expected {expected}")]
    Fingerprint {
        name: String,
        expected: Digest,
        found: Digest,
    },
    #[error(
        "golden text {index} has cosine {cosine:.5} to its vector when staged, expected at least {expected}; \
         this device or runtime does not compute this model"
    )]
    Golden {
        index: usize,
        cosine: f32,
        expected: f32,
    },
    #[error(
        "golden pair {index} has the scores {found:?}, when staged it had {expected:?}; this device or runtime does \
         not compute this model"
    )]
    GoldenScore {
        index: usize,
        found: Vec<f32>,
        expected: Vec<f32>,
    },
}

pub fn recipe(identity: &Identity) -> Recipe {
    Recipe {
        pooling: identity.pooling,
        dimensions: identity.dimensions,
        normalize: identity.normalize,
        activation: identity.activation,
    }
}

/// Reads the manifest of a staged model, and checks its fingerprint. The files are not verified.
///
/// # Errors
/// [`LoadError::Model`], [`LoadError::Fingerprint`].
pub fn manifest(model: &ModelConfig) -> Result<Manifest, LoadError> {
    let (directory, key) = (&model.staged.model, model.staged.public_key.as_deref());
    let manifest = Manifest::load_signed(directory, key)?;
    match &model.fingerprint {
        Some(expected) if *expected != manifest.fingerprint => Err(LoadError::Fingerprint {
            name: manifest.name.to_string(),
            expected: expected.clone(),
            found: manifest.fingerprint,
        }),
        _ => Ok(manifest),
    }
}

/// Loads a staged model. `since` is when the process began, for the metrics of its start.
pub fn load(
    model: &ModelConfig,
    session: &SessionConfig,
    since: Instant,
) -> Result<Loaded, LoadError> {
    let (directory, manifest) = (&model.staged.model, self::manifest(model)?);
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
    let (session, golden) = proved(&mut sessions, |session| {
        metrics::startup_phase("session", since.elapsed());
        failpoint::pass("before-golden");
        let golden = prove(session, &tokenizer, &manifest)?;
        metrics::startup_phase("golden", since.elapsed());
        Ok(golden)
    })?;
    let canary = Canary::of(&manifest, &tokenizer)?;
    Ok(Loaded {
        factory: factory(sessions, canary.clone()),
        manifest,
        tokenizer,
        session,
        golden,
        canary,
    })
}

/// Loads a session that passes `prove`. If one with shared weights fails, this and all further ones get a copy of the
/// weights each.
fn proved<T>(
    sessions: &mut Sessions,
    prove: impl Fn(&mut Session) -> Result<T, LoadError>,
) -> Result<(Session, T), LoadError> {
    loop {
        let loaded = sessions.load().map_err(LoadError::from);
        let proved = loaded.and_then(|mut session| {
            let proof = prove(&mut session)?;
            Ok((session, proof))
        });
        let error = match proved {
            Ok(proved) => return Ok(proved),
            Err(error) => error,
        };
        let Some(copies) = sessions.with_copies() else {
            return Err(error);
        };
        let error = anyhow::Error::from(error);
        tracing::warn!("{sessions} failed: {error:#}; trying again with {copies}");
        *sessions = copies;
    }
}

/// The weights are the same, so that one golden text tells whether a session uses them well.
fn factory(mut sessions: Sessions, canary: Canary) -> SessionFactory<Session> {
    SessionFactory::new(move || {
        let check = |session: &mut Session| canary.check(session);
        let (session, ()) = proved(&mut sessions, check)?;
        Ok(session)
    })
}

/// Loads further sessions of a model, each proved by a golden text. It loads one at a time, because meanwhile each takes
/// twice the memory of its graph.
pub struct SessionFactory<E>(Arc<Mutex<Load<E>>>);

type Load<E> = dyn FnMut() -> anyhow::Result<E> + Send;

impl<E> SessionFactory<E> {
    pub fn new(load: impl FnMut() -> anyhow::Result<E> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(load)))
    }

    /// # Errors
    /// If the session does not load, or computes another model.
    pub fn load(&self) -> anyhow::Result<E> {
        self.load_if(|| true)
            .map(|loaded| loaded.expect("it is wanted"))
    }

    /// Loads a session, if it is still wanted when those before it are loaded.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_if(&self, wanted: impl FnOnce() -> bool) -> anyhow::Result<Option<E>> {
        let mut load = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        anyhow::ensure!(
            failpoint::reached("load-session") != Verdict::Fail,
            "failpoint"
        );
        wanted().then(&mut *load).transpose()
    }
}

impl<E> Clone for SessionFactory<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> fmt::Debug for SessionFactory<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFactory").finish_non_exhaustive()
    }
}
