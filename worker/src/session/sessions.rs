//! Sessions: several of one graph, which run side by side and share what they can.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::model::{OutputKind, Pooling};
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session as OrtSession};

use super::device::Source;
use super::io_binding::DeviceMemory;
use super::output::Output;
use super::weights::Weights;
use super::{PoolOn, Session, SessionError, device, input};
use crate::config::{Provider, SessionConfig};
use crate::graph::pooling::pool;
use crate::graph::pooling::project;
use crate::graph::terms::{Reduced, largest_logits};
use crate::graph::{GraphError, Model};
use crate::pool::{Layers, Recipe};

/// A graph from which several sessions are loaded, because a session has one user at a time.
///
/// On a CPU a session of one thread each gets more done than one of all threads, whose threads wait for each other
/// at the end of every operator, and whenever the machine delays one of them. With MiniLM-L6 on two cores, two sessions of
/// one thread embed 17,200 tokens a second, and one of two threads 15,500.
#[derive(Debug)]
pub struct Sessions {
    graph: PathBuf,
    config: SessionConfig,
    recipe: Recipe,
    layers: Arc<Layers>,
    weights: WeightsFrom,
}

/// Terms that all tokens of a tensor are multiplied with at once: few on a CPU, whose caches are small, and many on a GPU, which
/// is idle between products.
const TERMS_ON_CPU: usize = 1_024;
const TERMS_ON_CUDA: usize = 8_192;

/// A graph as it is to be loaded, and what is left to do with its output.
struct Edited {
    /// The graph, where it is another one than that in the file or in the shared weights.
    bytes: Option<Vec<u8>>,
    pooling: Pooling,
    layers: Arc<Layers>,
    reduced: Option<Reduced>,
}

/// The source of the weights of sessions.
#[derive(Debug)]
enum WeightsFrom {
    /// All sessions share these weights; with the form of the graph, if it had to be edited.
    Shared(Weights, Option<Reduced>),
    /// Each reads a copy of its own.
    Copies,
}

impl Sessions {
    /// Reads the weights that the sessions of a graph share. A single session shares nothing.
    ///
    /// # Errors
    /// [`SessionError::Load`] if the runtime cannot be loaded.
    pub fn of(graph: &Path, config: &SessionConfig, recipe: Recipe) -> Result<Self, SessionError> {
        let sharing = config.provider == Provider::Cpu && config.sessions() > 1;
        let lent = sharing
            .then(|| shared_weights(graph, config, recipe))
            .transpose()?;
        let weights = lent.flatten().unwrap_or(WeightsFrom::Copies);
        Ok(Self::with(weights, graph, config, recipe))
    }

    fn with(weights: WeightsFrom, graph: &Path, config: &SessionConfig, recipe: Recipe) -> Self {
        Self {
            graph: graph.to_owned(),
            config: config.clone(),
            recipe,
            layers: Arc::default(),
            weights,
        }
    }

    /// These sessions, for a model with further layers behind its pooling.
    #[must_use]
    pub fn with_layers(self, layers: Arc<Layers>) -> Self {
        Self { layers, ..self }
    }

    /// The same sessions with a copy of the weights for each, which may load where sessions that share weights do not.
    /// Nothing, if each has a copy already.
    pub fn with_copies(&self) -> Option<Self> {
        match self.weights {
            WeightsFrom::Shared(..) => {
                let (graph, config, recipe) = (&self.graph, &self.config, self.recipe);
                let copies = Self::with(WeightsFrom::Copies, graph, config, recipe);
                Some(copies.with_layers(self.layers.clone()))
            }
            WeightsFrom::Copies => None,
        }
    }

    /// Loads one of them onto the configured device, which pools where that is best.
    ///
    /// # Errors
    /// [`SessionError`]: also when the graph would not run on the provider that was asked for.
    pub fn load(&self) -> Result<Session, SessionError> {
        self.load_pooling(self.pool_on())
    }

    /// Loads as many as are configured.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_all(&self) -> Result<Vec<Session>, SessionError> {
        (0..self.config.sessions()).map(|_| self.load()).collect()
    }

    /// Loads one of them, which pools where `pool_on` says. A graph into which pooling cannot be put gives token vectors.
    ///
    /// # Errors
    /// [`SessionError`]: also when the graph would not run on the provider that was asked for.
    pub fn load_pooling(&self, pool_on: PoolOn) -> Result<Session, SessionError> {
        let Edited {
            bytes,
            pooling,
            layers,
            reduced,
        } = self.edited(pool_on)?;
        let inner = device::load(&self.graph, self.source(bytes.as_deref()), &self.config)?;
        drop(bytes);
        let inputs = input::read_inputs(&self.graph, &inner)?;
        let output = Output::read(&self.graph, &inner, (pooling, self.recipe.kind))?;
        Ok(Session {
            inputs,
            wanted: wanted(&output).map_err(device::failed("select the output", &self.graph))?,
            output,
            recipe: self.recipe,
            layers,
            reduced,
            provider: self.config.provider,
            memory: self.memory(&inner, pool_on),
            inner,
            share: u32::try_from(self.config.sessions()).unwrap_or(u32::MAX),
        })
    }

    /// Where it is best to pool: see [`PoolOn`].
    fn pool_on(&self) -> PoolOn {
        match self.config.provider {
            Provider::Cpu | Provider::Openvino => PoolOn::Host,
            Provider::Cuda => PoolOn::Device,
        }
    }

    /// The graph as it is to be loaded.
    fn edited(&self, pool_on: PoolOn) -> Result<Edited, SessionError> {
        let plain = Edited {
            bytes: None,
            pooling: self.recipe.pooling,
            layers: self.layers.clone(),
            reduced: None,
        };
        match (self.recipe.kind, &self.weights) {
            (OutputKind::Sparse, WeightsFrom::Shared(_, reduced)) => Ok(Edited {
                reduced: *reduced,
                pooling: Pooling::Graph,
                ..plain
            }),
            (OutputKind::Sparse, WeightsFrom::Copies) => {
                let mut model = Model::read(&self.graph)?;
                let reduced = reduce(&mut model, &self.graph, self.config.provider)?;
                Ok(Edited {
                    bytes: Some(model.encode(&self.graph)?),
                    reduced: Some(reduced),
                    pooling: Pooling::Graph,
                    ..plain
                })
            }
            (OutputKind::Multi, _) => Ok(match self.projecting(pool_on) {
                Some(bytes) => Edited {
                    bytes: Some(bytes),
                    layers: Arc::new(self.layers.without_projection()),
                    ..plain
                },
                None => plain,
            }),
            (OutputKind::Dense, _) => Ok(match self.pooling_inside(pool_on) {
                Some(bytes) => Edited {
                    bytes: Some(bytes),
                    pooling: Pooling::Graph,
                    ..plain
                },
                None => plain,
            }),
        }
    }

    /// The graph with the projection of token vectors inside, where that is wanted and possible.
    fn projecting(&self, pool_on: PoolOn) -> Option<Vec<u8>> {
        let matrix = self.layers.projection();
        let matrix = matrix.filter(|_| pool_on == PoolOn::Device)?;
        let project = || -> Result<_, GraphError> {
            let mut model = Model::read(&self.graph)?;
            let edit = |model: &mut Model| project(model, matrix);
            model.edit("put the projection into", &self.graph, edit)?;
            model.encode(&self.graph)
        };
        let projecting = project().map_err(anyhow::Error::from);
        projecting
            .inspect_err(|error| {
                tracing::warn!("{error:#}; token vectors leave the device and are projected here");
            })
            .ok()
    }

    /// The graph with pooling inside, where that is wanted and possible.
    fn pooling_inside(&self, pool_on: PoolOn) -> Option<Vec<u8>> {
        let poolings = [Pooling::Cls, Pooling::Mean, Pooling::LastToken];
        let possible =
            poolings.contains(&self.recipe.pooling) && self.layers.are_behind_one_pooling();
        let recipe = if self.layers.are_none() {
            self.recipe
        } else {
            // Truncation and normalization come behind the layers, which are applied here.
            Recipe {
                dimensions: usize::MAX,
                normalize: false,
                ..self.recipe
            }
        };
        let pooling = pool_on == PoolOn::Device && possible;
        pooling.then(|| with_pooling(&self.graph, recipe)).flatten()
    }

    fn source<'a>(&'a self, edited: Option<&'a [u8]>) -> Source<'a> {
        match (edited, &self.weights) {
            (Some(edited), _) => Source::Edited(edited),
            (None, WeightsFrom::Shared(weights, _)) => Source::SharedWeights(weights),
            (None, WeightsFrom::Copies) => Source::File,
        }
    }

    /// Without such memory the device is used all the same, with slower copies.
    fn memory(&self, session: &OrtSession, pool_on: PoolOn) -> Option<DeviceMemory> {
        let memory = match (pool_on, self.config.provider) {
            (PoolOn::Host, _) => return None,
            (PoolOn::Device, Provider::Cpu | Provider::Openvino) => DeviceMemory::here(session),
            (PoolOn::Device, Provider::Cuda) => {
                DeviceMemory::pinned(session, self.config.device_id)
            }
        };
        let memory = memory.inspect_err(|error| tracing::warn!(%error, "no pinned memory"));
        memory.ok()
    }
}

fn wanted(output: &Output) -> ort::Result<RunOptions<HasSelectedOutputs>> {
    let selected = OutputSelector::no_default().with(output.name());
    Ok(RunOptions::new()?.with_outputs(selected))
}

impl fmt::Display for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let graph = self.graph.display();
        match &self.weights {
            WeightsFrom::Shared(..) => write!(f, "`{graph}` with weights that all sessions share"),
            WeightsFrom::Copies => {
                write!(f, "`{graph}` with a copy of the weights for each session")
            }
        }
    }
}

/// The weights of a graph that sessions can share. One that cannot be read is an error when the graph is loaded.
fn shared_weights(
    graph: &Path,
    config: &SessionConfig,
    recipe: Recipe,
) -> Result<Option<WeightsFrom>, SessionError> {
    device::environment(&config.onnxruntime, graph)?;
    let read = || -> anyhow::Result<_> {
        let mut model = Model::read_whole(graph)?;
        let reduced = match recipe.kind {
            OutputKind::Sparse => Some(reduce(&mut model, graph, config.provider)?),
            OutputKind::Dense | OutputKind::Multi => None,
        };
        Ok(WeightsFrom::Shared(Weights::of(model, graph)?, reduced))
    };
    let weights = read().inspect_err(|error| {
        tracing::warn!("{error:#}; each session keeps a copy of its weights");
    });
    Ok(weights.ok())
}

/// Puts the maximum over the logits of each term into a graph.
fn reduce(model: &mut Model, graph: &Path, provider: Provider) -> Result<Reduced, GraphError> {
    let columns = match provider {
        Provider::Cpu | Provider::Openvino => TERMS_ON_CPU,
        Provider::Cuda => TERMS_ON_CUDA,
    };
    model.edit("put the maximum over the logits into", graph, |model| {
        largest_logits(model, columns)
    })
}

/// The graph with its pooling inside, if that is possible. One that cannot be read is an error when it is loaded.
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
