//! The session: ONNX Runtime with one model on one device.
//!
//! The library is loaded at run time, so that one binary serves CPUs and GPUs. A graph is accepted if its inputs
//! are `input_ids`, and optionally `attention_mask`, `token_type_ids` and `position_ids`, all integers `[rows, tokens]` (the
//! mask may also be of floats or truth values), and what a decoder has seen before, which is nothing; and if one of its
//! outputs holds token vectors `[rows, tokens, hidden]` or row vectors `[rows, hidden]`. Rows are padded on the right: a
//! decoder then gives each token the place and the neighbours that it has alone.

mod device;
mod input;
mod io_binding;
#[cfg(test)]
pub(crate) mod limited_engine;
mod output;
mod sessions;
mod weights;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use contract::embedding::Embedding;
use contract::model::Pooling;
use ort::memory::Allocator;
use ort::session::{
    HasSelectedOutputs, RunOptions, Session as OrtSession, SessionInputValue, SessionOutputs,
};
use thiserror::Error;

use crate::batch::Tensor;
use crate::config::{Provider, SessionConfig};
use crate::error::EmbedError;
use crate::graph::GraphError;
use crate::graph::terms::Reduced;
use crate::metrics;
use crate::pool::{Layers, Recipe};
pub use device::switch_off_telemetry;
use input::Input;
use io_binding::DeviceMemory;
use output::Output;
pub use sessions::Sessions;

#[derive(Debug, Error)]
pub enum SessionError {
    #[error("failed to load onnx runtime from `{path}`; set --onnxruntime to libonnxruntime.so")]
    Library {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("failed to {action} for `{graph}`")]
    Load {
        action: &'static str,
        graph: PathBuf,
        #[source]
        source: ort::Error,
    },
    #[error(
        "graph `{graph}` has the input `{input}` of {kind}; known are input_ids, attention_mask, token_type_ids and \
         position_ids of two dimensions, in integers (the mask also in floats or truth values), and past_key_values of four \
         dimensions, of which the second and the fourth are numbers"
    )]
    UnknownInput {
        graph: PathBuf,
        input: String,
        kind: String,
    },
    #[error("graph `{graph}` has no input `input_ids`; it has {found}")]
    NoTokens { graph: PathBuf, found: String },
    #[error(
        "graph `{graph}` has no output of 2 or 3 dimensions in 16- or 32-bit floats; it has {found}"
    )]
    NoOutput { graph: PathBuf, found: String },
    #[error(
        "output `{output}` of graph `{graph}` has {rank} dimensions, pooling `{pooling:?}` needs {needed}"
    )]
    Pooling {
        graph: PathBuf,
        output: String,
        rank: usize,
        pooling: Pooling,
        needed: usize,
    },
    #[error(
        "output `{output}` of graph `{graph}` has {rank} dimensions, multivectors need one of 3: `[rows, tokens, hidden]`"
    )]
    NoTokenVectors {
        graph: PathBuf,
        output: String,
        rank: usize,
    },
    #[error(transparent)]
    Edit(#[from] GraphError),
    #[error("provider cuda was asked for, but {problem}")]
    NotOnCuda { problem: String },
    #[error("provider openvino was asked for, but {problem}")]
    NotOnOpenvino { problem: String },
    #[error(
        "openvino does not run all of graph `{graph}`; run it by --provider cpu, or stage it in another precision"
    )]
    PartlyOnOpenvino {
        graph: PathBuf,
        #[source]
        source: ort::Error,
    },
}

/// Most logits that are in memory at once: 128 MB.
const MOST_LOGITS: usize = 32 << 20;
/// Most logits that are the largest of their row: 32 MB, and a few times that while they are put together.
const MOST_LARGEST: usize = 8 << 20;

/// Where token vectors become one vector.
///
/// From a device with a memory of its own, only final vectors should be copied. So the graph is edited in memory when it is
/// loaded; the files and the fingerprint of the model stay those of its origin. On a CPU nothing would be gained: with
/// MiniLM-L6 and 8 rows of 128 tokens, pooling in Rust takes 0.1 ms of a call of 70 ms, and pooling nodes take no
/// measurable time either, while a worker that edits its graph starts later and takes more memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolOn {
    /// In memory of this process, by Rust.
    Host,
    /// On the device, by nodes of the graph.
    Device,
}

/// What runs a tensor. Tests and benchmarks put a stand-in in its place; a [`Session`] needs the runtime and the device.
pub trait Engine {
    /// Returns the vector of each row of a tensor, in order.
    fn run(&mut self, tensor: &Tensor) -> Result<Vec<Embedding>, EmbedError>;

    /// How outputs become vectors.
    fn recipe(&self) -> Recipe;
}

pub struct Session {
    inner: OrtSession,
    inputs: Vec<Input>,
    output: Output,
    recipe: Recipe,
    layers: Arc<Layers>,
    /// How the logits of a masked language model are reduced.
    reduced: Option<Reduced>,
    /// Asks for the output alone, where a graph has others that nobody reads.
    wanted: RunOptions<HasSelectedOutputs>,
    provider: Provider,
    /// Memory that the device reaches by itself, where it does not compute in that of this process.
    memory: Option<DeviceMemory>,
    /// How many sessions divide the device.
    share: u32,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("inputs", &self.inputs)
            .field("output", &self.output)
            .field("recipe", &self.recipe)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Loads the only session of a graph, with all threads for itself.
    ///
    /// # Errors
    /// [`SessionError`]: also when the graph would not run on the provider that was asked for.
    pub fn load(
        graph: &Path,
        config: &SessionConfig,
        recipe: Recipe,
    ) -> Result<Self, SessionError> {
        Sessions::of(graph, &config.single(), recipe)?.load()
    }

    /// Runs the graph without reading its outputs: the least time that [`Engine::run`] can take.
    ///
    /// # Errors
    /// [`EmbedError::Run`].
    pub fn forward(&mut self, tensor: &Tensor) -> Result<SessionOutputs<'_>, EmbedError> {
        let (provider, share) = (self.provider, self.share);
        let started = Instant::now();
        let outputs = match &mut self.memory {
            Some(memory) => memory.run(&mut self.inner, (&self.inputs, tensor), self.output.name()),
            None => run(&mut self.inner, &self.inputs, tensor, &self.wanted),
        };
        metrics::device_ran(provider, started.elapsed() / share);
        outputs.map_err(|source| run_error(tensor, source))
    }

    /// How many terms a masked language model has.
    pub fn terms(&self) -> Option<usize> {
        self.reduced.map(|reduced| reduced.terms)
    }

    /// Whether the logits of a tensor, or the largest of each row, are too many to be in memory at once.
    fn is_too_large(&self, tensor: &Tensor) -> bool {
        let Some(Reduced { terms, at_once }) = self.reduced else {
            return false;
        };
        // A product that is cut into blocks has few logits at once.
        let logits = if at_once == terms {
            tensor.padded_tokens() * terms
        } else {
            0
        };
        logits > MOST_LOGITS || tensor.rows() * terms > MOST_LARGEST
    }

    fn run_whole(&mut self, tensor: &Tensor) -> Result<Vec<Embedding>, EmbedError> {
        let (output, recipe) = (self.output.clone(), self.recipe);
        let layers = self.layers.clone();
        output.vectors(&self.forward(tensor)?, tensor, (recipe, &layers))
    }

    /// Whether the graph is told which tokens others attend to.
    pub fn takes_mask(&self) -> bool {
        input::takes_mask(&self.inputs)
    }

    /// Whether the graph is given the places of tokens, and does not count them by itself.
    pub fn takes_places(&self) -> bool {
        input::takes_places(&self.inputs)
    }
}

fn run<'a>(
    session: &'a mut OrtSession,
    inputs: &[Input],
    tensor: &Tensor,
    wanted: &'a RunOptions<HasSelectedOutputs>,
) -> ort::Result<SessionOutputs<'a>> {
    let memory = Allocator::default();
    let value = |input: &Input| {
        let value = input.value(tensor, &memory)?;
        Ok((input.name().to_owned(), SessionInputValue::from(value)))
    };
    let inputs = inputs.iter().map(value);
    session.run_with_options(inputs.collect::<ort::Result<Vec<_>>>()?, wanted)
}

impl Engine for Session {
    fn run(&mut self, tensor: &Tensor) -> Result<Vec<Embedding>, EmbedError> {
        match tensor.halves() {
            Some((first, second)) if self.is_too_large(tensor) => {
                let mut embeddings = self.run(&first)?;
                embeddings.extend(self.run(&second)?);
                Ok(embeddings)
            }
            Some(_) | None => self.run_whole(tensor),
        }
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
