//! Fill: gives the points of a generation the attached vectors that they lack. What another collection has made of the same
//! text is copied, by digest and fingerprint; everything else is published for the workers of the models.

use std::collections::{BTreeMap, HashMap, HashSet};

use contract::digest::Digest;
use contract::field;
use contract::names::{CollectionName, VectorName};
use contract::topology::{Lane, Priority, Task};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use points::Points;
use points::additions::{Addition, Made};
use points::guard::tombstones;
use points::payload::{id, named_vector, number, text};
use points::schema::Schema;
use points::vectors::Attached;
use qdrant_client::qdrant::{Condition, Filter, RetrievedPoint, Vector};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AliasContext;
use super::ledger::{DeadAttached, dead_attached};
use crate::additions::pack::{Limits, Packed, Place, RowPacker, Template};
use crate::additions::scroll::Measure;
use crate::clock::now_micros;
use crate::jobs::JOB_TOKENS;
use crate::jobs::store::store_as;

/// Points of one page.
const PAGE: u32 = 128;
/// Look-ups by digest at the same time.
const CONCURRENT: usize = 8;

/// From where to where, and for which run.
pub struct Fill<'a> {
    pub context: AliasContext<'a>,
    /// A collection that may have made vectors of the same texts; `None` where all are to be made again.
    pub from: Option<Points<'a>>,
    pub to: Points<'a>,
    pub run: &'a str,
    /// Alias or collection that jobs name.
    pub addressed: &'a CollectionName,
}

/// What was done for one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Filled {
    /// Points that got the vector that was made of the same text.
    pub reused: u64,
    /// Points that were published for workers of the model.
    pub published: u64,
    /// Points that are in dead letters of the run.
    pub dead: u64,
}

impl Filled {
    pub fn add(&mut self, other: Self) {
        self.reused += other.reused;
        self.published += other.published;
        // What died is found again by each look.
        self.dead = other.dead;
    }
}

impl Fill<'_> {
    /// Fills in all vectors that are in service; by the name of the vector.
    pub async fn all(&self) -> anyhow::Result<BTreeMap<String, Filled>> {
        let schema = self.to.schema().await?;
        let source = match &self.from {
            Some(from) => Some((*from, from.schema().await?)),
            None => None,
        };
        let mut filled = BTreeMap::new();
        for attached in schema.vectors.attached() {
            let dead = dead_attached(self.context.jetstream, self.run, attached.name).await?;
            let from = source.as_ref().filter(|(_, schema)| {
                let theirs = schema.vectors.attached_as(attached.name);
                theirs.is_some_and(|it| it.model.fingerprint == attached.model.fingerprint)
            });
            let filling = Filling {
                fill: self,
                attached,
                schema: &schema,
                from: from.map(|(points, _)| *points),
                dead: &dead,
            };
            filled.insert(attached.name.to_owned(), filling.run().await?);
        }
        Ok(filled)
    }
}

/// One vector.
struct Filling<'a> {
    fill: &'a Fill<'a>,
    attached: Attached<'a>,
    schema: &'a Schema,
    from: Option<Points<'a>>,
    dead: &'a DeadAttached,
}

impl Filling<'_> {
    async fn run(&self) -> anyhow::Result<Filled> {
        let name = self.attached.name;
        let lacking = Filter::must_not([Condition::has_vector(name), tombstones()]);
        let fields = [
            field::DOC_ID,
            field::VERSION,
            field::TEXT,
            field::CONTEXT,
            field::DIGEST,
        ];
        let template = Template {
            run: Some(self.fill.run.to_owned()),
            collection: self.fill.addressed.clone(),
            place: Place::Vector {
                name: name.parse::<VectorName>()?,
                fingerprint: self.attached.model.fingerprint.clone(),
            },
        };
        // Nothing is known of the model but its name: its workers tokenize, and each refuses or cuts a text alone.
        let limits = Limits {
            job_tokens: JOB_TOKENS,
            row_tokens: usize::MAX,
        };
        let mut packer = RowPacker::new(template, limits);
        let mut filled = Filled::default();
        let mut pages = self.fill.to.pages(lacking, &fields, PAGE);
        while let Some(page) = pages.next().await? {
            self.fill.context.check()?;
            let known = self.known(&page).await?;
            filled.reused += self.copy(&page, &known).await?;
            for point in &page {
                let point_id = id(point);
                if known.contains_key(&point_id) {
                    continue;
                }
                if self.dead.contains(&point_id) {
                    filled.dead += 1;
                    continue;
                }
                let Some(row) = Measure::untokenized(point) else {
                    continue;
                };
                filled.published += 1;
                for packed in packer.add(row).unwrap_or_default() {
                    self.publish(packed).await?;
                }
            }
        }
        if let Some(packed) = packer.finish() {
            self.publish(packed).await?;
        }
        Ok(filled)
    }

    /// The vectors that are known of the texts of these points, by the ids of the points: first those of the same points,
    /// then those of any point with the same text.
    async fn known(&self, page: &[RetrievedPoint]) -> anyhow::Result<HashMap<String, Vector>> {
        let mut known = HashMap::new();
        let Some(from) = self.from else {
            return Ok(known);
        };
        let digests = page
            .iter()
            .filter_map(|it| Some((id(it), text(it, field::DIGEST)?)));
        let digests: HashMap<_, _> = digests.collect();
        let found = from.get(digests.keys().map(String::as_str), &[field::DIGEST], true);
        for point in found.await? {
            let same = text(&point, field::DIGEST).as_ref() == digests.get(&id(&point));
            let vector = named_vector(&point, self.attached.name).filter(|_| same);
            known.extend(vector.map(|vector| (id(&point), vector)));
        }
        let moved = digests.iter().filter(|(id, _)| !known.contains_key(*id));
        let moved: HashSet<_> = moved.map(|(_, digest)| digest.clone()).collect();
        let moved = stream::iter(moved).map(|digest| self.by_digest(from, digest));
        let moved: Vec<_> = moved.buffer_unordered(CONCURRENT).try_collect().await?;
        let moved: HashMap<String, Vector> = moved.into_iter().flatten().collect();
        for (id, digest) in digests {
            if let Some(vector) = moved.get(&digest) {
                known.entry(id).or_insert_with(|| vector.clone());
            }
        }
        Ok(known)
    }

    async fn by_digest(
        &self,
        from: Points<'_>,
        digest: String,
    ) -> anyhow::Result<Option<(String, Vector)>> {
        let same_text = Filter::must([
            Condition::matches(field::DIGEST, digest.clone()),
            Condition::has_vector(self.attached.name),
        ]);
        let pages = from.pages(same_text, &[field::DIGEST], 1);
        let first = pages.with_vectors().next().await?.unwrap_or_default();
        let vector = first.first();
        let vector = vector.and_then(|point| named_vector(point, self.attached.name));
        Ok(vector.map(|vector| (digest, vector)))
    }

    /// Writes what is known, on condition of the version and the text that were read.
    async fn copy(
        &self,
        page: &[RetrievedPoint],
        known: &HashMap<String, Vector>,
    ) -> anyhow::Result<u64> {
        let ids: Vec<_> = page.iter().map(id).collect();
        let additions = page.iter().zip(&ids).filter_map(|(point, id)| {
            Some(Addition {
                point: id,
                version: Some(number(point, field::VERSION)).filter(|version| *version > 0),
                digest: text(point, field::DIGEST).and_then(|digest| digest.parse().ok()),
                head: None,
                made: Made::Vector {
                    name: self.attached.name.to_owned(),
                    vector: known.get(id)?.clone(),
                },
            })
        });
        let additions: Vec<_> = additions.collect();
        let added = self.fill.to.add(&additions, self.schema.replicas).await?;
        Ok(added.written as u64)
    }

    /// The message id is of this look: a job that JetStream took for one that was done before would leave points without
    /// what they have lost since.
    async fn publish(&self, packed: Packed) -> anyhow::Result<()> {
        let lane = Lane::new(
            Task::Embed,
            self.attached.model.name.clone(),
            Priority::Bulk,
        );
        let payload = packed.job.encode();
        let id = format!("{}.{}", Digest::of(&payload), now_micros());
        let tokens = usize::try_from(packed.tokens).unwrap_or(usize::MAX);
        let jetstream = self.fill.context.jetstream;
        store_as(jetstream, &lane.subject(), payload.into(), tokens, &id).await?;
        Ok(())
    }
}
