//! Settings that several verbs share.

use std::path::{Path, PathBuf};

use clap::Args;
use contract::connect::nats::{FirstConnect, NatsConfig, NatsError, jetstream};
use contract::connect::qdrant::QdrantConfig;
use contract::connect::{ConfigFault, unreadable};
use contract::model::{Manifest, ModelError};
use contract::topology::Task;

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

/// Which model.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Model")]
pub struct ModelDir {
    /// Directory of a staged model, made by `worker stage`; only its manifest and tokenizer are read
    #[arg(long, env = "EBB_MODEL")]
    pub model: PathBuf,
    /// File with the minisign public key with which models must be signed; without it, no signature is looked at
    #[arg(long, env = "EBB_PUBLIC_KEY")]
    pub public_key: Option<PathBuf>,
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

impl ModelDir {
    /// Everything that is wrong with this setting.
    #[must_use]
    pub fn faults(&self) -> Vec<ConfigFault> {
        let key = unreadable("--public-key", self.public_key.as_ref());
        let mut faults: Vec<_> = key.into_iter().collect();
        if !self.model.is_dir() {
            let problem = format!(
                "`{}` is not a directory; stage a model",
                self.model.display()
            );
            faults.push(ConfigFault::new("--model", problem));
        }
        faults
    }

    /// Reads the manifest of a model for documents.
    ///
    /// # Errors
    /// [`ModelError`], or if the model is of another kind.
    pub fn embedding(&self) -> anyhow::Result<Manifest> {
        let manifest = self.manifest()?;
        anyhow::ensure!(
            manifest.identity.task == Task::Embed,
            "model `{}` is a rescorer; documents need an embedding model",
            manifest.name
        );
        Ok(manifest)
    }

    /// Reads the manifest.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn manifest(&self) -> Result<Manifest, ModelError> {
        self.manifest_of(&self.model)
    }

    /// Reads the manifest of another model, which must bear the same signature.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn manifest_of(&self, model: &Path) -> Result<Manifest, ModelError> {
        let manifest = Manifest::load_signed(model, self.public_key.as_deref())?;
        manifest.verify_tokenizer(model)?;
        Ok(manifest)
    }
}
