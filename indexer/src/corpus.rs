//! Corpus: the documents of sources, read and cut on threads of their own, for verbs that look at each before they
//! publish it.

use std::thread::JoinHandle;

use contract::digest::Digest;
use contract::names::CollectionName;
use tokio::sync::mpsc;

use crate::chunk::Chunker;
use crate::extract::ExtractOptions;
use crate::pack::{Heading, Packer};
use crate::read::{Event, read};
use crate::source::{Format, Sources};

/// Events between the reading threads and whoever takes them.
pub(crate) const READ_AHEAD: usize = 16;

/// A corpus that can be read from its beginning.
pub(crate) struct Corpus<'a> {
    pub(crate) sources: &'a [String],
    pub(crate) extract: ExtractOptions,
    /// Where its documents go.
    pub(crate) collection: CollectionName,
    /// What makes the token ids.
    pub(crate) tokenization: Digest,
    /// Version of its documents, in microseconds since the epoch.
    pub(crate) version: u64,
    /// Tokens of the jobs that documents are cut for: a slice of a document fits a job.
    pub(crate) job_tokens: usize,
}

/// A corpus that is being read.
pub(crate) struct Reader(JoinHandle<()>);

impl Corpus<'_> {
    /// Starts to read. Dropping the receiver ends it early.
    pub(crate) fn read(&self, chunker: Chunker) -> anyhow::Result<(mpsc::Receiver<Event>, Reader)> {
        let sources = open(self.sources)?;
        let (events, incoming) = mpsc::channel(READ_AHEAD);
        let reader = read(sources, self.extract, chunker, self.packer(), events);
        Ok((incoming, Reader(reader)))
    }

    /// Cuts documents into slices that fit a job.
    pub(crate) fn packer(&self) -> Packer {
        let heading = Heading {
            collection: self.collection.clone(),
            tokenization: self.tokenization.clone(),
            version: self.version,
            run: None,
        };
        Packer::new(heading, self.job_tokens)
    }
}

impl Reader {
    /// Waits for its end, which comes soon after the receiver has got everything or is dropped.
    ///
    /// # Errors
    /// If a thread died: what was read is not all then.
    pub(crate) async fn ended(self) -> anyhow::Result<()> {
        let died = tokio::task::spawn_blocking(move || self.0.join().is_err()).await?;
        anyhow::ensure!(!died, "a reading thread died; run it again to go on");
        Ok(())
    }
}

/// Understands source arguments.
pub(crate) fn open(sources: &[String]) -> anyhow::Result<Sources> {
    Sources::open(sources, Format::Jsonl)
        .map_err(|mut errors| anyhow::Error::from(errors.remove(0)))
}
