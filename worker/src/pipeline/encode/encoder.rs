//! The encoder: decodes and checks jobs, and tokenizes their texts.
//!
//! It fails for single jobs only: a job that cannot be decoded, is not allowed or does not fit the model leaves the batch
//! with its reason, and the others go on.

use contract::digest::Digest;
use contract::embedding::Embedding;
use contract::job::{ANSWER_BYTES_PER_NUMBER, Embed, Job, JobError, MAX_JOB_BYTES};
use contract::model::{Manifest, Output, QueryWeights};
use contract::names::CollectionName;
use contract::tokenizer::{MAX_BYTES_PER_TOKEN, Tokenizer, Tokens};
use contract::topology::Task;
use serde::Deserialize;

use crate::batch::{Batch, DecodedJob, Inputs, RawJob, RowKey};
use crate::config::{GivenVectors, TooLong};
use crate::error::Refusal;
use crate::frame::{Frame, Framed, Texts};
use crate::metrics;
use crate::plan::{Row, Shapes, plan};

/// Bytes of the id of a term in an answer: seven digits and a comma.
const ANSWER_BYTES_PER_INDEX: usize = 8;

#[derive(Debug)]
pub struct Encoder {
    pub(super) tokenizer: Tokenizer,
    pub(super) frame: Frame,
    /// The weights that make vectors of queries in place of the model.
    query_weights: Option<QueryWeights>,
    pub(super) tokenization: Digest,
    /// Token ids that the model has rows for. Some devices give a vector of another text for an id beyond them.
    vocabulary: usize,
    pub(super) manifest: Manifest,
    pub(super) rules: Rules,
    shapes: Shapes,
}

/// The rules of the installation for jobs.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Collections that jobs may write to, with the generations behind them.
    pub collections: Vec<CollectionName>,
    pub too_long: TooLong,
    pub given_vectors: GivenVectors,
}

/// What is done with texts of a job that the model does not take whole.
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
    /// The model is to be run on these tokens.
    Tokens(Framed),
    /// The model need not run: the vector came with the job, or is looked up.
    Known(Embedding),
}

/// The part of a job that fits the model.
pub(super) struct FittingRows {
    pub(super) rows: Rows,
    /// Why the first of the documents or items that were left out does not fit the model.
    pub(super) left_out: Option<Refusal>,
}

impl FittingRows {
    pub(super) fn whole(rows: Rows) -> Self {
        Self {
            rows,
            left_out: None,
        }
    }

    /// A job of which nothing is left is refused as a whole.
    pub(super) fn or_refuse(self) -> Result<Self, Refusal> {
        match self.left_out {
            Some(refusal) if self.rows.is_empty() => Err(refusal),
            left_out => Ok(Self { left_out, ..self }),
        }
    }
}

impl Encoder {
    pub fn new(texts: Texts, manifest: Manifest, rules: Rules, shapes: Shapes) -> Self {
        let rows = manifest.measured.as_ref().and_then(|it| it.vocabulary);
        let tokens = texts.tokenizer.vocabulary();
        Self {
            tokenization: manifest.tokenization(),
            vocabulary: rows.map_or(tokens, |rows| rows.min(tokens)),
            frame: texts.frame,
            query_weights: texts.query_weights,
            tokenizer: texts.tokenizer,
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
        let taken = match &mut job {
            Job::Embed(embed) if embed.queries.is_empty() => {
                self.document_rows(embed, &mut long)?
            }
            Job::Embed(embed) => FittingRows::whole(self.query_rows(embed, &mut long)?),
            Job::Rescore(rescore) => self.rescore_rows(rescore, &mut long)?,
            Job::Delete(_) => FittingRows::whole(Vec::new()),
            Job::Attach(attach) => self.attach_rows(attach, &mut long)?,
        };
        Ok((
            DecodedJob {
                job,
                default_version,
                truncated: long.cut,
                incomplete: taken.left_out,
            },
            taken.rows,
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

    /// Whether a job is one that this worker may not do or does not know, whatever else is in it: only its kind and its
    /// collection are read.
    pub fn is_for_others(&self, payload: &[u8]) -> Option<Refusal> {
        let known = Job::check_kind(payload);
        if let Err(error @ (JobError::UnknownKind { .. } | JobError::UnknownVersion { .. })) = known
        {
            return Some(Refusal::Job(error));
        }
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

    fn query_rows(&self, embed: &Embed, long: &mut LongTexts) -> Result<Rows, Refusal> {
        let prefix = &self.manifest.identity.prefixes.query;
        self.check_answer(embed.queries.len())?;
        let (mut rows, most) = (Vec::new(), self.frame.query_tokens());
        for (row, text) in embed.queries.iter().enumerate() {
            let tokens = self.tokenize(row, &format!("{prefix}{text}"), (most, long))?;
            rows.push(match &self.query_weights {
                Some(weights) => Encoded::Known(weights.embedding(&tokens.ids)),
                None => Encoded::Tokens(self.frame.query(tokens)),
            });
        }
        Ok(rows)
    }

    /// One vector or one row of scores for each query or item must fit a message.
    pub(super) fn check_answer(&self, queries: usize) -> Result<(), Refusal> {
        let identity = &self.manifest.identity;
        let bytes = match &identity.output {
            Output::Dense => identity.dimensions * ANSWER_BYTES_PER_NUMBER,
            Output::Sparse(terms) => {
                let most = terms.most.min(identity.dimensions);
                most * (ANSWER_BYTES_PER_NUMBER + ANSWER_BYTES_PER_INDEX)
            }
            Output::Multi(late) => {
                late.query_tokens * identity.dimensions * ANSWER_BYTES_PER_NUMBER
            }
        };
        let most = MAX_JOB_BYTES / bytes.max(1);
        if queries > most {
            return Err(Refusal::TooManyQueries { queries, most });
        }
        Ok(())
    }

    /// The tokens of a text, which may be at most so many.
    pub(super) fn tokenize(
        &self,
        row: usize,
        text: &str,
        (max, long): (usize, &mut LongTexts),
    ) -> Result<Tokens, Refusal> {
        let text = self.bound(row, text, (max, long))?;
        let mut ids = self.tokenizer.encode(text)?;
        if ids.len() > max {
            long.refuse_or_count(row, ids.len(), max)?;
            self.tokenizer.truncate(&mut ids, max);
        }
        self.check_ids(row, &ids)?;
        Ok(ids.into())
    }

    /// One id that the model does not know would fail the tensor of all neighbours, or give a vector of another text.
    pub(super) fn check_ids(&self, row: usize, ids: &[u32]) -> Result<(), Refusal> {
        match ids.iter().find(|id| **id as usize >= self.vocabulary) {
            Some(id) => Err(Refusal::UnknownToken {
                row,
                id: *id,
                vocabulary: self.vocabulary,
            }),
            None => Ok(()),
        }
    }

    /// Cuts or refuses a text that is hopelessly too long before the tokenizer sees it.
    fn bound<'a>(
        &self,
        row: usize,
        text: &'a str,
        (max, long): (usize, &mut LongTexts),
    ) -> Result<&'a str, Refusal> {
        let short = self.within_bytes(text);
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
}

/// Separates the rows that the model is to be run on from those that came with their vectors.
fn separate(jobs: Vec<Rows>) -> (Vec<Row>, Vec<(RowKey, Embedding)>) {
    let (mut to_run, mut known) = (Vec::new(), Vec::new());
    for (job, rows) in jobs.into_iter().enumerate() {
        for (row, encoded) in rows.into_iter().enumerate() {
            let key = RowKey { job, row };
            match encoded {
                Encoded::Tokens(framed) => to_run.push(Row {
                    key,
                    token_ids: framed.tokens.ids,
                    type_ids: framed.tokens.types,
                    reading: framed.reading,
                }),
                Encoded::Known(vector) => known.push((key, vector)),
            }
        }
    }
    (to_run, known)
}
