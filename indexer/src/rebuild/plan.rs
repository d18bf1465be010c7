//! Plan: goes on with an unfinished run, or records a new one.

use anyhow::Context as _;
use async_nats::jetstream::stream::Stream;
use contract::digest::Digest;
use contract::failpoint;
use contract::model::Manifest;
use qdrant_client::Qdrant;

use super::{RebuildConfig, say};
use crate::alias;
use crate::publish::now_micros;
use crate::run::{FORMAT, Phase, RunRecord, Runs, Stored};
use crate::source::{Format, Input, Place, Sources};

/// What planning looks at.
pub(super) struct Planning<'a> {
    pub(super) config: &'a RebuildConfig,
    pub(super) manifest: &'a Manifest,
    pub(super) qdrant: &'a Qdrant,
    pub(super) runs: &'a Runs,
    pub(super) jobs: &'a Stream,
}

impl Planning<'_> {
    /// The run to work on. One that is done is given back as it is.
    pub(super) async fn open(&self) -> anyhow::Result<Stored> {
        let runs = self.runs.of(&self.config.alias).await?;
        let source = self.source().await?;
        if let Some(named) = self.named(&runs)? {
            return Ok(named);
        }
        let unfinished = runs.into_iter().rfind(|run| run.record.is_unfinished());
        if let Some(run) = unfinished {
            if self.goes_on(&run.record, &source)? {
                return self.resume(run).await;
            }
            self.abandon(run).await?;
        }
        let stored = self.runs.create(self.record(source).await?).await?;
        failpoint::pass("rebuild-planned");
        Ok(stored)
    }

    /// The run of the given id, if it is over.
    fn named(&self, runs: &[Stored]) -> anyhow::Result<Option<Stored>> {
        let Some(id) = &self.config.run_id else {
            return Ok(None);
        };
        let Some(found) = runs.iter().find(|run| run.record.run == *id) else {
            return Ok(None);
        };
        anyhow::ensure!(
            found.record.phase != Phase::Abandoned,
            "run `{id}` was given up; choose another --run-id"
        );
        Ok((found.record.phase == Phase::Done).then(|| found.clone()))
    }

    /// Whether an unfinished run is still what is wanted. One whose alias is switched has to be finished in any case,
    /// because live writes may have been left behind.
    fn goes_on(&self, record: &RunRecord, source: &Digest) -> anyhow::Result<bool> {
        if record.phase >= Phase::Switched && !self.config.fresh {
            anyhow::ensure!(
                record.fingerprint == self.manifest.fingerprint,
                "run `{}` is switched and not finished; give its model `{}` ({}) to finish it",
                record.run,
                record.model,
                record.fingerprint
            );
            return Ok(true);
        }
        let same = record.source == *source;
        if !same {
            say(&format!(
                "run {} is given up: the source or the options have changed since",
                record.run
            ));
        }
        Ok(same && !self.config.fresh)
    }

    /// Catch-up and gates speak about a moment that is over, so that they are done again.
    async fn resume(&self, mut run: Stored) -> anyhow::Result<Stored> {
        let record = &mut run.record;
        say(&format!(
            "going on with run {}, which was {}",
            record.run,
            super::report::name(record.phase)
        ));
        if record.phase > Phase::Balanced && record.phase < Phase::Switched {
            record.phase = Phase::Balanced;
        }
        record.failed = None;
        self.runs.save(&mut run).await?;
        Ok(run)
    }

    async fn abandon(&self, mut run: Stored) -> anyhow::Result<()> {
        run.record.phase = Phase::Abandoned;
        self.runs.save(&mut run).await
    }

    async fn record(&self, source: Digest) -> anyhow::Result<RunRecord> {
        let alias = &self.config.alias;
        let started = now_micros();
        let skew = u64::try_from(self.config.clock_skew.as_micros()).unwrap_or(u64::MAX);
        let run = self.config.run_id.clone();
        let run = run.unwrap_or_else(|| run_id(started));
        let state = self
            .jobs
            .get_info()
            .await
            .context("failed to look at the jobs")?;
        Ok(RunRecord {
            format: FORMAT,
            alias: alias.clone(),
            generation: alias.generation(&run)?,
            serving: alias::target(self.qdrant, alias).await?,
            model: self.manifest.name.clone(),
            fingerprint: self.manifest.fingerprint.clone(),
            phase: Phase::Planned,
            failed: None,
            version: started.saturating_sub(skew).max(1),
            started,
            switched: None,
            source,
            first_sequence: state.state.last_sequence,
            expected: 0,
            documents: 0,
            refused: 0,
            repeated: false,
            phases: Vec::new(),
            gates: Vec::new(),
            run,
        })
    }

    /// Digest of everything that shapes the generation: the content of the sources, how they are cut, the model.
    async fn source(&self) -> anyhow::Result<Digest> {
        let config = self.config.clone();
        let parts = [
            format!("{:?}", config.sources),
            format!("{:?}", config.chunking),
            format!("{:?}", config.extract),
            self.manifest.fingerprint.to_string(),
            config.full.to_string(),
        ];
        let content = match &config.from_collection {
            // What changes in it while the run lasts is dealt with when it is read.
            Some(name) => alias::resolved(self.qdrant, name).await?.to_string(),
            None => tokio::task::spawn_blocking(move || content(&config.sources))
                .await??
                .into(),
        };
        Ok(Digest::of(format!("{parts:?}\n{content}").as_bytes()))
    }
}

/// Digest of all inputs, in their order.
fn content(sources: &[String]) -> anyhow::Result<Digest> {
    let sources = Sources::open(sources, Format::Jsonl);
    let sources = sources.map_err(|mut errors| anyhow::Error::from(errors.remove(0)))?;
    let mut digest = Digest::of(b"");
    for input in sources {
        // What cannot be read is refused later, by name; here it is only part of what the source is.
        let line = match input {
            Ok(input) => format!("{} {:?} {}", input.id, input.format, bytes(&input)),
            Err(error) => error.to_string(),
        };
        digest = Digest::of(format!("{digest}\n{line}").as_bytes());
    }
    Ok(digest)
}

fn bytes(input: &Input) -> String {
    let path = match &input.place {
        Place::File(path) => path,
        // To read all of it only for its digest would take as long as the rebuild itself.
        Place::Object(object) => return object.mark().to_owned(),
        Place::Stdin => return input.origin().to_string(),
    };
    let digest = std::fs::File::open(path).and_then(Digest::of_reader);
    digest.map_or_else(|error| error.to_string(), String::from)
}

/// An id that sorts by time, with what tells two of the same second apart.
pub(crate) fn run_id(started: u64) -> String {
    let time = humantime::format_rfc3339_seconds(crate::run::as_time(started)).to_string();
    let time: String = time.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{}-{:06}", time.to_lowercase(), started % 1_000_000)
}
