//! Comparer: the source, and the collection that it is compared with.

use anyhow::Context as _;
use contract::model::Manifest;
use contract::names::CollectionName;
use contract::topology::{Lane, Priority, Task};
use points::collection;
use points::selection::VectorSelection;
use points::{Points, Qdrant};
use tokio::sync::mpsc;

use super::claim::SourceIdentities;
use super::config::Comparison;
use crate::clock::now_micros;
use crate::corpus::read::Event;
use crate::corpus::{Corpus, ReadingThreads, wait_for_stores};
use crate::generation::alias;
use crate::generation::collection::look_up;
use crate::jobs::JobTemplate;
use documents::extract::Extractor;
use documents::extract::isolated::Program;
use documents::source::{Format, Naming};

/// The source and the collection that it is compared with.
pub struct Comparer<'a> {
    pub config: &'a Comparison,
    pub manifest: Manifest,
    pub qdrant: &'a Qdrant,
    pub serving: CollectionName,
    /// The vector of the model.
    pub selection: VectorSelection,
    /// The start, in microseconds since the epoch.
    pub version: u64,
}

impl<'a> Comparer<'a> {
    /// Looks at the collection behind the alias. What happens after this is newer than the source.
    pub async fn open(config: &'a Comparison, qdrant: &'a Qdrant) -> anyhow::Result<Self> {
        let skew = u64::try_from(config.clock_skew.as_micros()).unwrap_or(u64::MAX);
        wait_for_stores(&config.sources, config.servers.wait.wait()).await;
        let version = now_micros().saturating_sub(skew).max(1);
        let manifest = config.model.embedding()?;
        let serving = alias::target(qdrant, &config.alias).await?;
        let info = look_up(qdrant, &serving).await?;
        let info = info.with_context(|| format!("collection `{serving}` is gone"))?;
        let same = collection::check(&serving, &info, &manifest);
        same.context("a sync keeps the model of a collection; `indexer rebuild` changes it")?;
        let selection = VectorSelection::of(&info, vec![manifest.name.to_string()]);
        Ok(Self {
            config,
            manifest,
            qdrant,
            serving,
            selection,
            version,
        })
    }

    pub fn target(&self) -> Points<'_> {
        Points::new(self.qdrant, &self.serving)
    }

    pub fn lane(&self, priority: Priority) -> Lane {
        Lane::new(Task::Embed, self.manifest.name.clone(), priority)
    }

    /// What the jobs of a run have in common. They name the alias, as those of all publishers do.
    pub fn template(&self, run: Option<String>) -> JobTemplate {
        JobTemplate::of(&self.manifest, self.config.alias.clone(), run)
    }

    pub async fn claim(&self) -> anyhow::Result<SourceIdentities> {
        let (sources, extract) = (self.config.sources.clone(), self.config.extract.clone());
        // A mail has to be read to know what is attached to it.
        let extractor = Extractor::new(extract, Program::Own);
        tokio::task::spawn_blocking(move || SourceIdentities::by(&sources, &extractor)).await?
    }

    pub fn corpus(&self) -> anyhow::Result<(mpsc::Receiver<Event>, ReadingThreads)> {
        let config = self.config;
        let corpus = Corpus {
            sources: &config.sources,
            stdin: Format::Jsonl,
            naming: Naming::default(),
            extract: config.extract.clone(),
            collection: config.alias.clone(),
            tokenization: self.manifest.tokenization(),
            version: self.version,
            job_tokens: config.chunking.job_tokens,
            refuses_repeated: false,
        };
        corpus.read(config.chunking.chunker(&self.manifest, &config.model)?)
    }

    /// Whether documents may be deleted as far as the source could be read.
    pub fn may_remove(&self, claimed: &SourceIdentities) -> bool {
        claimed.hidden <= self.config.max_refused
    }
}
