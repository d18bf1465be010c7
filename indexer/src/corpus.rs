//! Corpus: the documents of sources, read and cut into jobs on threads of their own.

use std::collections::{BTreeSet, HashSet};
use std::thread::JoinHandle;

use clap::Args;
use contract::digest::Digest;
use contract::model::Manifest;
use contract::names::CollectionName;
use runtime::object_stores::{StoreLocation, is_url, wait_for_store};
use runtime::settings::ConfigFault;
use runtime::wait::Wait;
use tokio::sync::mpsc;

use crate::config::ModelDir;
use crate::jobs::{DocumentPacker, JOB_TOKENS, JobTemplate};
use documents::chunk::{ChunkOptions, Chunker};
use documents::extract::isolated::Program;
use documents::extract::{ExtractOptions, Extractor};
use documents::source::{Format, Naming, Sources};
use read::{Event, Packing, read};

pub mod account;
pub mod read;
pub mod seen;

/// Events between the reading threads and whoever takes them.
pub const READ_AHEAD: usize = 32;

/// How documents become chunks and jobs.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Chunks")]
pub struct Chunking {
    /// Longest chunk in tokens; by default the model's limit
    #[arg(long)]
    pub chunk_tokens: Option<usize>,
    /// Tokens that a chunk repeats from the end of the one before it
    #[arg(long, default_value_t = 0)]
    pub overlap_tokens: usize,
    /// Embed chunks without the title and headings above them
    #[arg(long)]
    pub no_context: bool,
    /// Tokens of a job
    #[arg(long, default_value_t = JOB_TOKENS)]
    pub job_tokens: usize,
}

impl Chunking {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let fault = ConfigFault::new("--job-tokens", "must be at least 1");
        (self.job_tokens == 0)
            .then_some(fault)
            .into_iter()
            .collect()
    }

    pub fn chunker(&self, manifest: &Manifest, model: &ModelDir) -> anyhow::Result<Chunker> {
        let tokenizer = manifest.tokenizer(&model.model)?;
        let options = ChunkOptions {
            max_tokens: manifest.identity.max_tokens,
            target_tokens: self.chunk_tokens,
            overlap_tokens: self.overlap_tokens,
            prefix: manifest.identity.prefixes.document.clone(),
            context: !self.no_context,
        };
        Ok(Chunker::new(tokenizer, options)?)
    }

    /// Whether anything is said about how documents are cut.
    pub fn is_set(&self) -> bool {
        self.chunk_tokens.is_some() || self.overlap_tokens > 0 || self.no_context
    }
}

/// A corpus that can be read from its beginning.
#[derive(Debug)]
pub struct Corpus<'a> {
    pub sources: &'a [String],
    /// Format of standard input, where that is a source.
    pub stdin: Format,
    pub naming: Naming,
    pub extract: ExtractOptions,
    pub collection: CollectionName,
    /// Digest of the tokenizer that makes the token ids.
    pub tokenization: Digest,
    /// Version of its documents, in microseconds since the epoch.
    pub version: u64,
    /// Tokens of the jobs that documents are cut for: a slice of a document fits a job.
    pub job_tokens: usize,
    /// Whether a document whose id came before is refused here; else whoever takes the jobs has to look.
    pub refuses_repeated: bool,
}

/// The threads that read a corpus.
#[derive(Debug)]
pub struct ReadingThreads(JoinHandle<()>);

impl Corpus<'_> {
    /// Starts to read. Dropping the receiver ends it early.
    pub fn read(
        &self,
        chunker: Chunker,
    ) -> anyhow::Result<(mpsc::Receiver<Event>, ReadingThreads)> {
        let sources = open(self.sources, self.stdin)?.named(self.naming.clone());
        let (events, incoming) = mpsc::channel(READ_AHEAD);
        let extractor = Extractor::new(self.extract.clone(), Program::Own);
        let packing = Packing {
            packer: self.packer(),
            seen: self.refuses_repeated.then(HashSet::new),
        };
        let reader = read(sources, extractor, chunker, packing, events);
        Ok((incoming, ReadingThreads(reader)))
    }

    /// Cuts documents into slices that fit a job.
    pub fn packer(&self) -> DocumentPacker {
        let template = JobTemplate {
            collection: self.collection.clone(),
            tokenization: Some(self.tokenization.clone()),
            fingerprint: None,
            run: None,
        };
        DocumentPacker::new(template, self.version, self.job_tokens)
    }
}

impl ReadingThreads {
    /// Waits for the end of the threads, which comes soon after the receiver has got everything or is dropped.
    ///
    /// # Errors
    /// If a thread died: what was read is not all then.
    pub async fn ended(self) -> anyhow::Result<()> {
        let died = tokio::task::spawn_blocking(move || self.0.join().is_err()).await?;
        anyhow::ensure!(!died, "a reading thread died; run it again to go on");
        Ok(())
    }
}

/// Waits for the object stores among sources, each once.
pub async fn wait_for_stores(sources: &[String], wait: Wait) {
    let urls = sources.iter().filter(|source| is_url(source));
    let mut asked = BTreeSet::new();
    for place in urls.filter_map(|url| StoreLocation::of_url(url).ok()) {
        if asked.insert(place.base.clone()) {
            wait_for_store(&*place.store, &place.path, &place.base, wait).await;
        }
    }
}

/// Understands source arguments, or says what is wrong with the first that cannot be understood.
pub fn open(sources: &[String], stdin: Format) -> anyhow::Result<Sources> {
    Sources::open(sources, stdin).map_err(|mut errors| anyhow::Error::from(errors.remove(0)))
}

pub fn source_faults(sources: &[String], stdin: Format) -> Vec<ConfigFault> {
    let errors = Sources::open(sources, stdin).err().unwrap_or_default();
    let problems = errors.iter().map(ToString::to_string);
    problems
        .map(|problem| ConfigFault::new("SOURCE", problem))
        .collect()
}
