//! Tokens: how much work the jobs of a lane are, as far as they tell.
//!
//! The indexer says in a header how many tokens a job has. JetStream hands out headers only together with what they
//! belong to, so few jobs are read: all of a short lane, some of a long one, evenly spread over it.

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::Stream;
use contract::job::{Chunk, Document, Job};
use contract::topology::header;
use schemars::JsonSchema;
use serde::Serialize;

use crate::streams::next_message;

/// Most jobs of a lane that are read at one look.
const SAMPLES: u64 = 16;

/// Tokens of jobs that are not settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Tokens {
    pub tokens: u64,
    /// Whether it is an estimate: the mean of the jobs that were read, for all.
    pub estimate: bool,
    /// Jobs that were read and tell.
    pub sampled: u64,
    /// Jobs that were read and do not tell: published as text alone, without the header.
    pub untold: u64,
}

/// Tokens of the jobs of a subject from a sequence on.
pub async fn tokens(
    jobs: &Stream,
    subject: &str,
    first: u64,
    lag: u64,
) -> anyhow::Result<Option<Tokens>> {
    let last = jobs.cached_info().state.last_sequence.max(first);
    let mut found = Vec::new();
    let mut next = first;
    while lag > 0 && (found.len() as u64) < SAMPLES {
        let Some(message) = next_message(jobs, subject, next).await? else {
            break;
        };
        found.push(tokens_of(&message));
        next = if lag <= SAMPLES {
            message.sequence + 1
        } else {
            spread(first, last, found.len() as u64).max(message.sequence + 1)
        };
    }
    Ok(sum(&found, lag))
}

/// Where sample `number` of a long lane is taken.
fn spread(first: u64, last: u64, number: u64) -> u64 {
    first + (last - first) / SAMPLES * number
}

fn sum(found: &[Option<u64>], lag: u64) -> Option<Tokens> {
    let told: Vec<u64> = found.iter().copied().flatten().collect();
    let (sampled, sum) = (told.len() as u64, told.iter().sum::<u64>());
    let untold = found.len() as u64 - sampled;
    if lag == 0 {
        return Some(Tokens::default());
    }
    let whole = untold == 0 && lag <= SAMPLES;
    let mean = sum.checked_div(sampled)?;
    Some(Tokens {
        tokens: if whole { sum } else { mean * lag },
        estimate: !whole,
        sampled,
        untold,
    })
}

/// What the header says, else how many token ids the job has; `None` if a worker has to find out.
fn tokens_of(message: &StreamMessage) -> Option<u64> {
    let header = message.headers.get(header::TOKENS);
    let told = header.and_then(|tokens| tokens.as_str().parse().ok());
    told.or_else(|| match Job::decode(&message.payload).ok()? {
        Job::Embed(embed) if !embed.queries.is_empty() => None,
        Job::Embed(embed) => embed.documents.iter().map(tokens_in).sum(),
        Job::Delete(_) => Some(0),
        Job::Rescore(_) | Job::Attach(_) => None,
    })
}

fn tokens_in(document: &Document) -> Option<u64> {
    let ids = |chunk: &Chunk| {
        let ids = chunk.token_ids.len() as u64;
        (ids > 0 || chunk.vector.is_some()).then_some(ids)
    };
    document.chunks.iter().map(ids).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_lane_is_counted_and_a_long_one_estimated() {
        let counted = sum(&[Some(10), Some(30)], 2);
        let exact = Tokens {
            tokens: 40,
            estimate: false,
            sampled: 2,
            untold: 0,
        };
        assert_eq!(counted, Some(exact));
        let estimated = sum(&[Some(10), Some(30)], 1000).unwrap();
        assert_eq!((estimated.tokens, estimated.estimate), (20_000, true));
    }

    #[test]
    fn jobs_that_do_not_tell_make_it_an_estimate_and_nothing_is_made_up() {
        let some = sum(&[Some(10), None], 2).unwrap();
        assert_eq!((some.tokens, some.estimate, some.untold), (20, true, 1));
        assert_eq!(sum(&[None, None], 2), None);
        assert_eq!(sum(&[], 0), Some(Tokens::default()));
    }

    #[test]
    fn samples_are_spread_over_the_lane() {
        assert_eq!(spread(101, 1701, 1), 201);
        assert_eq!(spread(101, 1701, SAMPLES - 1), 1601);
        assert_eq!(spread(5, 5, 3), 5);
    }
}
