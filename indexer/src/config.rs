//! Settings that several verbs share.

use clap::Args;
use points::connect::QdrantConfig;
use queue::nats::{FirstConnect, NatsConfig, NatsError, jetstream};
pub use runtime::model_dir::ModelDir;
use runtime::settings::ConfigFault;

/// The two servers.
#[derive(Args, Clone, Debug)]
pub struct Servers {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the comment as help")]
    pub nats: NatsConfig,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the comment as help")]
    pub qdrant: QdrantConfig,
}

impl Servers {
    /// Everything that is wrong with these settings.
    #[must_use]
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.nats.faults();
        faults.extend(self.qdrant.faults());
        faults
    }

    /// Connects to NATS. A person waits, so an unreachable server is an error at once.
    ///
    /// # Errors
    /// [`NatsError`].
    pub async fn jetstream(&self) -> Result<async_nats::jetstream::Context, NatsError> {
        Ok(jetstream(
            self.nats.connect("indexer", FirstConnect::Fail).await?,
        ))
    }
}
