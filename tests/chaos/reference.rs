//! Reference: the vectors that texts have where nothing fails, from the same engine in this process.

use std::path::Path;
use std::time::Instant;

use contract::embedding::Embedding;
use contract::tokenizer::Tokenizer;
use fixtures::stack::Tools;
use runtime::model_dir::ModelDir;
use worker::batch::{Reading, RowKey};
use worker::config::{ModelConfig, Provider, SessionConfig};
use worker::load::load;
use worker::plan::{Row, fill};
use worker::session::{Engine as _, Session};

#[derive(Debug)]
pub(crate) struct Reference {
    session: Session,
    tokenizer: Tokenizer,
    prefix: String,
}

impl Reference {
    /// Loads the model that the workers run.
    ///
    /// # Errors
    /// If it does not load.
    pub(crate) fn load(tools: &Tools, model: &Path) -> anyhow::Result<Self> {
        let staged = ModelDir {
            model: model.to_owned(),
            public_key: None,
        };
        let model = ModelConfig {
            staged,
            fingerprint: None,
        };
        let session = SessionConfig {
            onnxruntime: tools.runtime.onnxruntime.clone(),
            provider: Provider::Cpu,
            precision: None,
            device_id: 0,
            threads: None,
            sessions: None,
        };
        let loaded = load(&model, &session, Instant::now())?;
        Ok(Self {
            session: loaded.session,
            tokenizer: loaded.texts.tokenizer,
            prefix: loaded.manifest.identity.prefixes.document,
        })
    }

    /// Embeds a text alone.
    ///
    /// # Errors
    /// If the engine fails.
    pub(crate) fn vector(&mut self, text: &str) -> anyhow::Result<Vec<f32>> {
        let token_ids = self.tokenizer.encode(&format!("{}{text}", self.prefix))?;
        let key = RowKey { job: 0, row: 0 };
        let tensor = fill(
            &[Row {
                key,
                token_ids,
                type_ids: Vec::new(),
                reading: Reading::default(),
            }],
            self.tokenizer.padding_id(),
        );
        let vectors = self.session.run(&tensor)?;
        let vector = vectors.into_iter().next().and_then(Embedding::into_dense);
        Ok(vector.unwrap_or_default())
    }
}
