//! Publish: sends the documents of sources as jobs, and says what became of each.
//!
//! A bounded window of jobs waits for its acknowledgements at any time. Each job's `Nats-Msg-Id` is the digest of
//! the job, version included, so that a publish that is repeated with the same `--version` is recognised by
//! JetStream, and a later publish of the same text is not: between the two, the document may have been deleted.

use std::io::{self, Write};

use async_nats::jetstream;
use bytes::Bytes;
use clap::Args;
use contract::digest::Digest;
use contract::job::MAX_VERSION;
use contract::names::CollectionName;
use contract::topology::{Lane, Priority, Task};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use indicatif::{ProgressBar, ProgressStyle};
use runtime::settings::{ConfigFault, identifier};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock::now_micros;
use crate::config::{ModelDir, Servers};
use crate::corpus::account::Account;
use crate::corpus::read::Event;
use crate::corpus::{Chunking, Corpus, source_faults, wait_for_stores};
use crate::generation::alias::warn_of_missing;
use crate::jobs::Packed;
use crate::jobs::store::{NotStored, store_as};
use crate::outcome::{Failure, Outcome, many, write_counts};
use documents::extract::ExtractOptions;
use documents::source::{Format, MAX_ID_BYTES, Naming};

/// Jobs that wait for their acknowledgement at any time.
pub const JOBS_IN_FLIGHT: usize = 64;
/// Jobs that are encoded before there is room in the window: at most a megabyte each.
const ENCODED_AHEAD: usize = 8;

#[derive(Args, Clone, Debug)]
pub struct PublishConfig {
    /// Files, directories, globs, URLs of objects or prefixes (s3, gs, az, abfs, http, https), or `-` for standard input
    #[arg(required = true)]
    pub sources: Vec<String>,
    /// Alias or collection that takes the documents
    #[arg(long, env = "EBB_COLLECTION", default_value = "docs")]
    pub collection: CollectionName,
    /// Lane of the jobs
    #[arg(long, value_enum, default_value_t = Priority::Live)]
    pub lane: Priority,
    /// Format of standard input
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    pub format: Format,
    /// Id of standard input, where that is one document
    #[arg(long, default_value = "stdin", value_parser = identifier)]
    pub id: String,
    /// What the ids of documents that are whole files begin with, such as `handbook/`: files of the same name in two folders
    /// would have the same id otherwise
    #[arg(long, value_parser = identifier)]
    pub id_prefix: Option<String>,
    /// Version of all documents, in microseconds since the epoch; now by default. Give the version of a publish that
    /// was interrupted to go on with it: jobs that are stored already are recognised for 20 minutes
    #[arg(long)]
    pub version: Option<u64>,
    /// Publish nothing; say what would be published, and what would be refused
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub chunking: Chunking,
    #[command(flatten)]
    pub extract: ExtractOptions,
    #[command(flatten)]
    pub model: ModelDir,
    #[command(flatten)]
    pub servers: Servers,
}

#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Published {
    /// Version that the documents got.
    pub version: u64,
    /// Whether nothing was published, because that was asked for.
    pub dry_run: bool,
    /// Documents in jobs.
    pub documents: u64,
    pub bytes: u64,
    pub chunks: u64,
    pub tokens: u64,
    /// Jobs that JetStream has stored.
    pub jobs: u64,
    /// Jobs that it had stored before.
    pub duplicates: u64,
    /// Documents, records and files that were refused; each was reported.
    pub refused: u64,
    /// Files that were passed over because of their extension.
    pub skipped: u64,
    /// What was read, what became text, and what was left out of documents that were published, by the reason.
    #[serde(flatten)]
    pub account: Account,
}

impl Outcome for Published {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let verb = match self.dry_run {
            true => "would publish",
            false => "published",
        };
        writeln!(
            out,
            "{verb} {}: {}, {}, {}, version {}",
            many(self.documents, "document"),
            many(self.chunks, "chunk"),
            many(self.tokens, "token"),
            many(self.jobs, "job"),
            self.version
        )?;
        let counts = [
            (self.duplicates, "jobs were stored already"),
            (self.refused, "documents, records or files were refused"),
            (
                self.skipped,
                "files have an unknown extension and were passed over",
            ),
        ];
        write_counts(&counts, out)?;
        self.account.write(out)
    }

    /// Somebody has to look at documents that were refused.
    fn is_failure(&self) -> bool {
        self.refused > 0
    }

    fn failure(&self) -> Failure {
        Failure::Refused
    }
}

impl PublishConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        faults.extend(self.model.faults());
        faults.extend(self.chunking.faults());
        if self
            .version
            .is_some_and(|version| version == 0 || version > MAX_VERSION)
        {
            faults.push(ConfigFault::new(
                "--version",
                format!("must be 1 to {MAX_VERSION}"),
            ));
        }
        if !(1..=MAX_ID_BYTES).contains(&self.id.len()) {
            let problem = format!("must have 1 to {MAX_ID_BYTES} bytes");
            faults.push(ConfigFault::new("--id", problem));
        }
        faults.extend(source_faults(&self.sources, self.format));
        faults
    }
}

/// Publishes all sources.
///
/// # Errors
/// If nothing can be published. Documents that are refused are reported and counted.
pub async fn publish(config: &PublishConfig) -> anyhow::Result<Published> {
    let manifest = config.model.embedding()?;
    let chunker = config.chunking.chunker(&manifest, &config.model)?;
    let version = config.version.unwrap_or_else(now_micros);
    let jetstream = match config.dry_run {
        true => None,
        false => Some(config.servers.jetstream().await?),
    };
    let corpus = Corpus {
        sources: &config.sources,
        stdin: config.format,
        naming: Naming {
            stdin_id: Some(config.id.clone()),
            prefix: config.id_prefix.clone().unwrap_or_default(),
        },
        extract: config.extract.clone(),
        collection: config.collection.clone(),
        tokenization: manifest.tokenization(),
        version,
        job_tokens: config.chunking.job_tokens,
        refuses_repeated: true,
    };
    let lane = Lane::new(Task::Embed, manifest.name, config.lane);
    wait_for_stores(&config.sources, config.servers.wait.wait()).await;
    let (incoming, reader) = corpus.read(chunker)?;
    let (encoded, encoding) = encode(incoming);
    let subject = lane.subject();
    let (published, ()) = tokio::join!(
        send_all(jetstream.as_ref(), &subject, encoded),
        warn_of_missing(&config.servers, &config.collection)
    );
    let died = encoding.await.is_err() || reader.ended().await.is_err();
    let published = Published {
        version,
        dry_run: config.dry_run,
        ..published.inspect_err(|_| hint(version))?
    };
    anyhow::ensure!(
        !died,
        "a reading thread died; run it again with --version {version}"
    );
    Ok(published)
}

fn hint(version: u64) {
    tracing::error!("publish interrupted; to go on where it stopped, add --version {version}");
}

/// Publishes what is read, a window of jobs at a time.
async fn send_all(
    jetstream: Option<&jetstream::Context>,
    subject: &str,
    mut events: mpsc::Receiver<Ready>,
) -> Result<Published, NotStored> {
    let mut published = Published::default();
    let progress = progress_bar();
    let mut window = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(stored) = window.next() => published.count_stored(stored?),
            event = events.recv(), if window.len() < JOBS_IN_FLIGHT => match event {
                Some(Ready::Job(job)) => {
                    published.chunks += job.chunks as u64;
                    published.tokens += job.tokens as u64;
                    window.push(send(jetstream, subject, job));
                }
                Some(Ready::Other(event)) => published.count(event, &progress),
                None => break,
            },
        }
        progress.set_position(published.documents);
        progress.set_message(format!(
            "{} chunks, {} tokens",
            published.chunks, published.tokens
        ));
    }
    while let Some(stored) = window.next().await {
        published.count_stored(stored?);
    }
    progress.finish_and_clear();
    Ok(published)
}

fn progress_bar() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{spinner} published {pos} documents, {msg} [{elapsed}]");
    ProgressBar::new_spinner()
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

impl Published {
    fn count_stored(&mut self, duplicate: bool) {
        self.jobs += u64::from(!duplicate);
        self.duplicates += u64::from(duplicate);
    }

    fn count(&mut self, event: Event, progress: &ProgressBar) {
        match event {
            Event::Document {
                read,
                text,
                dropped,
            } => {
                self.documents += 1;
                self.bytes += text.bytes;
                let ledger = dropped.as_deref().map(|(origin, ledger)| (origin, ledger));
                self.account.add(read, text, ledger);
                let Some((origin, ledger)) = dropped.map(|dropped| *dropped) else {
                    return;
                };
                if ledger.is_loss() {
                    progress.suspend(|| tracing::warn!("{origin}: {ledger}"));
                }
            }
            Event::Refused(error) => {
                self.refused += 1;
                let error = anyhow::Error::from(error);
                progress.suspend(|| tracing::error!("refused: {error:#}"));
            }
            Event::Skipped(skipped) => {
                self.skipped += skipped.files;
                self.account.dropped.absorb(&skipped.parts);
            }
            Event::Job(_) => {}
        }
    }
}

/// Without JetStream it only counts.
async fn send(
    jetstream: Option<&jetstream::Context>,
    subject: &str,
    job: Encoded,
) -> Result<bool, NotStored> {
    let Some(jetstream) = jetstream else {
        return Ok(false);
    };
    let Encoded {
        payload,
        id,
        tokens,
        ..
    } = job;
    store_as(jetstream, subject, payload, tokens, id.as_str()).await
}

/// What reading gives, ready to be published.
enum Ready {
    Job(Encoded),
    Other(Event),
}

/// A job as JetStream gets it.
struct Encoded {
    payload: Bytes,
    /// The digest of the payload.
    id: Digest,
    tokens: usize,
    chunks: usize,
}

/// Turns jobs into the bytes and the id that JetStream gets, in their order and on a thread of its own, so that the task
/// that publishes does nothing but keep its window full. Ends early when the receiver is gone.
fn encode(mut events: mpsc::Receiver<Event>) -> (mpsc::Receiver<Ready>, JoinHandle<()>) {
    let (output, encoded) = mpsc::channel(ENCODED_AHEAD);
    let encoding = tokio::task::spawn_blocking(move || {
        while let Some(event) = events.blocking_recv() {
            let ready = match event {
                Event::Job(packed) => Ready::Job(Encoded::of(&packed)),
                other @ (Event::Document { .. } | Event::Refused(_) | Event::Skipped(_)) => {
                    Ready::Other(other)
                }
            };
            if output.blocking_send(ready).is_err() {
                return;
            }
        }
    });
    (encoded, encoding)
}

impl Encoded {
    fn of(packed: &Packed) -> Self {
        let payload = Bytes::from(packed.job.encode());
        Self {
            id: Digest::of(&payload),
            payload,
            tokens: packed.tokens,
            chunks: packed.chunks,
        }
    }
}
