//! Search: embeds a query through the queue, then searches a collection. A rescorer may order what was found.

pub(crate) mod ask;
mod rescore;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use contract::field;
use contract::model::Manifest;
use contract::names::CollectionName;
use contract::topology::Task;
use points::Qdrant;
use points::collection;
use points::guard::tombstones;
use points::limits::Limits;
use points::options::Settings;
use qdrant_client::qdrant::{Filter, QueryPointsBuilder, ScoredPoint, SearchParams, Value};
use runtime::settings::ConfigFault;
use serde::Serialize;

use crate::config::{ModelDir, Servers};
use crate::outcome::Outcome;
use ask::Asker;

#[derive(Args, Clone, Debug)]
pub struct SearchConfig {
    /// What to look for
    pub query: String,
    /// Alias or collection to search
    #[arg(long, env = "EBB_COLLECTION", default_value = "docs")]
    pub collection: CollectionName,
    /// How many hits to show
    #[arg(long, default_value_t = 5)]
    pub limit: u64,
    /// Directory of a staged cross-encoder that orders what was found; only its manifest is read
    #[arg(long, value_name = "MODEL")]
    pub rescore: Option<PathBuf>,
    /// How many hits the cross-encoder scores; by default ten times --limit, at least 50
    #[arg(long, requires = "rescore")]
    pub candidates: Option<u64>,
    /// How long to wait for a worker; a worker that is scaled to zero needs time to start
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub model: ModelDir,
    #[command(flatten)]
    pub servers: Servers,
}

#[derive(Clone, Debug, Serialize)]
pub struct Hit {
    /// Score of the pair of query and text, where a cross-encoder was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescore: Option<f32>,
    pub score: f32,
    /// Document that it belongs to.
    pub doc_id: String,
    /// Title of the document, where it has one.
    pub title: Option<String>,
    /// Position in the document.
    pub chunk: i64,
    /// How many chunks the document has.
    pub chunks: i64,
    /// First byte in the document's text.
    pub start: Option<i64>,
    /// Byte after the last one.
    pub end: Option<i64>,
    pub text: String,
    /// Title and headings above the text.
    #[serde(skip)]
    pub context: Option<String>,
}

/// What a search found, the best first.
#[derive(Clone, Debug, Serialize)]
pub struct Hits {
    pub hits: Vec<Hit>,
    pub query: String,
}

/// Most hits that a cross-encoder scores: each is a row of a job.
const MOST_CANDIDATES: u64 = 10_000;

impl SearchConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        faults.extend(self.model.faults());
        if self.query.trim().is_empty() {
            faults.push(ConfigFault::new("QUERY", "has no text"));
        }
        if self.limit == 0 {
            faults.push(ConfigFault::new("--limit", "must be at least 1"));
        }
        if let Some(model) = self.rescore.as_ref().filter(|model| !model.is_dir()) {
            let problem = format!("`{}` is not a directory; stage a model", model.display());
            faults.push(ConfigFault::new("--rescore", problem));
        }
        let candidates = self.candidates();
        if self.rescore.is_some() && !(self.limit..=MOST_CANDIDATES).contains(&candidates) {
            let problem = format!("{candidates} is not between --limit and {MOST_CANDIDATES}");
            faults.push(ConfigFault::new("--candidates", problem));
        }
        faults
    }

    /// How many hits are looked for.
    fn candidates(&self) -> u64 {
        match &self.rescore {
            Some(_) => self
                .candidates
                .unwrap_or((self.limit.saturating_mul(10)).max(50)),
            None => self.limit,
        }
    }

    /// The cross-encoder, if one is asked for. It must give one score, because hits are ordered by it.
    fn rescorer(&self) -> anyhow::Result<Option<Manifest>> {
        let Some(model) = &self.rescore else {
            return Ok(None);
        };
        let manifest = self.model.manifest_of(model)?;
        let identity = &manifest.identity;
        anyhow::ensure!(
            identity.task == Task::Rescore && identity.dimensions == 1,
            "model `{}` gives no single score for a pair; --rescore needs a cross-encoder",
            manifest.name
        );
        Ok(Some(manifest))
    }
}

/// Searches.
///
/// # Errors
/// If no worker answers in time, the query is refused, or the collection is for another model.
pub async fn search(config: &SearchConfig) -> anyhow::Result<Hits> {
    let manifest = config.model.manifest()?;
    let rescorer = config.rescorer()?;
    let qdrant = config.servers.qdrant_to_look().await?;
    let info = qdrant.collection_info(config.collection.as_str()).await;
    let info =
        info.with_context(|| format!("failed to look up collection `{}`", config.collection))?;
    let info = info.result.unwrap_or_default();
    collection::check(&config.collection, &info, &manifest)?;
    let wanted = usize::try_from(config.candidates())?;
    let most = Limits::of(&info).page(wanted);
    anyhow::ensure!(
        most == wanted,
        "`{}` gives at most {most} hits (max_query_limit of its strict mode), and {wanted} are asked for; ask for fewer",
        config.collection
    );
    let asker = Asker::connect(&config.servers, config.timeout).await?;
    let vectors = asker.ask(&manifest, vec![config.query.clone()], 0).await?;
    let vector = vectors.into_iter().next().unwrap_or_default();
    let params = SearchParams {
        quantization: Settings::of(&info).0.search_params(),
        ..SearchParams::default()
    };
    let mut hits = query(config, &qdrant, (&manifest, vector), params).await?;
    if let Some(rescorer) = rescorer {
        hits = rescore::rescore(&asker, &rescorer, &config.query, hits).await?;
        hits.truncate(usize::try_from(config.limit).unwrap_or(usize::MAX));
    }
    let query = config.query.clone();
    Ok(Hits { query, hits })
}

async fn query(
    config: &SearchConfig,
    qdrant: &Qdrant,
    (manifest, vector): (&Manifest, Vec<f32>),
    params: SearchParams,
) -> anyhow::Result<Vec<Hit>> {
    let request = QueryPointsBuilder::new(config.collection.as_str())
        .query(vector)
        .using(manifest.name.as_str())
        .limit(config.candidates())
        .params(params)
        .filter(Filter::must_not([tombstones()]))
        .with_payload(true);
    let found = qdrant.query(request).await;
    let found = found.with_context(|| format!("failed to search `{}`", config.collection))?;
    Ok(found.result.into_iter().map(Hit::from).collect())
}

impl Outcome for Hits {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for (rank, hit) in (1..).zip(&self.hits) {
            let place = match (hit.start, hit.end) {
                (Some(start), Some(end)) => format!(", bytes {start} to {end}"),
                _ => String::new(),
            };
            let scores = match hit.rescore {
                Some(rescore) => format!("{rescore:.3}  {:.3}", hit.score),
                None => format!("{:.3}", hit.score),
            };
            writeln!(
                out,
                "{rank}. {scores}  {}  (chunk {} of {}{place})",
                hit.doc_id,
                hit.chunk + 1,
                hit.chunks
            )?;
            writeln!(out, "   {}", excerpt(&hit.text))?;
        }
        Ok(())
    }
}

/// The beginning of a text on one line.
fn excerpt(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = words.chars().take(160).collect();
    if short.len() < words.len() {
        format!("{short}…")
    } else {
        short
    }
}

impl From<ScoredPoint> for Hit {
    fn from(point: ScoredPoint) -> Self {
        let text = |name| point.payload.get(name).and_then(Value::as_str).cloned();
        let integer = |name| point.payload.get(name).and_then(Value::as_integer);
        let meta = point.payload.get(field::META).and_then(Value::as_struct);
        let title = meta
            .and_then(|meta| meta.fields.get("title"))
            .and_then(Value::as_str)
            .cloned();
        Self {
            rescore: None,
            score: point.score,
            doc_id: text(field::DOC_ID).unwrap_or_default(),
            title,
            chunk: integer(field::CHUNK).unwrap_or_default(),
            chunks: integer(field::CHUNKS).unwrap_or_default(),
            start: integer(field::START),
            end: integer(field::END),
            text: text(field::TEXT).unwrap_or_default(),
            context: text(field::CONTEXT),
        }
    }
}
