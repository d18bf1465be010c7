//! The model manifest: what `worker stage` writes beside the weights, and what both sides read.
//!
//! A staged model is a directory with the ONNX graph, its external data, `tokenizer.json` and `manifest.json`.
//! Its fingerprint is the digest of all that changes a vector: a collection holds vectors of one fingerprint.

mod error;
mod head;
mod output;
mod query_weights;
mod signature;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::embedding::Embedding;
pub use crate::embedding::OutputKind;
use crate::names::ModelName;
pub use crate::tokenizer::SpecialTokens;
use crate::tokenizer::{Tokenizer, TokenizerError};
use crate::topology::Task;
pub use error::ModelError;
pub use head::{Curve, Head, Invariance, Layer, Measured};
pub use output::{Output, TermWeight, Terms, TokenVectors};
pub use query_weights::{QueryWeights, read as read_query_weights};
pub use signature::{SIGNATURE, check_signature};

/// File name of the manifest.
pub const MANIFEST: &str = "manifest.json";
/// File name of the tokenizer.
pub const TOKENIZER: &str = "tokenizer.json";
/// Version of the manifest that this code reads and writes.
pub const FORMAT: u32 = 1;

/// Everything about a staged model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this file, [`FORMAT`].
    pub format: u32,
    /// Name in subjects, consumers and vectors.
    pub name: ModelName,
    /// All that changes a vector.
    #[serde(flatten)]
    pub identity: Identity,
    /// Texts with the vectors that they must have, on any device.
    pub golden: Vec<Golden>,
    /// What staging has measured of the model on its device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
    /// Digest of [`Identity`].
    pub fingerprint: Digest,
}

/// All that changes a vector, and nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// What the model is used for.
    pub task: Task,
    /// Path of the ONNX graph in the directory.
    pub onnx: String,
    /// Every staged file by its path in the directory.
    pub files: BTreeMap<String, StagedFile>,
    /// How token vectors become one vector.
    pub pooling: Pooling,
    /// Whether vectors are scaled to length 1.
    pub normalize: bool,
    /// Texts put in front of the input.
    pub prefixes: Prefixes,
    /// Longest input in tokens, special tokens included.
    pub max_tokens: usize,
    /// Length of a vector: for a rescorer, the number of labels; for sparse vectors, the size of the vocabulary; for
    /// multivectors, the length of each token's vector.
    pub dimensions: usize,
    /// Element type of the graph's weights.
    pub dtype: Dtype,
    /// How logits become scores; used by rescorers only.
    #[serde(default)]
    pub activation: Activation,
    /// Names of the labels in the order of their scores; empty for embedding models and for a single label.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// What makes more of token vectors than `pooling` and `normalize` say; nothing for most models.
    #[serde(flatten)]
    pub head: Head,
    /// What a special token is that is written in a text.
    #[serde(default, skip_serializing_if = "SpecialTokens::are_tokens")]
    pub special_tokens: SpecialTokens,
    /// Which kind of vectors the model makes, and how.
    #[serde(default, skip_serializing_if = "Output::is_dense")]
    pub output: Output,
}

/// Size and digest of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    /// Size in bytes.
    pub bytes: u64,
    /// Digest of the content.
    pub sha256: Digest,
}

/// How token vectors become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The vector of the first token.
    Cls,
    /// The mean over all tokens that are not padding.
    Mean,
    /// The vector of the last token that is not padding.
    LastToken,
    /// The largest value of each dimension over all tokens that are not padding.
    Max,
    /// The sum over all tokens that are not padding, by the square root of their number.
    MeanSqrtLen,
    /// The mean over all tokens that are not padding, each weighted by its place from 1 on.
    WeightedMean,
    /// The graph pools by itself: its output has one row per text.
    Graph,
}

/// Element type of a graph's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// 32-bit floats.
    Fp32,
    /// 16-bit floats.
    Fp16,
    /// Signed or unsigned bytes with scales.
    Int8,
    /// 16-bit floats with the range of 32-bit ones.
    Bf16,
    /// Blocks of 4-bit integers with a scale each.
    Int4,
}

/// How logits become scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Logits as they are.
    #[default]
    Raw,
    /// 1 / (1 + e^-x), each label by itself.
    Sigmoid,
    /// Softmax over the labels.
    Softmax,
}

/// Texts put in front of the input, empty for most models.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefixes {
    /// In front of a query.
    pub query: String,
    /// In front of a document's chunk.
    pub document: String,
}

/// A text with the vector, or a pair with the scores, that it must have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Golden {
    /// The query of a pair, without prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The text, without prefix.
    pub text: String,
    /// Its vector, or its score for each label, as measured when the model was staged.
    pub vector: Embedding,
}

impl Identity {
    /// Digest of all that changes a vector: of its JSON, whose order of fields is fixed by this type.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        let json = serde_json::to_vec(self).expect("an identity has only string keys");
        Digest::of(&json)
    }
}

impl Manifest {
    /// Makes the manifest of a model.
    #[must_use]
    pub fn new(name: ModelName, identity: Identity, golden: Vec<Golden>) -> Self {
        let fingerprint = identity.fingerprint();
        Self {
            format: FORMAT,
            name,
            identity,
            golden,
            measured: None,
            fingerprint,
        }
    }

    /// Reads the manifest of a staged model; the weights are checked by [`Manifest::verify`].
    ///
    /// # Errors
    /// [`ModelError`], all but `Altered` and those of signatures.
    pub fn load(directory: &Path) -> Result<Self, ModelError> {
        Self::load_signed(directory, None)
    }

    /// Reads the manifest of a staged model. With a minisign public key in the file `key`, only one that is signed with
    /// it: the signature is that of the very bytes that are read.
    ///
    /// # Errors
    /// [`ModelError`], all but `Altered`.
    pub fn load_signed(directory: &Path, key: Option<&Path>) -> Result<Self, ModelError> {
        let path = directory.join(MANIFEST);
        let bytes = std::fs::read(&path).map_err(|source| ModelError::Read {
            path: path.clone(),
            source,
        })?;
        if let Some(key) = key {
            signature::check_signed(directory, &bytes, key)?;
        }
        let manifest: Self =
            serde_json::from_slice(&bytes).map_err(|source| ModelError::Manifest {
                path: path.clone(),
                source,
            })?;
        manifest.check(path)
    }

    fn check(self, path: PathBuf) -> Result<Self, ModelError> {
        let computed = self.identity.fingerprint();
        if self.format != FORMAT {
            return Err(ModelError::Format {
                path,
                found: self.format,
            });
        }
        if computed != self.fingerprint {
            return Err(ModelError::Fingerprint {
                path,
                found: self.fingerprint,
                computed,
            });
        }
        let identity = &self.identity;
        let layers = identity.head.layers.iter().filter_map(Layer::weights);
        let named = layers.chain([identity.onnx.as_str()]);
        let staged = identity.files.keys().map(String::as_str);
        let outside = staged.chain(named).find(|file| !stays_inside(file));
        match outside.map(str::to_owned) {
            Some(file) => Err(ModelError::Escapes { path, file }),
            None => Ok(self),
        }
    }

    /// Compares every staged file with its digest. Reads all weights once.
    ///
    /// # Errors
    /// [`ModelError::Read`] or [`ModelError::Altered`] for the first file that is not what was staged.
    pub fn verify(&self, directory: &Path) -> Result<(), ModelError> {
        let mut files = self.identity.files.iter();
        files.try_for_each(|(file, expected)| expected.verify(&directory.join(file)))
    }

    /// Compares the tokenizer with its digest, for who needs no weights.
    ///
    /// # Errors
    /// [`ModelError::Read`] or [`ModelError::Altered`].
    pub fn verify_tokenizer(&self, directory: &Path) -> Result<(), ModelError> {
        let tokenizer = self.identity.files.get(TOKENIZER);
        tokenizer.map_or(Ok(()), |expected| {
            expected.verify(&directory.join(TOKENIZER))
        })
    }

    /// Digest of all that turns a document's text into token ids. Ids may travel in a job only between programs
    /// that agree on it.
    #[must_use]
    pub fn tokenization(&self) -> Digest {
        let tokenizer = self.identity.files.get(TOKENIZER);
        let tokenizer = tokenizer.map_or("", |file| file.sha256.as_str());
        let prefix = &self.identity.prefixes.document;
        // Where they are tokens the digest is the one of manifests that do not say so.
        let special = match self.identity.special_tokens {
            SpecialTokens::Token => "",
            SpecialTokens::Text => "\nspecial tokens are text",
        };
        Digest::of(format!("{tokenizer}\n{prefix}{special}").as_bytes())
    }

    /// How far a similarity may change by the neighbours of a text alone, as staging has measured it; 0 for a model whose last
    /// digits are all that changes, and for one that nobody has measured.
    #[must_use]
    pub fn noise(&self) -> f64 {
        const LAST_DIGITS: f64 = 1e-4;
        let measured = self.measured.as_ref().map(|it| it.invariance);
        let noise = match measured {
            Some(Invariance::Cosine(cosine)) => 1.0 - f64::from(cosine),
            Some(Invariance::Difference(difference)) => f64::from(difference),
            None => 0.0,
        };
        if noise > LAST_DIGITS { noise } else { 0.0 }
    }

    /// Whether documents may be written with the vectors of the model: a collection has a primary vector, by which its
    /// documents are compared and moved between generations, and only a dense one is such a vector.
    ///
    /// # Errors
    /// [`ModelError::Rescorer`], [`ModelError::NotDense`].
    pub fn check_primary(&self) -> Result<(), ModelError> {
        let (name, kind) = (self.name.clone(), self.identity.output.kind());
        match (self.identity.task, kind) {
            (Task::Rescore, _) => Err(ModelError::Rescorer { name }),
            (Task::Embed, OutputKind::Dense) => Ok(()),
            (Task::Embed, OutputKind::Sparse | OutputKind::Multi) => {
                Err(ModelError::NotDense { name, kind })
            }
        }
    }

    /// Loads the tokenizer of the model in `directory`, as its texts are to be tokenized.
    ///
    /// # Errors
    /// [`TokenizerError`].
    pub fn tokenizer(&self, directory: &Path) -> Result<Tokenizer, TokenizerError> {
        Tokenizer::load_with(&directory.join(TOKENIZER), self.identity.special_tokens)
    }
}

impl StagedFile {
    /// Measures a file.
    ///
    /// # Errors
    /// [`ModelError::Read`].
    pub fn of(path: &Path) -> Result<Self, ModelError> {
        let measure = || {
            let metadata = std::fs::metadata(path)?;
            // Whoever opens a pipe waits for its other end.
            if !metadata.is_file() {
                return Err(io::Error::other("it is no regular file"));
            }
            let (file, bytes) = (File::open(path)?, metadata.len());
            Ok(Self {
                bytes,
                sha256: Digest::of_reader(file)?,
            })
        };
        measure().map_err(|source| ModelError::Read {
            path: path.to_owned(),
            source,
        })
    }

    /// Whether a file is still this one. Reads all of it.
    ///
    /// # Errors
    /// [`ModelError::Read`] or [`ModelError::Altered`].
    pub fn verify(&self, path: &Path) -> Result<(), ModelError> {
        let found = Self::of(path)?;
        if found == *self {
            return Ok(());
        }
        Err(ModelError::Altered {
            path: path.to_owned(),
            expected_bytes: self.bytes,
            expected: self.sha256.clone(),
            found_bytes: found.bytes,
            found: found.sha256,
        })
    }
}

fn stays_inside(file: &str) -> bool {
    use std::path::Component;
    !file.is_empty()
        && Path::new(file)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
}
