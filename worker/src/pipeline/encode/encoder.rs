//! The encoder: decodes and checks jobs, and tokenizes their texts.
//!
//! It fails for single jobs only: a job that cannot be decoded, is not allowed or does not fit the model leaves the batch
//! with its reason, and the others go on.

use contract::digest::Digest;
use contract::embedding::Embedding;
use contract::job::{Chunk, Embed, Job, KnownVector, MAX_JOB_BYTES};
use contract::model::Manifest;
use contract::names::CollectionName;
use contract::tokenizer::{MAX_BYTES_PER_TOKEN, Tokenizer, Tokens};
use contract::topology::Task;
use serde::Deserialize;

use crate::batch::{Batch, DecodedJob, Inputs, RawJob, RowKey};
use crate::config::{GivenVectors, TooLong};
use crate::error::Refusal;
use crate::load::prompt_tokens;
use crate::metrics;
use crate::plan::{Row, Shapes, plan};

/// Bytes of a vector's element in an answer: nine digits, a sign, a point, a comma, an exponent at times.
const ANSWER_BYTES_PER_ELEMENT: usize = 14;

#[derive(Debug)]
pub struct Encoder {
    pub(super) tokenizer: Tokenizer,
    pub(super) prompts: Prompts,
    tokenization: Digest,
    pub(super) manifest: Manifest,
    rules: Rules,
    shapes: Shapes,
}

/// How many tokens the prefixes have, where pooling leaves them out; else none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prompts {
    query: usize,
    pub(super) document: usize,
}

/// What the installation allows.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Collections that jobs may write to, with the generations behind them.
    pub collections: Vec<CollectionName>,
    pub too_long: TooLong,
    pub given_vectors: GivenVectors,
}

/// What is done about the texts of one job that the model does not take whole.
pub(super) struct LongTexts {
    policy: TooLong,
    /// Rows that were cut.
    cut: Vec<u32>,
}

impl LongTexts {
    /// A job may ask to be cut where the installation refuses: whoever waits for its answer is told.
    fn of(rules: &Rules, job: &Job) -> Self {
        let asks = match job {
            Job::Embed(embed) => embed.truncate && embed.documents.is_empty(),
            Job::Rescore(rescore) => rescore.truncate,
            Job::Delete(_) | Job::Attach(_) => false,
        };
        Self {
            policy: if asks {
                TooLong::Truncate
            } else {
                rules.too_long
            },
            cut: Vec::new(),
        }
    }

    pub(super) fn refuse_or_count(
        &mut self,
        row: usize,
        tokens: usize,
        max: usize,
    ) -> Result<(), Refusal> {
        match self.policy {
            TooLong::Refuse => Err(Refusal::TooLong { row, tokens, max }),
            TooLong::Truncate => {
                let row = u32::try_from(row).unwrap_or(u32::MAX);
                // A text may be cut twice, before the tokenizer and after it.
                if self.cut.last() != Some(&row) {
                    self.cut.push(row);
                    metrics::text_truncated();
                }
                Ok(())
            }
        }
    }
}

/// The rows of one job.
pub(super) type Rows = Vec<Encoded>;

pub(super) enum Encoded {
    /// The model is to be run on these tokens, of which so many at the start belong to a prompt.
    Tokens(Tokens, usize),
    /// The vector came with the job.
    Known(Embedding),
}

impl Encoder {
    pub fn new(tokenizer: Tokenizer, manifest: Manifest, rules: Rules, shapes: Shapes) -> Self {
        // A prefix that cannot be tokenized fails the golden texts before.
        let tokens = |prefix: &str| {
            prompt_tokens(&tokenizer, &manifest.identity, prefix).unwrap_or_default()
        };
        let prefixes = &manifest.identity.prefixes;
        let prompts = Prompts {
            query: tokens(&prefixes.query),
            document: tokens(&prefixes.document),
        };
        Self {
            tokenization: manifest.tokenization(),
            prompts,
            tokenizer,
            manifest,
            rules,
            shapes,
        }
    }

    /// Encodes a batch. Gives back the jobs that are refused by their position, in ascending order.
    pub fn encode(&self, batch: Batch) -> (Inputs, Vec<(usize, Refusal)>) {
        let (mut jobs, mut rows, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for (position, raw) in batch.into_iter().enumerate() {
            match self.encode_job(&raw) {
                Ok((job, tokens)) => {
                    jobs.push(job);
                    rows.push(tokens);
                }
                Err(refusal) => refused.push((position, refusal)),
            }
        }
        let counts = rows.iter().map(Vec::len).collect();
        let (to_run, known) = separate(rows);
        (
            Inputs {
                jobs,
                rows: counts,
                known,
                tensors: plan(to_run, self.shapes, self.tokenizer.padding_id()),
            },
            refused,
        )
    }

    fn encode_job(&self, raw: &RawJob) -> Result<(DecodedJob, Rows), Refusal> {
        let mut job = Job::decode(&raw.payload)?;
        let default_version = raw.default_version.ok_or(Refusal::BadVersion)?;
        self.check_task(&job)?;
        if let Some(collection) = job.collection() {
            self.check_collection(collection)?;
        }
        let mut long = LongTexts::of(&self.rules, &job);
        let mut incomplete = None;
        let rows = match &mut job {
            Job::Embed(embed) => self.embed_rows(embed, &mut long)?,
            Job::Rescore(rescore) => self.rescore_rows(rescore, &mut long)?,
            Job::Delete(_) => Vec::new(),
            Job::Attach(attach) => {
                let (rows, refused) = self.attach_rows(attach, &mut long)?;
                incomplete = refused;
                rows
            }
        };
        Ok((
            DecodedJob {
                job,
                default_version,
                truncated: long.cut,
                incomplete,
            },
            rows,
        ))
    }

    fn check_task(&self, job: &Job) -> Result<(), Refusal> {
        let task = self.manifest.identity.task;
        let fits = match job {
            Job::Embed(_) | Job::Delete(_) | Job::Attach(_) => task == Task::Embed,
            Job::Rescore(_) => task == Task::Rescore,
        };
        if !fits {
            return Err(Refusal::WrongTask {
                task: task.as_str(),
                kind: job.kind(),
            });
        }
        match job {
            Job::Embed(embed) if !embed.documents.is_empty() => {
                Ok(self.manifest.check_primary()?)
            }
            Job::Embed(_) | Job::Rescore(_) | Job::Delete(_) | Job::Attach(_) => Ok(()),
        }
    }

    /// Whether a job is one that this worker may not do, whatever else is in it: only its collection is read.
    pub fn is_for_others(&self, payload: &[u8]) -> Option<Refusal> {
        #[derive(Deserialize)]
        struct Addressed {
            collection: CollectionName,
        }
        let addressed: Addressed = serde_json::from_slice(payload).ok()?;
        self.check_collection(&addressed.collection).err()
    }

    fn check_collection(&self, collection: &CollectionName) -> Result<(), Refusal> {
        let allowed = &self.rules.collections;
        if allowed.iter().any(|allowed| allowed.covers(collection)) {
            return Ok(());
        }
        let allowed: Vec<_> = allowed.iter().map(CollectionName::as_str).collect();
        Err(Refusal::CollectionNotAllowed {
            collection: collection.clone(),
            allowed: allowed.join(", "),
        })
    }

    fn embed_rows(&self, embed: &Embed, long: &mut LongTexts) -> Result<Rows, Refusal> {
        let prefixes = &self.manifest.identity.prefixes;
        self.check_answer(embed.queries.len())?;
        let chunks = embed.documents.iter().flat_map(|document| &document.chunks);
        let mut rows = Vec::new();
        for (row, chunk) in chunks.enumerate() {
            rows.push(self.chunk_row(embed, row, chunk, long)?);
        }
        for (row, text) in embed.queries.iter().enumerate() {
            let tokens = self.tokenize(row, &format!("{}{text}", prefixes.query), long)?;
            rows.push(Encoded::Tokens(tokens, self.prompts.query));
        }
        Ok(rows)
    }

    /// Vectors and token ids that were made for another model are ignored: the text is tokenized again.
    fn chunk_row(
        &self,
        embed: &Embed,
        row: usize,
        chunk: &Chunk,
        long: &mut LongTexts,
    ) -> Result<Encoded, Refusal> {
        let is_used = self.rules.given_vectors == GivenVectors::Use
            && embed.fingerprint.as_ref() == Some(&self.manifest.fingerprint);
        if let Some(KnownVector(vector)) = chunk.vector.as_ref().filter(|_| is_used) {
            return Ok(Encoded::Known(Embedding::Dense(vector.clone())));
        }
        let same_tokens = embed.tokenization.as_ref() == Some(&self.tokenization);
        let tokens = if same_tokens && !chunk.token_ids.is_empty() {
            self.check_ids(row, &chunk.token_ids)?.to_vec().into()
        } else {
            let prefix = &self.manifest.identity.prefixes.document;
            let input = Chunk::model_input(prefix, chunk.context.as_deref(), &chunk.text);
            self.tokenize(row, &input, long)?
        };
        Ok(Encoded::Tokens(tokens, self.prompts.document))
    }

    /// One vector or one row of scores for each query or item must fit a message.
    pub(super) fn check_answer(&self, queries: usize) -> Result<(), Refusal> {
        let most =
            MAX_JOB_BYTES / (self.manifest.identity.dimensions * ANSWER_BYTES_PER_ELEMENT).max(1);
        if queries > most {
            return Err(Refusal::TooManyQueries { queries, most });
        }
        Ok(())
    }

    pub(super) fn tokenize(
        &self,
        row: usize,
        text: &str,
        long: &mut LongTexts,
    ) -> Result<Tokens, Refusal> {
        let max = self.manifest.identity.max_tokens;
        let text = self.bound(row, text, long)?;
        let mut ids = self.tokenizer.encode(text)?;
        if ids.len() > max {
            long.refuse_or_count(row, ids.len(), max)?;
            self.tokenizer.truncate(&mut ids, max);
        }
        Ok(ids.into())
    }

    /// Cuts or refuses a text that is hopelessly too long before the tokenizer sees it.
    fn bound<'a>(
        &self,
        row: usize,
        text: &'a str,
        long: &mut LongTexts,
    ) -> Result<&'a str, Refusal> {
        let (short, max) = (self.within_bytes(text), self.manifest.identity.max_tokens);
        if short.len() < text.len() {
            long.refuse_or_count(row, self.least_tokens(text.len()), max)?;
        }
        Ok(short)
    }

    /// As much of a text as the tokenizer may see.
    pub(super) fn within_bytes<'a>(&self, text: &'a str) -> &'a str {
        let limit = self.manifest.identity.max_tokens * MAX_BYTES_PER_TOKEN;
        &text[..text.floor_char_boundary(limit)]
    }

    /// Tokens that a text of more bytes than the tokenizer may see has at least.
    pub(super) fn least_tokens(&self, bytes: usize) -> usize {
        (bytes / MAX_BYTES_PER_TOKEN).max(self.manifest.identity.max_tokens + 1)
    }

    /// Ids from a job are input like any other: one unknown id would fail the tensor of all its neighbours.
    fn check_ids<'a>(&self, row: usize, ids: &'a [u32]) -> Result<&'a [u32], Refusal> {
        let (max, vocabulary) = (
            self.manifest.identity.max_tokens,
            self.tokenizer.vocabulary(),
        );
        if ids.len() > max {
            return Err(Refusal::TooLong {
                row,
                tokens: ids.len(),
                max,
            });
        }
        match ids.iter().find(|id| **id as usize >= vocabulary) {
            Some(id) => Err(Refusal::UnknownToken {
                row,
                id: *id,
                vocabulary,
            }),
            None => Ok(ids),
        }
    }
}

/// Separates the rows that the model is to be run on from those that came with their vectors.
fn separate(jobs: Vec<Rows>) -> (Vec<Row>, Vec<(RowKey, Embedding)>) {
    let (mut to_run, mut known) = (Vec::new(), Vec::new());
    for (job, rows) in jobs.into_iter().enumerate() {
        for (row, encoded) in rows.into_iter().enumerate() {
            let key = RowKey { job, row };
            match encoded {
                Encoded::Tokens(tokens, prompt) => to_run.push(Row {
                    key,
                    token_ids: tokens.ids,
                    type_ids: tokens.types,
                    prompt,
                }),
                Encoded::Known(vector) => known.push((key, vector)),
            }
        }
    }
    (to_run, known)
}
