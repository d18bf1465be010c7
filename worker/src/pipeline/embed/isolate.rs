//! Isolate: runs a tensor, and where the model fails on it finds the rows that are to blame.
//!
//! A row may be one that the graph does not take, like one with more tokens than it has places for. Its neighbours are run
//! without it: the tensor is halved until the row is alone.

use super::batch_run::{RowFailure, RowResults};
use crate::batch::Tensor;
use crate::error::{EmbedError, chain};
use crate::load::Canary;
use crate::pool::is_sound;
use crate::session::Engine;
use runtime::failpoint::{self, Verdict};

/// Runs a tensor. The outer error is about the device: not even a golden text can be embedded as it was at the start, so
/// that the batch is not to blame. The inner one is about the graph.
pub(super) fn run(
    engine: &mut impl Engine,
    tensor: &Tensor,
    canary: &Canary,
) -> Result<Result<RowResults, EmbedError>, EmbedError> {
    if failpoint::reached("broken-device") == Verdict::Fail {
        return Err(EmbedError::Broken("failpoint".into()));
    }
    let recipe = engine.recipe();
    match engine.run(tensor) {
        Err(error @ EmbedError::Run { .. }) => {
            if canary.check(engine).is_err() {
                return Err(error);
            }
            let rows = isolate(engine, tensor);
            // A device that broke meanwhile has failed on every row.
            let failed = rows.iter().flatten().any(Result::is_err);
            if failed && canary.check(engine).is_err() {
                return Err(error);
            }
            Ok(rows)
        }
        Ok(vectors) if !vectors.iter().all(|vector| is_sound(vector, recipe)) => {
            let working = canary.check(engine);
            working.map_err(|error| EmbedError::Broken(error.into()))?;
            Ok(Ok(vectors.into_iter().map(Ok).collect()))
        }
        ran => Ok(ran.map(|vectors| vectors.into_iter().map(Ok).collect())),
    }
}

/// Runs the parts of a tensor that has failed. A single row is run once more.
fn isolate(engine: &mut impl Engine, tensor: &Tensor) -> Result<RowResults, EmbedError> {
    let parts = match tensor.halves() {
        Some((first, second)) => vec![first, second],
        None => vec![tensor.clone()],
    };
    let mut rows = RowResults::new();
    for part in parts {
        match engine.run(&part) {
            Ok(vectors) => rows.extend(vectors.into_iter().map(Ok)),
            Err(EmbedError::Run { .. }) if part.rows() > 1 => {
                rows.extend(isolate(engine, &part)?);
            }
            Err(error @ EmbedError::Run { .. }) => rows.push(Err(RowFailure {
                reason: chain(&error),
                tokens: part.lengths.first().copied().unwrap_or_default(),
                may_pass: error.is_out_of_memory(),
            })),
            Err(error) => return Err(error),
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use contract::embedding::Embedding;
    use ndarray::Array2;

    use super::*;
    use crate::batch::RowKey;
    use crate::pool::Recipe;
    use crate::session::limited_engine::failed;

    /// Gives not a number for the token 13, and for all once it is broken.
    struct Fragile {
        broken: bool,
        calls: usize,
    }

    impl Engine for Fragile {
        fn run(&mut self, tensor: &Tensor) -> Result<Vec<Embedding>, EmbedError> {
            self.calls += 1;
            let value = |id: &i64| match (self.broken, *id) {
                (true, _) | (_, 13) => f32::NAN,
                _ => 1.0,
            };
            let one = |id| Embedding::Dense(vec![value(id)]);
            Ok(tensor.input_ids.iter().map(one).collect())
        }

        fn recipe(&self) -> Recipe {
            crate::session::limited_engine::LimitedEngine(0).recipe()
        }
    }

    fn tensor(id: i64) -> Tensor {
        Tensor {
            rows: vec![RowKey { job: 0, row: 0 }],
            lengths: vec![1],
            readings: Vec::new(),
            input_ids: Array2::from_elem((1, 1), id),
            type_ids: None,
        }
    }

    /// A tensor of a row for each id.
    fn rows(ids: &[i64]) -> Tensor {
        Tensor {
            rows: (0..ids.len()).map(|row| RowKey { job: 0, row }).collect(),
            lengths: vec![1; ids.len()],
            readings: Vec::new(),
            input_ids: Array2::from_shape_vec((ids.len(), 1), ids.to_vec()).unwrap(),
            type_ids: None,
        }
    }

    /// Fails on tensors with the id 99; gives each row its id.
    struct FailsOnId {
        words: &'static str,
        calls: usize,
        dies_at: usize,
    }

    impl Engine for FailsOnId {
        fn run(&mut self, tensor: &Tensor) -> Result<Vec<Embedding>, EmbedError> {
            self.calls += 1;
            if self.calls >= self.dies_at || tensor.input_ids.iter().any(|id| *id == 99) {
                return Err(failed(tensor, self.words));
            }
            let value = |id: &i64| f32::from(i16::try_from(*id).unwrap());
            let one = |id| Embedding::Dense(vec![value(id)]);
            Ok(tensor.input_ids.iter().map(one).collect())
        }

        fn recipe(&self) -> Recipe {
            crate::session::limited_engine::LimitedEngine(0).recipe()
        }
    }

    fn choosy(words: &'static str, dies_at: usize) -> (FailsOnId, Canary) {
        let engine = FailsOnId {
            words,
            calls: 0,
            dies_at,
        };
        (engine, Canary::giving(tensor(7), &[7.0]))
    }

    #[test]
    fn a_row_that_fails_takes_only_itself() {
        let (mut engine, canary) = choosy("indices out of bounds", usize::MAX);
        let ids = [1, 2, 99, 4, 5, 6, 7, 8];
        let found = run(&mut engine, &rows(&ids), &canary).unwrap().unwrap();
        let expected = [1.0, 2.0, 0.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        for (at, row) in found.iter().enumerate() {
            match row {
                Ok(vector) => assert_eq!(vector.values(), [expected[at]]),
                Err(failure) => assert_eq!((at, failure.may_pass), (2, false)),
            }
        }
        assert!(found[2].is_err() && found.len() == 8);
        // The whole, a golden text, three times two halves, a golden text.
        assert_eq!(engine.calls, 9);
        let (mut engine, canary) = choosy("Failed to allocate memory", usize::MAX);
        let found = run(&mut engine, &rows(&[99]), &canary).unwrap().unwrap();
        assert!(found[0].as_ref().is_err_and(|failure| failure.may_pass));
    }

    #[test]
    fn rows_are_not_to_blame_where_the_device_breaks_meanwhile() {
        for dies_at in 1..=6 {
            let (mut engine, canary) = choosy("failed", dies_at);
            assert!(run(&mut engine, &rows(&[1, 99, 3, 4]), &canary).is_err());
        }
    }

    #[test]
    fn a_vector_that_is_no_number_is_the_jobs_fault_only_where_a_golden_text_still_has_its_own() {
        let canary = Canary::giving(tensor(7), &[1.0]);
        let mut engine = Fragile {
            broken: false,
            calls: 0,
        };
        let ran = run(&mut engine, &tensor(13), &canary).unwrap().unwrap();
        assert!(
            ran[0]
                .as_ref()
                .is_ok_and(|vector| vector.values()[0].is_nan())
        );
        assert_eq!(engine.calls, 2);
        run(&mut engine, &tensor(5), &canary).unwrap().unwrap();
        assert_eq!(engine.calls, 3, "sound vectors cost nothing more");
        engine.broken = true;
        let error = run(&mut engine, &tensor(5), &canary).unwrap_err();
        assert!(matches!(error, EmbedError::Broken(_)), "{error}");
    }
}
