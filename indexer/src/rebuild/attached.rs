//! Attached: the vectors of other models, which a new generation keeps.
//!
//! Their names are reserved when the generation is made, so that workers hand nothing on while it is loaded: most of it is
//! known. When the ledger is even they are put in service, what the serving collection has made of the same texts is copied,
//! and the rest is published and awaited. What is carried over later brings its vectors along, or gets them by the last look.

use anyhow::Context as _;
use contract::field;
use contract::names::{CollectionName, ModelName};
use points::attachment;
use points::guard::tombstones;
use points::vectors::{CollectionVectors, OtherVector};
use qdrant_client::qdrant::{Condition, Filter};
use runtime::failpoint;

use super::Rebuild;
use crate::generation::await_jobs::JobsOf;
use crate::generation::fill::{Fill, Filled, NoRoom};
use crate::generation::record::Gate;
use crate::progress::{as_double, note};

/// The attached vectors that a generation for this model keeps, and why it does not keep the others.
pub fn kept(
    serving: &CollectionVectors,
    model: &ModelName,
    fingerprint: &str,
) -> (Vec<OtherVector>, Vec<String>) {
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    for vector in serving.others() {
        let Some(attached) = vector.attached() else {
            continue;
        };
        let name = attached.name;
        if attached.model.fingerprint.as_str() == fingerprint {
            dropped.push(format!(
                "attached vector `{name}`: its model embeds the documents now"
            ));
        } else if name == model.as_str() {
            dropped.push(format!(
                "attached vector `{name}`: the model that embeds the documents now has its name; attach it with \
                 another --as"
            ));
        } else {
            kept.push(vector.clone());
        }
    }
    (kept, dropped)
}

impl Rebuild<'_> {
    /// Puts the attached vectors in service, fills them in, waits for their jobs, and judges what is missing.
    pub async fn attach(&mut self) -> anyhow::Result<()> {
        self.put_in_service().await?;
        let models = self.attached_models().await?;
        if models.is_empty() {
            return Ok(());
        }
        self.await_attached(&models).await?;
        let generation = self.record().generation.clone();
        self.fill(&generation, NoRoom::Wait).await?;
        failpoint::pass("rebuild-attaching");
        self.await_attached(&models).await?;
        for (name, filled) in self.filled.clone() {
            let gate = self.attached_gate(&name, filled).await?;
            self.judge(gate)?;
        }
        Ok(())
    }

    /// Fills in what points of the generation lack, by jobs that name `addressed`: the generation, or the alias once that has
    /// moved there. Jobs that name the alias follow it to the next generation, and those that name this one do not.
    pub async fn fill(
        &mut self,
        addressed: &CollectionName,
        no_room: NoRoom,
    ) -> anyhow::Result<()> {
        let record = self.record();
        let fill = Fill {
            context: self.context,
            from: (!self.config.full).then_some(self.serving()),
            to: self.target(),
            run: &record.run,
            addressed,
            no_room,
        };
        let found = fill.all().await?;
        for (name, found) in found {
            if found.reused + found.published > 0 {
                note(&format!(
                    "vector {name}: {} points reused, {} published",
                    found.reused, found.published
                ));
            }
            self.filled.entry(name).or_default().add(found);
        }
        Ok(())
    }

    async fn put_in_service(&self) -> anyhow::Result<()> {
        let generation = &self.record().generation;
        loop {
            let vectors = self.target().schema().await?.vectors;
            let Some(vector) = vectors.reserved().first() else {
                return Ok(());
            };
            let request = attachment::list(generation, &vectors, vector);
            let listed = self.context.qdrant.update_collection(request).await;
            let failed = || format!("failed to put vector `{}` in service", vector.name);
            listed.with_context(failed)?;
        }
    }

    async fn attached_models(&self) -> anyhow::Result<Vec<ModelName>> {
        let vectors = self.target().schema().await?.vectors;
        let models = vectors.attached().map(|it| it.model.name.clone());
        Ok(models.collect())
    }

    async fn await_attached(&self, models: &[ModelName]) -> anyhow::Result<()> {
        let record = self.record();
        let (first, of) = (record.first_sequence + 1, JobsOf::Attaching(&record.run));
        for model in models {
            self.context.await_published(model, first, of).await?;
        }
        Ok(())
    }

    /// Points that the run has brought and that lack a vector: those of live writes have jobs of their own.
    pub async fn lacking_of_run(&self, name: &str) -> anyhow::Result<u64> {
        let record = self.record();
        let version = i64::try_from(record.version)?;
        let lacking = Filter {
            must: vec![
                Condition::matches(field::RUN, record.run.clone()),
                Condition::matches(field::VERSION, version),
            ],
            must_not: vec![Condition::has_vector(name), tombstones()],
            ..Filter::default()
        };
        Ok(self.target().count(lacking).await?)
    }

    /// What is missing of a vector is in dead letters, and no more than is allowed.
    pub async fn attached_gate(&self, name: &str, filled: Filled) -> anyhow::Result<Gate> {
        let lacking = self.lacking_of_run(name).await?;
        let limit = self.config.limits.max_dead_letters;
        let Filled {
            reused, published, ..
        } = filled;
        let run = &self.record().run;
        let finding = format!(
            "{reused} points reused, {published} published, {lacking} lack it, {limit} are allowed \
             (--max-dead-letters); see `indexer dlq ls --run {run}`, replay them and run the rebuild again"
        );
        let gate = format!("vector {name}");
        Ok(Gate::at_most(
            &gate,
            as_double(lacking),
            as_double(limit),
            finding,
        ))
    }
}

#[cfg(test)]
mod tests {
    use contract::digest::Digest;
    use points::vectors::{Maker, MakerModel};
    use qdrant_client::qdrant::{CollectionConfig, CollectionInfo};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_generation_keeps_all_attached_vectors_but_that_of_its_own_model() {
        let vector = |name: &str, fingerprint: &str| OtherVector {
            name: name.to_owned(),
            kind: contract::model::OutputKind::Dense,
            maker: Maker::Model(MakerModel {
                name: name.parse().unwrap(),
                fingerprint: Digest::of(fingerprint.as_bytes()),
                dimensions: 2,
                normalize: true,
            }),
        };
        let listed = json!([vector("a", "1"), vector("b", "2"), vector("c", "3")]);
        let metadata = [(points::vectors::VECTORS.to_owned(), listed.into())].into();
        let config = CollectionConfig {
            metadata,
            ..CollectionConfig::default()
        };
        let info = CollectionInfo {
            config: Some(config),
            ..CollectionInfo::default()
        };
        let serving = CollectionVectors::of(&info).unwrap();
        let own = Digest::of(b"2");
        let (kept, dropped) = kept(&serving, &"c".parse().unwrap(), own.as_str());
        let names: Vec<_> = kept.iter().map(|vector| vector.name.as_str()).collect();
        assert_eq!(names, ["a"]);
        assert_eq!(dropped.len(), 2, "{dropped:?}");
    }
}
