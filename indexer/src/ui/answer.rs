//! Answer: what is asked for, and the answers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::board::{Board, Setup};
use super::change::{self, Changes};
use super::config::UiConfig;
use super::guard::Guard;
use super::look::{Sources, said};
use super::page::Page;
use super::{find, letters};
use crate::bucket::Bucket;

/// Requests are small.
const MOST_BYTES: usize = 64 << 10;
/// Silence after which an event says that the server is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Searches at once; each may wait for a worker.
const SEARCHES: usize = 4;
/// Reads of long lists at once.
const READS: usize = 4;
/// How long a server may keep a request waiting that only reads.
const LONGEST_READ: Duration = Duration::from_secs(30);
/// How long a request waits for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Entries of a list in one answer.
pub const MOST_ENTRIES: usize = 50;

/// What the answers to requests are made of.
#[derive(Debug)]
pub struct App {
    pub config: UiConfig,
    pub board: Board,
    pub sources: Sources,
    pub changes: Changes,
    pub searches: Arc<Semaphore>,
    pub reads: Arc<Semaphore>,
    page: Page,
    guard: Guard,
}

/// Why a request is not answered.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    message: String,
}

pub type Answer = Result<Response, Refusal>;

impl App {
    pub fn new(config: UiConfig) -> anyhow::Result<Self> {
        let setup = Setup {
            version: env!("CARGO_PKG_VERSION"),
            interval_seconds: config.interval.as_secs_f64(),
            can_search: config.may_search(),
            can_search_vectors: config.may_search() && config.model.is_some(),
            can_change: config.allow_changes,
            can_plan: config.allow_changes && !config.sources.is_empty() && config.model.is_some(),
            asks_workers: !config.workers.workers.is_empty(),
            price_per_hour: config.price_per_hour,
            currency: config.currency.clone(),
            tokens_per_second: config.tokens_per_second,
        };
        Ok(Self {
            board: Board::new(setup),
            sources: Sources::new(config.servers.clone())?,
            changes: Changes::default(),
            searches: Arc::new(Semaphore::new(SEARCHES)),
            reads: Arc::new(Semaphore::new(READS)),
            page: Page::new(),
            guard: Guard::new(&config.hosts, config.token_digest()),
            config,
        })
    }
}

impl Refusal {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, message }
    }

    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub fn busy(message: &str) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, message)
    }
}

impl From<anyhow::Error> for Refusal {
    /// Something behind the page has failed.
    fn from(error: anyhow::Error) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, said(error))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut answer = json(&serde_json::json!({ "error": self.message }));
        *answer.status_mut() = self.status;
        answer
    }
}

pub fn routes(app: &Arc<App>) -> Router {
    let routes = Router::new()
        .route("/", get(page))
        .route("/api/events", get(events))
        .route(
            "/api/state",
            get(|State(app): Shared| async move { bytes_of_json(app.board.state()) }),
        )
        .route(
            "/api/history",
            get(|State(app): Shared| async move { bytes_of_json(app.board.history()) }),
        )
        .route("/api/runs", get(runs))
        .route("/api/run", get(run))
        .route("/api/dead-letters", get(letters::list))
        .route("/api/dead-letter", get(letters::show))
        .route("/api/search", post(find::search))
        .route("/api/document", post(find::document))
        .route("/api/dead-letters/replay", post(change::replay))
        .route("/api/dead-letters/drop", post(change::discard))
        .route("/api/dry-run", post(change::dry_run))
        .layer(DefaultBodyLimit::max(MOST_BYTES));
    let guarded = middleware::from_fn_with_state(app.clone(), guarded);
    routes.layer(guarded).with_state(app.clone())
}

pub type Shared = State<Arc<App>>;

/// Looks at a request before anything else does, and says with every answer what a browser may do with it.
async fn guarded(State(app): Shared, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let checked = app.guard.check(request.method(), path, request.headers());
    let mut answer = match checked {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let headers = answer.headers_mut();
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-frame-options", "DENY"),
    ] {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(policy) = HeaderValue::from_str(&app.page.policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    answer
}

async fn page(State(app): Shared) -> Response {
    let html = [(CONTENT_TYPE, "text/html; charset=utf-8")];
    (html, app.page.html.clone()).into_response()
}

/// The newest state, and then each that follows; a viewer who is slow misses some.
async fn events(State(app): Shared) -> Response {
    let events = app.board.events();
    let stream = futures::stream::unfold(events, |mut events: watch::Receiver<Bytes>| async move {
        let next = tokio::select! {
            changed = events.changed() => {
                changed.ok()?;
                events.borrow_and_update().clone()
            }
            () = tokio::time::sleep(KEEP_ALIVE) => Bytes::from_static(b": here\n\n"),
        };
        Some((Ok::<_, std::convert::Infallible>(next), events))
    });
    let headers = [(CONTENT_TYPE, "text/event-stream")];
    (headers, Body::from_stream(stream)).into_response()
}

/// Runs, the newest first, from an offset on.
async fn runs(State(app): Shared, uri: Uri) -> Answer {
    let offset: usize = number(&uri, "offset")?.unwrap_or(0);
    let all = app.sources.book.lock().await.all();
    let total = all.len();
    let runs: Vec<_> = all.into_iter().skip(offset).take(MOST_ENTRIES).collect();
    Ok(json(&serde_json::json!({ "total": total, "runs": runs })))
}

/// A run as it is recorded, with its phases and gates.
async fn run(State(app): Shared, uri: Uri) -> Answer {
    let turn = turn(&app.reads, "others read runs; try again").await?;
    apart(turn, move || in_time(recorded(app, uri))).await
}

async fn recorded(app: Arc<App>, uri: Uri) -> Answer {
    let part = |name| parameter(&uri, name).unwrap_or_default();
    let (verb, run) = (part("verb"), part("run"));
    let key = match parameter(&uri, "alias") {
        Some(alias) => format!("{verb}.{alias}/{run}"),
        None => format!("{verb}.{run}"),
    };
    let bucket = Bucket::open(&app.sources.jetstream().await?).await?;
    let found = bucket.find::<serde_json::Value>(&key).await?;
    let missing = || Refusal::new(StatusCode::NOT_FOUND, format!("there is no run `{run}`"));
    Ok(json(&found.ok_or_else(missing)?.record))
}

/// Works on a thread of its own to the end, whoever waits for it: what verbs do may stay on one thread alone. Threads are as
/// many as there are turns.
pub async fn apart<F>(
    turn: impl Send + 'static,
    work: impl FnOnce() -> F + Send + 'static,
) -> Answer
where
    F: Future<Output = Answer>,
{
    let runtime = Handle::current();
    let done = tokio::task::spawn_blocking(move || {
        let done = runtime.block_on(work());
        drop(turn);
        done
    });
    let done = done.await;
    let given_up = |_| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request was given up",
        )
    };
    done.map_err(given_up)?
}

/// An answer, or the news that a server keeps it waiting.
pub async fn in_time(work: impl Future<Output = Answer>) -> Answer {
    let late = |_| {
        Refusal::new(
            StatusCode::GATEWAY_TIMEOUT,
            "a server behind the page does not answer; try again",
        )
    };
    tokio::time::timeout(LONGEST_READ, work)
        .await
        .map_err(late)?
}

/// The next turn: so many work at once, and whoever comes then waits, but not for ever.
pub async fn turn(of: &Arc<Semaphore>, busy: &str) -> Result<OwnedSemaphorePermit, Refusal> {
    let turn = tokio::time::timeout(LONGEST_WAIT, of.clone().acquire_owned()).await;
    turn.ok()
        .and_then(Result::ok)
        .ok_or_else(|| Refusal::busy(busy))
}

/// A parameter of the query.
pub fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let query = uri.query().unwrap_or_default().as_bytes();
    let mut pairs = url::form_urlencoded::parse(query);
    pairs
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.into_owned())
}

pub fn number<N: std::str::FromStr>(uri: &Uri, name: &str) -> Result<Option<N>, Refusal> {
    let wrong = |value: &str| Refusal::bad(format!("{name}: `{value}` is not a number"));
    let value = parameter(uri, name);
    value
        .map(|value| value.parse().map_err(|_| wrong(&value)))
        .transpose()
}

pub fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::bad(format!("cannot read the request: {error}")))
}

pub fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => bytes_of_json(bytes.into()),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn bytes_of_json(bytes: Bytes) -> Response {
    ([(CONTENT_TYPE, "application/json")], bytes).into_response()
}
