//! The device: loads the library of ONNX Runtime, and a graph onto its execution provider, and checks that it runs there.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::ep::{CUDA, ExecutionProvider};
use ort::session::Session as OrtSession;
use ort::session::builder::SessionBuilder;

use super::SessionError;
use super::weights::Weights;
use crate::config::{Provider, SessionConfig};

/// Where the runtime looks for weights beside a graph that it is given without a path.
const WEIGHTS_FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// The environment of all sessions. A process can have only one, of the first library that was loaded.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// What a session is loaded from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'a> {
    /// The file of the graph.
    File,
    /// The graph after an edit, with its weights where they were.
    Edited(&'a [u8]),
    /// The graph without its large weights, which are shared with other sessions.
    SharedWeights(&'a Weights),
}

/// Loads a graph onto the configured device.
pub(super) fn load(
    graph: &Path,
    source: Source<'_>,
    config: &SessionConfig,
) -> Result<OrtSession, SessionError> {
    let session = commit(prepare(graph, config)?, graph, source)?;
    if config.provider == Provider::Cuda {
        prove_cuda()?;
    }
    Ok(session)
}

/// The environment, which is made from the library at this path if there is none yet.
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
    // The loader would look for a relative path beside the executable.
    let absolute = std::fs::canonicalize(path).map_err(|error| failed(error.into()))?;
    let builder = ort::init_from(&absolute).map_err(|error| failed(error.into()))?;
    builder
        .with_name("ebb")
        // Programs switch it off before, by the environment; this is for those that did not.
        .with_telemetry(false)
        .build()
        .map_err(|source| SessionError::Load {
            action: "create the environment",
            graph: graph.to_owned(),
            source,
        })
}

/// Options of a session on the configured device.
fn prepare(graph: &Path, config: &SessionConfig) -> Result<SessionBuilder, SessionError> {
    let environment = environment(&config.onnxruntime, graph)?;
    let build = || -> ort::Result<_> {
        // Threads that spin between calls burn a container's CPU quota without doing anything.
        let builder = OrtSession::builder(&environment)?
            .with_intra_threads(config.session_threads())?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            // Shapes change from call to call, so a memory pattern would never fit twice.
            .with_memory_pattern(false)?;
        Ok(builder)
    };
    let builder = build().map_err(failed("set session options", graph))?;
    if config.provider == Provider::Cpu {
        return Ok(builder);
    }
    let cuda = CUDA::default()
        .with_device_id(config.device_id)
        .build()
        .error_on_failure();
    builder
        .with_execution_providers([cuda])
        .map_err(ort::Error::from)
        .map_err(failed("register the cuda execution provider", graph))
}

fn commit(
    mut builder: SessionBuilder,
    graph: &Path,
    source: Source<'_>,
) -> Result<OrtSession, SessionError> {
    match source {
        Source::File => {
            let loaded = builder.commit_from_file(graph);
            loaded.map_err(failed("load the graph", graph))
        }
        Source::Edited(bytes) => {
            let folder = graph.parent().unwrap_or(Path::new("."));
            builder
                .with_config_entry(WEIGHTS_FOLDER, folder.to_string_lossy())
                .map_err(ort::Error::from)
                .and_then(|mut builder| builder.commit_from_memory(bytes))
                .map_err(failed("load the edited graph", graph))
        }
        Source::SharedWeights(weights) => {
            let loaded = weights.commit(builder);
            loaded.map_err(failed("load the graph with shared weights", graph))
        }
    }
}

pub(super) fn failed(
    action: &'static str,
    graph: &Path,
) -> impl FnOnce(ort::Error) -> SessionError {
    move |source| SessionError::Load {
        action,
        graph: graph.to_owned(),
        source,
    }
}

/// Checks that the library of the provider is mapped into this process: it may be missing although the provider is
/// registered.
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
