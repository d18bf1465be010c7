//! Cut: where sorted rows are cut into tensors so that the least is computed.
//!
//! Filling each tensor to its limit pads short rows to the length of the longest one in it, wherever the limit happens
//! to fall. The cheapest cuts are found from the end instead: with `best(i)` for the rows from `i` on,
//!
//! ```text
//! best(i) = min over j of (j - i) * length(i) + call + best(j)
//! ```
//!
//! A cut is worth trying where the length changes, and where the limit is reached; one between two rows of the same
//! length only moves rows to a tensor that is no shorter. With `d` different lengths that is at most `rows * d` steps.

use super::Shapes;

/// A tensor costs its padded tokens and this part of the largest one. Below, calls would multiply for a few tokens of
/// padding each; above, padding would.
const CALLS_OF_A_TENSOR: usize = 64;

/// Where the tensors of rows with these lengths end, longest first; the last is the number of rows.
pub(super) fn cut(lengths: &[usize], shapes: Shapes) -> Vec<usize> {
    let ends = cheapest_ends(lengths, shapes);
    let (mut cuts, mut at) = (Vec::new(), 0);
    while let Some(end) = ends.get(at) {
        cuts.push(*end);
        at = *end;
    }
    cuts
}

/// Where a tensor that starts with a row ends best, for each row.
fn cheapest_ends(lengths: &[usize], shapes: Shapes) -> Vec<usize> {
    let rows = lengths.len();
    let changes = changes(lengths);
    let call = shapes.tokens / CALLS_OF_A_TENSOR;
    let (mut costs, mut ends) = (vec![0; rows + 1], vec![rows; rows]);
    for start in (0..rows).rev() {
        let fitting = (shapes.tokens / lengths[start]).max(1);
        let most = rows.min(start + fitting);
        let cost = |end: usize| (end - start) * lengths[start] + call + costs[end];
        let (mut best, mut end) = ((cost(most), most), changes[start]);
        while end < most {
            best = best.min((cost(end), end));
            end = changes[end];
        }
        (costs[start], ends[start]) = best;
    }
    ends
}

/// The next row of another length, for each row.
fn changes(lengths: &[usize]) -> Vec<usize> {
    let mut changes = vec![lengths.len(); lengths.len()];
    for at in (1..lengths.len()).rev() {
        let same = lengths[at - 1] == lengths[at];
        changes[at - 1] = if same { changes[at] } else { at };
    }
    changes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shapes(tokens: usize) -> Shapes {
        Shapes {
            tokens,
            step: 1,
            longest: usize::MAX,
        }
    }

    /// Padded tokens and calls, as `cut` counts them.
    fn cost(lengths: &[usize], cuts: &[usize], shapes: Shapes) -> usize {
        let starts = std::iter::once(&0).chain(cuts);
        let tensors = starts.zip(cuts);
        let call = shapes.tokens / CALLS_OF_A_TENSOR;
        tensors
            .map(|(start, end)| (end - start) * lengths[*start] + call)
            .sum()
    }

    /// Every way to cut, the best of them.
    fn exhaustive(lengths: &[usize], shapes: Shapes) -> usize {
        let rows = lengths.len();
        let ways = 0..1_u32 << (rows - 1);
        let cuts = |way: u32| -> Vec<usize> {
            let inner = (1..rows).filter(|at| way >> (at - 1) & 1 == 1);
            inner.chain([rows]).collect()
        };
        let fits = |cuts: &[usize]| {
            let starts = std::iter::once(&0).chain(cuts);
            let mut tensors = starts.zip(cuts);
            tensors.all(|(start, end)| {
                end - start == 1 || (end - start) * lengths[*start] <= shapes.tokens
            })
        };
        let all = ways.map(cuts).filter(|cuts| fits(cuts));
        all.map(|cuts| cost(lengths, &cuts, shapes)).min().unwrap()
    }

    proptest! {
        #[test]
        fn no_other_cuts_are_cheaper(
            mut lengths in prop::collection::vec(1_usize..40, 1..12),
            tokens in 1_usize..400,
        ) {
            lengths.sort_unstable_by(|a, b| b.cmp(a));
            let found = cut(&lengths, shapes(tokens));
            prop_assert_eq!(found.last(), Some(&lengths.len()));
            prop_assert_eq!(cost(&lengths, &found, shapes(tokens)), exhaustive(&lengths, shapes(tokens)));
        }
    }

    #[test]
    fn short_rows_do_not_fill_up_a_tensor_of_long_ones() {
        let mut lengths = vec![250; 3];
        lengths.extend([20; 40]);
        assert_eq!(cut(&lengths, shapes(1024)), [3, 43]);
    }
}
