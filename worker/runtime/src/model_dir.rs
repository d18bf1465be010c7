//! Model directory: which staged model a program is to use, and with whose signature.

use std::path::{Path, PathBuf};

use clap::Args;

use contract::model::{Manifest, ModelError};

use crate::settings::{ConfigFault, STAGE, unreadable};

/// Which model.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Model")]
pub struct ModelDir {
    /// Directory of a staged model, made by `worker stage`
    #[arg(long, env = "EBB_MODEL")]
    pub model: PathBuf,
    /// File with the minisign public key with which models must be signed; without it, no signature is looked at
    #[arg(long, env = "EBB_PUBLIC_KEY")]
    pub public_key: Option<PathBuf>,
}

impl ModelDir {
    /// Everything that is wrong with these settings.
    #[must_use]
    pub fn faults(&self) -> Vec<ConfigFault> {
        let key = unreadable("--public-key", self.public_key.as_ref());
        let mut faults: Vec<_> = key.into_iter().collect();
        if !self.model.is_dir() {
            let problem = format!("`{}` is not a directory; {STAGE}", self.model.display());
            faults.push(ConfigFault::new("--model", problem));
        }
        faults
    }

    /// Reads the manifest of a model for documents, for those who tokenize and do not run it.
    ///
    /// # Errors
    /// [`ModelError`], also if the model is of another kind.
    pub fn embedding(&self) -> Result<Manifest, ModelError> {
        let manifest = self.manifest()?;
        manifest.check_primary()?;
        Ok(manifest)
    }

    /// Reads the manifest, and verifies the tokenizer, for those who do not run the model.
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
