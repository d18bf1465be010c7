//! The session: ONNX Runtime with one model on one device.
//!
//! The library is loaded at run time, so that one binary serves CPUs and GPUs. A graph is accepted if its inputs
//! are `input_ids`, and optionally `attention_mask`, `token_type_ids` and `position_ids`, all 64-bit integers
//! `[rows, tokens]`, and one of its outputs holds token vectors `[rows, tokens, hidden]` or row vectors
//! `[rows, hidden]`.

mod device;
mod input;
mod output;
#[cfg(test)]
pub(crate) mod small;
mod weights;

use std::path::{Path, PathBuf};
use std::time::Instant;

use contract::model::Pooling;
use ort::session::{Session as OrtSession, SessionInputValue, SessionOutputs};
use ort::value::Tensor as OrtTensor;
use thiserror::Error;

use crate::batch::Tensor;
use crate::config::{Provider, SessionConfig};
use crate::error::EmbedError;
use crate::graph::pooling::pool;
use crate::graph::{GraphError, Model};
use crate::metrics;
use crate::pool::Recipe;
use input::Input;
use output::Output;
use weights::Weights;

/// Why a model cannot be loaded.
#[derive(Debug, Error)]
pub enum SessionError {
    /// No library.
    #[error("failed to load onnx runtime from `{path}`; set --onnxruntime to libonnxruntime.so")]
    Library {
        /// Where it was looked for.
        path: PathBuf,
        /// What the loader said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The environment, the provider or the graph failed.
    #[error("failed to {action} for `{graph}`")]
    Load {
        /// What was tried.
        action: &'static str,
        /// The graph.
        graph: PathBuf,
        /// What the runtime said.
        #[source]
        source: ort::Error,
    },
    /// An input that nobody can fill.
    #[error(
        "graph `{graph}` has the input `{input}` of {kind}; known are input_ids, attention_mask, \
         token_type_ids and position_ids, 64-bit integers of two dimensions"
    )]
    UnknownInput {
        /// The graph.
        graph: PathBuf,
        /// The input.
        input: String,
        /// Its type.
        kind: String,
    },
    /// No input for token ids.
    #[error("graph `{graph}` has no input `input_ids`; it has {found}")]
    NoTokens {
        /// The graph.
        graph: PathBuf,
        /// Its inputs.
        found: String,
    },
    /// No output that could be a vector.
    #[error(
        "graph `{graph}` has no output of 2 or 3 dimensions in 16- or 32-bit floats; it has {found}"
    )]
    NoOutput {
        /// The graph.
        graph: PathBuf,
        /// Its outputs.
        found: String,
    },
    /// The output and the pooling contradict each other.
    #[error(
        "output `{output}` of graph `{graph}` has {rank} dimensions, pooling `{pooling:?}` needs {needed}"
    )]
    Pooling {
        /// The graph.
        graph: PathBuf,
        /// The output.
        output: String,
        /// Its dimensions.
        rank: usize,
        /// What was asked for.
        pooling: Pooling,
        /// What that needs.
        needed: usize,
    },
    /// CUDA was asked for and is not what runs.
    #[error("provider cuda was asked for, but {problem}")]
    NotOnCuda {
        /// What was found.
        problem: String,
    },
}

/// Where token vectors become one vector.
///
/// On a device with a memory of its own, only final vectors should leave it. The graph is edited in memory when it is
/// loaded, so that the files and the fingerprint of a model are those of its origin. On a CPU nothing would be gained:
/// with MiniLM-L6 and 8 rows of 128 tokens, the pooling here takes 0.1 ms of a call of 70 ms, and the pooling nodes no
/// measurable time either, while a worker starts later and with more memory if it edits its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolOn {
    /// Here, in Rust.
    Host,
    /// In the graph.
    Device,
}

/// What runs a tensor. The one seam for a stand-in: everything behind it needs the runtime and the device.
pub trait Engine {
    /// Gives the vector of each row of a tensor, in order.
    ///
    /// # Errors
    /// [`EmbedError`].
    fn run(&mut self, tensor: &Tensor) -> Result<Vec<Vec<f32>>, EmbedError>;

    /// How outputs become vectors.
    fn recipe(&self) -> Recipe;
}

/// A loaded model.
#[derive(Debug)]
pub struct Session {
    inner: OrtSession,
    inputs: Vec<Input>,
    output: Output,
    recipe: Recipe,
    provider: Provider,
    /// Which part of the device is its own.
    share: u32,
}

/// A graph from which sessions are loaded, to run side by side: a session has one user at a time.
///
/// On a CPU a session of one thread each gets more done than one of all threads, whose threads wait for each other
/// at the end of every operator, and for whatever else the machine does to one of them. With MiniLM-L6 on two cores,
/// two of one thread embed 17,300 tokens a second and one of two threads 15,500.
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
        let sharing = config.sessions() > 1;
        let weights = sharing.then(|| shared_weights(graph, config)).transpose()?;
        Ok(Self {
            graph: graph.to_owned(),
            config: config.clone(),
            recipe,
            weights: weights.flatten(),
        })
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

    /// Loads one of them, and pools as it is told. A graph into which pooling cannot be put gives its token vectors.
    ///
    /// # Errors
    /// [`SessionError`]: with [`Provider::Cuda`] also when the graph would run on the CPU.
    pub fn load_pooling(&self, pool_on: PoolOn) -> Result<Session, SessionError> {
        let (graph, recipe) = (&self.graph, self.recipe);
        let pooling = pool_on == PoolOn::Device && recipe.pooling != Pooling::Graph;
        let edited = pooling.then(|| with_pooling(graph, recipe)).flatten();
        let weights = self.weights.as_ref();
        let inner = device::place(graph, edited.as_deref(), &self.config, weights)?;
        let inputs = input::read_inputs(graph, &inner)?;
        let pooled = edited.map_or(recipe.pooling, |_| Pooling::Graph);
        let output = Output::read(graph, &inner, pooled)?;
        Ok(Session {
            inner,
            inputs,
            output,
            recipe,
            provider: self.config.provider,
            share: u32::try_from(self.config.sessions()).unwrap_or(u32::MAX),
        })
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

impl Session {
    /// Loads the only session of a graph, with all threads for itself.
    ///
    /// # Errors
    /// [`SessionError`]: with [`Provider::Cuda`] also when the graph would run on the CPU.
    pub fn load(
        graph: &Path,
        config: &SessionConfig,
        recipe: Recipe,
    ) -> Result<Self, SessionError> {
        Sessions::of(graph, &config.single(), recipe)?.load()
    }

    /// Runs the graph and reads nothing of what it gives: the floor under [`Engine::run`].
    ///
    /// # Errors
    /// [`EmbedError::Run`].
    pub fn forward(&mut self, tensor: &Tensor) -> Result<SessionOutputs<'_>, EmbedError> {
        let failed = |source| run_error(tensor, source);
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            let value = OrtTensor::from_array(input.fill(tensor)).map_err(failed)?;
            inputs.push((input.name(), SessionInputValue::from(value)));
        }
        let started = Instant::now();
        let outputs = self.inner.run(inputs);
        metrics::device_ran(self.provider, started.elapsed() / self.share);
        outputs.map_err(failed)
    }
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

impl Engine for Session {
    fn run(&mut self, tensor: &Tensor) -> Result<Vec<Vec<f32>>, EmbedError> {
        let (output, recipe) = (self.output.clone(), self.recipe);
        output.vectors(&self.forward(tensor)?, tensor, recipe)
    }

    fn recipe(&self) -> Recipe {
        self.recipe
    }
}

fn run_error(tensor: &Tensor, source: ort::Error) -> EmbedError {
    let (rows, tokens) = tensor.input_ids.dim();
    EmbedError::Run {
        rows,
        tokens,
        source: source.into(),
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
