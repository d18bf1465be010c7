//! Remove: takes dead letters out of the stream for good.

use std::io::{self, Write};

use anyhow::Context as _;
use async_nats::jetstream::{self, stream::Stream};
use clap::Args;
use contract::topology::DLQ;
use futures::{StreamExt as _, TryStreamExt as _};
use runtime::settings::ConfigFault;
use schemars::JsonSchema;
use serde::Serialize;

use super::list::write_line;
use crate::dead_letters::StoredLetter;
use crate::dead_letters::{Selected, Selection};
use crate::outcome::{Outcome, write_counts};
use crate::streams::{Removal, remove_message, stream};

/// Removals on their way at any time.
const WINDOW: usize = 64;

#[derive(Args, Clone, Debug)]
pub struct DropConfig {
    /// Drop every dead letter
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
pub struct Dropped {
    /// Whether it only looked.
    pub dry_run: bool,
    pub dropped: u64,
    /// Messages that somebody else removed meanwhile.
    pub gone: u64,
}

impl DropConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        self.selection.faults_of_change(self.all)
    }
}

/// Removes the selected dead letters, or lists them in a dry run.
pub async fn remove(
    jetstream: &jetstream::Context,
    config: &DropConfig,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<Dropped> {
    let dlq = stream(jetstream, DLQ).await?;
    let selection = &config.selection;
    if config.dry_run {
        let letters = Selected::open(dlq, selection.clone()).await?;
        look(letters, config.json, out).await
    } else if selection.is_everything() && selection.limit.is_none() {
        purge(&dlq).await
    } else {
        let letters = Selected::open(dlq.clone(), selection.clone()).await?;
        remove_each(jetstream, &dlq, letters).await
    }
}

async fn look(
    mut letters: Selected,
    json: bool,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<Dropped> {
    let mut dropped = Dropped {
        dry_run: true,
        ..Dropped::default()
    };
    while let Some(stored) = letters.next().await? {
        dropped.dropped += 1;
        if !json {
            write_line(&stored, out)?;
        }
    }
    Ok(dropped)
}

/// Removes all dead letters up to the one that is the last now. One that comes meanwhile was not asked for.
async fn purge(dlq: &Stream) -> anyhow::Result<Dropped> {
    let last = dlq.get_info().await?.state.last_sequence;
    let purged = dlq.purge().sequence(last + 1).await;
    Ok(Dropped {
        dropped: purged.context("failed to purge the dead letters")?.purged,
        ..Dropped::default()
    })
}

async fn remove_each(
    jetstream: &jetstream::Context,
    dlq: &Stream,
    letters: Selected,
) -> anyhow::Result<Dropped> {
    let one = |stored: StoredLetter| remove_message(jetstream, dlq, stored.id);
    let mut removals = letters
        .into_stream()
        .map_ok(one)
        .try_buffer_unordered(WINDOW)
        .boxed_local();
    let mut dropped = Dropped::default();
    while let Some(removal) = removals.try_next().await? {
        *match removal {
            Removal::Removed => &mut dropped.dropped,
            Removal::Gone => &mut dropped.gone,
        } += 1;
    }
    Ok(dropped)
}

impl Outcome for Dropped {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let would = if self.dry_run { "would be " } else { "" };
        writeln!(out, "{} {would}dropped", self.dropped)?;
        write_counts(&[(self.gone, "were removed by somebody else")], out)
    }
}
