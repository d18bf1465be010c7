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
use crate::error::{AnswerError, Outcome, Refusal};
use crate::inflight::{Deliveries, Delivery, Queue};

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
            Job::Rescore(_) => AnswerOutcome::Scores(rows.clone()),
            Job::Delete(_) => continue,
        };
        publish(&context.queue, &context.manifest, reply, outcome).await?;
    }
    Ok(())
}

/// Settles the jobs that a stage refused, tells those who asked of dead letters, and returns the deliveries of the others.
/// `refused` has the positions in the batch, in ascending order.
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

/// Gives a job back that others may do, and dead-letters any other.
pub(super) async fn settle_refused(context: &Context, delivery: Delivery, refusal: &Refusal) {
    let outcome = refusal.outcome(delivery.delivery_count(), delivery.age());
    let reason = refusal.to_string();
    if matches!(outcome, Outcome::DeadLetter { .. }) {
        answer_refusal(context, delivery.payload(), refusal).await;
    } else {
        let deliveries = delivery.delivery_count();
        tracing::info!(deliveries, reason, "job given back to other workers");
    }
    delivery.settle(outcome, &reason).await;
}

/// Tells whoever asked that the job was refused, as far as the job can be read at all. A lost answer is not sent again,
/// because the dead letter records the refusal: whoever asked runs into their own timeout.
async fn answer_refusal(context: &Context, payload: &[u8], refusal: &Refusal) {
    let Ok(job) = Job::decode(payload) else {
        return;
    };
    let Some(reply) = reply_of(&job) else { return };
    let outcome = AnswerOutcome::Refused {
        cause: refusal.cause().to_owned(),
        reason: refusal.to_string(),
    };
    if let Err(error) = publish(&context.queue, &context.manifest, reply, outcome).await {
        tracing::warn!(%error, "refusal not answered");
    }
}

fn reply_of(job: &Job) -> Option<&ReplyId> {
    match job {
        Job::Embed(embed) => embed.reply.as_ref(),
        Job::Rescore(rescore) => rescore.reply.as_ref(),
        Job::Delete(_) => None,
    }
}

async fn publish(
    queue: &Queue,
    manifest: &Manifest,
    reply: &ReplyId,
    outcome: AnswerOutcome,
) -> Result<(), AnswerError> {
    let answer = Answer {
        reply: reply.clone(),
        model: manifest.name.clone(),
        fingerprint: manifest.fingerprint.clone(),
        outcome,
    };
    let subject = reply_subject(reply);
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
