//! Load: brings a staged model onto its device and proves that it gives the vectors or scores that it gave when staged.

mod another;
mod canary;
mod prove;
mod tolerance;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use contract::digest::Digest;
use contract::model::{Dtype, Identity, Manifest, ModelError, TOKENIZER};
use contract::tokenizer::{Tokenizer, TokenizerError};
use thiserror::Error;

use crate::config::{ModelConfig, Provider, SessionConfig};
use crate::error::EmbedError;
use crate::failpoint;
use crate::metrics;
use crate::pool::Recipe;
use crate::session::{Optimized, Session, SessionError, Sessions, runtime};
pub use another::Another;
pub use canary::Canary;
pub(crate) use prove::prove;
pub use prove::{Agreement, cosine, run_text};

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
    /// Shows whether the device still works.
    pub canary: Canary,
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

/// Reads the manifest of a staged model, if it is the one that is wanted. Nothing else is verified.
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
///
/// # Errors
/// [`LoadError`].
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
    let (tokenizer, optimized) = read(model, session, &manifest, since)?;
    let graph = directory.join(&manifest.identity.onnx);
    let recipe = recipe(&manifest.identity);
    let mut sessions = match optimized {
        Some(optimized) => Sessions::optimized(optimized, &graph, session, recipe),
        None => Sessions::of(&graph, session, recipe)?,
    };
    let (session, golden) = proved(&mut sessions, (directory, &manifest), |session| {
        metrics::startup_phase("session", since.elapsed());
        failpoint::pass("before-golden");
        let golden = prove(session, &tokenizer, &manifest)?;
        metrics::startup_phase("golden", since.elapsed());
        Ok(golden)
    })?;
    let canary = Canary::of(&manifest, &tokenizer)?;
    Ok(Loaded {
        optimized: sessions.folder().map(Path::to_owned),
        another: another(
            sessions,
            (directory.clone(), manifest.clone()),
            canary.clone(),
        ),
        manifest,
        tokenizer,
        session,
        golden,
        canary,
    })
}

/// Gives the tokenizer, and the optimized graph if that is wanted and can be had. All files that will be used are verified.
fn read(
    model: &ModelConfig,
    session: &SessionConfig,
    manifest: &Manifest,
    since: Instant,
) -> Result<(Tokenizer, Option<Optimized>), LoadError> {
    let directory = &model.staged.model;
    let tokenizer = || {
        let tokenizer = Tokenizer::load(&directory.join(TOKENIZER));
        metrics::startup_phase("tokenizer", since.elapsed());
        tokenizer
    };
    if !session.optimized {
        manifest.verify(directory)?;
        metrics::startup_phase("verified", since.elapsed());
        return Ok((tokenizer()?, None));
    }
    runtime(session, &directory.join(&manifest.identity.onnx))?;
    let (tokenizer, found) = thread::scope(|scope| {
        let finding = scope.spawn(|| Optimized::find(directory, manifest, session));
        manifest.verify_tokenizer(directory)?;
        let tokenizer = tokenizer()?;
        let found = finding
            .join()
            .expect("reading the optimized graph panicked");
        Ok::<_, LoadError>((tokenizer, found))
    })?;
    let missing = || anyhow::anyhow!("`worker optimize` has kept no graph for this device");
    let optimized = found.and_then(|found| found.ok_or_else(missing));
    if let Err(reason) = &optimized {
        let model = directory.display();
        tracing::warn!("{reason:#}; `{model}` is loaded as it was staged");
        manifest.verify(directory)?;
    }
    metrics::startup_phase("verified", since.elapsed());
    Ok((tokenizer, optimized.ok()))
}

/// Loads a session that proves itself, in a plainer way if it has to be.
fn proved<T>(
    sessions: &mut Sessions,
    (directory, manifest): (&Path, &Manifest),
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
        if sessions.folder().is_some() {
            // Nobody has looked at them yet.
            manifest.verify(directory)?;
        }
        let Some(plainer) = sessions.plainer()? else {
            return Err(error);
        };
        let error = anyhow::Error::from(error);
        tracing::warn!("{sessions} failed: {error:#}; trying again with {plainer}");
        *sessions = plainer;
    }
}

/// The weights are the same, so that one text tells whether a session uses them well.
fn another(
    mut sessions: Sessions,
    (directory, manifest): (PathBuf, Manifest),
    canary: Canary,
) -> Another<Session> {
    Another::new(move || {
        let check = |session: &mut Session| canary.check(session);
        let (session, ()) = proved(&mut sessions, (&directory, &manifest), check)?;
        Ok(session)
    })
}
