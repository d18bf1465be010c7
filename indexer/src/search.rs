//! Search: finds points of a collection by a query: by the model's vector, which is made through the queue, by its words,
//! or by both. A rescorer may order what was found.

mod find;
mod models;
mod rescore;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use contract::embedding::Embedding;
use contract::field;
use contract::job::Location;
use contract::model::Manifest;
use contract::names::{CollectionName, VectorName};
use points::limits::Limits;
use points::options::Settings;
use qdrant_client::qdrant::{ScoredPoint, Value};
use runtime::settings::{ConfigFault, STAGE};
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::{ModelDir, Servers};
use crate::filter::PointFilter;
use crate::generation::alias::missing;
use crate::generation::collection::look_up;
use crate::outcome::Outcome;
use crate::retrieval::options::{FusionChoice, SearchSettings};
use crate::retrieval::query_client::{QueryClient, QueryError, QueryVectors};
use crate::retrieval::{Mode, Search, Searched};
use find::Finder;

#[derive(Args, Clone, Debug)]
pub struct SearchConfig {
    /// What to look for
    pub query: String,
    /// Alias or collection to search
    #[arg(long, env = "EBB_COLLECTION", default_value = "docs")]
    pub collection: CollectionName,
    /// By which vectors; by default as the collection records it, else hybrid where it has BM25
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    #[command(flatten)]
    pub fusion: FusionChoice,
    /// Search by this attached vector, with the model that makes it as --model: in the place of the collection's own, or, a
    /// multivector, to order what the mode has found
    #[arg(long, value_name = "NAME")]
    pub vector: Option<VectorName>,
    /// Directory of the staged model of the collection itself, where --vector is a multivector and the mode is not sparse
    #[arg(long, value_name = "MODEL", requires = "vector")]
    pub first_model: Option<PathBuf>,
    /// Hits of each part that a hybrid search fuses; by default 1000, or as many as are looked for
    #[arg(long, value_name = "HITS")]
    pub prefetch: Option<u64>,
    /// How many hits to show
    #[arg(long, default_value_t = 5)]
    pub limit: u64,
    /// How many of the best hits to leave out
    #[arg(long, default_value_t = 0, value_name = "HITS")]
    pub offset: u64,
    /// Only points that match, in the JSON of Qdrant's REST interface, as for `rescore`
    #[arg(long, value_name = "JSON")]
    pub filter: Option<PointFilter>,
    /// Only hits with at least this score; that of a hybrid search is of the fusion
    #[arg(long, allow_negative_numbers = true)]
    pub min_score: Option<f32>,
    /// Show of each document its best chunk alone
    #[arg(long)]
    pub group_by_document: bool,
    /// Print the request to Qdrant as JSON, and what it found below
    #[arg(long)]
    pub explain: bool,
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
    /// Directory of a staged model, made by `worker stage`; a sparse search needs none, and no worker
    #[arg(long, env = "EBB_MODEL", help_heading = "Model")]
    pub model: Option<PathBuf>,
    /// File with the minisign public key with which models must be signed; without it, no signature is looked at
    #[arg(long, env = "EBB_PUBLIC_KEY", help_heading = "Model")]
    pub public_key: Option<PathBuf>,
    #[command(flatten)]
    pub servers: Servers,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Hit {
    /// Score of the pair of query and text, where a cross-encoder was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescore: Option<f32>,
    pub score: f32,
    /// Where each part of a hybrid search has it, if it does among the hits that are fused.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<&'static str, PartRank>,
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
    /// Where a person looks for it in the original.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    pub text: String,
    /// Title and headings above the text.
    #[serde(skip)]
    pub context: Option<String>,
}

/// The rank and score of a hit in a part of a search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PartRank {
    /// Counted from 1.
    pub rank: usize,
    pub score: f32,
}

/// What a search found, the best first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Hits {
    pub hits: Vec<Hit>,
    /// How many better hits were left out.
    pub offset: u64,
    pub query: String,
    /// How was searched.
    pub search: Search,
    /// Whether the model takes less than the query: it has read the beginning alone. Words are looked for in all of it.
    pub query_truncated: bool,
    /// What Qdrant was asked, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<serde_json::Value>,
}

/// Most hits that a cross-encoder scores: each is a row of a job.
const MOST_CANDIDATES: u64 = 10_000;
/// Most hits that are looked for, left out or fused.
const MOST_HITS: u64 = 10_000;

impl SearchConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        let models = [&self.model, &self.first_model];
        let models = models.into_iter().filter_map(|model| self.model_dir(model));
        faults.extend(models.flat_map(|model| model.faults()));
        faults.extend(self.asked().faults("--fusion, --rrf-k, --weights"));
        if self.query.trim().is_empty() {
            faults.push(ConfigFault::new("QUERY", "has no text"));
        }
        if self.limit == 0 {
            faults.push(ConfigFault::new("--limit", "must be at least 1"));
        }
        let prefetch = self.prefetch.unwrap_or(1);
        if self.limit.saturating_add(self.offset) > MOST_HITS
            || !(1..=MOST_HITS).contains(&prefetch)
        {
            let problem = format!("must be 1 to {MOST_HITS}, limit and offset together");
            faults.push(ConfigFault::new("--limit, --offset, --prefetch", problem));
        }
        if let Some(model) = self.rescore.as_ref().filter(|model| !model.is_dir()) {
            let problem = format!("`{}` is not a directory; {STAGE}", model.display());
            faults.push(ConfigFault::new("--rescore", problem));
        }
        let candidates = self.candidates();
        if self.rescore.is_some() && !(self.limit..=MOST_CANDIDATES).contains(&candidates) {
            let problem = format!("{candidates} is not between --limit and {MOST_CANDIDATES}");
            faults.push(ConfigFault::new("--candidates", problem));
        }
        if self.rescore.is_some() && self.offset > 0 {
            let problem = "cannot go with --rescore, which orders the first hits alone";
            faults.push(ConfigFault::new("--offset", problem));
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

    /// Hits are ordered by more than their scores, so that those that are left out are asked for as well.
    fn check_limit(&self, limits: Limits) -> anyhow::Result<()> {
        let wanted = usize::try_from(self.candidates() + self.offset)?;
        let most = limits.page(wanted);
        anyhow::ensure!(
            most == wanted,
            "`{}` gives at most {most} hits (max_query_limit of its strict mode), and {wanted} are asked for; ask for fewer",
            self.collection
        );
        Ok(())
    }

    fn asked(&self) -> SearchSettings {
        self.fusion.asked(self.mode)
    }

    /// What a model makes of the query; nothing where none is asked.
    async fn ask(
        &self,
        query_client: Option<&QueryClient>,
        model: Option<&(String, Manifest)>,
    ) -> Result<QueryVectors, QueryError> {
        let (Some(query_client), Some((_, manifest))) = (query_client, model) else {
            return Ok(QueryVectors::default());
        };
        let query = vec![self.query.clone()];
        query_client.ask(manifest, query, 0).await
    }

    fn model_dir(&self, model: &Option<PathBuf>) -> Option<ModelDir> {
        Some(ModelDir {
            model: model.clone()?,
            public_key: self.public_key.clone(),
        })
    }
}

/// The vector that a model has made of the query, with its name.
fn named<'a>(
    model: Option<&'a (String, Manifest)>,
    made: &'a QueryVectors,
) -> Option<(&'a str, &'a Embedding)> {
    let ((name, _), vector) = model.zip(made.vectors.first())?;
    Some((name.as_str(), vector))
}

/// Searches.
///
/// # Errors
/// If no worker answers in time, the query is refused, or the collection is for another model or has not what the mode
/// needs.
pub async fn search(config: &SearchConfig) -> anyhow::Result<Hits> {
    let rescorer = config.rescorer()?;
    let qdrant = config.servers.qdrant_to_look().await?;
    let info = look_up(&qdrant, &config.collection).await?;
    let info = info.with_context(|| missing(&config.collection))?;
    let searched = Searched::of(&config.collection, &info)?;
    let search = config.asked().of(&searched)?;
    search.check_server(&qdrant).await?;
    let models = config.models(search.mode, &info)?;
    let limits = Limits::of(&info);
    config.check_limit(limits)?;
    let mut query_client = None;
    if models.are_asked() || rescorer.is_some() {
        query_client = Some(QueryClient::connect(&config.servers, config.timeout).await?);
    }
    // Workers of both models may have to start: they are asked at the same time.
    let (dense, order) = (models.dense.as_ref(), models.order.as_ref());
    let (of_dense, of_order) = tokio::try_join!(
        config.ask(query_client.as_ref(), dense),
        config.ask(query_client.as_ref(), order),
    )?;
    let finder = Finder {
        config,
        qdrant: &qdrant,
        search,
        limits,
        quantization: Settings::of(&info).0.search_params(),
        dense: named(dense, &of_dense),
        order: named(order, &of_order),
        bm25: searched.bm25.as_ref(),
    };
    let (mut hits, request) = finder.find(config.candidates(), config.offset).await?;
    if let (Some(rescorer), Some(query_client)) = (rescorer, &query_client) {
        hits = rescore::rescore(query_client, &rescorer, &config.query, hits).await?;
        hits.truncate(usize::try_from(config.limit).unwrap_or(usize::MAX));
    }
    Ok(Hits {
        hits,
        offset: config.offset,
        query: config.query.clone(),
        search,
        query_truncated: !(of_dense.truncated.is_empty() && of_order.truncated.is_empty()),
        request: config.explain.then_some(request),
    })
}

impl Outcome for Hits {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(request) = &self.request {
            writeln!(out, "{request:#}")?;
        }
        if self.query_truncated {
            writeln!(
                out,
                "the query is longer than the model takes: its vector is of the beginning alone"
            )?;
        }
        for (rank, hit) in (1 + self.offset..).zip(&self.hits) {
            let place = place(hit);
            let scores = match hit.rescore {
                Some(rescore) => format!("{rescore:.3}  {:.3}", hit.score),
                None => format!("{:.3}", hit.score),
            };
            writeln!(
                out,
                "{rank}. {scores}  {}  (chunk {} of {}{place}){}",
                hit.doc_id,
                hit.chunk + 1,
                hit.chunks,
                parts(hit)
            )?;
            writeln!(out, "   {}", excerpt(&hit.text))?;
        }
        Ok(())
    }
}

/// The location of the text, for people and in bytes.
fn place(hit: &Hit) -> String {
    let location = hit.location.as_ref().map(Location::to_string);
    let bytes = hit.start.zip(hit.end);
    let bytes = bytes.map(|(start, end)| format!("bytes {start} to {end}"));
    let parts = location.into_iter().chain(bytes);
    parts.map(|part| format!(", {part}")).collect()
}

/// Ranks and scores in the parts of a hybrid search.
fn parts(hit: &Hit) -> String {
    let parts = hit.parts.iter();
    let parts = parts.map(|(name, place)| format!("{name} {}: {:.3}", place.rank, place.score));
    match parts.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => none,
        parts => format!("  [{parts}]"),
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
            parts: BTreeMap::new(),
            doc_id: text(field::DOC_ID).unwrap_or_default(),
            title,
            chunk: integer(field::CHUNK).unwrap_or_default(),
            chunks: integer(field::CHUNKS).unwrap_or_default(),
            start: integer(field::START),
            end: integer(field::END),
            location: point
                .payload
                .get(field::LOCATION)
                .and_then(|it| serde_json::from_value(it.clone().into()).ok()),
            text: text(field::TEXT).unwrap_or_default(),
            context: text(field::CONTEXT),
        }
    }
}
