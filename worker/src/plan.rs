//! Plan: cuts the rows of a batch into tensors.
//!
//! Takes token ids of all jobs of a batch together, gives tensors. Rows are sorted by length, so that rows of
//! like length share a tensor and little padding is computed; a tensor is closed when its padded cost (longest
//! row times rows) would exceed the budget. A row that exceeds the budget alone still gets its own tensor.

use ndarray::Array2;

use crate::batch::{RowKey, Tensor};

/// A row to plan.
#[derive(Clone, Debug)]
pub struct Row {
    /// Where its vector goes.
    pub key: RowKey,
    /// Its token ids, special tokens included; never empty.
    pub token_ids: Vec<u32>,
    /// Its token types; empty for a single text, where all are 0.
    pub type_ids: Vec<u32>,
}

/// Limits of a tensor.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Largest padded cost of a tensor in tokens.
    pub tensor_tokens: usize,
    /// Id that fills short rows.
    pub padding_id: u32,
}

/// Cuts rows into tensors. Longest first: what needs most memory is met first.
#[must_use]
pub fn plan(mut rows: Vec<Row>, budget: Budget) -> Vec<Tensor> {
    rows.sort_by_key(|row| std::cmp::Reverse(row.token_ids.len()));
    let mut tensors = Vec::new();
    let mut rest = rows.as_slice();
    while let Some(longest) = rest.first() {
        let fitting = (budget.tensor_tokens / longest.token_ids.len().max(1)).max(1);
        let (tensor, later) = rest.split_at(fitting.min(rest.len()));
        tensors.push(fill(tensor, budget.padding_id));
        rest = later;
    }
    tensors
}

/// Lays rows out as one padded matrix.
#[must_use]
pub fn fill(rows: &[Row], padding_id: u32) -> Tensor {
    let longest = rows
        .iter()
        .map(|row| row.token_ids.len())
        .max()
        .unwrap_or(0);
    let shape = (rows.len(), longest);
    let ids = rows.iter().map(|row| row.token_ids.as_slice());
    let types = rows.iter().map(|row| row.type_ids.as_slice());
    let typed = rows.iter().any(|row| !row.type_ids.is_empty());
    Tensor {
        input_ids: matrix(shape, padding_id, ids),
        type_ids: typed.then(|| matrix(shape, 0, types)),
        rows: rows.iter().map(|row| row.key).collect(),
        lengths: rows.iter().map(|row| row.token_ids.len()).collect(),
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

    fn rows(lengths: &[usize]) -> Vec<Row> {
        let row = |(row, length): (usize, &usize)| Row {
            key: RowKey { job: row % 3, row },
            token_ids: (1..=u32::try_from(*length).unwrap()).collect(),
            // Every third row is of a pair.
            type_ids: vec![1; if row % 3 == 0 { *length } else { 0 }],
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
            let tensors = plan(given.clone(), Budget { tensor_tokens, padding_id: 0 });
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
        fn no_tensor_of_several_rows_exceeds_the_budget(
            lengths in prop::collection::vec(1_usize..300, 0..200),
            tensor_tokens in 1_usize..4096,
        ) {
            for tensor in plan(rows(&lengths), Budget { tensor_tokens, padding_id: 0 }) {
                prop_assert!(tensor.rows.len() == 1 || tensor.padded_tokens() <= tensor_tokens);
            }
        }
    }

    #[test]
    fn a_row_larger_than_the_budget_gets_its_own_tensor() {
        let tensors = plan(
            rows(&[500, 10, 10]),
            Budget {
                tensor_tokens: 100,
                padding_id: 0,
            },
        );
        assert_eq!(
            tensors.iter().map(|t| t.rows.len()).collect::<Vec<_>>(),
            [1, 2]
        );
    }
}
