//! Look: looks at the servers again and again, each part by itself.
//!
//! A part that takes long is looked at less often: between two looks at it passes ten times as long as the last one took.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::connection::State;
use async_nats::jetstream::{self, stream};
use contract::topology::{DLQ, JOBS};
use futures::FutureExt as _;
use points::Qdrant;
use queue::denial::denied;
use runtime::wait::chain;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::answer::App;
use super::board::{Board, Letters, Queue, Runs, Seen};
use crate::config::Servers;
use crate::generation::alias;
use crate::outcome::without_headers;
use crate::status::collections::{self, Collections, on_one_line};
use crate::status::runs::Book;
use crate::status::workers::{WorkerLooker, Workers};
use crate::status::{Causes, causes, lanes, rate, tokens_per_second};
use crate::streams::orphaned::{Orphaned, orphaned};
use crate::streams::stream;

/// What costs the servers something is looked at this often at most.
const SLOWER: Duration = Duration::from_secs(10);
/// A server that has not answered for so long is said to be away.
const PATIENCE: Duration = Duration::from_secs(15);
/// Counting millions of points exactly may take a while.
const PATIENCE_FOR_POINTS: Duration = Duration::from_secs(120);
/// However long a look has taken, the next one is not later than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Lanes that are shown.
const MOST_LANES: usize = 40;
const MOST_RUNS: usize = 40;
/// Aliases that are shown.
const MOST_ALIASES: usize = 60;
/// Workers that are shown.
const MOST_WORKERS: usize = 100;
/// Causes, subjects and silent workers that are shown, and characters of what anybody may have written.
const MOST_NAMES: usize = 20;
const MOST_CHARACTERS: usize = 1_000;

/// Connections that everything shares.
#[derive(Debug)]
pub struct Sources {
    servers: Servers,
    nats: Mutex<Option<async_nats::Client>>,
    qdrant: Qdrant,
    pub book: Mutex<Book>,
}

impl Sources {
    pub fn new(servers: Servers) -> anyhow::Result<Self> {
        Ok(Self {
            qdrant: servers.qdrant.client()?,
            servers,
            nats: Mutex::default(),
            book: Mutex::default(),
        })
    }

    pub fn qdrant(&self) -> &Qdrant {
        &self.qdrant
    }

    /// JetStream, if NATS is there: nobody is kept waiting for it.
    pub async fn jetstream(&self) -> anyhow::Result<jetstream::Context> {
        let mut nats = self.nats.lock().await;
        let client = match nats.take() {
            Some(client) => client,
            None => self.servers.client().await?,
        };
        let is_connected = client.connection_state() == State::Connected;
        *nats = Some(client.clone());
        let url = self.servers.nats.nats_url.join(", ");
        anyhow::ensure!(
            is_connected,
            "nats at {url} does not answer; start it, or name another by --nats-url"
        );
        Ok(queue::nats::jetstream(client))
    }
}

/// Looks until the process ends, on a thread of its own.
pub fn start(app: Arc<App>) -> std::io::Result<()> {
    let runtime = Handle::current();
    let looking = std::thread::Builder::new().name("look".to_owned());
    looking.spawn(move || runtime.block_on(look(&app)))?;
    Ok(())
}

async fn look(app: &App) {
    tokio::join!(
        look_at_queue(app),
        look_at_letters(app),
        look_at_runs(app),
        look_at_index(app),
        look_at_workers(app),
        app.board.sample(),
    );
}

/// Looks, puts what was found on the board, and waits.
async fn again_and_again<T: Seen>(
    board: &Board,
    pause: Duration,
    patience: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<T>,
) {
    loop {
        let begun = Instant::now();
        let found = match timeout(patience, look()).await {
            Ok(found) => found.map_err(said),
            Err(_) => Err(format!("no answer within {} s", patience.as_secs())),
        };
        // A server that is away may be back at any moment.
        let rest = match &found {
            Ok(_) => (begun.elapsed() * 10).min(LONGEST_PAUSE),
            Err(_) => Duration::ZERO,
        };
        board.put(found);
        tokio::time::sleep(pause.max(rest)).await;
    }
}

/// An error on one line, with what NATS denies to this login, which whoever waits for an answer never learns.
pub fn said(error: anyhow::Error) -> String {
    let text = on_one_line(error);
    let text = without_headers(&text);
    match denied().now_or_never() {
        Some(denied) => format!("{text}; {}", chain(&denied)),
        None => text.into_owned(),
    }
}

async fn look_at_queue(app: &App) {
    let (mut before, mut means) = (None, rate::Means::default());
    let look = async || {
        let jetstream = app.sources.jetstream().await?;
        let jobs = stream(&jetstream, JOBS).await?;
        queue(&jobs, &mut before, &mut means).await
    };
    again_and_again(&app.board, app.config.interval, PATIENCE, look).await;
}

async fn queue(
    jobs: &stream::Stream,
    before: &mut Option<rate::Look>,
    means: &mut rate::Means,
) -> anyhow::Result<Queue> {
    let found = lanes::look(jobs).await?;
    let now = rate::Look::new(&jobs.cached_info().state, &found);
    let before = before.replace(now.clone());
    let mut rate = before.as_ref().map(|before| now.since(before));
    let mut lanes = Vec::new();
    for found in found.iter().take(MOST_LANES) {
        let rate = before.as_ref();
        let rate = rate.map(|before| now.of_lane(&found.info.name, before));
        let mut lane = found.status(jobs, rate).await?;
        means.note(&mut lane);
        lanes.push(lane);
    }
    if let Some(rate) = &mut rate {
        rate.tokens_per_second = tokens_per_second(&lanes);
    }
    Ok(Queue {
        more_lanes: found.len() - lanes.len(),
        lanes,
        rate,
        jobs: jobs.cached_info().state.messages,
        orphaned: first_of(orphaned(jobs).await?),
    })
}

/// The subjects with the most jobs.
fn first_of(mut orphaned: Orphaned) -> Orphaned {
    let more = orphaned.subjects.len().saturating_sub(MOST_NAMES);
    orphaned.subjects.truncate(MOST_NAMES);
    orphaned.more_subjects += more as u64;
    orphaned
}

/// The causes of the most dead letters: the counts of the others are missing from the sum; whoever may publish one may name it as he likes.
fn most(causes: Causes) -> Causes {
    let mut counts: Vec<_> = causes.counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.truncate(MOST_NAMES);
    let short = |(cause, count): (String, u64)| (cut(&cause), count);
    Causes {
        read: causes.read,
        counts: counts.into_iter().map(short).collect(),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MOST_CHARACTERS).collect()
}

async fn look_at_letters(app: &App) {
    let mut seen: Option<((u64, u64, u64), Causes)> = None;
    let look = async || {
        let jetstream = app.sources.jetstream().await?;
        let dlq = stream(&jetstream, DLQ).await?;
        let state = &dlq.cached_info().state;
        let total = state.messages;
        let mark = (total, state.first_sequence, state.last_sequence);
        // Nothing came and nothing went.
        let known = seen.take().filter(|(before, _)| *before == mark);
        let causes = match known {
            Some((_, causes)) => causes,
            None => most(causes(&dlq).await?),
        };
        seen = Some((mark, causes.clone()));
        Ok(Letters { total, causes })
    };
    again_and_again(&app.board, app.config.interval, PATIENCE, look).await;
}

async fn look_at_runs(app: &App) {
    let look = async || {
        let jetstream = app.sources.jetstream().await?;
        // Whoever reads the runs does not wait for NATS.
        let mut book = app.sources.book.lock().await.clone();
        book.update(&jetstream).await?;
        let mut shown = book.shown();
        shown.truncate(MOST_RUNS);
        for run in &mut shown {
            run.failed = run.failed.as_deref().map(cut);
        }
        let count = book.count();
        *app.sources.book.lock().await = book;
        Ok(Runs { shown, count })
    };
    again_and_again(&app.board, app.config.interval, PATIENCE, look).await;
}

async fn look_at_index(app: &App) {
    let look = async || {
        let mut book = app.sources.book.lock().await.clone();
        // At the start nobody has read it yet.
        if book.count() == 0
            && let Ok(jetstream) = app.sources.jetstream().await
        {
            drop(book.update(&jetstream).await);
        }
        let qdrant = &app.sources.qdrant;
        let pairs = alias::pairs(qdrant).await?;
        let names: Vec<_> = pairs.into_iter().map(|(alias, _)| alias).collect();
        let shown = &names[..names.len().min(MOST_ALIASES)];
        let mut found = match shown {
            [] => Collections::default(),
            shown => collections::look(qdrant, shown, &book).await,
        };
        if names.len() > shown.len() {
            let more = names.len() - shown.len();
            found.unknown.push(format!(
                "{more} more aliases are not shown; `indexer status` shows all"
            ));
        }
        match found.unknown.first() {
            // What can be seen of others is worth more than nothing.
            Some(unknown) if found.collections.is_empty() => Err(anyhow::anyhow!("{unknown}")),
            Some(_) | None => Ok(found),
        }
    };
    let pause = app.config.interval.max(SLOWER / 2);
    again_and_again(&app.board, pause, PATIENCE_FOR_POINTS, look).await;
}

async fn look_at_workers(app: &App) {
    if app.config.workers.workers.is_empty() {
        return;
    }
    let mut looker = WorkerLooker::default();
    let look = async || -> anyhow::Result<Workers> {
        let mut found = looker.look(&app.config.workers).await;
        let reason = found.silent.iter().next();
        match reason.filter(|_| found.workers.is_empty()) {
            Some((address, reason)) => Err(anyhow::anyhow!("{reason}"))
                .with_context(|| format!("no worker answers at {address}")),
            None => {
                found.workers.truncate(MOST_WORKERS);
                found.silent = found.silent.into_iter().take(MOST_NAMES).collect();
                Ok(found)
            }
        }
    };
    let pause = app.config.interval.max(SLOWER / 2);
    again_and_again(&app.board, pause, PATIENCE, look).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_that_anybody_may_invent_do_not_fill_an_event() {
        let invented = (0..10_000).map(|n| (format!("{n}{}", "x".repeat(2_000)), 1));
        let known = [("invalid".to_owned(), 50)];
        let causes = most(Causes {
            read: 10_050,
            counts: known.into_iter().chain(invented).collect(),
        });
        assert_eq!(causes.counts.get("invalid"), Some(&50));
        let shown = causes.counts.values().sum::<u64>();
        assert_eq!((causes.read, shown), (10_050, 50 + MOST_NAMES as u64 - 1));
        let bytes: usize = causes.counts.keys().map(String::len).sum();
        assert!(bytes < 25_000, "{bytes}");
    }
}
