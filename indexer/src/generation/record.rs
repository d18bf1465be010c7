//! Record: what is recorded of a rebuild, the only place that knows how far it has come; and the ids of runs.

use anyhow::Context as _;
use async_nats::jetstream;
use contract::digest::Digest;
use contract::names::{CollectionName, ModelName};
use points::options::Difference;
use runtime::settings::ConfigFault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::bucket::FORMAT;
use crate::bucket::{Bucket, Stored};
use crate::clock::as_time;
use crate::progress::as_double;

/// Prefix of the keys of rebuilds.
const KIND: &str = "rebuild.";

/// How far a rebuild has come: the last phase that ended.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its generation has a name; nothing was made.
    #[default]
    Planned,
    /// The generation is there, empty.
    Created,
    /// Every chunk of the source is in the generation or published.
    Copied,
    /// Every chunk is in the generation or a dead letter.
    Balanced,
    /// What changed in the serving collection has been carried over.
    CaughtUp,
    /// The index is built.
    Indexed,
    /// All gates are passed.
    Verified,
    /// The alias points to the generation.
    Switched,
    /// Nothing was left in the previous generation.
    Done,
    /// It was given up; the generation may be dropped.
    Abandoned,
}

/// What one phase did. Phases that were repeated after a crash say what the last attempt did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseReport {
    pub phase: Phase,
    /// Documents that were read or carried over.
    pub documents: u64,
    pub chunks: u64,
    /// Tokens of the chunks, as far as they were tokenized here.
    pub tokens: u64,
    /// Chunks whose vectors were copied from the serving collection.
    pub reused: u64,
    /// Chunks that were in the generation already, from an attempt that was interrupted.
    pub present: u64,
    /// Chunks that were published to be embedded.
    pub published: u64,
    pub published_tokens: u64,
    /// Chunks in dead letters of this run.
    pub dead_lettered: u64,
    /// Texts that are longer than the model takes whole: workers refuse or cut them.
    pub truncated: u64,
    /// Time from the beginning of the phase to its end.
    pub seconds: f64,
    /// Tokens that were embedded or read in this time; 0 where nothing was.
    pub tokens_per_second: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gate {
    pub name: String,
    pub value: f64,
    pub limit: f64,
    /// Whether the value is within the limit.
    pub passed: bool,
    /// The finding as a sentence.
    pub finding: String,
}

/// How the settings of the generation came about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SettingsReport {
    /// Settings that are others than those of the collection that served.
    pub changed: Vec<Difference>,
    /// What the collection that served had and the generation has not, in a sentence each.
    pub not_kept: Vec<String>,
}

/// A rebuild, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of this record, [`FORMAT`].
    pub format: u32,
    pub run: String,
    /// The alias that is rebuilt.
    pub alias: CollectionName,
    /// The collection that the run fills.
    pub generation: CollectionName,
    /// The collection behind the alias when the run began.
    pub serving: CollectionName,
    /// The collection that the run takes its documents from, if that is its source.
    #[serde(default)]
    pub reads: Option<CollectionName>,
    /// The model of the generation.
    pub model: ModelName,
    pub fingerprint: Digest,
    /// The last phase that ended.
    pub phase: Phase,
    /// Why the last attempt stopped, if a gate stopped it.
    pub failed: Option<String>,
    /// Version of the source's documents, in microseconds since the epoch.
    pub version: u64,
    /// When the run began, in microseconds since the epoch.
    pub started: u64,
    /// When the alias was about to be switched, in microseconds since the epoch: recorded before it moves. Whether it
    /// has moved, the alias itself tells.
    pub switched: Option<u64>,
    /// The way back, recorded before the alias moves.
    #[serde(default)]
    pub rolled_back: Option<Rollback>,
    /// Ids that the run was asked for by; another one than `run` where a run of that id was given up before.
    #[serde(default)]
    pub asked: Vec<String>,
    /// Digest of the source and of the options that shape its chunks.
    pub source: Digest,
    /// Last sequence of the stream of jobs before the run published anything.
    pub first_sequence: u64,
    /// Chunks that the source has, each counted once.
    pub expected: u64,
    /// Of these, chunks of documents that something newer had replaced when the source was read again.
    #[serde(default)]
    pub superseded: u64,
    /// Documents that the source has.
    pub documents: u64,
    /// Documents, records and files that could not be read.
    pub refused: u64,
    /// Whether the source was read a second time because jobs were lost with their stream.
    pub repeated: bool,
    /// Settings of the generation, beside those of the serving collection.
    #[serde(default)]
    pub settings: SettingsReport,
    pub phases: Vec<PhaseReport>,
    pub gates: Vec<Gate>,
}

/// A rollback of a run: the alias goes from its generation back to the collection that it had replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// When the alias was about to move, in microseconds since the epoch.
    pub began: u64,
    /// Whether all that was written since the switch has been carried over.
    pub finished: bool,
}

/// A record as it was read or written.
pub type StoredRun = Stored<RunRecord>;

#[derive(Clone, Debug)]
pub struct Runs(Bucket);

impl Gate {
    /// Passes where the value is not above the limit.
    pub fn at_most(name: &str, value: f64, limit: f64, finding: String) -> Self {
        let passed = value <= limit;
        Self {
            name: name.to_owned(),
            value,
            limit,
            passed,
            finding,
        }
    }

    /// Passes where the value is not below the limit.
    pub fn at_least(name: &str, value: f64, limit: f64, finding: String) -> Self {
        Self {
            passed: value >= limit,
            ..Self::at_most(name, value, limit, finding)
        }
    }
}

impl PhaseReport {
    /// A phase that has done nothing yet.
    pub fn new(phase: Phase) -> Self {
        Self {
            phase,
            ..Self::default()
        }
    }

    pub fn after(mut self, elapsed: std::time::Duration) -> Self {
        self.seconds = elapsed.as_secs_f64();
        if self.tokens > 0 && self.seconds > 0.0 {
            self.tokens_per_second = as_double(self.tokens) / self.seconds;
        }
        self
    }
}

impl Phase {
    /// The name of the phase, as in the record.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Planned => "planned",
            Phase::Created => "created",
            Phase::Copied => "copied",
            Phase::Balanced => "balanced",
            Phase::CaughtUp => "caught_up",
            Phase::Indexed => "indexed",
            Phase::Verified => "verified",
            Phase::Switched => "switched",
            Phase::Done => "done",
            Phase::Abandoned => "abandoned",
        }
    }
}

impl RunRecord {
    /// Whether it still has something to do.
    pub fn is_unfinished(&self) -> bool {
        self.phase < Phase::Done
    }

    /// Whether it was asked for by this id.
    pub fn is_named(&self, id: &str) -> bool {
        self.run == id || self.asked.iter().any(|asked| asked == id)
    }

    /// Whether its rollback has begun and is not over.
    pub fn is_rolling_back(&self) -> bool {
        self.rolled_back.is_some_and(|back| !back.finished)
    }
}

fn key(alias: &CollectionName, run: &str) -> String {
    format!("{KIND}{alias}/{run}")
}

impl Runs {
    pub async fn open(jetstream: &jetstream::Context) -> anyhow::Result<Self> {
        Ok(Self(Bucket::open(jetstream).await?))
    }

    pub fn bucket(&self) -> &Bucket {
        &self.0
    }

    /// Stores a new record.
    ///
    /// # Errors
    /// If there is one of this run, or NATS refuses.
    pub async fn create(&self, record: RunRecord) -> anyhow::Result<StoredRun> {
        let (key, run) = (key(&record.alias, &record.run), record.run.clone());
        let created = self.0.create(&key, record).await?;
        created.with_context(|| format!("failed to record run `{run}`: it is recorded already"))
    }

    /// Stores a changed record.
    ///
    /// # Errors
    /// If somebody else has changed it, or NATS refuses.
    pub async fn save(&self, stored: &mut StoredRun) -> anyhow::Result<()> {
        let saved = self.0.save(stored).await;
        saved.with_context(|| {
            format!(
                "failed to record the progress of run `{}`; does another process work on it?",
                stored.record.run
            )
        })
    }

    /// Whether nobody has written the record since.
    pub async fn is_current(&self, stored: &StoredRun) -> anyhow::Result<bool> {
        let found = self.find(&stored.record.alias, &stored.record.run).await?;
        Ok(found.is_some_and(|found| found.is_same_write(stored)))
    }

    pub async fn find(
        &self,
        alias: &CollectionName,
        run: &str,
    ) -> anyhow::Result<Option<StoredRun>> {
        self.0.find(&key(alias, run)).await
    }

    /// All runs of an alias, the oldest first.
    pub async fn of(&self, alias: &CollectionName) -> anyhow::Result<Vec<StoredRun>> {
        self.under(&key(alias, "")).await
    }

    /// All runs of all aliases, the oldest first.
    pub async fn all(&self) -> anyhow::Result<Vec<StoredRun>> {
        self.under(KIND).await
    }

    async fn under(&self, prefix: &str) -> anyhow::Result<Vec<StoredRun>> {
        let mut runs: Vec<StoredRun> = self.0.under(prefix).await?;
        runs.sort_by_key(|stored| stored.record.started);
        Ok(runs)
    }
}

/// An id that sorts by time, with what tells two of the same second apart.
pub fn run_id(started: u64) -> String {
    let time = humantime::format_rfc3339_seconds(as_time(started)).to_string();
    let time: String = time.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{}-{:06}", time.to_lowercase(), started % 1_000_000)
}

/// The id itself, or with the first number behind it that no run has, and whose generation is not there.
pub fn unused(runs: &[StoredRun], is_there: impl Fn(&str) -> bool, id: &str) -> String {
    let is_free = |candidate: &String| {
        let known = runs.iter().any(|run| run.record.run == *candidate);
        !known && !is_there(candidate)
    };
    let numbered = (2..).map(|number: u32| format!("{id}-{number}"));
    let mut candidates = std::iter::once(id.to_owned()).chain(numbered);
    candidates.find(is_free).unwrap_or_else(|| id.to_owned())
}

/// What is wrong with a name as a part of keys, if anything: NATS takes no key that ends with a dot or has two in a row.
/// In the name of a generation two dashes stand between alias and run.
pub fn key_fault(setting: &'static str, name: &str) -> Option<ConfigFault> {
    let wrong = name.ends_with('.') || name.contains("..");
    wrong.then(|| {
        ConfigFault::new(
            setting,
            format!("`{name}` ends with a dot or has two in a row"),
        )
    })
}

/// What is wrong with the id of a run for an alias, if anything.
pub fn run_id_fault(alias: &CollectionName, run: &str) -> Option<ConfigFault> {
    let setting = "--run-id";
    if let Err(error) = alias.generation(run) {
        return Some(ConfigFault::new(setting, error.to_string()));
    }
    if run.contains("--") {
        // It would name a generation of another alias.
        let problem = format!("`{run}` has two dashes in a row, which stand between alias and run");
        return Some(ConfigFault::new(setting, problem));
    }
    key_fault(setting, run)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A run of `docs` that was planned while `serving` was behind the alias.
    pub fn run(serving: &str, id: &str) -> RunRecord {
        let alias: CollectionName = "docs".parse().unwrap();
        RunRecord {
            format: FORMAT,
            run: id.to_owned(),
            generation: alias.generation(id).unwrap(),
            alias,
            serving: serving.parse().unwrap(),
            reads: None,
            model: "m".parse().unwrap(),
            fingerprint: Digest::of(b"m"),
            phase: Phase::Planned,
            failed: None,
            version: 1,
            started: 1,
            switched: None,
            rolled_back: None,
            asked: Vec::new(),
            source: Digest::of(b"source"),
            first_sequence: 0,
            expected: 0,
            superseded: 0,
            documents: 0,
            refused: 0,
            repeated: false,
            settings: SettingsReport::default(),
            phases: Vec::new(),
            gates: Vec::new(),
        }
    }

    #[test]
    fn the_id_of_a_run_sorts_by_time_and_may_be_part_of_keys_and_names() {
        let ids = [1, 999_999, 1_000_000, 1_700_000_000_000_000].map(run_id);
        assert!(ids.is_sorted(), "{ids:?}");
        let alias = "docs".parse().unwrap();
        assert!(ids.iter().all(|id| run_id_fault(&alias, id).is_none()));
        for id in ["a--b", "a.", "a..b"] {
            assert!(run_id_fault(&alias, id).is_some(), "{id}");
        }
    }
}
