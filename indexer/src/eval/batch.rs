//! Batch: how many queries travel in one job.

use std::ops::Range;

use contract::job::{ANSWER_BYTES_PER_NUMBER, MAX_JOB_BYTES};

/// Most queries of a job. The lane is that of live work, so a job is small enough for live work to pass between two.
const MOST_QUERIES: usize = 64;
/// Most tokens of a job.
const MOST_TOKENS: usize = 8192;
/// Most bytes of text in a job; escaped as JSON they still fit a message.
const MOST_BYTES: usize = 128 * 1024;
/// Most numbers of an answer.
const MOST_NUMBERS: usize = MAX_JOB_BYTES / ANSWER_BYTES_PER_NUMBER;

#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    /// Tokens by the model that makes the most of this text.
    pub tokens: usize,
    pub bytes: usize,
    /// Whether a worker may refuse it, which would refuse the rest of its job as well.
    pub alone: bool,
}

/// Cuts queries into jobs, in order. `dimensions` is the length of the longest vector in an answer.
pub fn batches(sizes: &[Size], dimensions: usize) -> Vec<Range<usize>> {
    let most = (MOST_NUMBERS / dimensions.max(1)).clamp(1, MOST_QUERIES);
    let mut batches: Vec<Range<usize>> = Vec::new();
    let (mut sum, mut closed) = (Size::default(), true);
    for (index, size) in sizes.iter().enumerate() {
        let count = batches.last().map_or(0, Range::len);
        let fits = count < most
            && sum.tokens + size.tokens <= MOST_TOKENS
            && sum.bytes + size.bytes <= MOST_BYTES;
        match batches.last_mut() {
            Some(batch) if fits && !closed && !size.alone => batch.end = index + 1,
            Some(_) | None => {
                batches.push(index..index + 1);
                sum = Size::default();
            }
        }
        sum.tokens += size.tokens;
        sum.bytes += size.bytes;
        closed = size.alone;
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(tokens: usize) -> Size {
        Size {
            tokens,
            bytes: 10,
            alone: false,
        }
    }

    #[test]
    fn every_query_is_in_one_batch_in_order() {
        let sizes: Vec<_> = (0..1000).map(|n| size(n % 700 + 1)).collect();
        let batches = batches(&sizes, 384);
        let all: Vec<_> = batches.iter().cloned().flatten().collect();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
        for batch in batches {
            let tokens: usize = sizes[batch.clone()].iter().map(|size| size.tokens).sum();
            assert!(batch.len() <= MOST_QUERIES && tokens <= MOST_TOKENS);
        }
    }

    #[test]
    fn a_query_that_may_be_refused_travels_alone() {
        let mut sizes = vec![size(5); 5];
        sizes[2].alone = true;
        assert_eq!(batches(&sizes, 384), [0..2, 2..3, 3..5]);
    }

    #[test]
    fn answers_with_long_vectors_hold_fewer_queries() {
        let batches = batches(&vec![size(5); 40], 4096);
        assert!(
            batches
                .iter()
                .all(|batch| batch.len() * 4096 * ANSWER_BYTES_PER_NUMBER <= MAX_JOB_BYTES)
        );
        assert!(batches.len() > 1);
    }
}
