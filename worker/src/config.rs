//! Settings. Each field's comment is its help text; all faults are found before anything is opened.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use contract::connect::ConfigFault;
use contract::connect::nats::NatsConfig;
use contract::connect::qdrant::QdrantConfig;
use contract::digest::Digest;
use contract::model::ModelDir;
use contract::names::CollectionName;
use contract::topology::{DEFAULT_BATCH_JOBS, DEFAULT_CPU_BATCH_TOKENS, DEFAULT_CUDA_BATCH_TOKENS};

use crate::failpoint;
use crate::plan::Shapes;

/// Padded tokens of one call on a CPU: small tensors stay in its caches.
const CPU_TENSOR_TOKENS: usize = 512;
/// Padded tokens of one call on a GPU: large tensors keep its units busy.
const CUDA_TENSOR_TOKENS: usize = 16_384;

/// Lengths of a GPU's tensors are multiples of this: half of what its matrix units like best, with half the padding.
const CUDA_LENGTH_STEP: usize = 8;

/// No machine gains by more, and a mistyped number would take all its processes.
const MAX_THREADS: usize = 512;

/// Each has buffers of its own, and a thread of this process.
const MAX_SESSIONS: usize = 64;

/// No kubelet waits for longer, and a mistyped unit would keep a node from being drained.
const MAX_GRACE: Duration = Duration::from_secs(3_600);

/// Where the model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Provider {
    /// ONNX Runtime's own CPU kernels
    Cpu,
    /// CUDA, or not at all: the worker refuses to start where CUDA is not what runs
    Cuda,
}

impl Provider {
    /// The name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }

    /// Tokens that a pull aims at, where nobody says otherwise.
    #[must_use]
    pub fn batch_tokens(self) -> usize {
        match self {
            Self::Cpu => DEFAULT_CPU_BATCH_TOKENS,
            Self::Cuda => DEFAULT_CUDA_BATCH_TOKENS,
        }
    }

    /// Padded tokens of one call of a model that nobody has measured.
    #[must_use]
    pub fn tensor_tokens(self) -> usize {
        match self {
            Self::Cpu => CPU_TENSOR_TOKENS,
            Self::Cuda => CUDA_TENSOR_TOKENS,
        }
    }

    /// Which shapes tensors of at most so many padded tokens have, for a model that takes rows of up to `longest`
    /// tokens.
    #[must_use]
    pub fn shapes(self, tokens: usize, longest: usize) -> Shapes {
        let step = match self {
            Self::Cpu => 1,
            Self::Cuda => CUDA_LENGTH_STEP,
        };
        Shapes {
            tokens,
            step,
            longest,
        }
    }
}

/// What to do with a text that has more tokens than the model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TooLong {
    /// Dead-letter its job
    Refuse,
    /// Cut it, and count it in worker_truncated_texts_total
    Truncate,
}

/// What to do with a vector that comes with its chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GivenVectors {
    /// Write it, if it is of the same model: a sync sends those of texts that have not changed
    Use,
    /// Embed the text all the same, where not all who may publish jobs are trusted with what their vectors say
    Embed,
}

/// Which device, and how it is used.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Device")]
pub struct SessionConfig {
    /// ONNX Runtime's library; the CUDA provider's libraries must lie beside it
    #[arg(long, env = "ORT_DYLIB_PATH", default_value = "libonnxruntime.so")]
    pub onnxruntime: PathBuf,
    /// Where the model runs
    #[arg(long, env = "EBB_PROVIDER", value_enum, default_value_t = Provider::Cpu)]
    pub provider: Provider,
    /// Which CUDA device
    #[arg(long, env = "EBB_DEVICE_ID", default_value_t = 0)]
    pub device_id: i32,
    /// Threads that compute; by default as many as the container's CPU quota allows, on CUDA one
    #[arg(long, env = "EBB_THREADS")]
    pub threads: Option<NonZeroUsize>,
    /// Calls of the model that run side by side and divide the threads; by default one for each thread, on CUDA one
    #[arg(long, env = "EBB_SESSIONS")]
    pub sessions: Option<NonZeroUsize>,
}

impl SessionConfig {
    /// Threads that compute.
    #[must_use]
    pub fn threads(&self) -> usize {
        let default = match self.provider {
            // The standard library reads the cgroup's quota; ONNX Runtime would count the node's cores.
            Provider::Cpu => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            Provider::Cuda => 1,
        };
        self.threads.map_or(default, NonZeroUsize::get)
    }

    /// Sessions that run side by side.
    #[must_use]
    pub fn sessions(&self) -> usize {
        let default = match self.provider {
            // As many threads each as keep their number within the bound.
            Provider::Cpu => self.threads() / self.threads().div_ceil(MAX_SESSIONS),
            Provider::Cuda => 1,
        };
        self.sessions.map_or(default, NonZeroUsize::get)
    }

    /// Threads of each session.
    #[must_use]
    pub fn session_threads(&self) -> usize {
        (self.threads() / self.sessions()).max(1)
    }

    /// Everything that is wrong with these settings.
    #[must_use]
    pub fn faults(&self) -> Vec<ConfigFault> {
        let bounds = [
            ("--threads", self.threads(), MAX_THREADS),
            ("--sessions", self.sessions(), MAX_SESSIONS),
        ];
        let beyond = bounds.into_iter().filter(|(_, value, most)| value > most);
        let fault = |(setting, value, most)| {
            ConfigFault::new(setting, format!("{value} is more than {most}"))
        };
        beyond.map(fault).collect()
    }

    /// The same device for one session alone.
    #[must_use]
    pub fn single(&self) -> Self {
        Self {
            sessions: Some(NonZeroUsize::MIN),
            ..self.clone()
        }
    }
}

/// Which model, exactly.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Model")]
pub struct ModelConfig {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the comment as help")]
    pub staged: ModelDir,
    /// Fingerprint that the model must have
    #[arg(long, env = "EBB_FINGERPRINT")]
    pub fingerprint: Option<Digest>,
}

/// How batches are made, which bounds the memory of the worker.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Batches")]
pub struct BatchConfig {
    /// Tokens that a pull aims at: more of them sort into fuller tensors, fewer answer sooner and are sooner finished at
    /// a shutdown; by default 16384 on a CPU, 65536 on CUDA
    #[arg(long, env = "EBB_BATCH_TOKENS")]
    pub batch_tokens: Option<usize>,
    /// Most jobs of a pull; with ten batches on their way, ten times as many may be in flight
    #[arg(long, env = "EBB_BATCH_JOBS", default_value_t = usize::from(DEFAULT_BATCH_JOBS))]
    pub batch_jobs: usize,
    /// Padded tokens of one call of the model; by default what `worker calibrate` has found best for this model on this
    /// device, else 512 on a CPU, 16384 on CUDA
    #[arg(long, env = "EBB_TENSOR_TOKENS")]
    pub tensor_tokens: Option<usize>,
    /// What to do with a text that has more tokens than the model takes
    #[arg(long, env = "EBB_TOO_LONG", value_enum, default_value_t = TooLong::Refuse)]
    pub too_long: TooLong,
    /// What to do with a vector that comes with its chunk
    #[arg(long, env = "EBB_GIVEN_VECTORS", value_enum, default_value_t = GivenVectors::Use)]
    pub given_vectors: GivenVectors,
}

/// Settings of `worker run`.
#[derive(Args, Clone, Debug)]
pub struct RunConfig {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the comment as help")]
    pub model: ModelConfig,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the comment as help")]
    pub session: SessionConfig,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the comment as help")]
    pub batch: BatchConfig,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the comment as help")]
    pub nats: NatsConfig,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the comment as help")]
    pub qdrant: QdrantConfig,
    /// Collections and aliases that jobs may write to, separated by commas; generations behind an alias included
    #[arg(
        long,
        env = "EBB_COLLECTIONS",
        default_value = "docs",
        value_delimiter = ','
    )]
    pub collections: Vec<CollectionName>,
    /// Exit with 0 when both lanes are empty
    #[arg(long)]
    pub drain: bool,
    /// Time between SIGTERM and giving back what is not finished; below the consumers' ack wait
    #[arg(long, env = "EBB_GRACE", default_value = "25s", value_parser = humantime::parse_duration)]
    pub grace: Duration,
    /// Address of /startupz, /readyz, /livez and /metrics; port 0 takes a free one
    #[arg(long, env = "EBB_LISTEN", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}

impl BatchConfig {
    /// Tokens that a pull aims at.
    #[must_use]
    pub fn batch_tokens(&self, provider: Provider) -> usize {
        self.batch_tokens.unwrap_or(provider.batch_tokens())
    }

    /// Padded tokens of one call of the model, where it was `calibrated` or not.
    #[must_use]
    pub fn tensor_tokens(&self, provider: Provider, calibrated: Option<usize>) -> usize {
        let found = self.tensor_tokens.or(calibrated);
        found.unwrap_or(provider.tensor_tokens())
    }
}

impl RunConfig {
    /// Everything that is wrong with these settings.
    #[must_use]
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.nats.faults();
        faults.extend(self.qdrant.faults());
        faults.extend(self.model.staged.faults());
        faults.extend(self.session.faults());
        let positive = [
            (
                "--batch-tokens",
                self.batch.batch_tokens(self.session.provider),
            ),
            ("--batch-jobs", self.batch.batch_jobs),
            (
                "--tensor-tokens",
                self.batch.tensor_tokens(self.session.provider, None),
            ),
        ];
        let zero = positive.iter().filter(|(_, value)| *value == 0);
        faults.extend(zero.map(|(setting, _)| ConfigFault::new(setting, "must be at least 1")));
        if self.batch.batch_jobs > 256 {
            let problem = format!(
                "{} is more than 256, the most of a pull",
                self.batch.batch_jobs
            );
            faults.push(ConfigFault::new("--batch-jobs", problem));
        }
        if self.grace > MAX_GRACE {
            let problem = format!("{:?} is more than {MAX_GRACE:?}", self.grace);
            faults.push(ConfigFault::new("--grace", problem));
        }
        if self.collections.is_empty() {
            faults.push(ConfigFault::new("--collections", "name at least one"));
        }
        if let Err(problem) = failpoint::check() {
            faults.push(ConfigFault::new("EBB_FAILPOINTS", problem));
        }
        faults
    }
}
