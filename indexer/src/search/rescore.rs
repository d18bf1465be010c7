//! Rescore: orders what a search has found by the scores of a cross-encoder, through the queue.

use contract::answer::AnswerOutcome;
use contract::job::{self, Item, Job, Rescore};
use contract::model::Manifest;
use contract::names::ReplyId;
use futures::future::try_join_all;

use super::Hit;
use crate::jobs::packer::{Packer, Size, json_bytes};
use crate::retrieval::query_client::{QueryClient, QueryError, read, reply_id};

/// Gives each hit its score and puts the best first. Hits without text come last.
pub async fn rescore(
    query_client: &QueryClient,
    manifest: &Manifest,
    query: &str,
    mut hits: Vec<Hit>,
) -> Result<Vec<Hit>, QueryError> {
    let has_text = |hit: &&mut Hit| !hit.text.trim().is_empty();
    let mut scored: Vec<&mut Hit> = hits.iter_mut().filter(has_text).collect();
    let items: Vec<Item> = scored.iter().map(|hit| item(query, hit)).collect();
    let jobs = pack(items).into_iter();
    let scores = try_join_all(jobs.map(|items| score(query_client, manifest, items))).await?;
    for (hit, score) in scored.iter_mut().zip(scores.concat()) {
        hit.rescore = Some(score);
    }
    let rank = |hit: &Hit| hit.rescore.unwrap_or(f32::NEG_INFINITY);
    hits.sort_by(|a, b| rank(b).total_cmp(&rank(a)));
    Ok(hits)
}

fn item(query: &str, hit: &Hit) -> Item {
    Item {
        query: Some(query.to_owned()),
        text: job::Chunk::model_input("", hit.context.as_deref(), &hit.text),
        ..Item::default()
    }
}

/// Packs items into as few jobs as hold them. An item that fits no job is refused by the worker, with a reason.
fn pack(items: Vec<Item>) -> Vec<Vec<Item>> {
    let mut packer = Packer::new(usize::MAX);
    let add = |item: Item| {
        let size = Size {
            tokens: 0,
            rows: 1,
            // One more for the comma.
            bytes: json_bytes(&item) + 1,
            copies: 0,
        };
        packer.add(item, size)
    };
    let mut jobs: Vec<_> = items.into_iter().filter_map(add).collect();
    jobs.extend(packer.finish());
    jobs.into_iter().map(|filled| filled.items).collect()
}

async fn score(
    query_client: &QueryClient,
    manifest: &Manifest,
    items: Vec<Item>,
) -> Result<Vec<f32>, QueryError> {
    let texts: Vec<String> = items.iter().map(|item| item.text.clone()).collect();
    let reply = reply_id(&texts);
    let bytes = |item: &Item| item.text.len() + item.query.as_ref().map_or(0, String::len);
    // Nobody has counted; four bytes a token is what a worker would guess.
    let tokens = items.iter().map(bytes).sum::<usize>() / 4;
    let job = question(items, reply.clone());
    let answer = query_client.answer(manifest, &reply, &job, tokens).await?;
    let unreadable = |reason: &str| QueryError::Answer {
        reason: reason.to_owned(),
    };
    let scores = match read(&answer, manifest)?.outcome {
        AnswerOutcome::Scores(scores) => scores,
        AnswerOutcome::Vectors(_) => return Err(unreadable("it has vectors")),
        AnswerOutcome::Refused { reason, .. } => return Err(QueryError::Refused { reason }),
    };
    if scores.len() != texts.len() || scores.iter().any(|labels| labels.len() != 1) {
        return Err(unreadable("it has not one score for each candidate"));
    }
    Ok(scores.concat())
}

fn question(items: Vec<Item>, reply: ReplyId) -> Job {
    Job::Rescore(Rescore {
        version: job::VERSION.to_owned(),
        items,
        reply: Some(reply),
        truncate: true,
        ..Rescore::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_packed_in_order_into_jobs_that_are_read_again() {
        for (count, bytes) in [(0, 1), (3, 10), (1_100, 10), (30, 100_000)] {
            let item = |n: usize| Item {
                query: Some("query".to_owned()),
                text: format!("{n} {}", "x".repeat(bytes)),
                ..Item::default()
            };
            let all: Vec<Item> = (0..count).map(item).collect();
            let jobs = pack(all.clone());
            assert_eq!(jobs.concat(), all);
            for items in jobs {
                let job = question(items, "r".parse().unwrap());
                assert_eq!(Job::decode(&job.encode()).unwrap(), job);
            }
        }
    }
}
