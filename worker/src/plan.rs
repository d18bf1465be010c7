//! Plan: cuts the rows of a batch into tensors.
//!
//! The rows of all jobs of a batch are sorted by length, so that rows of like length share a tensor, and cut where the
//! least padding is computed. No tensor has more padded tokens (longest row times rows) than the limit, except that a row
//! which is longer than the limit gets a tensor of its own.

mod cut;

use ndarray::Array2;

use crate::batch::{Reading, RowKey, Tensor};

#[derive(Clone, Debug)]
pub struct Row {
    pub key: RowKey,
    /// Its token ids, special tokens included; never empty.
    pub token_ids: Vec<u32>,
    /// Its token types; empty for a single text, where all are 0.
    pub type_ids: Vec<u32>,
    pub reading: Reading,
}

/// Which shapes tensors may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shapes {
    /// Largest padded cost of a tensor in tokens.
    pub tokens: usize,
    /// Tensors are padded to a multiple of this. With few different lengths, an arena that keeps memory for each shape
    /// stops growing. 1 pads to the longest row only.
    pub step: usize,
    /// Longest row that the model takes: no tensor is padded beyond it.
    pub longest: usize,
}

impl Shapes {
    /// How long a tensor is whose longest row has this many tokens.
    fn length(self, tokens: usize) -> usize {
        tokens
            .next_multiple_of(self.step.max(1))
            .min(self.longest)
            .max(tokens)
    }
}

/// Cuts rows into tensors, the longest first, because it needs most memory. `padding_id` fills short rows.
pub fn plan(mut rows: Vec<Row>, shapes: Shapes, padding_id: u32) -> Vec<Tensor> {
    rows.sort_by_key(|row| std::cmp::Reverse(row.token_ids.len()));
    let lengths: Vec<_> = rows
        .iter()
        .map(|row| shapes.length(row.token_ids.len()).max(1))
        .collect();
    let mut start = 0;
    let tensor = |end: usize| {
        let tensor = fill_to(lengths[start], &rows[start..end], padding_id);
        start = end;
        tensor
    };
    cut::cut(&lengths, shapes).into_iter().map(tensor).collect()
}

/// Lays rows out as one matrix, padded to the longest of them.
pub fn fill(rows: &[Row], padding_id: u32) -> Tensor {
    let lengths = rows.iter().map(|row| row.token_ids.len());
    fill_to(lengths.max().unwrap_or(0), rows, padding_id)
}

fn fill_to(length: usize, rows: &[Row], padding_id: u32) -> Tensor {
    let shape = (rows.len(), length);
    let ids = rows.iter().map(|row| row.token_ids.as_slice());
    let types = rows.iter().map(|row| row.type_ids.as_slice());
    let typed = rows.iter().any(|row| !row.type_ids.is_empty());
    Tensor {
        input_ids: matrix(shape, padding_id, ids),
        type_ids: typed.then(|| matrix(shape, 0, types)),
        rows: rows.iter().map(|row| row.key).collect(),
        lengths: rows.iter().map(|row| row.token_ids.len()).collect(),
        readings: rows.iter().map(|row| row.reading).collect(),
    }
}

fn matrix<'a>(
    shape: (usize, usize),
    padding: u32,
    rows: impl Iterator<Item = &'a [u32]>,
) -> Array2<i64> {
    let mut matrix = Array2::from_elem(shape, i64::from(padding));
    for (mut line, row) in matrix.rows_mut().into_iter().zip(rows) {
        for (cell, id) in line.iter_mut().zip(row) {
            *cell = i64::from(*id);
        }
    }
    matrix
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// No row of these tests is longer.
    const LONGEST: usize = 500;

    fn shapes(tokens: usize, step: usize) -> Shapes {
        Shapes {
            tokens,
            step,
            longest: LONGEST,
        }
    }

    fn rows(lengths: &[usize]) -> Vec<Row> {
        let row = |(row, length): (usize, &usize)| Row {
            key: RowKey { job: row % 3, row },
            token_ids: (1..=u32::try_from(*length).unwrap()).collect(),
            // Every third row is of a pair.
            type_ids: vec![1; if row % 3 == 0 { *length } else { 0 }],
            reading: Reading::default(),
        };
        lengths.iter().enumerate().map(row).collect()
    }

    proptest! {
        #[test]
        fn every_row_is_in_exactly_one_tensor_with_its_ids(
            lengths in prop::collection::vec(1_usize..300, 0..200),
            tensor_tokens in 1_usize..4096,
        ) {
            let given = rows(&lengths);
            let tensors = plan(given.clone(), shapes(tensor_tokens, 1), 0);
            let mut seen = Vec::new();
            for tensor in &tensors {
                for (i, key) in tensor.rows.iter().enumerate() {
                    let ids: Vec<u32> = tensor.input_ids.row(i).iter()
                        .take(tensor.lengths[i]).map(|id| u32::try_from(*id).unwrap()).collect();
                    prop_assert_eq!(&ids, &given[key.row].token_ids);
                    prop_assert!(tensor.input_ids.row(i).iter().skip(tensor.lengths[i]).all(|id| *id == 0));
                    let types = tensor.type_ids.as_ref().map_or(0, |types| types.row(i).sum());
                    prop_assert_eq!(types, i64::try_from(given[key.row].type_ids.len()).unwrap());
                    seen.push(key.row);
                }
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
        }

        #[test]
        fn no_tensor_of_several_rows_exceeds_the_limit(
            lengths in prop::collection::vec(1_usize..300, 0..200),
            tensor_tokens in 1_usize..4096,
            step in 1_usize..32,
        ) {
            for tensor in plan(rows(&lengths), shapes(tensor_tokens, step), 0) {
                prop_assert!(tensor.rows.len() == 1 || tensor.padded_tokens() <= tensor_tokens);
                let length = tensor.input_ids.ncols();
                prop_assert!(length.is_multiple_of(step) || length == LONGEST, "{length}");
            }
        }
    }

    #[test]
    fn a_row_larger_than_the_limit_gets_its_own_tensor() {
        let tensors = plan(rows(&[500, 10, 10]), shapes(100, 1), 0);
        assert_eq!(
            tensors.iter().map(|t| t.rows.len()).collect::<Vec<_>>(),
            [1, 2]
        );
    }

    /// Lengths as corpora have them, spread log-normally about 120 tokens: no chance, the quantiles of the distribution.
    fn log_normal(rows: u32) -> Vec<usize> {
        let quantile = |at: u32| f64::from(at * 2 + 1) / f64::from(rows * 2);
        // The logistic distribution is close to the normal one and has a closed inverse.
        let deviation = |share: f64| (share / (1.0 - share)).ln() * 0.55;
        let length = |share: f64| (120.0 * (0.7 * deviation(share)).exp()).clamp(3.0, 256.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "3 to 256"
        )]
        let tokens = |at: u32| length(quantile(at)) as usize;
        (0..rows).map(tokens).collect()
    }

    #[test]
    fn little_is_computed_that_is_padding() {
        let tensors = plan(rows(&log_normal(120)), shapes(1024, 1), 0);
        let useful: usize = tensors.iter().map(Tensor::useful_tokens).sum();
        let padded: usize = tensors.iter().map(Tensor::padded_tokens).sum();
        let percent = useful * 100 / padded;
        assert!(percent >= 97, "{useful} of {padded} tokens are useful");
    }
}
