//! Scroll: reads the points to score page by page, and packs them. A page and a job are in memory at a time.

use anyhow::Context as _;
use contract::job::{Chunk, Item};
use contract::model::Prefixes;
use contract::names::CollectionName;
use contract::point::field;
use contract::tokenizer::Tokenizer;
use qdrant_client::Qdrant;
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::with_payload_selector::SelectorOptions;
use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, Filter, PayloadIncludeSelector, PointId, RetrievedPoint,
    ScrollPoints, Value, WithPayloadSelector,
};
use rayon::prelude::*;
use tokio::sync::mpsc;

use super::Counts;
use super::pack::{Packed, Packer, Row};

/// Points of a page. A text has up to a job's size, so that this bounds the memory.
const PAGE: u32 = 128;
/// A text of more bytes than this per token that the model takes is too long, without a tokenizer being asked.
const MAX_BYTES_PER_TOKEN: usize = 64;

/// A job, with the points that were passed over before the one after it.
pub(super) type Ready = (Packed, Counts);

/// Which points.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) collection: CollectionName,
    pub(super) filter: Option<Filter>,
}

/// Makes rows of points.
#[derive(Clone, Debug)]
pub(super) struct Measure {
    pub(super) tokenizer: Tokenizer,
    pub(super) prefixes: Prefixes,
    pub(super) max_tokens: usize,
    pub(super) query: Option<String>,
}

/// Reads and packs.
#[derive(Debug)]
pub(super) struct Scroll {
    pub(super) selection: Selection,
    pub(super) measure: Measure,
    pub(super) packer: Packer,
    /// First point to read.
    pub(super) cursor: Option<String>,
}

impl Selection {
    /// How many points there are.
    pub(super) async fn count(&self, qdrant: &Qdrant) -> anyhow::Result<u64> {
        let request = CountPointsBuilder::new(self.collection.as_str()).filter(self.all());
        let counted = qdrant.count(request.exact(true)).await;
        let counted = counted.with_context(|| self.failed())?;
        Ok(counted.result.map_or(0, |result| result.count))
    }

    fn failed(&self) -> String {
        format!("failed to read the points of `{}`", self.collection)
    }

    /// A deleted document has nothing to score.
    fn all(&self) -> Filter {
        Filter {
            must: self
                .filter
                .clone()
                .map(Condition::from)
                .into_iter()
                .collect(),
            must_not: vec![Condition::matches(field::DELETED, true)],
            ..Filter::default()
        }
    }

    async fn page(
        &self,
        qdrant: &Qdrant,
        offset: Option<PointId>,
    ) -> anyhow::Result<(Vec<RetrievedPoint>, Option<PointId>)> {
        let fields = [field::VERSION, field::TEXT, field::CONTEXT];
        let include = SelectorOptions::Include(PayloadIncludeSelector {
            fields: fields.map(str::to_owned).to_vec(),
        });
        let request = ScrollPoints {
            collection_name: self.collection.to_string(),
            filter: Some(self.all()),
            limit: Some(PAGE),
            offset,
            with_payload: Some(WithPayloadSelector {
                selector_options: Some(include),
            }),
            with_vectors: Some(false.into()),
            ..ScrollPoints::default()
        };
        let page = qdrant
            .scroll(request)
            .await
            .with_context(|| self.failed())?;
        Ok((page.result, page.next_page_offset))
    }
}

impl Scroll {
    /// Runs to the end of the points, or until nobody takes the jobs. Gives what was passed over after the last job.
    ///
    /// # Errors
    /// If Qdrant cannot be read.
    pub(super) async fn run(
        mut self,
        qdrant: Qdrant,
        jobs: mpsc::Sender<Ready>,
    ) -> anyhow::Result<Counts> {
        let mut offset = self.cursor.take().map(point_id);
        let mut passed = Counts::default();
        loop {
            let (points, next) = self.selection.page(&qdrant, offset).await?;
            for row in self.measure.clone().rows(points).await? {
                let packed = match row {
                    Some(row) => self.packer.add(row),
                    None => {
                        passed.without_text += 1;
                        continue;
                    }
                };
                let Some(packed) = packed else {
                    passed.too_large += 1;
                    continue;
                };
                for job in packed {
                    if jobs.send((job, std::mem::take(&mut passed))).await.is_err() {
                        return Ok(passed);
                    }
                }
            }
            offset = next;
            if offset.is_none() {
                break;
            }
        }
        if let Some(job) = self.packer.finish() {
            // Nobody takes it when publishing has failed, which says why.
            drop(jobs.send((job, std::mem::take(&mut passed))).await);
        }
        Ok(passed)
    }
}

impl Measure {
    /// Tokenizing is work for threads that may be busy.
    async fn rows(self, points: Vec<RetrievedPoint>) -> anyhow::Result<Vec<Option<Row>>> {
        let rows = move || points.par_iter().map(|point| self.row(point)).collect();
        Ok(tokio::task::spawn_blocking(rows).await?)
    }

    /// A point as the model sees it; `None` if it has no text.
    fn row(&self, point: &RetrievedPoint) -> Option<Row> {
        let text = |name| point.payload.get(name).and_then(Value::as_str);
        let own = text(field::TEXT).filter(|text| !text.trim().is_empty())?;
        let context = text(field::CONTEXT).map(String::as_str);
        let text = Chunk::model_input("", context, own);
        let version = point.payload.get(field::VERSION);
        let version = version.and_then(Value::as_integer);
        let item = Item {
            point: Some(id_text(point.id.as_ref()?)?),
            version: version
                .and_then(|version| u64::try_from(version).ok())
                .filter(|version| *version > 0),
            query: self.query.clone(),
            text,
        };
        let tokens = self.tokens(&item);
        Some(Row { item, tokens })
    }

    /// What cannot be tokenized counts as too long, so that it travels alone.
    pub(super) fn tokens(&self, item: &Item) -> usize {
        let text = format!("{}{}", self.prefixes.document, item.text);
        let too_long = (text.len() / MAX_BYTES_PER_TOKEN).max(self.max_tokens + 1);
        if text.len() > self.max_tokens * MAX_BYTES_PER_TOKEN {
            return too_long;
        }
        let tokens = match &item.query {
            Some(query) => {
                let query = format!("{}{query}", self.prefixes.query);
                let tokens = self.tokenizer.encode_pair(&query, &text);
                tokens.map(|tokens| tokens.ids.len())
            }
            None => self.tokenizer.encode(&text).map(|ids| ids.len()),
        };
        tokens.unwrap_or(too_long)
    }
}

fn id_text(id: &PointId) -> Option<String> {
    match id.point_id_options.as_ref()? {
        PointIdOptions::Num(number) => Some(number.to_string()),
        PointIdOptions::Uuid(uuid) => Some(uuid.clone()),
    }
}

fn point_id(text: String) -> PointId {
    match text.parse::<u64>() {
        Ok(number) => number.into(),
        Err(_) => text.into(),
    }
}
