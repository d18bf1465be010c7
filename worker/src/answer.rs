//! Answer: publishes the vectors of queries and the scores of items to whoever asked.
//!
//! Answers go through JetStream, so that one is either stored or the job is given back and answered again.

use contract::answer::{Answer, AnswerOutcome};
use contract::job::Job;
use contract::model::Manifest;
use contract::names::ReplyId;
use contract::topology::reply_subject;

use crate::batch::Vectors;
use crate::error::{AnswerError, Refusal};
use crate::inflight::Queue;

/// Publishes the answers of all jobs in a batch that ask for one.
///
/// # Errors
/// [`AnswerError`] for the first answer that is not stored; answering again is harmless.
pub async fn answer(
    queue: &Queue,
    manifest: &Manifest,
    vectors: &Vectors,
) -> Result<(), AnswerError> {
    for (work, rows) in vectors.jobs.iter().zip(&vectors.vectors) {
        let Some(reply) = reply_of(&work.job) else {
            continue;
        };
        let outcome = match &work.job {
            Job::Embed(embed) if embed.queries.is_empty() => continue,
            Job::Embed(_) => AnswerOutcome::Vectors(rows.clone()),
            Job::Rescore(_) => AnswerOutcome::Scores(rows.clone()),
            Job::Delete(_) => continue,
        };
        publish(queue, manifest, reply, outcome).await?;
    }
    Ok(())
}

/// Tells whoever asked that the job was refused, as far as the job can be read at all. The dead letter is what
/// counts; an answer that is lost only lets somebody wait for their own timeout.
pub async fn answer_refusal(queue: &Queue, manifest: &Manifest, payload: &[u8], refusal: &Refusal) {
    let Ok(job) = Job::decode(payload) else {
        return;
    };
    let Some(reply) = reply_of(&job) else { return };
    let outcome = AnswerOutcome::Refused {
        cause: refusal.cause().to_owned(),
        reason: refusal.to_string(),
    };
    if let Err(error) = publish(queue, manifest, reply, outcome).await {
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
