//! Answers: the vectors of queries and the scores of items, and refusals, for whoever asked.
//!
//! Answers go through JetStream, so that one is either stored or the job is given back and answered again.

use contract::answer::{Answer, AnswerOutcome};
use contract::job::Job;
use contract::model::Manifest;
use contract::names::ReplyId;
use contract::topology::reply_subject;

use super::Context;
use crate::batch::Vectors;
use crate::error::{AnswerError, Refusal};
use crate::inflight::{Deliveries, Delivery, Queue};
use crate::outcome::Outcome;

/// Publishes the answers of all jobs in a batch that ask for one.
///
/// # Errors
/// [`AnswerError`] for the first answer that is not stored; answering again is harmless.
pub(super) async fn answer(context: &Context, vectors: &Vectors) -> Result<(), AnswerError> {
    for (decoded, rows) in vectors.jobs.iter().zip(&vectors.vectors) {
        let Some(reply) = reply_of(&decoded.job) else {
            continue;
        };
        let outcome = match &decoded.job {
            Job::Embed(embed) if embed.queries.is_empty() => continue,
            Job::Embed(_) => AnswerOutcome::Vectors(rows.clone()),
            Job::Rescore(_) => {
                let scores = rows.iter().map(|scores| scores.values().to_vec());
                AnswerOutcome::Scores(scores.collect())
            }
            Job::Delete(_) | Job::Attach(_) => continue,
        };
        let answer = answer_of(&context.manifest, reply, outcome);
        let truncated = decoded.truncated.clone();
        publish(
            &context.queue,
            Answer {
                truncated,
                ..answer
            },
        )
        .await?;
    }
    Ok(())
}

/// Settles the jobs that a stage refused, and returns the deliveries of the others. `refused` has the positions in the
/// batch, in ascending order.
pub(super) async fn refuse(
    context: &Context,
    mut deliveries: Deliveries,
    refused: Vec<(usize, Refusal)>,
) -> Deliveries {
    let positions: Vec<_> = refused.iter().map(|(position, _)| *position).collect();
    let removed = deliveries.remove(&positions);
    for (delivery, (_, refusal)) in removed.into_iter().zip(refused) {
        settle_refused(context, delivery, &refusal).await;
    }
    deliveries
}

/// Gives a job back that others may do. Whoever asked is told of the refusal of any other: a job that is for an answer alone
/// has then what it is for, and the rest becomes a dead letter, because something that was to be written is missing.
pub(super) async fn settle_refused(context: &Context, delivery: Delivery, refusal: &Refusal) {
    let outcome = refusal.outcome(delivery.delivery_count(), delivery.age());
    let reason = refusal.to_string();
    let Outcome::DeadLetter { cause } = outcome else {
        let deliveries = delivery.delivery_count();
        tracing::info!(deliveries, reason, "job given back to other workers");
        return delivery.settle(outcome, &reason).await;
    };
    match answer_refusal(context, delivery.payload(), refusal).await {
        Settling::Answered => delivery.refused(cause, &reason).await,
        // The job is refused again, and its answer is tried again.
        Settling::Retried => {
            let retry = Outcome::Retry { after: None };
            delivery.settle(retry, "refusal not answered").await;
        }
        Settling::DeadLettered => delivery.settle(outcome, &reason).await,
    }
}

/// How a refused job is settled.
enum Settling {
    /// The job was for an answer alone, and that is stored: no dead letter.
    Answered,
    /// It was for an answer alone, which could not be stored: it is tried again.
    Retried,
    /// It was for something else or for more, or it cannot be read.
    DeadLettered,
}

/// Tells whoever asked that the job was refused, as far as the job can be read at all. A lost answer of a job that has a
/// dead letter is not sent again: whoever asked runs into their own timeout.
async fn answer_refusal(context: &Context, payload: &[u8], refusal: &Refusal) -> Settling {
    let Ok(job) = Job::decode(payload) else {
        return Settling::DeadLettered;
    };
    let Some(reply) = reply_of(&job) else {
        return Settling::DeadLettered;
    };
    let outcome = AnswerOutcome::Refused {
        cause: refusal.cause().to_owned(),
        reason: refusal.to_string(),
    };
    let answer = answer_of(&context.manifest, reply, outcome);
    let published = publish(&context.queue, answer).await;
    if let Err(error) = &published {
        tracing::warn!(%error, "refusal not answered");
    }
    match (writes_nothing(&job), published) {
        (true, Ok(())) => Settling::Answered,
        (true, Err(_)) => Settling::Retried,
        (false, _) => Settling::DeadLettered,
    }
}

/// Whether a job is for an answer alone. The scores of one that names a collection go to its points too.
fn writes_nothing(job: &Job) -> bool {
    match job {
        Job::Embed(embed) => embed.documents.is_empty(),
        Job::Rescore(rescore) => rescore.collection.is_none(),
        Job::Delete(_) | Job::Attach(_) => false,
    }
}

fn reply_of(job: &Job) -> Option<&ReplyId> {
    match job {
        Job::Embed(embed) => embed.reply.as_ref(),
        Job::Rescore(rescore) => rescore.reply.as_ref(),
        Job::Delete(_) | Job::Attach(_) => None,
    }
}

fn answer_of(manifest: &Manifest, reply: &ReplyId, outcome: AnswerOutcome) -> Answer {
    Answer {
        reply: reply.clone(),
        model: manifest.name.clone(),
        fingerprint: manifest.fingerprint.clone(),
        truncated: Vec::new(),
        outcome,
    }
}

async fn publish(queue: &Queue, answer: Answer) -> Result<(), AnswerError> {
    let subject = reply_subject(&answer.reply);
    let json = serde_json::to_vec(&answer).expect("an answer has only finite numbers");
    let published = async {
        queue
            .jetstream
            .publish(subject.clone(), json.into())
            .await?
            .await
    };
    published
        .await
        .map(drop)
        .map_err(|source| AnswerError { subject, source })
}
