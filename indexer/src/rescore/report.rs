//! Report: what a run did.

use std::io::{self, Write};

use contract::names::CollectionName;
use serde::{Deserialize, Serialize};

use crate::outcome::{Outcome, write_counts};

/// What was done with points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Points in jobs.
    pub points: u64,
    /// Tokens of their texts or pairs.
    pub tokens: u64,
    /// Jobs that JetStream has stored.
    pub jobs: u64,
    /// Jobs that it had stored before.
    pub duplicates: u64,
    /// Points with more tokens than the model takes, each in a job of its own.
    pub too_long: u64,
    /// Points without text.
    pub without_text: u64,
    /// Points that fit no job.
    pub too_large: u64,
}

/// What a run did, from its start on.
#[derive(Clone, Debug, Serialize)]
pub struct Rescored {
    pub run: String,
    pub collection: CollectionName,
    /// Field that takes the scores.
    pub field: String,
    pub dry_run: bool,
    #[serde(flatten)]
    pub counts: Counts,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.points += other.points;
        self.tokens += other.tokens;
        self.jobs += other.jobs;
        self.duplicates += other.duplicates;
        self.too_long += other.too_long;
        self.without_text += other.without_text;
        self.too_large += other.too_large;
    }
}

impl Outcome for Rescored {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Counts {
            points,
            tokens,
            jobs,
            ..
        } = self.counts;
        let verb = match self.dry_run {
            true => "would publish",
            false => "published",
        };
        let (collection, field) = (&self.collection, &self.field);
        writeln!(
            out,
            "{verb} {points} points of {collection} for {field}: {tokens} tokens, {jobs} jobs"
        )?;
        write_counts(&self.counts.remarks(), out)
    }

    fn is_failure(&self) -> bool {
        self.counts.too_large > 0
    }
}

impl Counts {
    fn remarks(&self) -> [(u64, &'static str); 4] {
        [
            (self.duplicates, "jobs were stored already"),
            (
                self.too_long,
                "points have more tokens than the model takes; workers refuse or cut them, by their --too-long",
            ),
            (
                self.without_text,
                "points have no text and were passed over",
            ),
            (self.too_large, "points fit no job and were refused"),
        ]
    }
}
