//! Encode: turns delivered bytes into tensors.
//!
//! Takes a [`Batch`], gives [`Inputs`]; owns the tokenizer. Fails for single jobs only: a job that cannot be
//! decoded, is not allowed or does not fit the model leaves the batch with its reason, and the others go on.

mod rescore;

use contract::digest::Digest;
use contract::job::{Chunk, Embed, Job, MAX_JOB_BYTES};
use contract::model::Manifest;
use contract::names::CollectionName;
use contract::tokenizer::{Tokenizer, Tokens};
use contract::topology::Task;

use crate::batch::{Batch, Delivery, Inputs, RowKey, Work};
use crate::config::TooLong;
use crate::error::Refusal;
use crate::metrics;
use crate::plan::{Row, Shapes, plan};

/// A text of more bytes than this per allowed token is refused before it is tokenized: no vocabulary has longer
/// tokens on average, and tokenizers take far more memory than their input.
const MAX_BYTES_PER_TOKEN: usize = 64;

/// Bytes of a vector's element in an answer: nine digits, a sign, a point, a comma, an exponent at times.
const ANSWER_BYTES_PER_ELEMENT: usize = 14;

/// What encoding needs to know.
#[derive(Debug)]
pub struct Encoder {
    tokenizer: Tokenizer,
    tokenization: Digest,
    manifest: Manifest,
    rules: Rules,
    shapes: Shapes,
}

/// What the installation allows.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Collections that jobs may write to, with the generations behind them.
    pub collections: Vec<CollectionName>,
    /// What to do with a text that is too long for the model.
    pub too_long: TooLong,
}

/// Tokens of each row of a job.
type Rows = Vec<Tokens>;

impl Encoder {
    /// Encodes for a model.
    #[must_use]
    pub fn new(tokenizer: Tokenizer, manifest: Manifest, rules: Rules, shapes: Shapes) -> Self {
        Self {
            tokenization: manifest.tokenization(),
            tokenizer,
            manifest,
            rules,
            shapes,
        }
    }

    /// Encodes a batch. Gives back the jobs that are refused by their position, in ascending order.
    #[must_use]
    pub fn encode(&self, batch: Batch) -> (Inputs, Vec<(usize, Refusal)>) {
        let (mut jobs, mut rows, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for (position, delivery) in batch.into_iter().enumerate() {
            match self.encode_job(&delivery) {
                Ok((work, tokens)) => {
                    jobs.push(work);
                    rows.push(tokens);
                }
                Err(refusal) => refused.push((position, refusal)),
            }
        }
        let counts = rows.iter().map(Vec::len).collect();
        (
            Inputs {
                jobs,
                rows: counts,
                tensors: plan(keyed(rows), self.shapes, self.tokenizer.padding_id()),
            },
            refused,
        )
    }

    fn encode_job(&self, delivery: &Delivery) -> Result<(Work, Rows), Refusal> {
        let job = Job::decode(&delivery.payload)?;
        let default_version = delivery.default_version.ok_or(Refusal::BadVersion)?;
        self.check_task(&job)?;
        self.check_collection(&job)?;
        let rows = match &job {
            Job::Embed(embed) => self.embed_rows(embed)?,
            Job::Rescore(rescore) => self.rescore_rows(rescore)?,
            Job::Delete(_) => Vec::new(),
        };
        Ok((
            Work {
                job,
                default_version,
            },
            rows,
        ))
    }

    fn check_task(&self, job: &Job) -> Result<(), Refusal> {
        let task = self.manifest.identity.task;
        let fits = match job {
            Job::Embed(_) | Job::Delete(_) => task == Task::Embed,
            Job::Rescore(_) => task == Task::Rescore,
        };
        if fits {
            Ok(())
        } else {
            Err(Refusal::WrongTask {
                task: task.as_str(),
                kind: job.kind(),
            })
        }
    }

    fn check_collection(&self, job: &Job) -> Result<(), Refusal> {
        let Some(collection) = job.collection() else {
            return Ok(());
        };
        if self
            .rules
            .collections
            .iter()
            .any(|allowed| allowed.covers(collection))
        {
            return Ok(());
        }
        let allowed: Vec<_> = self
            .rules
            .collections
            .iter()
            .map(CollectionName::as_str)
            .collect();
        Err(Refusal::CollectionNotAllowed {
            collection: collection.clone(),
            allowed: allowed.join(", "),
        })
    }

    fn embed_rows(&self, embed: &Embed) -> Result<Rows, Refusal> {
        let prefixes = &self.manifest.identity.prefixes;
        self.check_answer(embed.queries.len())?;
        let same_tokens = embed.tokenization.as_ref() == Some(&self.tokenization);
        let chunks = embed.documents.iter().flat_map(|document| &document.chunks);
        let chunk_rows = chunks.enumerate().map(|(row, chunk)| {
            if same_tokens && !chunk.token_ids.is_empty() {
                let ids = self.check_ids(row, &chunk.token_ids);
                return ids.map(|ids| ids.to_vec().into());
            }
            let context = chunk.context.as_deref();
            self.tokenize(
                row,
                &Chunk::model_input(&prefixes.document, context, &chunk.text),
            )
        });
        let queries = embed.queries.iter().enumerate();
        let query_rows =
            queries.map(|(row, text)| self.tokenize(row, &format!("{}{text}", prefixes.query)));
        chunk_rows.chain(query_rows).collect()
    }

    /// One vector or one row of scores for each query or item must fit a message.
    fn check_answer(&self, queries: usize) -> Result<(), Refusal> {
        let most =
            MAX_JOB_BYTES / (self.manifest.identity.dimensions * ANSWER_BYTES_PER_ELEMENT).max(1);
        if queries > most {
            return Err(Refusal::TooManyQueries { queries, most });
        }
        Ok(())
    }

    fn tokenize(&self, row: usize, text: &str) -> Result<Tokens, Refusal> {
        let max = self.manifest.identity.max_tokens;
        let text = self.bound(row, text, max)?;
        let mut ids = self.tokenizer.encode(text)?;
        if ids.len() > max {
            self.refuse_or_count(row, ids.len(), max)?;
            self.tokenizer.truncate(&mut ids, max);
        }
        Ok(ids.into())
    }

    /// Cuts or refuses a text that is hopelessly too long before the tokenizer sees it.
    fn bound<'a>(&self, row: usize, text: &'a str, max: usize) -> Result<&'a str, Refusal> {
        let short = self.within_bytes(text);
        if short.len() < text.len() {
            self.refuse_or_count(row, self.least_tokens(text.len()), max)?;
        }
        Ok(short)
    }

    /// As much of a text as the tokenizer may see.
    fn within_bytes<'a>(&self, text: &'a str) -> &'a str {
        let limit = self.manifest.identity.max_tokens * MAX_BYTES_PER_TOKEN;
        &text[..text.floor_char_boundary(limit)]
    }

    /// Tokens that a text of more bytes than the tokenizer may see has at least.
    fn least_tokens(&self, bytes: usize) -> usize {
        (bytes / MAX_BYTES_PER_TOKEN).max(self.manifest.identity.max_tokens + 1)
    }

    fn refuse_or_count(&self, row: usize, tokens: usize, max: usize) -> Result<(), Refusal> {
        match self.rules.too_long {
            TooLong::Refuse => Err(Refusal::TooLong { row, tokens, max }),
            TooLong::Truncate => {
                metrics::text_truncated();
                Ok(())
            }
        }
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

fn keyed(rows: Vec<Rows>) -> Vec<Row> {
    let jobs = rows.into_iter().enumerate();
    jobs.flat_map(|(job, rows)| {
        let rows = rows.into_iter().enumerate();
        rows.map(move |(row, tokens)| Row {
            key: RowKey { job, row },
            token_ids: tokens.ids,
            type_ids: tokens.types,
        })
    })
    .collect()
}
