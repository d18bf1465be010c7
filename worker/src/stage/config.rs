//! Settings of `worker stage`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use contract::digest::Digest;
use contract::model::{Activation, OutputKind, Pooling, SpecialTokens};
use contract::names::ModelName;
use runtime::settings::{ConfigFault, identifier, unreadable};
use runtime::wait::WaitConfig;

use super::output::QueryTerms;
use super::quantize::Quantization;
use super::source::Source;
use crate::calibrate::CalibrateConfig;
use crate::config::SessionConfig;

/// The form in which a model is staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StagedAs {
    /// A directory, for a shared volume
    Directory,
    /// That, and beside it an image in the layout of OCI, one layer for each file, for `crane push` or `skopeo copy`
    Oci,
}

/// Settings of `worker stage`.
#[derive(Args, Clone, Debug)]
pub struct StageConfig {
    /// Model in the Hugging Face layout, or one that was staged before: a directory, an http(s) or s3 URL of one, or
    /// `hf://ORGANIZATION/NAME[@REVISION]`. Credentials and endpoints come from the environment: AWS_*, HF_TOKEN,
    /// HF_ENDPOINT
    pub source: String,
    /// Directory of staged models
    #[arg(long, env = "EBB_MODELS")]
    pub models: PathBuf,
    /// Name of the model in subjects, consumers and vectors
    #[arg(long)]
    pub name: ModelName,
    /// Fingerprint that the model must have; nothing is staged if it has another, nothing is fetched if it is there
    #[arg(long, env = "EBB_FINGERPRINT")]
    pub fingerprint: Option<Digest>,
    /// File with minisign's signature of the manifest, to be put beside it
    #[arg(long, requires = "public_key")]
    pub signature: Option<PathBuf>,
    /// File with the minisign public key with which the manifest must be signed
    #[arg(long, env = "EBB_PUBLIC_KEY")]
    pub public_key: Option<PathBuf>,
    /// How long to measure the size of tensors on this device, where nobody has; 0s for not at all
    #[arg(long, env = "EBB_CALIBRATE", default_value = "6s", value_parser = humantime::parse_duration)]
    pub calibrate: Duration,
    /// Most bytes to download
    #[arg(long, env = "EBB_MAX_DOWNLOAD_BYTES", default_value_t = 20 << 30)]
    pub max_download_bytes: u64,
    /// In which form the model is put there
    #[arg(long, value_enum, default_value_t = StagedAs::Directory)]
    pub layout: StagedAs,
    /// Graph to use, relative to the model directory, like onnx/model_q4f16.onnx; --file is the same
    #[arg(long, alias = "file", value_parser = identifier)]
    pub onnx: Option<String>,
    /// Make a smaller model of the graph, which must be in 32-bit floats; what that costs is measured and printed
    #[arg(long, value_enum)]
    pub quantize: Option<Quantization>,
    /// What the cost is measured with, in the shape of BEIR: a directory with corpus.jsonl, queries.jsonl and one
    /// qrels/*.tsv; by default 37 questions about Ebb's own documents, in English
    #[arg(long, requires = "quantize")]
    pub golden_set: Option<PathBuf>,
    /// Most nDCG@10 that a smaller embedding model may lose, 0 to 1
    #[arg(long, requires = "quantize", default_value_t = CalibrateConfig::MAX_NDCG_LOSS)]
    pub max_ndcg_loss: f64,
    /// Which kind of vectors the model makes, where the directory does not say
    #[arg(long, value_enum)]
    pub kind: Option<OutputKind>,
    /// Sparse vectors: a term has to weigh more than this
    #[arg(long)]
    pub term_threshold: Option<f32>,
    /// Sparse vectors: most terms of a text, of which the heaviest are kept; by default 1024
    #[arg(long)]
    pub max_terms: Option<usize>,
    /// Sparse vectors: what makes the terms of queries; by default the table where the directory has `idf.json`, else the model
    #[arg(long, value_enum)]
    pub query_terms: Option<QueryTerms>,
    /// Multivectors: most tokens of a query, in place of what the directory says
    #[arg(long)]
    pub query_tokens: Option<usize>,
    /// How token vectors become one vector, in place of what the directory says
    #[arg(long, value_enum)]
    pub pooling: Option<Pooling>,
    /// Whether vectors are scaled to length 1, in place of what the directory says
    #[arg(long)]
    pub normalize: Option<bool>,
    /// How logits of a rescorer become scores, in place of what the directory says; where it says nothing, sigmoid for
    /// one label and softmax for several
    #[arg(long, value_enum)]
    pub activation: Option<Activation>,
    /// Longest input in tokens, in place of what the directory says
    #[arg(long)]
    pub max_tokens: Option<usize>,
    /// Leading dimensions to keep of a Matryoshka model
    #[arg(long)]
    pub dimensions: Option<usize>,
    /// Text in front of each query, in place of what the directory says; empty for none
    #[arg(long, alias = "query-prefix")]
    pub query_prompt: Option<String>,
    /// Text in front of each chunk of a document, in place of what the directory says; empty for none
    #[arg(long, alias = "document-prefix")]
    pub document_prompt: Option<String>,
    /// What a special token is that is written in a text, like `[SEP]` or `</s>`; by default text for a rescorer and a token
    /// for an embedding model, as other programs have it. Take text where not all who publish are trusted
    #[arg(long, value_enum)]
    pub special_tokens: Option<SpecialTokens>,
    #[command(flatten)]
    pub session: SessionConfig,
    #[command(flatten)]
    pub wait: WaitConfig,
}

impl StageConfig {
    /// Everything that is wrong with these settings.
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.session.faults();
        if let Err(problem) = Source::parse(&self.source) {
            faults.push(ConfigFault::new("SOURCE", problem));
        }
        faults.extend(unreadable("--public-key", self.public_key.as_ref()));
        faults.extend(unreadable("--signature", self.signature.as_ref()));
        if self.max_tokens.is_some_and(|tokens| tokens < 3) {
            faults.push(ConfigFault::new("--max-tokens", "must be at least 3"));
        }
        if !(0.0..=1.0).contains(&self.max_ndcg_loss) {
            let problem = format!("`{}` is not 0 to 1", self.max_ndcg_loss);
            faults.push(ConfigFault::new("--max-ndcg-loss", problem));
        }
        if let Some(set) = self.golden_set.as_ref().filter(|set| !set.is_dir()) {
            let problem = format!("`{}` is not a directory", set.display());
            faults.push(ConfigFault::new("--golden-set", problem));
        }
        let threshold = self.term_threshold;
        if threshold.is_some_and(|it| !it.is_finite() || it < 0.0) {
            let problem = format!(
                "`{}` is no number of at least 0",
                threshold.unwrap_or_default()
            );
            faults.push(ConfigFault::new("--term-threshold", problem));
        }
        if self.max_terms == Some(0) {
            faults.push(ConfigFault::new("--max-terms", "must be at least 1"));
        }
        if self.dimensions == Some(0) {
            faults.push(ConfigFault::new("--dimensions", "must be at least 1"));
        }
        faults
    }

    pub(super) fn says_no_prompt(&self) -> bool {
        self.query_prompt.is_none() && self.document_prompt.is_none()
    }

    /// Options that make another model of what the source holds.
    pub(super) fn changes(&self) -> Vec<&'static str> {
        let changes = [
            ("--onnx", self.onnx.is_some()),
            ("--quantize", self.quantize.is_some()),
            ("--kind", self.kind.is_some()),
            ("--term-threshold", self.term_threshold.is_some()),
            ("--max-terms", self.max_terms.is_some()),
            ("--query-terms", self.query_terms.is_some()),
            ("--query-tokens", self.query_tokens.is_some()),
            ("--pooling", self.pooling.is_some()),
            ("--normalize", self.normalize.is_some()),
            ("--activation", self.activation.is_some()),
            ("--max-tokens", self.max_tokens.is_some()),
            ("--dimensions", self.dimensions.is_some()),
            ("--query-prompt", self.query_prompt.is_some()),
            ("--document-prompt", self.document_prompt.is_some()),
            ("--special-tokens", self.special_tokens.is_some()),
        ];
        let given = changes.into_iter().filter(|(_, given)| *given);
        given.map(|(option, _)| option).collect()
    }
}
