//! Sessions: those of one graph, each with a user of its own.

use std::path::{Path, PathBuf};

use contract::model::Pooling;
use ort::session::Session as OrtSession;

use super::bound::Bound;
use super::output::Output;
use super::weights::Weights;
use super::{PoolOn, Session, SessionError, device, input};
use crate::config::{Provider, SessionConfig};
use crate::graph::pooling::pool;
use crate::graph::{GraphError, Model};
use crate::pool::Recipe;

/// A graph from which sessions are loaded, to run side by side: a session has one user at a time.
///
/// On a CPU a session of one thread each gets more done than one of all threads, whose threads wait for each other
/// at the end of every operator, and for whatever else the machine does to one of them. With MiniLM-L6 on two cores,
/// two of one thread embed 17,200 tokens a second and one of two threads 15,500.
///
/// The optimized graph is not kept: in one file, a session of MiniLM-L6 loads no sooner from it (0.08 s). With packed
/// weights in a file beside it, which the runtime maps, it loads in 0.03 s instead of 0.13 s, but that file is one for
/// each kind of processor and version of the runtime, and no signature covers it.
#[derive(Debug)]
pub struct Sessions {
    graph: PathBuf,
    config: SessionConfig,
    recipe: Recipe,
    /// Nothing to share for a session that is the only one.
    weights: Option<Weights>,
}

impl Sessions {
    /// Reads what the sessions of a graph share.
    ///
    /// # Errors
    /// [`SessionError::Load`] if there is no runtime to share it in.
    pub fn of(graph: &Path, config: &SessionConfig, recipe: Recipe) -> Result<Self, SessionError> {
        let sharing = config.provider == Provider::Cpu && config.sessions() > 1;
        let weights = sharing.then(|| shared_weights(graph, config)).transpose()?;
        Ok(Self {
            graph: graph.to_owned(),
            config: config.clone(),
            recipe,
            weights: weights.flatten(),
        })
    }

    /// Whether they share anything.
    #[must_use]
    pub fn share(&self) -> bool {
        self.weights.is_some()
    }

    /// The same, each with a copy of everything.
    #[must_use]
    pub fn apart(self) -> Self {
        Self {
            weights: None,
            ..self
        }
    }

    /// Loads one of them onto the configured device, and pools where that is best: see [`PoolOn`].
    ///
    /// # Errors
    /// [`SessionError`]: with [`Provider::Cuda`] also when the graph would run on the CPU.
    pub fn load(&self) -> Result<Session, SessionError> {
        let pool_on = match self.config.provider {
            Provider::Cpu => PoolOn::Host,
            Provider::Cuda => PoolOn::Device,
        };
        self.load_pooling(pool_on)
    }

    /// Loads as many as are configured.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_all(&self) -> Result<Vec<Session>, SessionError> {
        (0..self.config.sessions()).map(|_| self.load()).collect()
    }

    /// Loads one of them, and pools as it is told. A graph into which pooling cannot be put gives its token vectors.
    ///
    /// # Errors
    /// [`SessionError`]: with [`Provider::Cuda`] also when the graph would run on the CPU.
    pub fn load_pooling(&self, pool_on: PoolOn) -> Result<Session, SessionError> {
        let (graph, recipe) = (&self.graph, self.recipe);
        let pooling = pool_on == PoolOn::Device && recipe.pooling != Pooling::Graph;
        let edited = pooling.then(|| with_pooling(graph, recipe)).flatten();
        let weights = self.weights.as_ref().filter(|_| edited.is_none());
        let inner = device::place(graph, edited.as_deref(), &self.config, weights)?;
        let inputs = input::read_inputs(graph, &inner)?;
        let pooled = edited.map_or(recipe.pooling, |_| Pooling::Graph);
        let output = Output::read(graph, &inner, pooled)?;
        Ok(Session {
            inputs,
            output,
            recipe,
            provider: self.config.provider,
            bound: self.bound(&inner, pool_on),
            inner,
            share: u32::try_from(self.config.sessions()).unwrap_or(u32::MAX),
        })
    }

    /// Without such memory a device is reached all the same, only less directly.
    fn bound(&self, session: &OrtSession, pool_on: PoolOn) -> Option<Bound> {
        let bound = match (pool_on, self.config.provider) {
            (PoolOn::Host, _) => return None,
            (PoolOn::Device, Provider::Cpu) => Bound::here(session),
            (PoolOn::Device, Provider::Cuda) => Bound::pinned(session, self.config.device_id),
        };
        let bound = bound.inspect_err(|error| tracing::warn!(%error, "no pinned memory"));
        bound.ok()
    }
}

/// What sessions can share of a graph. A graph whose weights cannot be read is reported by who loads it.
fn shared_weights(graph: &Path, config: &SessionConfig) -> Result<Option<Weights>, SessionError> {
    device::environment(&config.onnxruntime, graph)?;
    let weights = Weights::read(graph).inspect_err(|error| {
        tracing::warn!("{error:#}; each session keeps a copy of its weights");
    });
    Ok(weights.ok())
}

/// The graph with its pooling inside, if that can be; a graph that cannot be read is reported by who loads it.
fn with_pooling(graph: &Path, recipe: Recipe) -> Option<Vec<u8>> {
    let pool = || -> Result<_, GraphError> {
        let mut model = Model::read(graph)?;
        model.edit("put the pooling into", graph, |model| pool(model, recipe))?;
        model.encode(graph)
    };
    let pooled = pool().map_err(anyhow::Error::from);
    pooled
        .inspect_err(|error| {
            tracing::warn!("{error:#}; token vectors leave the device and are pooled here");
        })
        .ok()
}
