//! Why a staged model cannot be used.

use std::path::PathBuf;

use thiserror::Error;

use super::{FORMAT, OutputKind};
use crate::digest::Digest;
use crate::names::ModelName;

/// Why a staged model cannot be used.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A file cannot be read.
    #[error("failed to read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The manifest is not one.
    #[error("`{path}` is not a model manifest; stage the model again with `worker stage`")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// The manifest is of a version that this code does not read.
    #[error(
        "`{path}` has manifest format {found}, this program reads {FORMAT}; stage the model again"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The fingerprint is not the digest of the rest.
    #[error("`{path}` was altered: its fingerprint is {found}, its content has {computed}")]
    Fingerprint {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: Digest,
        /// What it should say.
        computed: Digest,
    },
    /// A path in the manifest leaves the directory.
    #[error("`{path}` names the file `{file}`, which is not inside the model directory")]
    Escapes {
        /// The manifest.
        path: PathBuf,
        /// The offending path.
        file: String,
    },
    /// A file is not what was staged.
    #[error(
        "`{path}` was altered: expected {expected_bytes} bytes with digest {expected}, \
         found {found_bytes} bytes with digest {found}"
    )]
    Altered {
        /// The file.
        path: PathBuf,
        /// Size when staged.
        expected_bytes: u64,
        /// Digest when staged.
        expected: Digest,
        /// Size now.
        found_bytes: u64,
        /// Digest now.
        found: Digest,
    },
    /// The model makes scores, not vectors.
    #[error("model `{name}` is a rescorer; documents need an embedding model")]
    Rescorer {
        /// Its name.
        name: ModelName,
    },
    /// The model makes vectors that stand beside those of another model.
    #[error(
        "model `{name}` makes {kind} vectors; the primary vector of a collection is dense: use a dense model for its \
         documents, and add this one with `indexer attach`"
    )]
    NotDense {
        /// Its name.
        name: ModelName,
        /// The kind of its vectors.
        kind: OutputKind,
    },
    /// The table of weights for queries cannot be used.
    #[error(
        "`{path}` is no table of tokens and their weights in queries, numbers of at least 0: {problem}"
    )]
    QueryWeights {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A signature is asked for, and there is none.
    #[error(
        "`{path}` is not signed: with the public key `{key}` configured, only signed models are used; sign it with \
         minisign and add the signature with `worker stage --signature`"
    )]
    Unsigned {
        /// The manifest.
        path: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// The signature is not that of the manifest with the configured key.
    #[error("the signature of `{path}` {reason}; the public key is `{key}`")]
    Signature {
        /// The manifest.
        path: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The public key cannot be used.
    #[error("failed to read the public key `{path}`: {reason}")]
    Key {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}
