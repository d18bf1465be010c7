//! The run of a batch through the model: gives out its tensors, and puts their vectors together.
//!
//! The tensors may be run in any order and several at once. A row that fails by itself,
//! or whose vector must not be written, takes only its own document or item with it; a tensor that fails for another reason
//! fails the whole batch.

use std::vec;

use contract::embedding::Embedding;
use contract::job::Job;

use super::without_rows::without_rows;
use crate::batch::{DecodedJob, Inputs, RowKey, Tensor, Vectors};
use crate::error::{EmbedError, Refusal};
use crate::metrics;
use crate::pool::{Recipe, is_sound};

#[derive(Debug)]
pub(super) struct BatchRun {
    jobs: Vec<DecodedJob>,
    /// The vectors as in [`Vectors`]; a dense one without dimensions for a row that was not run yet.
    vectors: Vec<Vec<Embedding>>,
    waiting: vec::IntoIter<Tensor>,
    running: usize,
    failed: Option<EmbedError>,
    failed_rows: Vec<(RowKey, RowFailure)>,
}

/// Why a row has no vector, although its neighbours have theirs.
#[derive(Clone, Debug)]
pub(super) struct RowFailure {
    pub(super) reason: String,
    /// Tokens of the row.
    pub(super) tokens: usize,
    /// Whether it may succeed another time, as where memory was short.
    pub(super) may_pass: bool,
}

/// The result of a tensor that was run: a vector or a failure for each row.
pub(super) type RowResults = Vec<Result<Embedding, RowFailure>>;

/// The jobs of a batch by what became of them. Positions are those in the batch, in ascending order.
#[derive(Debug)]
pub(super) struct BatchResult {
    pub(super) vectors: Vectors,
    pub(super) refused: Vec<(usize, Refusal)>,
    /// Jobs that are to be tried again, and why.
    pub(super) retried: Vec<(usize, Refusal)>,
}

impl BatchRun {
    pub(super) fn new(inputs: Inputs) -> Self {
        let rows = inputs.rows.iter();
        // The vector of a query may be looked up, which reuses nothing.
        let of_chunk = |(key, _): &&(RowKey, Embedding)| matches!(&inputs.jobs[key.job].job, Job::Embed(job) if job.queries.is_empty());
        metrics::chunks_reused(inputs.known.iter().filter(of_chunk).count());
        let mut vectors: Vec<_> = rows
            .map(|rows| vec![Embedding::Dense(Vec::new()); *rows])
            .collect();
        for (key, vector) in inputs.known {
            vectors[key.job][key.row] = vector;
        }
        Self {
            jobs: inputs.jobs,
            vectors,
            waiting: inputs.tensors.into_iter(),
            running: 0,
            failed: None,
            failed_rows: Vec::new(),
        }
    }

    /// The next tensor to run, whose result must be [`put`](Self::put).
    pub(super) fn take(&mut self) -> Option<Tensor> {
        let tensor = self.waiting.next()?;
        self.running += 1;
        Some(tensor)
    }

    pub(super) fn put(&mut self, tensor: &Tensor, result: Result<RowResults, EmbedError>) {
        self.running -= 1;
        match result {
            Ok(rows) => {
                metrics::tensor_run(tensor);
                for (key, row) in tensor.rows.iter().zip(rows) {
                    match row {
                        Ok(vector) => self.vectors[key.job][key.row] = vector,
                        Err(failure) => self.failed_rows.push((*key, failure)),
                    }
                }
            }
            Err(error) => self.fail(error),
        }
    }

    /// Gives out no further tensors. The first error counts.
    pub(super) fn fail(&mut self, error: EmbedError) {
        self.waiting = Vec::new().into_iter();
        self.failed.get_or_insert(error);
    }

    /// Whether no tensor waits or is being run.
    pub(super) fn is_done(&self) -> bool {
        self.waiting.len() == 0 && self.running == 0
    }

    /// What became of the jobs. `is_last` says of the job at a position whether a failure that may pass is its last one.
    ///
    /// # Errors
    /// [`EmbedError`] of the tensor that failed first.
    pub(super) fn finish(
        self,
        recipe: Recipe,
        is_last: impl Fn(usize) -> bool,
    ) -> Result<BatchResult, EmbedError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut result = BatchResult {
            vectors: Vectors {
                jobs: Vec::new(),
                vectors: Vec::new(),
            },
            refused: Vec::new(),
            retried: Vec::new(),
        };
        for (position, (job, vectors)) in self.jobs.into_iter().zip(self.vectors).enumerate() {
            let of_job = self
                .failed_rows
                .iter()
                .filter(|(key, _)| key.job == position);
            let failures: Vec<_> = of_job.map(|(key, failure)| (key.row, failure)).collect();
            let Some((rows, refusal, may_pass)) = missing(&failures, &vectors, recipe) else {
                result.vectors.jobs.push(job);
                result.vectors.vectors.push(vectors);
                continue;
            };
            if may_pass && !is_last(position) {
                result.retried.push((position, refusal));
                continue;
            }
            match without_rows(job, vectors, &rows) {
                Some((mut job, vectors)) => {
                    job.incomplete.get_or_insert(refusal);
                    result.vectors.jobs.push(job);
                    result.vectors.vectors.push(vectors);
                }
                None => result.refused.push((position, refusal)),
            }
        }
        Ok(result)
    }
}

/// The rows of a job that have no vector which may be written, why the first has none, and whether that may pass.
fn missing(
    failures: &[(usize, &RowFailure)],
    vectors: &[Embedding],
    recipe: Recipe,
) -> Option<(Vec<usize>, Refusal, bool)> {
    let failed = |row: usize| failures.iter().find(|(failed, _)| *failed == row);
    let is_missing = |row: &usize| failed(*row).is_some() || !is_sound(&vectors[*row], recipe);
    let rows: Vec<_> = (0..vectors.len()).filter(is_missing).collect();
    let first = *rows.first()?;
    let refusal = match failed(first) {
        Some((row, failure)) => Refusal::RowFailed {
            row: *row,
            tokens: failure.tokens,
            reason: failure.reason.clone(),
        },
        None => Refusal::UnsoundVector { row: first },
    };
    let may_pass = failures.iter().any(|(_, failure)| failure.may_pass);
    Some((rows, refusal, may_pass))
}

#[cfg(test)]
mod tests {
    use contract::model::{Activation, OutputKind, Pooling};
    use ndarray::{Array2, Axis};

    use super::*;

    const RECIPE: Recipe = Recipe {
        pooling: Pooling::Graph,
        dimensions: 1,
        normalize: false,
        activation: Activation::Raw,
        kind: OutputKind::Dense,
    };

    /// Gives each row its first token id as a vector of one dimension; id 13 gives a value that is not a number.
    fn first_token(tensor: &Tensor) -> RowResults {
        let number = |id: &i64| f32::from(u8::try_from(*id).unwrap());
        let value = |id: &i64| if *id == 13 { f32::NAN } else { number(id) };
        let ids = tensor.input_ids.column(0);
        ids.iter().map(|id| Ok(one(value(id)))).collect()
    }

    fn one(value: f32) -> Embedding {
        Embedding::Dense(vec![value])
    }

    fn run(inputs: Inputs) -> Result<(Vectors, Vec<(usize, Refusal)>), EmbedError> {
        let mut batch = BatchRun::new(inputs);
        while let Some(tensor) = batch.take() {
            batch.put(&tensor, Ok(first_token(&tensor)));
        }
        assert!(batch.is_done());
        let result = batch.finish(RECIPE, |_| true)?;
        Ok((result.vectors, result.refused))
    }

    fn inputs(jobs: &[&[u8]]) -> Inputs {
        let json = br#"{"version":"1.0","kind":"embed","queries":["q"],"reply":"r"}"#;
        let work = || DecodedJob {
            job: Job::decode(json).unwrap(),
            default_version: 1,
            truncated: Vec::new(),
            incomplete: None,
        };
        let mut rows = Vec::new();
        let mut ids = Vec::new();
        for (job, job_rows) in jobs.iter().enumerate() {
            for (row, id) in job_rows.iter().enumerate() {
                rows.push(RowKey { job, row });
                ids.push(i64::from(*id));
            }
        }
        // Rows come back to their jobs whatever order the tensor has them in.
        rows.reverse();
        ids.reverse();
        let input_ids = Array2::from_shape_vec((ids.len(), 1), ids).unwrap();
        let tensor = Tensor {
            lengths: vec![1; rows.len()],
            readings: Vec::new(),
            rows,
            input_ids,
            type_ids: None,
        };
        Inputs {
            jobs: jobs.iter().map(|_| work()).collect(),
            rows: jobs.iter().map(|rows| rows.len()).collect(),
            known: Vec::new(),
            tensors: vec![tensor],
        }
    }

    #[test]
    fn vectors_come_back_in_the_order_of_the_rows_of_their_job() {
        let finished = run(inputs(&[&[1, 2], &[], &[3]]));
        let (vectors, refused) = finished.unwrap();
        assert_eq!(
            vectors.vectors,
            [vec![one(1.0), one(2.0)], vec![], vec![one(3.0)]]
        );
        assert!(refused.is_empty());
    }

    #[test]
    fn vectors_that_came_with_a_job_are_kept_and_looked_at_like_others() {
        let mut inputs = inputs(&[&[1], &[2], &[]]);
        inputs.rows = vec![2, 1, 1];
        let key = |job, row| RowKey { job, row };
        inputs.known = vec![(key(0, 1), one(7.0)), (key(2, 0), one(f32::INFINITY))];
        let (vectors, refused) = run(inputs).unwrap();
        assert_eq!(vectors.vectors, [vec![one(1.0), one(7.0)], vec![one(2.0)]]);
        assert!(
            matches!(refused[..], [(2, Refusal::UnsoundVector { row: 0 })]),
            "{refused:?}"
        );
    }

    #[test]
    fn a_vector_that_is_not_a_number_takes_only_its_own_job_out() {
        let finished = run(inputs(&[&[1], &[2, 13], &[3]]));
        let (vectors, refused) = finished.unwrap();
        assert_eq!(vectors.vectors, [vec![one(1.0)], vec![one(3.0)]]);
        assert_eq!(vectors.jobs.len(), 2);
        assert!(
            matches!(refused[..], [(1, Refusal::UnsoundVector { row: 1 })]),
            "{refused:?}"
        );
    }

    /// One tensor for each row.
    fn one_by_one(rows: &[u8]) -> Inputs {
        let mut inputs = inputs(&[rows]);
        let tensor = inputs.tensors.remove(0);
        let row = |row: usize| Tensor {
            rows: vec![tensor.rows[row]],
            lengths: vec![1],
            readings: Vec::new(),
            input_ids: tensor.input_ids.select(Axis(0), &[row]),
            type_ids: None,
        };
        inputs.tensors = (0..rows.len()).map(row).collect();
        inputs
    }

    #[test]
    fn tensors_may_be_run_at_once_and_come_back_in_any_order() {
        let mut batch = BatchRun::new(one_by_one(&[1, 2, 3]));
        let mut taken: Vec<_> = std::iter::from_fn(|| batch.take()).collect();
        assert_eq!(taken.len(), 3);
        taken.rotate_left(1);
        for tensor in taken {
            assert!(!batch.is_done());
            batch.put(&tensor, Ok(first_token(&tensor)));
        }
        assert!(batch.is_done());
        let result = batch.finish(RECIPE, |_| true).unwrap();
        assert_eq!(result.vectors.vectors, [[one(1.0), one(2.0), one(3.0)]]);
    }

    #[test]
    fn a_batch_that_fails_is_done_when_the_last_of_its_tensors_comes_back() {
        let mut batch = BatchRun::new(one_by_one(&[1, 2, 3]));
        let (one, other) = (batch.take().unwrap(), batch.take().unwrap());
        batch.put(&one, Err(EmbedError::Stopped));
        assert!(batch.take().is_none() && !batch.is_done());
        batch.put(&other, Ok(first_token(&other)));
        assert!(batch.is_done());
        let finished = batch.finish(RECIPE, |_| true);
        assert!(matches!(finished, Err(EmbedError::Stopped)));
    }

    #[test]
    fn a_row_that_fails_takes_its_document_out_and_its_job_again_where_that_may_pass() {
        let json = br#"{"version":"1.0","kind":"embed","collection":"docs","documents":[
            {"id":"one","chunks":[{"text":"a"}]},{"id":"two","chunks":[{"text":"b"},{"text":"c"}]}]}"#;
        let batch = |may_pass| {
            let mut inputs = one_by_one(&[1, 2, 3]);
            inputs.jobs[0].job = Job::decode(json).unwrap();
            let mut batch = BatchRun::new(inputs);
            while let Some(tensor) = batch.take() {
                let row = tensor.rows[0].row;
                let failure = RowFailure {
                    reason: "no place".to_owned(),
                    tokens: 1,
                    may_pass,
                };
                let failed = || vec![Err(failure)];
                let result = if row == 1 {
                    failed()
                } else {
                    first_token(&tensor)
                };
                batch.put(&tensor, Ok(result));
            }
            batch
        };
        let result = batch(false).finish(RECIPE, |_| false).unwrap();
        assert_eq!(result.vectors.vectors, [[one(1.0)]], "the document one");
        let incomplete = result.vectors.jobs[0].incomplete.as_ref().unwrap();
        assert!(matches!(incomplete, Refusal::RowFailed { row: 1, .. }));
        let result = batch(true).finish(RECIPE, |_| false).unwrap();
        assert_eq!((result.retried.len(), result.vectors.jobs.len()), (1, 0));
        let result = batch(true).finish(RECIPE, |_| true).unwrap();
        assert_eq!((result.retried.len(), result.vectors.jobs.len()), (0, 1));
    }

    #[test]
    fn a_batch_without_tensors_is_done_at_once() {
        assert!(BatchRun::new(one_by_one(&[])).is_done());
    }
}
