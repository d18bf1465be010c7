//! Scroll: reads points page by page, and packs them. A page and a job are in memory at a time.

use contract::field;
use contract::job::{Chunk, Item};
use contract::model::Prefixes;
use contract::names::CollectionName;
use contract::tokenizer::{MAX_BYTES_PER_TOKEN, Tokenizer};
use points::guard::tombstones;
use points::payload::{doc_id, id, id_text, number};
use points::{Points, Qdrant, head_id};
use qdrant_client::qdrant::{Condition, Filter, PointId, RetrievedPoint, Value};
use rayon::prelude::*;
use tokio::sync::mpsc;

use super::Counts;
use super::pack::{Packed, Row, RowPacker};

/// Points of a page. A text has up to a job's size, so that this bounds the memory.
const PAGE: u32 = 128;
/// Bytes of a token, where nobody has counted them.
const BYTES_PER_TOKEN: usize = 4;

/// A job, with the points that were passed over before the one after it.
pub type Ready = (Packed, Counts);

#[derive(Clone, Debug)]
pub struct Selection {
    pub collection: CollectionName,
    pub filter: Option<Filter>,
}

/// Makes rows of points.
#[derive(Clone, Debug)]
pub struct Measure {
    /// `None` where the model is not at hand: then tokens are estimated.
    pub tokenizer: Option<Tokenizer>,
    pub prefixes: Prefixes,
    pub max_tokens: usize,
    pub query: Option<String>,
    /// Whether the head of the document goes with each point.
    pub with_heads: bool,
}

#[derive(Debug)]
pub struct Scroll {
    pub selection: Selection,
    pub measure: Measure,
    pub packer: RowPacker,
    /// First point to read.
    pub cursor: Option<String>,
}

impl Selection {
    pub async fn count(&self, qdrant: &Qdrant) -> anyhow::Result<u64> {
        Ok(self.points(qdrant).count(self.all()).await?)
    }

    fn points<'a>(&'a self, qdrant: &'a Qdrant) -> Points<'a> {
        Points::new(qdrant, &self.collection)
    }

    /// A deleted document has no text.
    fn all(&self) -> Filter {
        let wanted = self.filter.clone().map(Condition::from);
        Filter {
            must: wanted.into_iter().collect(),
            must_not: vec![tombstones()],
            ..Filter::default()
        }
    }
}

impl Scroll {
    /// Runs to the end of the points, or until nobody takes the jobs. Gives what was passed over after the last job.
    pub async fn run(
        mut self,
        qdrant: Qdrant,
        jobs: mpsc::Sender<Ready>,
    ) -> anyhow::Result<Counts> {
        let fields = [
            field::DOC_ID,
            field::VERSION,
            field::TEXT,
            field::CONTEXT,
            field::DIGEST,
        ];
        let points = self.selection.points(&qdrant);
        let pages = points.pages(self.selection.all(), &fields, PAGE);
        let mut pages = pages.starting_at(self.cursor.take().map(point_id));
        let mut passed = Counts::default();
        while let Some(points) = pages.next().await? {
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
        }
        if let Some(job) = self.packer.finish() {
            // Nobody takes it when publishing has failed, which says why.
            drop(jobs.send((job, std::mem::take(&mut passed))).await);
        }
        Ok(passed)
    }
}

impl Measure {
    /// A point for a model that is not at hand.
    pub fn untokenized(point: &RetrievedPoint) -> Option<Row> {
        let measure = Self {
            tokenizer: None,
            prefixes: Prefixes::default(),
            max_tokens: usize::MAX / MAX_BYTES_PER_TOKEN,
            query: None,
            with_heads: true,
        };
        measure.row(point)
    }

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
        let digest = text(field::DIGEST);
        let text = Chunk::model_input("", context, own);
        let item = Item {
            point: Some(id(point)),
            version: Some(number(point, field::VERSION)).filter(|version| *version > 0),
            digest: digest.and_then(|digest| digest.parse().ok()),
            head: self.head(point),
            query: self.query.clone(),
            text,
        };
        let tokens = self.tokens(&item);
        Some(Row { item, tokens })
    }

    /// A point that Ebb did not write has none.
    fn head(&self, point: &RetrievedPoint) -> Option<String> {
        let doc_id = doc_id(point).filter(|_| self.with_heads)?;
        Some(id_text(&head_id(&doc_id)))
    }

    /// Tokens of an item. One that cannot be tokenized counts as too long, so that it gets a job of its own.
    pub fn tokens(&self, item: &Item) -> usize {
        let text = format!("{}{}", self.prefixes.document, item.text);
        let too_long = (text.len() / MAX_BYTES_PER_TOKEN).max(self.max_tokens + 1);
        if text.len() > self.max_tokens * MAX_BYTES_PER_TOKEN {
            return too_long;
        }
        let Some(tokenizer) = &self.tokenizer else {
            return (text.len() / BYTES_PER_TOKEN).max(1);
        };
        let tokens = match &item.query {
            Some(query) => {
                let query = format!("{}{query}", self.prefixes.query);
                let tokens = tokenizer.encode_pair(&query, &text);
                tokens.map(|tokens| tokens.ids.len())
            }
            None => tokenizer.encode(&text).map(|ids| ids.len()),
        };
        tokens.unwrap_or(too_long)
    }
}

/// A run may begin at points that others than Ebb have written, whose ids may be numbers.
fn point_id(text: String) -> PointId {
    match text.parse::<u64>() {
        Ok(number) => number.into(),
        Err(_) => text.into(),
    }
}
