//! Retire: which generations nobody needs, and their end.
//!
//! Needed are what an alias points to; what an unfinished run fills or copies from, or an unfinished rollback takes
//! along, of whichever alias it is; and as many previous generations as are to be kept for a rollback. Which run put a
//! generation behind the alias is known from the move that it recorded before the alias moved, so that a crash in between
//! hides none. Collections that no run knows are none of ours and stay.

use std::collections::BTreeSet;
use std::io::{self, Write};

use anyhow::Context as _;
use contract::names::CollectionName;
use points::Qdrant;
use schemars::JsonSchema;
use serde::Serialize;

use super::alias;
use super::lock::Lock;
use super::record::{RunRecord, Runs};
use crate::outcome::Outcome;

/// What becomes of a generation, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// An alias points to it.
    Serving,
    /// The generation is kept for a rollback.
    Previous,
    /// An unfinished run needs it.
    InUse,
    /// No run knows the generation.
    Unknown,
    /// Nobody needs the generation: it is dropped.
    Drop,
}

/// A collection behind an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Generation {
    pub collection: CollectionName,
    pub fate: Fate,
}

impl Outcome for Generation {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let fate = match self.fate {
            Fate::Serving => "serving",
            Fate::Previous => "previous",
            Fate::InUse => "in use",
            Fate::Unknown => "unknown",
            Fate::Drop => "drop",
        };
        writeln!(out, "{fate:<10} {}", self.collection)
    }
}

/// All generations of an alias with their fate.
pub async fn all_with_fate(
    qdrant: &Qdrant,
    runs: &Runs,
    alias: &CollectionName,
    keep: usize,
) -> anyhow::Result<Vec<Generation>> {
    let serving = alias::existing(qdrant, alias).await?;
    let targets = alias::targets(qdrant).await?;
    let all = runs.all().await?.into_iter().map(|stored| stored.record);
    let (records, others): (Vec<_>, Vec<_>) = all.partition(|record| record.alias == *alias);
    let mut known = Known::of(&records, &serving, keep);
    let unfinished = others.into_iter().filter(RunRecord::is_unfinished);
    known
        .in_use
        .extend(unfinished.filter_map(|record| record.reads));
    let prefix = format!("{alias}--");
    let all = alias::collections(qdrant).await?;
    Ok(all
        .into_iter()
        .filter(|collection| collection.as_str().starts_with(&prefix))
        .map(|collection| Generation {
            fate: if targets.iter().any(|target| target == collection.as_str()) {
                Fate::Serving
            } else {
                known.fate(&collection)
            },
            collection,
        })
        .collect())
}

/// Drops those that nobody needs; gives all of them with their fate. The alias must not move between the look at it and
/// the drop, so that `lock` is the one for changes of the alias.
pub async fn retire(
    qdrant: &Qdrant,
    runs: &Runs,
    alias: &CollectionName,
    keep: usize,
    lock: &Lock,
) -> anyhow::Result<Vec<Generation>> {
    let all = all_with_fate(qdrant, runs, alias, keep).await?;
    for generation in all.iter().filter(|it| it.fate == Fate::Drop) {
        lock.check()?;
        drop_generation(qdrant, &generation.collection).await?;
    }
    Ok(all)
}

/// Drops a collection that no alias points to.
async fn drop_generation(qdrant: &Qdrant, collection: &CollectionName) -> anyhow::Result<()> {
    // Qdrant would drop the alias too.
    let targets = alias::targets(qdrant).await?;
    anyhow::ensure!(
        !targets.iter().any(|target| target == collection.as_str()),
        "an alias points to `{collection}`; it is not dropped"
    );
    let dropped = qdrant.delete_collection(collection.as_str()).await;
    dropped.with_context(|| format!("failed to drop collection `{collection}`"))?;
    Ok(())
}

/// The run that put a collection behind its alias.
pub fn run_of<'a>(records: &'a [RunRecord], collection: &CollectionName) -> Option<&'a RunRecord> {
    records
        .iter()
        .find(|record| record.generation == *collection && record.switched.is_some())
}

/// What the runs of an alias say about collections.
struct Known {
    all: BTreeSet<CollectionName>,
    in_use: BTreeSet<CollectionName>,
    previous: BTreeSet<CollectionName>,
}

impl Known {
    fn of(records: &[RunRecord], serving: &CollectionName, keep: usize) -> Self {
        let pair = |record: &RunRecord| [record.generation.clone(), record.serving.clone()];
        let unfinished = records
            .iter()
            .filter(|record| record.is_unfinished() || record.is_rolling_back());
        let mut previous = BTreeSet::new();
        let mut current = serving;
        for _ in 0..keep {
            let Some(run) = run_of(records, current) else {
                break;
            };
            current = &run.serving;
            previous.insert(current.clone());
        }
        let in_use =
            unfinished.flat_map(|record| pair(record).into_iter().chain(record.reads.clone()));
        Self {
            all: records.iter().flat_map(pair).collect(),
            in_use: in_use.collect(),
            previous,
        }
    }

    fn fate(&self, collection: &CollectionName) -> Fate {
        if self.in_use.contains(collection) {
            Fate::InUse
        } else if self.previous.contains(collection) {
            Fate::Previous
        } else if self.all.contains(collection) {
            Fate::Drop
        } else {
            Fate::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::record::{Phase, tests::run};

    fn fates(records: &[RunRecord], serving: &str, keep: usize) -> Vec<Fate> {
        let known = Known::of(records, &serving.parse().unwrap(), keep);
        let fate = |name: &str| known.fate(&name.parse().unwrap());
        ["docs--a", "docs--b", "docs--c", "docs--x"]
            .map(fate)
            .into()
    }

    #[test]
    fn as_many_previous_generations_are_kept_as_are_asked_for_and_strangers_stay() {
        let switched = |serving: &str, id: &str| {
            let mut run = run(serving, id);
            (run.switched, run.phase) = (Some(1), Phase::Done);
            run
        };
        let records = [
            switched("docs--0", "a"),
            switched("docs--a", "b"),
            switched("docs--b", "c"),
        ];
        let one = [Fate::Drop, Fate::Previous, Fate::Drop, Fate::Unknown];
        assert_eq!(fates(&records, "docs--c", 1), one);
        let two = [Fate::Previous, Fate::Previous, Fate::Drop, Fate::Unknown];
        assert_eq!(fates(&records, "docs--c", 2), two);
    }

    #[test]
    fn what_an_unfinished_run_fills_or_copies_from_is_in_use() {
        let records = [run("docs--a", "b")];
        let in_use = [Fate::InUse, Fate::InUse, Fate::Unknown, Fate::Unknown];
        assert_eq!(fates(&records, "docs--a", 0), in_use);
    }
}
