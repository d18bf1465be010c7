//! Query client: asks workers for vectors and scores of queries, through the queue.
//!
//! Queries travel as a job with a reply, so that they go through exactly the model, prefix and pooling that made the
//! vectors they are compared with.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream;
use bytes::Bytes;
use contract::answer::{Answer, AnswerOutcome};
use contract::digest::Digest;
use contract::embedding::Embedding;
use contract::job::{self, Embed, Job};
use contract::model::{Manifest, OutputKind};
use contract::names::{ModelName, ReplyId};
use contract::tokenizer::MAX_BYTES_PER_TOKEN;
use contract::topology::{JOBS, Lane, Priority, RESULTS, reply_subject};
use futures::StreamExt;
use queue::nats::NatsError;
use thiserror::Error;
use tokio::time::{Instant, timeout, timeout_at};

use crate::clock::now_micros;
use crate::config::Servers;
use crate::jobs::store::{NotStored, store};
use crate::outcome::many;

/// How long to listen before looking whether the answer is stored already: what is published while the connection is
/// down is heard by nobody, and the stream keeps it.
const LOOK: Duration = Duration::from_secs(5);

/// Why there are no vectors.
#[derive(Debug, Error)]
pub enum QueryError {
    #[error(
        "no worker for model `{model}` answered within {}: {workers}",
        humantime::format_duration(*.timeout)
    )]
    NoAnswer {
        /// The model that was asked for.
        model: ModelName,
        timeout: Duration,
        workers: WorkersState,
    },
    #[error("the query was refused: {reason}")]
    Refused { reason: String },
    #[error(
        "a worker with fingerprint {found} answered, expected {expected}; is a rollout under way?"
    )]
    Fingerprint { found: Digest, expected: Digest },
    #[error("a worker's answer is not readable: {reason}")]
    Answer {
        /// What is wrong with it.
        reason: String,
    },
    #[error(transparent)]
    Store(#[from] NotStored),
    #[error("failed to listen for the answer: {reason}")]
    Listen { reason: String },
}

/// What NATS knows of the workers of a model that does not answer, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkersState {
    /// They have taken jobs and not ended them: so many, and so many more wait.
    Busy { in_flight: usize, pending: u64 },
    /// Nobody has taken anything.
    Nobody,
    /// NATS cannot tell.
    Unknown,
}

impl fmt::Display for WorkersState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { in_flight, pending } => write!(
                f,
                "its workers are busy, with {} in flight and {pending} that wait; give them longer by --timeout 5m, or \
                 start more of them",
                many(*in_flight as u64, "job")
            ),
            Self::Nobody => f.write_str(
                "none takes jobs; start one by `worker run`, or give one that is started on demand longer by --timeout \
                 5m",
            ),
            Self::Unknown => f.write_str("is one running? `indexer status` shows what waits"),
        }
    }
}

/// What a worker has made of queries.
#[derive(Clone, Debug, Default)]
pub struct QueryVectors {
    /// In the order of the queries.
    pub vectors: Vec<Embedding>,
    /// Positions of those that the model did not take whole.
    pub truncated: Vec<usize>,
}

#[derive(Clone, Debug)]
pub struct QueryClient {
    client: Client,
    jetstream: jetstream::Context,
    timeout: Duration,
}

impl QueryClient {
    /// Connects. `timeout` is for each question; a worker that is scaled to zero needs time to start.
    pub async fn connect(servers: &Servers, timeout: Duration) -> Result<Self, NatsError> {
        let client = servers.client().await?;
        let jetstream = queue::nats::jetstream(client.clone());
        Ok(Self {
            client,
            jetstream,
            timeout,
        })
    }

    /// The vectors of queries, in their order, by the worker of a model. `tokens` is what the publisher knows of
    /// their size, 0 for nothing.
    ///
    /// # Errors
    /// [`QueryError`]. The job stays in the queue when nobody answers in time; its answer is then lost and harms nobody.
    pub async fn ask(
        &self,
        manifest: &Manifest,
        mut queries: Vec<String>,
        tokens: usize,
    ) -> Result<QueryVectors, QueryError> {
        let cut = within_bytes(manifest, &mut queries);
        let reply = reply_id(&queries);
        let expected = queries.len();
        let job = question(queries, reply.clone());
        let answer = self.answer(manifest, &reply, &job, tokens).await?;
        let mut vectors = vectors(&answer, manifest, expected)?;
        vectors.truncated.extend(cut);
        vectors.truncated.sort_unstable();
        vectors.truncated.dedup();
        Ok(vectors)
    }

    /// Publishes a job on the live lane of a model, and waits for what is answered to it.
    pub async fn answer(
        &self,
        manifest: &Manifest,
        reply: &ReplyId,
        job: &Job,
        tokens: usize,
    ) -> Result<Bytes, QueryError> {
        let subject = reply_subject(reply);
        // Listening comes first: the answer may be faster than the acknowledgement of the question.
        let mut answers = self
            .client
            .subscribe(subject.clone())
            .await
            .map_err(listen)?;
        self.client.flush().await.map_err(listen)?;
        let lane = Lane::new(
            manifest.identity.task,
            manifest.name.clone(),
            Priority::Live,
        );
        store(&self.jetstream, &lane.subject(), job, tokens).await?;
        let deadline = Instant::now() + self.timeout;
        let answer = async {
            loop {
                match timeout(LOOK, answers.next()).await {
                    Ok(Some(message)) => break Ok(message.payload),
                    Ok(None) => break Err(listen("nats closed the subscription")),
                    Err(_) => {
                        if let Some(payload) = self.stored(&subject).await {
                            break Ok(payload);
                        }
                    }
                }
            }
        };
        match timeout_at(deadline, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(QueryError::NoAnswer {
                model: manifest.name.clone(),
                timeout: self.timeout,
                workers: self.workers(manifest).await,
            }),
        }
    }

    /// What the workers of a model do, on both of its lanes.
    async fn workers(&self, manifest: &Manifest) -> WorkersState {
        let Ok(jobs) = self.jetstream.get_stream_no_info(JOBS).await else {
            return WorkersState::Unknown;
        };
        let (mut in_flight, mut pending) = (0, 0);
        for lane in Lane::of(manifest.identity.task, &manifest.name) {
            let looked = jobs.consumer_info(lane.consumer());
            let Ok(Ok(info)) = timeout(LOOK, looked).await else {
                return WorkersState::Unknown;
            };
            in_flight += info.num_ack_pending;
            pending += info.num_pending;
        }
        match in_flight {
            0 => WorkersState::Nobody,
            _ => WorkersState::Busy { in_flight, pending },
        }
    }

    /// The answer, if the stream has it.
    async fn stored(&self, subject: &str) -> Option<Bytes> {
        let results = self.jetstream.get_stream_no_info(RESULTS).await.ok()?;
        let found = results.get_last_raw_message_by_subject(subject).await;
        found.ok().map(|message| message.payload)
    }
}

/// Cuts what a worker would cut before it tokenizes, so that a long query fits a message; gives the positions.
fn within_bytes(manifest: &Manifest, queries: &mut [String]) -> Vec<usize> {
    let most = manifest.identity.max_tokens * MAX_BYTES_PER_TOKEN;
    let mut cut = Vec::new();
    for (position, query) in queries.iter_mut().enumerate() {
        if query.len() > most {
            query.truncate(query.floor_char_boundary(most));
            cut.push(position);
        }
    }
    cut
}

fn listen(error: impl std::fmt::Display) -> QueryError {
    QueryError::Listen {
        reason: error.to_string(),
    }
}

fn question(queries: Vec<String>, reply: ReplyId) -> Job {
    Job::Embed(Embed {
        version: job::VERSION.to_owned(),
        queries,
        reply: Some(reply),
        truncate: true,
        ..Embed::default()
    })
}

/// An id that nobody else uses: of the queries, the time and the process, which may ask two models the same at once.
pub fn reply_id(queries: &[String]) -> ReplyId {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let (process, number) = (std::process::id(), ASKED.fetch_add(1, Ordering::Relaxed));
    let unique = format!("{queries:?}\n{}\n{process}\n{number}", now_micros());
    let id = Digest::of(unique.as_bytes()).as_str()[..32].parse();
    id.expect("32 hexadecimal digits are a reply id")
}

fn vectors(
    payload: &[u8],
    manifest: &Manifest,
    queries: usize,
) -> Result<QueryVectors, QueryError> {
    let unreadable = |reason: String| QueryError::Answer { reason };
    let answer = read(payload, manifest)?;
    let vectors = match answer.outcome {
        AnswerOutcome::Vectors(vectors) => vectors,
        AnswerOutcome::Scores(_) => return Err(unreadable("it has scores".to_owned())),
        AnswerOutcome::Refused { reason, .. } => return Err(QueryError::Refused { reason }),
    };
    let (kind, dimensions) = (
        manifest.identity.output.kind(),
        manifest.identity.dimensions,
    );
    let fits = |vector: &Embedding| match vector {
        Embedding::Dense(values) => kind == OutputKind::Dense && values.len() == dimensions,
        Embedding::Sparse { .. } => kind == OutputKind::Sparse,
        Embedding::Multi { dim, .. } => kind == OutputKind::Multi && *dim == dimensions,
    };
    if vectors.len() == queries && vectors.iter().all(fits) {
        let truncated = answer.truncated.iter().map(|row| *row as usize).collect();
        return Ok(QueryVectors { vectors, truncated });
    }
    Err(unreadable(format!(
        "it has {} vectors, expected {queries} {kind} ones of {dimensions} dimensions",
        vectors.len()
    )))
}

/// Reads an answer of the model that was asked.
pub fn read(payload: &[u8], manifest: &Manifest) -> Result<Answer, QueryError> {
    let answer: Answer = serde_json::from_slice(payload).map_err(|error| QueryError::Answer {
        reason: error.to_string(),
    })?;
    if answer.fingerprint != manifest.fingerprint {
        return Err(QueryError::Fingerprint {
            found: answer.fingerprint,
            expected: manifest.fingerprint.clone(),
        });
    }
    Ok(answer)
}
