//! The device: the library of ONNX Runtime, a graph on an execution provider, and the proof that it is the right one.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::ep::{CUDA, ExecutionProvider};
use ort::session::Session as OrtSession;

use super::SessionError;
use super::weights::Weights;
use crate::config::{Provider, SessionConfig};

/// Where the runtime looks for weights beside a graph that it is given without a path.
const WEIGHTS_FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// The environment of all sessions: a process can have only one, of the first library that was loaded.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// Loads a graph onto the configured device: the file, or what was made of it.
pub(super) fn place(
    graph: &Path,
    edited: Option<&[u8]>,
    config: &SessionConfig,
    weights: Option<&Weights>,
) -> Result<OrtSession, SessionError> {
    let environment = environment(&config.onnxruntime, graph)?;
    let session = commit((graph, edited), config, weights, &environment)?;
    if config.provider == Provider::Cuda {
        prove_cuda()?;
    }
    Ok(session)
}

/// The environment, of the library at this path if none is there yet.
pub(super) fn environment(path: &Path, graph: &Path) -> Result<Environment, SessionError> {
    let mut slot = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = slot.as_ref() {
        return Ok(environment.clone());
    }
    let environment = load_library(path, graph)?;
    Ok(slot.insert(environment).clone())
}

fn load_library(path: &Path, graph: &Path) -> Result<Environment, SessionError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| SessionError::Library {
        path: path.to_owned(),
        source,
    };
    // A relative path would be looked for beside the executable.
    let absolute = std::fs::canonicalize(path).map_err(|error| failed(error.into()))?;
    let builder = ort::init_from(&absolute).map_err(|error| failed(error.into()))?;
    builder
        .with_name("ebb")
        .build()
        .map_err(|source| SessionError::Load {
            action: "create the environment",
            graph: graph.to_owned(),
            source,
        })
}

fn commit(
    (graph, edited): (&Path, Option<&[u8]>),
    config: &SessionConfig,
    weights: Option<&Weights>,
    environment: &Environment,
) -> Result<OrtSession, SessionError> {
    let failed = |action| {
        move |source: ort::Error| SessionError::Load {
            action,
            graph: graph.to_owned(),
            source,
        }
    };
    let build = || -> ort::Result<_> {
        // Threads that spin between calls burn a container's CPU quota without doing anything.
        let builder = OrtSession::builder(environment)?
            .with_intra_threads(config.session_threads())?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            // Shapes change from call to call, so a memory pattern would never fit twice.
            .with_memory_pattern(false)?;
        Ok(builder)
    };
    let mut builder = build().map_err(failed("set session options"))?;
    if config.provider == Provider::Cuda {
        let cuda = CUDA::default()
            .with_device_id(config.device_id)
            .build()
            .error_on_failure();
        builder = builder
            .with_execution_providers([cuda])
            .map_err(ort::Error::from)
            .map_err(failed("register the cuda execution provider"))?;
    }
    if let Some(weights) = weights {
        let loaded = weights.commit(builder);
        return loaded.map_err(failed("load the graph with shared weights"));
    }
    let Some(bytes) = edited else {
        let loaded = builder.commit_from_file(graph);
        return loaded.map_err(failed("load the graph"));
    };
    let folder = graph.parent().unwrap_or(Path::new("."));
    builder
        .with_config_entry(WEIGHTS_FOLDER, folder.to_string_lossy())
        .map_err(ort::Error::from)
        .and_then(|mut builder| builder.commit_from_memory(bytes))
        .map_err(failed("load the edited graph"))
}

/// The provider may be registered and yet not be there: its library must be mapped into this process.
fn prove_cuda() -> Result<(), SessionError> {
    let problem = |problem: String| SessionError::NotOnCuda { problem };
    if !CUDA::is_available().unwrap_or(false) {
        return Err(problem(
            "this build of onnx runtime has no cuda provider".to_owned(),
        ));
    }
    let maps = std::fs::read_to_string("/proc/self/maps")
        .map_err(|error| problem(format!("the loaded libraries cannot be read: {error}")))?;
    if maps.contains("libonnxruntime_providers_cuda") {
        return Ok(());
    }
    Err(problem("its provider library is not loaded".to_owned()))
}
