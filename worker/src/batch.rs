//! What travels between the stages. Row order is the only key: the vectors of a job stand in the order of its
//! chunks (document by document), of its queries or of its items. The vector of an item is its scores, a dense one with a
//! number for each label of the model.

use std::ops::Range;

use bytes::Bytes;
use contract::embedding::Embedding;
use contract::job::{Embed, Job};
use contract::names::CollectionName;
use ndarray::{Array2, Axis, Slice};

use crate::error::Refusal;

#[derive(Clone, Debug)]
pub struct RawJob {
    /// The job, not decoded yet.
    pub payload: Bytes,
    /// Version of documents that name none, `None` if the header that should carry it is not a version.
    pub default_version: Option<u64>,
}

pub type Batch = Vec<RawJob>;

#[derive(Debug)]
pub struct DecodedJob {
    pub job: Job,
    /// Version of documents that name none.
    pub default_version: u64,
    /// Rows that are longer than the model takes and were cut.
    pub truncated: Vec<u32>,
    /// Why a part of the job is missing here: when the rest is written, the job becomes a dead letter.
    pub incomplete: Option<Refusal>,
}

#[derive(Debug)]
pub struct Inputs {
    pub jobs: Vec<DecodedJob>,
    /// How many rows each job has.
    pub rows: Vec<usize>,
    /// Rows whose vectors came with their jobs: they are in no tensor.
    pub known: Vec<(RowKey, Embedding)>,
    /// The other rows of all jobs, sorted by length and cut by padded cost.
    pub tensors: Vec<Tensor>,
}

#[derive(Clone, Debug)]
pub struct Tensor {
    /// The job and the row that each vector belongs to.
    pub rows: Vec<RowKey>,
    /// Tokens of each row without padding.
    pub lengths: Vec<usize>,
    /// How each row is read; empty where all are read as a document without a prompt.
    pub readings: Vec<Reading>,
    /// Token ids `[rows, longest row]`, padded on the right.
    pub input_ids: Array2<i64>,
    /// Token types of the same shape; `None` where all are 0, as for single texts.
    pub type_ids: Option<Array2<i64>>,
}

/// How attention and pooling read a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Tokens at its start that belong to a prompt, where pooling leaves them out.
    pub prompt: usize,
    /// Tokens at its end that a query was filled up with, and to which no other token attends.
    pub unattended: usize,
    /// Whether it is a query, of which every token has a vector; of a document some may have none.
    pub is_query: bool,
}

/// Names a row: job in the batch, row in the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey {
    /// Position of the job in the batch.
    pub job: usize,
    /// Position of the row in the job.
    pub row: usize,
}

/// Decoded jobs with a vector for each of their rows.
#[derive(Debug)]
pub struct Vectors {
    pub jobs: Vec<DecodedJob>,
    /// Vectors of each job in the order of its rows.
    pub vectors: Vec<Vec<Embedding>>,
}

impl DecodedJob {
    /// The version of a document of it that names this one, or none.
    pub fn version_of(&self, named: Option<u64>) -> u64 {
        named.unwrap_or(self.default_version)
    }
}

impl Vectors {
    /// The jobs that write documents to a collection.
    pub fn embeds_of(
        &self,
        collection: &CollectionName,
    ) -> impl Iterator<Item = (&DecodedJob, &Embed)> {
        let embeds = self.jobs.iter().filter_map(|decoded| match &decoded.job {
            Job::Embed(embed) => Some((decoded, embed)),
            Job::Rescore(_) | Job::Delete(_) | Job::Attach(_) => None,
        });
        embeds.filter(move |(_, embed)| embed.collection.as_ref() == Some(collection))
    }

    pub fn into_singles(self) -> Vec<Self> {
        let pairs = self.jobs.into_iter().zip(self.vectors);
        pairs
            .map(|(job, rows)| Self {
                jobs: vec![job],
                vectors: vec![rows],
            })
            .collect()
    }
}

impl Tensor {
    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.input_ids.nrows()
    }

    /// Tokens that are not padding.
    pub fn useful_tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// Tokens that are computed.
    pub fn padded_tokens(&self) -> usize {
        self.input_ids.len()
    }

    /// How a row is read.
    pub fn reading(&self, row: usize) -> Reading {
        self.readings.get(row).copied().unwrap_or_default()
    }

    /// Tokens of a row to which others attend.
    pub fn attended(&self, row: usize) -> usize {
        self.lengths[row].saturating_sub(self.reading(row).unattended)
    }

    /// Its two halves, unless it has a single row.
    pub fn halves(&self) -> Option<(Self, Self)> {
        let (middle, end) = (self.rows.len() / 2, self.rows.len());
        (middle > 0).then(|| (self.part(0..middle), self.part(middle..end)))
    }

    /// A part of the rows, padded as all of them are.
    fn part(&self, rows: Range<usize>) -> Self {
        let lines = Slice::from(rows.clone());
        let cut = |matrix: &Array2<i64>| matrix.slice_axis(Axis(0), lines).to_owned();
        let readings = self.readings.get(rows.clone());
        Self {
            rows: self.rows[rows.clone()].to_vec(),
            lengths: self.lengths[rows].to_vec(),
            readings: readings.unwrap_or_default().to_vec(),
            input_ids: cut(&self.input_ids),
            type_ids: self.type_ids.as_ref().map(cut),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(run: &str) -> DecodedJob {
        let json = format!(
            r#"{{"version":"1.0","kind":"embed","run":"{run}","queries":["a"],"reply":"r"}}"#
        );
        DecodedJob {
            job: Job::decode(json.as_bytes()).unwrap(),
            default_version: 1,
            truncated: Vec::new(),
            incomplete: None,
        }
    }

    fn one(value: f32) -> Embedding {
        Embedding::Dense(vec![value])
    }

    #[test]
    fn jobs_that_part_keep_their_own_vectors() {
        let vectors = Vectors {
            jobs: vec![query("one"), query("none"), query("two")],
            vectors: vec![vec![one(1.0)], Vec::new(), vec![one(2.0), one(3.0)]],
        };
        let singles = vectors.into_singles();
        let parted: Vec<_> = singles
            .iter()
            .map(|it| (it.jobs[0].job.run(), it.vectors[0].clone()))
            .collect();
        let expected = [
            (Some("one"), vec![one(1.0)]),
            (Some("none"), Vec::new()),
            (Some("two"), vec![one(2.0), one(3.0)]),
        ];
        assert_eq!(parted, expected);
        let alone = |it: &Vectors| (it.jobs.len(), it.vectors.len()) == (1, 1);
        assert!(singles.iter().all(alone));
    }
}
