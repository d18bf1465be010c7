//! Fill: gives the points of a generation the attached vectors that they lack. What another collection has made of the same
//! text is copied, by digest and fingerprint; everything else is published for the workers of the models.
//!
//! **Room.** These jobs yield to documents ([`queue::room`]). Where the alias has moved, nobody waits for room: what finds
//! none is left out, as workers leave it out, and `indexer attach` publishes it.

use std::collections::{BTreeMap, HashMap, HashSet};

use contract::digest::Digest;
use contract::field;
use contract::names::{CollectionName, VectorName};
use points::Points;
use points::additions::{Addition, AdditionValue};
use points::guard::tombstones;
use points::payload::{id, number, text};
use points::reuse::{Reused, Wanted};
use points::schema::Schema;
use points::vectors::Attached;
use qdrant_client::qdrant::{Condition, Filter, RetrievedPoint, Vector};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AliasContext;
use super::ledger::{DeadAttached, dead_attached};
use crate::additions::pack::{Destination, Limits, Packed, RowPacker, Template};
use crate::additions::scroll::Measure;
use crate::clock::now_micros;
use crate::jobs::JOB_TOKENS;
use crate::jobs::await_room::LaneRoom;
use crate::jobs::store::store_as;

/// Points of one page.
const PAGE: u32 = 128;

/// The collections between which vectors are filled in, and the run that does it.
pub struct Fill<'a> {
    pub context: AliasContext<'a>,
    /// A collection that may have made vectors of the same texts; `None` where all are to be made again.
    pub from: Option<Points<'a>>,
    pub to: Points<'a>,
    pub run: &'a str,
    /// Alias or collection that jobs name.
    pub addressed: &'a CollectionName,
    pub no_room: NoRoom,
}

/// What is done where the stream of jobs has no room for those of an attached model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// Workers of the model are waited for: what follows needs their vectors in any case.
    Wait,
    /// The jobs are left out. A model whose workers never come holds up neither the end of a move nor the other vectors.
    LeaveOut,
}

/// Counts of what was done for one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Filled {
    /// Points that got the vector that was made of the same text.
    pub reused: u64,
    /// Points that were published for workers of the model.
    pub published: u64,
    /// Points whose jobs found no room.
    pub left: u64,
    /// Points that are in dead letters of the run.
    pub dead: u64,
}

impl Filled {
    pub fn add(&mut self, other: Self) {
        self.reused += other.reused;
        self.published += other.published;
        // What was left or died is found again by each look.
        (self.left, self.dead) = (other.left, other.dead);
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
                room: LaneRoom::new(attached.lane()),
            };
            let found = filling.run().await?;
            if found.left > 0 {
                filling.say_left(found.left);
            }
            filled.insert(attached.name.to_owned(), found);
        }
        Ok(filled)
    }
}

/// Points whose vector was known.
#[derive(Default)]
struct ReusedPoints {
    points: HashSet<String>,
    /// How many of them had the version and the text by then.
    written: u64,
}

struct Filling<'a> {
    fill: &'a Fill<'a>,
    attached: Attached<'a>,
    schema: &'a Schema,
    from: Option<Points<'a>>,
    dead: &'a DeadAttached,
    room: LaneRoom,
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
            place: Destination::Vector {
                name: name.parse::<VectorName>()?,
                fingerprint: self.attached.model.fingerprint.clone(),
            },
        };
        // Nothing is known of the model but its name: its workers tokenize, and each refuses or cuts a text alone.
        let limits = Limits {
            job_tokens: JOB_TOKENS,
            row_tokens: usize::MAX,
        };
        let source = self.source().await?;
        let mut packer = RowPacker::new(template, limits);
        let mut filled = Filled::default();
        let mut pages = self.fill.to.pages(lacking, &fields, PAGE);
        while let Some(page) = pages.next().await? {
            self.fill.context.check()?;
            let reused = self.reuse(&page, source.as_ref()).await?;
            filled.reused += reused.written;
            for point in &page {
                let point_id = id(point);
                if reused.points.contains(&point_id) {
                    continue;
                }
                if self.dead.contains(&point_id) {
                    filled.dead += 1;
                    continue;
                }
                let Some(row) = Measure::untokenized(point) else {
                    continue;
                };
                for packed in packer.add(row).unwrap_or_default() {
                    self.publish(packed, &mut filled).await?;
                }
            }
        }
        if let Some(packed) = packer.finish() {
            self.publish(packed, &mut filled).await?;
        }
        Ok(filled)
    }

    /// The collection that may have made vectors of the same texts, and which of them are taken.
    async fn source(&self) -> anyhow::Result<Option<(Points<'_>, Reused<'_>)>> {
        let Some(from) = self.from else {
            return Ok(None);
        };
        let name = self.attached.name;
        let selection = from.select([name]).await?;
        Ok(Some((from, Reused { name, selection })))
    }

    /// Copies what is known of the texts of these points, a few points at a time where vectors are large.
    async fn reuse(
        &self,
        page: &[RetrievedPoint],
        source: Option<&(Points<'_>, Reused<'_>)>,
    ) -> anyhow::Result<ReusedPoints> {
        let mut all = ReusedPoints::default();
        let Some((from, reused)) = source else {
            return Ok(all);
        };
        for part in page.chunks(reused.selection.points(page.len())) {
            let pieces = part
                .iter()
                .filter_map(|it| Some((id(it), text(it, field::DIGEST)?)));
            let pieces: Vec<_> = pieces.collect();
            let wanted = pieces.iter().map(|(id, digest)| Wanted { id, digest });
            let known = from.made_of(reused, &wanted.collect::<Vec<_>>()).await?;
            all.written += self.copy(part, &known).await?;
            all.points.extend(known.into_keys());
        }
        Ok(all)
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
                made: AdditionValue::Vector {
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
    async fn publish(&self, packed: Packed, filled: &mut Filled) -> anyhow::Result<()> {
        if !self.has_room(filled.left).await? {
            filled.left += packed.points;
            return Ok(());
        }
        let jetstream = self.fill.context.jetstream;
        let payload = packed.job.encode();
        let id = format!("{}.{}", Digest::of(&payload), now_micros());
        let tokens = usize::try_from(packed.tokens).unwrap_or(usize::MAX);
        let subject = self.room.lane().subject();
        store_as(jetstream, &subject, payload.into(), tokens, &id).await?;
        filled.published += packed.points;
        Ok(())
    }

    /// Whether a job may be published. Where nobody waits, none is after the first that found no room.
    async fn has_room(&self, left: u64) -> anyhow::Result<bool> {
        let context = &self.fill.context;
        let (jetstream, stall) = (context.jetstream, context.limits.stall);
        match self.fill.no_room {
            NoRoom::Wait => {
                let check = async || context.check();
                self.room.wait(jetstream, stall, check).await?;
                Ok(true)
            }
            NoRoom::LeaveOut => Ok(left == 0 && self.room.is_there(jetstream).await),
        }
    }

    fn say_left(&self, points: u64) {
        let (name, alias) = (self.attached.name, self.fill.context.alias);
        let model = &self.room.lane().model;
        tracing::warn!(
            "{points} points of `{alias}` lack vector `{name}`, and their jobs were left out: the stream of jobs is more \
             than half full and workers of `{model}` are behind; let them drain their lane, then run `indexer attach`"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_adds_up_and_what_is_left_is_that_of_the_last_look() {
        let look = |published, left| Filled {
            reused: 1,
            published,
            left,
            dead: 3,
        };
        let mut all = look(2, 7);
        all.add(look(5, 2));
        let expected = Filled {
            reused: 2,
            ..look(7, 2)
        };
        assert_eq!(all, expected);
    }
}
