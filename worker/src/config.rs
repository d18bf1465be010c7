//! Settings. Each field's comment is its help text; all faults are found before anything is opened.

mod session;

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use contract::digest::Digest;
use contract::names::CollectionName;
use contract::topology::DEFAULT_BATCH_JOBS;
use points::connect::QdrantConfig;
use queue::nats::NatsConfig;
use runtime::model_dir::ModelDir;
use runtime::settings::ConfigFault;

pub use session::{Precision, Provider, SessionConfig};

/// No kubelet waits for longer, and a mistyped unit would keep a node from being drained.
const MAX_GRACE: Duration = Duration::from_secs(3_600);

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

/// Which model, and by which fingerprint.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Model")]
pub struct ModelConfig {
    #[command(flatten)]
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
    #[command(flatten)]
    pub model: ModelConfig,
    #[command(flatten)]
    pub session: SessionConfig,
    #[command(flatten)]
    pub batch: BatchConfig,
    #[command(flatten)]
    pub nats: NatsConfig,
    #[command(flatten)]
    pub qdrant: QdrantConfig,
}

impl ModelConfig {
    /// Everything that is wrong with these settings and with the device for them.
    pub fn faults(&self, session: &SessionConfig) -> Vec<ConfigFault> {
        let mut faults = self.staged.faults();
        faults.extend(session.faults());
        faults
    }
}

impl BatchConfig {
    /// Tokens that a pull aims at.
    pub fn batch_tokens(&self, provider: Provider) -> usize {
        self.batch_tokens.unwrap_or(provider.batch_tokens())
    }

    /// Padded tokens of one call of the model, where it was `calibrated` or not.
    pub fn tensor_tokens(&self, provider: Provider, calibrated: Option<usize>) -> usize {
        let found = self.tensor_tokens.or(calibrated);
        found.unwrap_or(provider.tensor_tokens())
    }
}

impl RunConfig {
    /// Everything that is wrong with these settings.
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.nats.faults();
        faults.extend(self.qdrant.faults());
        faults.extend(self.model.faults(&self.session));
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
        faults
    }
}
