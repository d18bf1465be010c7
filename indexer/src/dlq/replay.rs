//! Replay: publishes jobs again as they were, and removes their dead letters.
//!
//! A job is published under an id of its dead letter, then the dead letter is removed. A replay that is killed between
//! the two steps is repeated: JetStream recognises the id for the duplicate window of the stream, and after it the job
//! is done a second time, under the version that it had the first time, which changes nothing.

use std::io::{self, Write};

use anyhow::Context as _;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::{self, stream::Stream};
use clap::Args;
use contract::topology::{DLQ, JOBS, Lane};
use futures::{StreamExt as _, TryStreamExt as _};
use queue::dead_letter::{DeadLetter, job_headers, replay_id};
use runtime::settings::ConfigFault;
use schemars::JsonSchema;
use serde::Serialize;

use super::list::write_line;
use crate::dead_letters::StoredLetter;
use crate::dead_letters::{Selected, Selection};
use crate::outcome::escaped;
use crate::outcome::{Outcome, write_counts};
use crate::streams::{Removal, message_at, remove_message, stream};

/// Jobs on their way at any time; each may have almost a megabyte.
const WINDOW: usize = 8;

#[derive(Args, Clone, Debug)]
pub struct ReplayConfig {
    /// Replay every dead letter
    #[arg(long)]
    pub all: bool,
    /// Change nothing; say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub selection: Selection,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Replayed {
    /// Whether it only looked.
    pub dry_run: bool,
    pub replayed: u64,
    /// Jobs that an earlier replay had published without removing their dead letters.
    pub recognised: u64,
    /// Dead letters that somebody else removed meanwhile.
    pub gone: u64,
    /// Messages that are no dead letters; they stay.
    pub unreadable: u64,
    /// Dead letters whose subject is none of a job; they stay.
    pub refused: u64,
    /// What ended the replay early; it can be repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Clone, Copy, Debug)]
enum Replay {
    Replayed,
    Recognised,
    Gone,
    Unreadable,
    Refused,
}

impl ReplayConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        self.selection.faults_of_change(self.all)
    }
}

/// Replays the selected dead letters, or lists them in a dry run.
pub async fn replay(
    jetstream: &jetstream::Context,
    config: &ReplayConfig,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<Replayed> {
    let dlq = stream(jetstream, DLQ).await?;
    let letters = Selected::open(dlq.clone(), config.selection.clone()).await?;
    if config.dry_run {
        return look(letters, config.json, out).await;
    }
    Ok(replay_all(jetstream, &dlq, letters).await)
}

async fn look(
    mut letters: Selected,
    json: bool,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<Replayed> {
    let mut replayed = Replayed {
        dry_run: true,
        ..Replayed::default()
    };
    while let Some(stored) = letters.next().await? {
        replayed.count(match lane(&stored.letter, stored.id) {
            Ok(_) => Replay::Replayed,
            Err(outcome) => outcome,
        });
        if !json {
            write_line(&stored, out)?;
        }
    }
    Ok(replayed)
}

async fn replay_all(jetstream: &jetstream::Context, dlq: &Stream, letters: Selected) -> Replayed {
    let one = |stored: StoredLetter| replay_one(jetstream, dlq, stored.id);
    let mut outcomes = letters
        .into_stream()
        .map_ok(one)
        .try_buffer_unordered(WINDOW)
        .boxed_local();
    let mut replayed = Replayed::default();
    loop {
        match outcomes.try_next().await {
            Ok(Some(outcome)) => replayed.count(outcome),
            Ok(None) => return replayed,
            Err(error) => {
                tracing::error!("{error:#}; the replay can be repeated");
                replayed.error = Some(format!("{error:#}"));
                return replayed;
            }
        }
    }
}

async fn replay_one(
    jetstream: &jetstream::Context,
    dlq: &Stream,
    id: u64,
) -> anyhow::Result<Replay> {
    let Some(message) = message_at(dlq, id).await? else {
        return Ok(Replay::Gone);
    };
    let lane = match lane(&DeadLetter::parse(&message.headers), id) {
        Ok(lane) => lane,
        Err(outcome) => return Ok(outcome),
    };
    let duplicate = publish(jetstream, &lane, message).await;
    let duplicate = duplicate.with_context(|| format!("failed to replay dead letter {id}"))?;
    let removal = remove_message(jetstream, dlq, id).await?;
    Ok(match (duplicate, removal) {
        (false, _) => Replay::Replayed,
        (true, Removal::Removed) => Replay::Recognised,
        (true, Removal::Gone) => Replay::Gone,
    })
}

/// Jobs are published to lanes alone, because a forged dead letter may name any subject.
fn lane<E>(letter: &Result<DeadLetter, E>, id: u64) -> Result<Lane, Replay> {
    let Ok(letter) = letter else {
        tracing::warn!("message {id} is not a dead letter and stays");
        return Err(Replay::Unreadable);
    };
    letter.lane().ok_or_else(|| {
        let subject = escaped(&letter.subject);
        tracing::warn!("dead letter {id} stays: `{subject}` is no subject of jobs");
        Replay::Refused
    })
}

/// Publishes a job as it was; says whether it had been published before.
async fn publish(
    jetstream: &jetstream::Context,
    lane: &Lane,
    message: StreamMessage,
) -> anyhow::Result<bool> {
    let id = replay_id(&message.subject);
    let job = PublishMessage::build()
        .payload(message.payload)
        .headers(job_headers(&message.headers))
        .message_id(id)
        .expected_stream(JOBS);
    let stored = jetstream.send_publish(lane.subject(), job).await?.await?;
    Ok(stored.duplicate)
}

impl Replayed {
    fn count(&mut self, outcome: Replay) {
        *match outcome {
            Replay::Replayed => &mut self.replayed,
            Replay::Recognised => &mut self.recognised,
            Replay::Gone => &mut self.gone,
            Replay::Unreadable => &mut self.unreadable,
            Replay::Refused => &mut self.refused,
        } += 1;
    }
}

impl Outcome for Replayed {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let would = if self.dry_run { "would be " } else { "" };
        writeln!(out, "{} {would}replayed", self.replayed)?;
        let counts = [
            (self.recognised, "had been published before and are removed"),
            (self.gone, "were removed by somebody else"),
            (self.unreadable, "are no dead letters and stay"),
            (self.refused, "name no subject of jobs and stay"),
        ];
        write_counts(&counts, out)
    }

    fn is_failure(&self) -> bool {
        self.unreadable + self.refused > 0 || self.error.is_some()
    }
}
