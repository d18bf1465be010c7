//! Embed: runs the tensors of a batch.
//!
//! Takes [`Inputs`], gives [`Vectors`]; owns the engine, on a thread of its own, because a session has one user at
//! a time. Fails for the whole batch; rows whose vectors must not be written leave it with their job.

use crate::batch::{Inputs, Vectors};
use crate::error::{EmbedError, Refusal};
use crate::metrics;
use crate::pool::is_sound;
use crate::session::Engine;

/// Runs all tensors of a batch. `stopped` is asked between tensors. Gives back the jobs that are refused by their
/// position, in ascending order.
///
/// # Errors
/// [`EmbedError`].
pub fn embed(
    engine: &mut impl Engine,
    inputs: Inputs,
    stopped: impl Fn() -> bool,
) -> Result<(Vectors, Vec<(usize, Refusal)>), EmbedError> {
    let mut vectors: Vec<Vec<Vec<f32>>> = inputs
        .rows
        .iter()
        .map(|rows| vec![Vec::new(); *rows])
        .collect();
    metrics::chunks_reused(inputs.known.len());
    for (key, vector) in inputs.known {
        vectors[key.job][key.row] = vector;
    }
    for tensor in &inputs.tensors {
        if stopped() {
            return Err(EmbedError::Stopped);
        }
        let rows = engine.run(tensor)?;
        metrics::tensor_run(tensor);
        for (key, vector) in tensor.rows.iter().zip(rows) {
            vectors[key.job][key.row] = vector;
        }
    }
    Ok(drop_unsound(
        engine,
        Vectors {
            jobs: inputs.jobs,
            vectors,
        },
    ))
}

/// Takes out the jobs that have a vector which must not be written.
fn drop_unsound(engine: &impl Engine, all: Vectors) -> (Vectors, Vec<(usize, Refusal)>) {
    let recipe = engine.recipe();
    let mut sound = Vectors {
        jobs: Vec::new(),
        vectors: Vec::new(),
    };
    let mut refused = Vec::new();
    for (position, (job, vectors)) in all.jobs.into_iter().zip(all.vectors).enumerate() {
        match vectors.iter().position(|vector| !is_sound(vector, recipe)) {
            Some(row) => refused.push((position, Refusal::UnsoundVector { row })),
            None => {
                sound.jobs.push(job);
                sound.vectors.push(vectors);
            }
        }
    }
    (sound, refused)
}

#[cfg(test)]
mod tests {
    use contract::job::Job;
    use contract::model::{Activation, Pooling};
    use ndarray::Array2;

    use super::*;
    use crate::batch::{RowKey, Tensor, Work};
    use crate::pool::Recipe;

    /// Gives each row its first token id as a vector of one dimension; id 13 gives a value that is not a number.
    struct FirstToken;

    impl Engine for FirstToken {
        fn run(&mut self, tensor: &Tensor) -> Result<Vec<Vec<f32>>, EmbedError> {
            let number = |id: &i64| f32::from(u8::try_from(*id).unwrap());
            let value = |id: &i64| if *id == 13 { f32::NAN } else { number(id) };
            Ok(tensor
                .input_ids
                .column(0)
                .iter()
                .map(|id| vec![value(id)])
                .collect())
        }

        fn recipe(&self) -> Recipe {
            Recipe {
                pooling: Pooling::Graph,
                dimensions: 1,
                normalize: false,
                activation: Activation::Raw,
            }
        }
    }

    fn inputs(jobs: &[&[u8]]) -> Inputs {
        let json = br#"{"version":"1.0","kind":"embed","queries":["q"],"reply":"r"}"#;
        let work = || Work {
            job: Job::decode(json).unwrap(),
            default_version: 1,
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
        let embedded = embed(&mut FirstToken, inputs(&[&[1, 2], &[], &[3]]), || false);
        let (vectors, refused) = embedded.unwrap();
        assert_eq!(
            vectors.vectors,
            [vec![vec![1.0], vec![2.0]], vec![], vec![vec![3.0]]]
        );
        assert!(refused.is_empty());
    }

    #[test]
    fn vectors_that_came_with_a_job_are_kept_and_looked_at_like_others() {
        let mut inputs = inputs(&[&[1], &[2], &[]]);
        inputs.rows = vec![2, 1, 1];
        let key = |job, row| RowKey { job, row };
        inputs.known = vec![(key(0, 1), vec![7.0]), (key(2, 0), vec![f32::INFINITY])];
        let (vectors, refused) = embed(&mut FirstToken, inputs, || false).unwrap();
        assert_eq!(
            vectors.vectors,
            [vec![vec![1.0], vec![7.0]], vec![vec![2.0]]]
        );
        assert!(
            matches!(refused[..], [(2, Refusal::UnsoundVector { row: 0 })]),
            "{refused:?}"
        );
    }

    #[test]
    fn a_vector_that_is_not_a_number_takes_only_its_own_job_out() {
        let embedded = embed(&mut FirstToken, inputs(&[&[1], &[2, 13], &[3]]), || false);
        let (vectors, refused) = embedded.unwrap();
        assert_eq!(vectors.vectors, [vec![vec![1.0]], vec![vec![3.0]]]);
        assert_eq!(vectors.jobs.len(), 2);
        assert!(
            matches!(refused[..], [(1, Refusal::UnsoundVector { row: 1 })]),
            "{refused:?}"
        );
    }

    #[test]
    fn a_batch_is_left_between_tensors_when_the_process_must_end() {
        let stopped = embed(&mut FirstToken, inputs(&[&[1]]), || true);
        assert!(matches!(stopped, Err(EmbedError::Stopped)));
    }
}
