//! Plan: goes on with an unfinished run, or records a new one.

use contract::digest::Digest;
use contract::model::Manifest;
use contract::names::CollectionName;
use points::vectors::OtherVector;
use runtime::failpoint;

use super::RebuildConfig;
use crate::clock::now_micros;
use crate::corpus;
use crate::generation::record::{
    FORMAT, Phase, RunRecord, SettingsReport, StoredRun, run_id, unused,
};
use crate::generation::recover::is_switched;
use crate::generation::{AliasContext, alias};
use crate::progress::note;
use documents::source::{Format, Input, InputLocation};

/// What planning needs to know.
pub struct Planning<'a> {
    pub config: &'a RebuildConfig,
    pub manifest: &'a Manifest,
    pub context: AliasContext<'a>,
}

/// A run to work on.
pub struct Planned {
    pub stored: StoredRun,
    /// Whether it is the one that is wanted; another one has to be ended first.
    pub wanted: bool,
}

impl Planning<'_> {
    /// The run to work on. One that is done is given back as it is.
    pub async fn open(&self) -> anyhow::Result<Planned> {
        let context = &self.context;
        if let Some(lock) = context.lock {
            lock.check_clock(self.config.clock_skew)?;
        }
        context.recover_rollbacks().await?;
        let runs = self.context.runs.of(&self.config.alias).await?;
        if let Some(done) = self.done(&runs) {
            return Ok(wanted(done));
        }
        let source = self.source().await?;
        let unfinished = runs.iter().rfind(|run| run.record.is_unfinished());
        if let Some(run) = unfinished {
            let run = run.clone();
            let found = context.target().await?;
            if is_switched(&run.record, &found) {
                return self.end(run, &source).await;
            }
            if self.goes_on(&run.record, &found, &source) {
                return Ok(wanted(self.resume(run).await?));
            }
            self.abandon(run).await?;
        }
        let stored = self
            .context
            .runs
            .create(self.record(&runs, source).await?)
            .await?;
        failpoint::pass("rebuild-planned");
        Ok(wanted(stored))
    }

    /// The run of the given id, if it is done.
    fn done(&self, runs: &[StoredRun]) -> Option<StoredRun> {
        let id = self.config.run_id.as_ref()?;
        let mut named = runs.iter().filter(|run| run.record.is_named(id));
        named.rfind(|run| run.record.phase == Phase::Done).cloned()
    }

    /// A run that has moved the alias is ended in any case, because live writes may have been left behind. Its gates
    /// were passed, and are not asked again.
    async fn end(&self, mut run: StoredRun, source: &Digest) -> anyhow::Result<Planned> {
        let record = &mut run.record;
        anyhow::ensure!(
            record.fingerprint == self.manifest.fingerprint,
            "run `{}` is switched and not finished; give its model `{}` ({}) to finish it",
            record.run,
            record.model,
            record.fingerprint
        );
        note(&format!(
            "going on with run {}, which was switched",
            record.run
        ));
        (record.phase, record.failed) = (Phase::Switched, None);
        self.context.runs.save(&mut run).await?;
        let id = self.config.run_id.as_deref();
        let asked_for = id.is_none_or(|id| run.record.is_named(id));
        Ok(Planned {
            wanted: asked_for && run.record.source == *source && !self.config.fresh,
            stored: run,
        })
    }

    /// Whether an unfinished run that has not moved the alias is still what is wanted.
    fn goes_on(&self, record: &RunRecord, found: &CollectionName, source: &Digest) -> bool {
        let outdated = outdated(record, found, source);
        if let Some(reason) = &outdated {
            note(&format!("run {} is given up: {reason}", record.run));
        }
        outdated.is_none() && !self.config.fresh
    }

    /// What was published or carried over is looked at again from the beginning: the source says what must be there,
    /// and gates speak about a moment that is over. A recorded switch is void, because the alias has not moved.
    async fn resume(&self, mut run: StoredRun) -> anyhow::Result<StoredRun> {
        let record = &mut run.record;
        note(&format!(
            "going on with run {}, which was {}",
            record.run,
            record.phase.name()
        ));
        record.phase = record.phase.min(Phase::Created);
        (record.failed, record.switched) = (None, None);
        if let Some(id) = &self.config.run_id
            && !record.is_named(id)
        {
            note(&format!("run {} is run {id} from now on, too", record.run));
            record.asked.push(id.clone());
        }
        self.context.runs.save(&mut run).await?;
        Ok(run)
    }

    /// Its jobs must not be embedded for nothing.
    async fn abandon(&self, mut run: StoredRun) -> anyhow::Result<()> {
        let record = &mut run.record;
        (record.phase, record.switched) = (Phase::Abandoned, None);
        self.context.runs.save(&mut run).await?;
        let discarded = self.context.discard_jobs_of(&run.record).await?;
        if discarded > 0 {
            note(&format!(
                "{discarded} jobs of run {} are removed",
                run.record.run
            ));
        }
        Ok(())
    }

    /// A new run. Where one of the wanted id was given up, its jobs and its generation may still be there, so that the
    /// new one has a number behind it; so it has where the collection of that name is not ours.
    async fn record(&self, runs: &[StoredRun], source: Digest) -> anyhow::Result<RunRecord> {
        let alias = &self.config.alias;
        let started = now_micros();
        let skew = u64::try_from(self.config.clock_skew.as_micros()).unwrap_or(u64::MAX);
        let run = self.config.run_id.clone();
        let there = alias::collections(self.context.qdrant).await?;
        let run = run.unwrap_or_else(|| run_id(started));
        let run = unused(
            runs,
            |run| {
                alias
                    .generation(run)
                    .is_ok_and(|name| there.contains(&name))
            },
            &run,
        );
        Ok(RunRecord {
            format: FORMAT,
            alias: alias.clone(),
            generation: alias.generation(&run)?,
            serving: self.context.target().await?,
            model: self.manifest.name.clone(),
            fingerprint: self.manifest.fingerprint.clone(),
            phase: Phase::Planned,
            failed: None,
            version: started.saturating_sub(skew).max(1),
            started,
            switched: None,
            rolled_back: None,
            reads: self.reads().await?,
            asked: self.config.run_id.clone().into_iter().collect(),
            source,
            first_sequence: self.context.last_sequence().await?,
            expected: 0,
            superseded: 0,
            documents: 0,
            refused: 0,
            repeated: false,
            settings: SettingsReport::default(),
            phases: Vec::new(),
            gates: Vec::new(),
            run,
        })
    }

    /// The collection that is the source, if one is. The alias itself stands for the serving one.
    async fn reads(&self) -> anyhow::Result<Option<CollectionName>> {
        match &self.config.from_collection {
            Some(name) if *name == self.config.alias => {
                Ok(Some(alias::target(self.context.qdrant, name).await?))
            }
            Some(name) => Ok(Some(alias::resolved(self.context.qdrant, name).await?)),
            None => Ok(None),
        }
    }

    /// The attached vectors of what the alias points to: a run that began before one was attached has no place for it.
    async fn attached(&self) -> anyhow::Result<Vec<OtherVector>> {
        let target = self.context.target().await?;
        let vectors = self.context.points(&target).schema().await?.vectors;
        let others = vectors.others().iter();
        Ok(others
            .filter(|it| it.attached().is_some())
            .cloned()
            .collect())
    }

    /// Digest of everything that shapes the generation: the content of the sources, how they are cut, the model.
    async fn source(&self) -> anyhow::Result<Digest> {
        let config = self.config.clone();
        let mut parts = vec![
            format!("{:?}", config.sources),
            format!("{:?}", config.chunking),
            format!("{:?}", config.extract),
            self.manifest.fingerprint.to_string(),
            config.full.to_string(),
        ];
        // Nothing where nothing is said, so that a run of an earlier version goes on.
        parts.extend(config.bm25.wanted()?.map(|bm25| format!("{bm25:?}")));
        let search = config.search.asked();
        if search.is_set() {
            parts.push(format!("{search:?}"));
        }
        let attached = self.attached().await?;
        if !attached.is_empty() {
            parts.push(format!("{attached:?}"));
        }
        let options = config.options.options();
        if !options.is_empty() {
            parts.push(format!("{options:?}"));
        }
        let content = match &config.from_collection {
            // The serving collection at the start of the run, wherever the alias points by now.
            Some(name) if *name == config.alias => name.to_string(),
            // What changes in it while the run lasts is dealt with when it is read.
            Some(name) => alias::resolved(self.context.qdrant, name)
                .await?
                .to_string(),
            None => tokio::task::spawn_blocking(move || content(&config.sources))
                .await??
                .into(),
        };
        Ok(Digest::of(format!("{parts:?}\n{content}").as_bytes()))
    }
}

/// Why an unfinished run is of no use any more. So it is where somebody else has moved the alias since: what the run has
/// copied and compared was of another collection.
fn outdated(record: &RunRecord, found: &CollectionName, source: &Digest) -> Option<String> {
    let expected = if record.phase >= Phase::Switched {
        &record.generation
    } else {
        &record.serving
    };
    if expected != found {
        let alias = &record.alias;
        return Some(format!(
            "alias `{alias}` points to `{found}`, not to `{expected}` any more"
        ));
    }
    let changed = record.source != *source;
    changed.then(|| "the source or the options have changed since".to_owned())
}

fn wanted(stored: StoredRun) -> Planned {
    Planned {
        stored,
        wanted: true,
    }
}

/// Digest of all inputs, in their order.
fn content(sources: &[String]) -> anyhow::Result<Digest> {
    let mut digest = Digest::of(b"");
    for input in corpus::open(sources, Format::Jsonl)? {
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
    let path = match &input.location {
        InputLocation::File(path) => path,
        // To read all of it only for its digest would take as long as the rebuild itself.
        InputLocation::Object(object) => return object.mark().to_owned(),
        InputLocation::Member(_) | InputLocation::Stdin => return input.origin().to_string(),
    };
    let digest = std::fs::File::open(path).and_then(Digest::of_reader);
    digest.map_or_else(|error| error.to_string(), String::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::record::tests::run;

    #[test]
    fn a_run_is_outdated_when_the_alias_or_the_source_is_another_than_at_its_start() {
        let run = run("docs--a", "b");
        assert_eq!(outdated(&run, &run.serving, &run.source), None);
        let moved = outdated(&run, &"docs--c".parse().unwrap(), &run.source).unwrap();
        assert!(moved.contains("points to `docs--c`"), "{moved}");
        let changed = outdated(&run, &run.serving, &Digest::of(b"other")).unwrap();
        assert!(changed.contains("have changed"), "{changed}");
    }

    #[test]
    fn a_run_that_has_switched_is_outdated_when_the_alias_has_left_its_generation() {
        let mut run = run("docs--a", "b");
        run.phase = Phase::Switched;
        assert_eq!(outdated(&run, &run.generation, &run.source), None);
        assert!(outdated(&run, &run.serving, &run.source).is_some());
    }
}
