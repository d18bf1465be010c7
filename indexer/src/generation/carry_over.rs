//! Carry over: copies what was written to a collection that an alias has left, and is not in the one that it points to.
//!
//! Any process can do it, several at the same time and again and again: points are written by the workers' protocol, and
//! the newest version wins. Where the two collections have different models, texts are published to be embedded again,
//! and awaited.

use contract::names::{CollectionName, ModelName};
use contract::topology::{Lane, Priority, Task};

use super::AliasContext;
use super::await_jobs::JobsOf;
use super::catch_up::{CatchUp, Scan};
use super::collection::CollectionModel;
use super::ledger::dead_points;
use super::record::RunRecord;
use super::reroute::Reroute;
use crate::jobs::publisher::Publisher;
use crate::jobs::{JOB_TOKENS, JobTemplate};

/// Scans that may find something after the last worker has left.
const MOST_SCANS: u32 = 1000;

/// The collections between which points are carried over, and the time since which they count as changed.
struct Transfer<'a> {
    /// The run that has moved the alias, or whose move was taken back.
    run: &'a RunRecord,
    from: &'a CollectionName,
    to: &'a CollectionName,
    began: u64,
    /// Run whose points are no live writes.
    except: Option<&'a str>,
    /// Generation that the alias has left, with the run that has filled it: jobs that others have for it are rerouted.
    left: Option<(&'a CollectionName, &'a str)>,
}

/// Name of the run that carries over texts which have to be embedded again, by that of the move.
pub fn carrier(run: &str) -> String {
    format!("carried-{run}")
}

/// The run that made the serving collection: what it wrote is no live write.
pub fn maker(record: &RunRecord) -> Option<&str> {
    let serving = record.serving.as_str();
    let rest = serving.strip_prefix(record.alias.as_str())?;
    rest.strip_prefix("--")
}

impl AliasContext<'_> {
    /// After a switch: from the collection that the run has replaced to its generation. What the run has rerouted to
    /// the generation is awaited.
    pub async fn carry_forwards(&self, run: &RunRecord) -> anyhow::Result<Scan> {
        let of = JobsOf::Collection(run.generation.as_str());
        self.await_published(&run.model, 1, of).await?;
        let transfer = Transfer {
            run,
            from: &run.serving,
            to: &run.generation,
            began: run.started,
            except: maker(run),
            left: None,
        };
        self.carry(transfer).await
    }

    /// After a rollback: from the generation of the run to the collection that it had replaced.
    pub async fn carry_backwards(&self, run: &RunRecord) -> anyhow::Result<Scan> {
        let transfer = Transfer {
            run,
            from: &run.generation,
            to: &run.serving,
            began: run.switched.unwrap_or(run.started),
            except: Some(&run.run),
            left: Some((&run.generation, &run.run)),
        };
        self.carry(transfer).await
    }

    async fn carry(&self, transfer: Transfer<'_>) -> anyhow::Result<Scan> {
        let from = CollectionModel::find(self.qdrant, transfer.from).await?;
        let to = CollectionModel::find(self.qdrant, transfer.to).await?;
        let reroute = Reroute {
            left: transfer.left,
            model: &to.model,
            to: self.alias,
        };
        self.reroute(reroute).await?;
        let mut models = vec![from.model.clone(), to.model.clone()];
        models.dedup();
        self.await_delivered(&models).await?;
        let run = carrier(&transfer.run.run);
        // What an attempt that died has published is not published again.
        self.await_published(&to.model, 1, JobsOf::Run(&run))
            .await?;
        let scan = async || {
            self.check()?;
            let catch_up = CatchUp {
                from: self.points(transfer.from),
                to: self.points(transfer.to),
                same_model: from == to,
                model: to.clone(),
                tokenizing: None,
                floor: transfer.run.version,
                began: transfer.began,
                clock_skew: self.limits.clock_skew,
                except: transfer.except,
                dead: &dead_points(self.jetstream, &run).await?,
            };
            let mut publisher = self.publisher(&to.model, &run);
            let scan = catch_up.scan(&mut publisher).await?;
            publisher.finish().await?;
            if scan.published > 0 {
                self.await_published(&to.model, 1, JobsOf::Run(&run))
                    .await?;
            }
            Ok(scan)
        };
        until_clean(transfer.from, self.alias, scan).await
    }

    /// Publishes texts for a model whose tokenizer is not at hand: its workers have it.
    fn publisher(&self, model: &ModelName, run: &str) -> Publisher {
        let lane = Lane::new(Task::Embed, model.clone(), Priority::Live);
        let template = JobTemplate {
            collection: self.alias.clone(),
            tokenization: None,
            fingerprint: None,
            run: Some(run.to_owned()),
        };
        Publisher::new(Some((self.jetstream.clone(), lane)), template, JOB_TOKENS)
    }
}

/// Scans until nothing is due any more.
///
/// # Errors
/// Those of the scan; if each of many scans finds something, because jobs name the collection instead of the alias.
pub async fn until_clean(
    from: &CollectionName,
    alias: &CollectionName,
    mut scan: impl AsyncFnMut() -> anyhow::Result<Scan>,
) -> anyhow::Result<Scan> {
    let mut sum = Scan::default();
    for _ in 0..MOST_SCANS {
        let scan = scan().await?;
        sum.add(scan);
        // What died is found again by each scan.
        sum.left = scan.left;
        if scan.is_clean() {
            return Ok(sum);
        }
    }
    anyhow::bail!("something still writes to `{from}`; jobs must name the alias `{alias}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::record::tests::run;

    #[test]
    fn the_maker_of_a_collection_is_in_its_name_and_a_first_collection_has_none() {
        assert_eq!(maker(&run("docs--a", "b")), Some("a"));
        assert_eq!(maker(&run("docs", "b")), None);
        assert_eq!(maker(&run("other--a", "b")), None);
    }
}
