//! Extract: what would be indexed, chunk by chunk, and a ledger of what was read, what became text and what was left out.
//! No server is asked, and nothing is published.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use contract::tokenizer::Tokenizer;
use documents::chunk::{ChunkOptions, Chunker};
use documents::extract::isolated::Program;
use documents::extract::{ExtractOptions, Extractor};
use documents::source::{Format, MAX_ID_BYTES, Naming, Sources};
use runtime::model_dir::ModelDir;
use runtime::settings::{ConfigFault, identifier};
use tokio::sync::mpsc;

use crate::corpus::{Chunking, open, source_faults};
use crate::outcome::shown;
use file::File;

mod file;
pub(crate) mod show;

/// Longest chunk in words, where no model says how many tokens it takes.
const CHUNK_WORDS: usize = 200;
/// Parts of the output that wait for their reader.
const SHOWN_AHEAD: usize = 64;

#[derive(Args, Clone, Debug)]
pub struct ExtractConfig {
    /// Files, directories, globs, URLs of objects or prefixes (s3, gs, az, abfs, http, https), or `-` for standard input
    #[arg(required = true)]
    pub sources: Vec<String>,
    /// Format of standard input
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    pub format: Format,
    /// Id of standard input, where that is one document
    #[arg(long, default_value = "stdin", value_parser = identifier)]
    pub id: String,
    /// What the ids of documents that are whole files begin with
    #[arg(long, value_parser = identifier)]
    pub id_prefix: Option<String>,
    /// Show no chunks: of each file, how much was read, what became text, and what was left out
    #[arg(long)]
    pub ledger: bool,
    /// Print JSON objects, one on each line, with a `kind`: document, chunk, refused, file, and total at the end
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub chunking: Chunking,
    #[command(flatten)]
    pub extract: ExtractOptions,
    /// Directory of a staged model, made by `worker stage`, whose tokens are counted; without it, words are
    #[arg(long, env = "EBB_MODEL", help_heading = "Model")]
    pub model: Option<PathBuf>,
    /// File with the minisign public key with which models must be signed; without it, no signature is looked at
    #[arg(long, env = "EBB_PUBLIC_KEY", help_heading = "Model")]
    pub public_key: Option<PathBuf>,
}

/// What a chunk is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Tokens,
    Words,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Words => "words",
        }
    }
}

impl ExtractConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.chunking.faults();
        faults.extend(self.model_dir().iter().flat_map(ModelDir::faults));
        if !(1..=MAX_ID_BYTES).contains(&self.id.len()) {
            let problem = format!("must have 1 to {MAX_ID_BYTES} bytes");
            faults.push(ConfigFault::new("--id", problem));
        }
        faults.extend(source_faults(&self.sources, self.format));
        faults
    }

    fn model_dir(&self) -> Option<ModelDir> {
        Some(ModelDir {
            model: self.model.clone()?,
            public_key: self.public_key.clone(),
        })
    }

    /// Cuts as `publish` does with the model; without one, by words.
    fn chunker(&self) -> anyhow::Result<(Chunker, Unit)> {
        if let Some(model) = self.model_dir() {
            let manifest = model.embedding()?;
            return Ok((self.chunking.chunker(&manifest, &model)?, Unit::Tokens));
        }
        let words = self.chunking.chunk_tokens.unwrap_or(CHUNK_WORDS);
        let options = ChunkOptions {
            max_tokens: words,
            target_tokens: None,
            overlap_tokens: self.chunking.overlap_tokens,
            prefix: String::new(),
            context: !self.chunking.no_context,
        };
        let chunker = Chunker::new(Tokenizer::of_words(), options)?;
        Ok((chunker, Unit::Words))
    }

    fn sources(&self) -> anyhow::Result<Sources> {
        let naming = Naming {
            stdin_id: Some(self.id.clone()),
            prefix: self.id_prefix.clone().unwrap_or_default(),
        };
        Ok(open(&self.sources, self.format)?.named(naming))
    }
}

/// Shows all sources; the exit code is 1 if anything would be refused.
pub async fn extract(
    config: &ExtractConfig,
    out: &mut crate::outcome::output::Output,
) -> anyhow::Result<ExitCode> {
    let (chunker, unit) = config.chunker()?;
    let (send, mut shown_parts) = mpsc::channel(SHOWN_AHEAD);
    let reading = Reading {
        sources: config.sources()?,
        extractor: Extractor::new(config.extract.clone(), Program::Own),
        chunker,
        view: show::View {
            json: config.json,
            ledger: config.ledger,
            unit,
        },
        seen: HashSet::new(),
        out: send,
    };
    // Files are read with calls that wait, as those of object stores do.
    let reading = tokio::task::spawn_blocking(move || reading.perform());
    while let Some(part) = shown_parts.recv().await {
        use std::io::Write as _;
        let part: String = part;
        match config.json {
            true => out.write_all(part.as_bytes())?,
            false => out.write_all(shown(&part).as_bytes())?,
        }
        if out.is_closed() {
            break;
        }
    }
    drop(shown_parts);
    let refused = reading.await.context("the reading thread died")??;
    Ok(match refused {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// A reading under way, on a thread that may wait.
struct Reading {
    sources: Sources,
    extractor: Extractor,
    chunker: Chunker,
    view: show::View,
    /// The identities of all documents.
    seen: HashSet<u128>,
    out: mpsc::Sender<String>,
}

impl Reading {
    /// Gives the number of refusals.
    fn perform(mut self) -> anyhow::Result<u64> {
        let mut total = File::default();
        if !self.say(self.view.head()) {
            return Ok(0);
        }
        while let Some(input) = self.sources.next() {
            let (mut file, path) = match &input {
                Ok(input) => (File::default(), input.origin().to_string()),
                Err(_) => (File::default(), String::new()),
            };
            let listening = match input {
                Ok(input) => {
                    let mut documents = self.extractor.extract(input);
                    documents.try_for_each(|document| {
                        let document = document.map_err(Into::into);
                        self.document(document, &mut file)
                    })
                }
                Err(error) => self.document(Err(error.into()), &mut file),
            };
            let passed = self.extractor.take_passed_over();
            file.account.dropped.absorb(&passed);
            let heard = !path.is_empty() && !self.say(self.view.file(&path, &file));
            total.absorb(file);
            if listening.is_none() || heard {
                return Ok(total.refused);
            }
        }
        total.skipped = self.sources.skipped() + self.extractor.skipped();
        self.say(self.view.total(&total)?);
        Ok(total.refused)
    }

    /// Whether anybody listens.
    fn say(&self, part: String) -> bool {
        part.is_empty() || self.out.blocking_send(part).is_ok()
    }
}
