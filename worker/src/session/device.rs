//! The device: loads the library of ONNX Runtime, and a graph onto its execution provider, and checks that it runs there.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::ep::{
    ArbitrarilyConfigurableExecutionProvider as _, CUDA, ExecutionProvider,
    ExecutionProviderDispatch, OpenVINO,
};
use ort::session::Session as OrtSession;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::SessionError;
use super::weights::Weights;
use crate::config::{Precision, Provider, SessionConfig};

/// Variable of the environment that ONNX Runtime reads when it is loaded.
const SWITCH: &str = "ORT_DISABLE_TELEMETRY";

/// Where the runtime looks for weights beside a graph that it is given without a path.
const WEIGHTS_FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// Refuses a graph of which a part would run on the CPU provider.
const ALL_ON_PROVIDER: &str = "session.disable_cpu_ep_fallback";

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
    let session = commit(prepare(graph, config)?, graph, source);
    match config.provider {
        Provider::Cpu => session,
        Provider::Cuda => {
            let session = session?;
            prove_cuda()?;
            Ok(session)
        }
        Provider::Openvino => {
            prove_openvino()?;
            session.map_err(|error| {
                let SessionError::Load { graph, source, .. } = error else {
                    return error;
                };
                SessionError::PartlyOnOpenvino { graph, source }
            })
        }
    }
}

/// Switches the telemetry of ONNX Runtime off, before the library is loaded: official builds report usage to their maker, and
/// keep an id of the device below the home folder. Nobody who runs a worker has agreed to that. The environment of a process
/// that runs already cannot be changed safely, so that the program replaces itself by one with another environment. To be
/// called before anything else is done.
pub fn switch_off_telemetry() {
    if std::env::var_os(SWITCH).is_some_and(|value| value == "1") {
        return;
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next();
    let replaced = std::env::current_exe().map(|program| {
        let mut command = Command::new(program);
        command.args(arguments).env(SWITCH, "1");
        if let Some(name) = name {
            command.arg0(name);
        }
        command.exec()
    });
    // Only an error comes back. The library is told later, which is better than nothing.
    let (Ok(error) | Err(error)) = replaced;
    eprintln!("set {SWITCH}=1: telemetry of onnx runtime cannot be switched off ({error})");
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
        // Programs call [`switch_off_telemetry`] before; this is for those that did not.
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
    match config.provider {
        Provider::Cpu => Ok(builder),
        Provider::Cuda => {
            let cuda = CUDA::default().with_device_id(config.device_id).build();
            let registered = register(builder, cuda);
            registered.map_err(failed("register the cuda execution provider", graph))
        }
        Provider::Openvino => {
            prove_openvino_is_built_in()?;
            let registered = whole(builder).and_then(|it| register(it, openvino(config)));
            registered.map_err(failed("register the openvino execution provider", graph))
        }
    }
}

fn register(
    builder: SessionBuilder,
    provider: ExecutionProviderDispatch,
) -> ort::Result<SessionBuilder> {
    let registered = builder.with_execution_providers([provider.error_on_failure()]);
    registered.map_err(ort::Error::from)
}

/// All of the graph goes to the provider, as it is, or it does not load.
fn whole(builder: SessionBuilder) -> ort::Result<SessionBuilder> {
    let builder = builder.with_optimization_level(GraphOptimizationLevel::Disable)?;
    Ok(builder.with_config_entry(ALL_ON_PROVIDER, "1")?)
}

/// OpenVINO with as many threads as the session has, which is one stream that is not tied to certain cores: other sessions
/// run beside it.
fn openvino(config: &SessionConfig) -> ExecutionProviderDispatch {
    let precision = config.precision.unwrap_or(Precision::F32);
    let properties = serde_json::json!({ "CPU": {
        "INFERENCE_PRECISION_HINT": precision.as_str(),
        "INFERENCE_NUM_THREADS": config.session_threads().to_string(),
        "NUM_STREAMS": "1",
        "ENABLE_CPU_PINNING": "NO",
    } });
    OpenVINO::default()
        .with_device_type("CPU")
        .with_arbitrary_config("load_config", properties.to_string())
        .build()
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

fn prove_cuda() -> Result<(), SessionError> {
    let problem = |problem: String| SessionError::NotOnCuda { problem };
    if !CUDA::is_available().unwrap_or(false) {
        let problem = problem("this build of onnx runtime has no cuda provider".to_owned());
        return Err(problem);
    }
    prove_loaded("libonnxruntime_providers_cuda").map_err(problem)
}

fn prove_openvino_is_built_in() -> Result<(), SessionError> {
    if OpenVINO::is_available().unwrap_or(false) {
        return Ok(());
    }
    let problem =
        "this build of onnx runtime has no openvino provider; --onnxruntime names one that has"
            .to_owned();
    Err(SessionError::NotOnOpenvino { problem })
}

fn prove_openvino() -> Result<(), SessionError> {
    let loaded = prove_loaded("libonnxruntime_providers_openvino");
    loaded.map_err(|problem| SessionError::NotOnOpenvino { problem })
}

/// Checks that the library of a provider is mapped into this process: it may be missing although the provider is
/// registered.
fn prove_loaded(library: &str) -> Result<(), String> {
    let maps = std::fs::read_to_string("/proc/self/maps")
        .map_err(|error| format!("the loaded libraries cannot be read: {error}"))?;
    if maps.contains(library) {
        return Ok(());
    }
    Err("its provider library is not loaded".to_owned())
}
