//! Load: loads a staged model onto its device, and proves that it gives the vectors or scores that were recorded when it
//! was staged.

mod canary;
mod prove;
mod warm_up;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use contract::digest::Digest;
use contract::model::{Dtype, Identity, Manifest, ModelError, QueryWeights};
use contract::tokenizer::TokenizerError;
use thiserror::Error;

use crate::calibration::{device, settled};
use crate::config::{ModelConfig, Provider, SessionConfig};
use crate::error::EmbedError;
use crate::frame::{Frame, Texts};
use crate::memory;
use crate::metrics;
use crate::pool::{Layers, LayersError, Recipe};
use crate::session::{Session, SessionError, Sessions};
pub use canary::Canary;
use prove::prove;
pub use prove::{Agreement, row, run_text};
use runtime::failpoint::{self, Verdict};
pub use warm_up::load_and_warm_up;

/// A model that is ready to run.
#[derive(Debug)]
pub struct Loaded<E = Session> {
    pub manifest: Manifest,
    pub texts: Texts,
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
    #[error(transparent)]
    Layers(#[from] LayersError),
    #[error("failed to embed a golden text")]
    Embed(#[from] EmbedError),
    #[error("model `{name}` has fingerprint {found}, expected {expected}")]
    Fingerprint {
        name: String,
        expected: Digest,
        found: Digest,
    },
    #[error(
        "model `{name}` takes {needed} bytes of memory for one row of {tokens} tokens, as measured when it was staged, and \
         this container may have {limit}; raise its memory limit above that, or stage the model with a smaller --max-tokens"
    )]
    Memory {
        name: String,
        needed: u64,
        tokens: usize,
        limit: u64,
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
        kind: identity.output.kind(),
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

/// Refuses a container that is too small for one row of full length: it would be killed by the first such text. What was
/// measured on another device says nothing about this one.
fn check_memory(
    manifest: &Manifest,
    provider: Provider,
    limit: Option<u64>,
) -> Result<(), LoadError> {
    let measured = manifest.measured.as_ref();
    let measured = measured.filter(|measured| measured.provider == provider.as_str());
    match (measured, limit) {
        (Some(measured), Some(limit)) if limit < measured.memory_bytes => Err(LoadError::Memory {
            name: manifest.name.to_string(),
            needed: measured.memory_bytes,
            tokens: manifest.identity.max_tokens,
            limit,
        }),
        _ => Ok(()),
    }
}

/// Loads a staged model. `since` is when the process began, for the metrics of its start.
pub fn load(
    model: &ModelConfig,
    session: &SessionConfig,
    since: Instant,
) -> Result<Loaded, LoadError> {
    let (directory, manifest) = (&model.staged.model, self::manifest(model)?);
    check_memory(&manifest, session.provider, memory::limit())?;
    // DynamicQuantizeLinear and MatMulInteger: microsoft/onnxruntime#7745.
    if session.provider == Provider::Cuda && manifest.identity.dtype == Dtype::Int8 {
        tracing::warn!(
            "cuda has no kernels to quantize activations, so that much of this int8 model runs on the cpu; stage it \
             with --quantize fp16 for a gpu"
        );
    }
    manifest.verify(directory)?;
    metrics::startup_phase("verified", since.elapsed());
    let tokenizer = manifest.tokenizer(directory)?;
    metrics::startup_phase("tokenizer", since.elapsed());
    let graph = directory.join(&manifest.identity.onnx);
    let identity = &manifest.identity;
    let layers = Arc::new(Layers::load(directory, &identity.head, &identity.output)?);
    let settled = settled(directory, &manifest, session);
    match (settled.provider, settled.precision) {
        (_, Some(precision)) => tracing::info!(precision = precision.as_str(), "computes in"),
        (Provider::Openvino, None) => tracing::info!(
            device = device(session),
            "computes in f32: nothing was calibrated for this device; `worker calibrate` tries 16 bits"
        ),
        (Provider::Cpu | Provider::Cuda, None) => {}
    }
    let sessions = Sessions::of(&graph, &settled, recipe(identity))?;
    let mut sessions = sessions.with_layers(layers);
    let (session, golden) = proved(&mut sessions, |session| {
        metrics::startup_phase("session", since.elapsed());
        failpoint::pass("before-golden");
        let golden = prove(session, &tokenizer, &manifest)?;
        metrics::startup_phase("golden", since.elapsed());
        Ok(golden)
    })?;
    let canary = Canary::of(&manifest, &tokenizer)?;
    let texts = Texts {
        frame: Frame::of(&tokenizer, identity)?,
        query_weights: QueryWeights::load(&manifest, directory, &tokenizer)?,
        tokenizer,
    };
    Ok(Loaded {
        factory: factory(sessions, canary.clone()),
        manifest,
        texts,
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

#[cfg(test)]
mod tests {
    use contract::model::{
        Activation, Head, Invariance, Measured, Pooling, Prefixes, SpecialTokens,
    };
    use contract::topology::Task;

    use super::*;

    fn manifest() -> Manifest {
        let identity = Identity {
            task: Task::Embed,
            onnx: "model.onnx".to_owned(),
            files: std::collections::BTreeMap::new(),
            pooling: Pooling::Mean,
            normalize: true,
            prefixes: Prefixes::default(),
            max_tokens: 512,
            dimensions: 2,
            dtype: Dtype::Fp32,
            activation: Activation::Raw,
            labels: Vec::new(),
            head: Head::default(),
            special_tokens: SpecialTokens::Token,
            output: contract::model::Output::Dense,
        };
        let mut manifest = Manifest::new("m".parse().unwrap(), identity, Vec::new());
        manifest.measured = Some(Measured {
            provider: "cpu".to_owned(),
            memory_bytes: 900 << 20,
            invariance: Invariance::Cosine(0.997),
            vocabulary: None,
        });
        manifest
    }

    #[test]
    fn a_container_that_is_too_small_for_one_row_is_refused_with_the_number() {
        let manifest = manifest();
        let check = |provider, limit| check_memory(&manifest, provider, limit);
        assert!(check(Provider::Cpu, None).is_ok());
        assert!(check(Provider::Cpu, Some(900 << 20)).is_ok());
        assert!(check(Provider::Cuda, Some(1)).is_ok(), "measured elsewhere");
        let refused = check(Provider::Cpu, Some(512 << 20)).unwrap_err();
        let refused = refused.to_string();
        for number in [(900_u64 << 20).to_string(), (512_u64 << 20).to_string()] {
            assert!(refused.contains(&number), "{refused}");
        }
    }

    #[test]
    fn what_was_measured_is_no_part_of_the_fingerprint_and_the_noise_of_gates() {
        let measured = manifest();
        assert_eq!(measured.fingerprint, measured.identity.fingerprint());
        assert!((measured.noise() - 0.003).abs() < 1e-6);
        let mut exact = manifest();
        exact.measured.as_mut().unwrap().invariance = Invariance::Cosine(0.999_999);
        assert_eq!(exact.noise().to_bits(), 0.0_f64.to_bits());
        exact.measured = None;
        assert_eq!(exact.noise().to_bits(), 0.0_f64.to_bits());
    }
}
