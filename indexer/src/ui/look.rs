//! Look: looks at the servers again and again, each part by itself.
//!
//! A part that takes long is looked at less often: between two looks at it passes ten times as long as the last one took.
//! Whether a server answers at all is asked apart from that, every few seconds: one that does not is said to be away, once
//! for all that it holds, and nobody looks at anything of it until it answers again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::connection::State;
use async_nats::jetstream;
use contract::topology::{DLQ, JOBS};
use futures::FutureExt as _;
use points::Qdrant;
use points::connect::may_pass;
use queue::denial::{denied, was_denied};
use runtime::wait::chain;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};

use super::answer::App;
use super::board::{Board, Letters, Queue, Runs, Seen};
use crate::config::Servers;
use crate::generation::alias;
use crate::outcome::without_headers;
use crate::status::collections::{self, Collections, on_one_line};
use crate::status::lanes::LaneReader;
use crate::status::runs::RunRecords;
use crate::status::workers::{WorkerReader, Workers};
use crate::status::{Causes, causes};
use crate::streams::orphaned::{Orphaned, orphaned};
use crate::streams::stream;

/// The shortest time between two looks that cost the servers something.
const SLOWER: Duration = Duration::from_secs(10);
/// A server that does not answer a small request for so long is said to be away.
const AWAY: Duration = Duration::from_secs(3);
/// Time between two such requests.
const BETWEEN_REQUESTS: Duration = Duration::from_secs(2);
/// A look that has found nothing for so long is given up.
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
    nats_is: Presence,
    qdrant_is: Presence,
    pub book: Mutex<RunRecords>,
}

impl Sources {
    pub fn new(servers: Servers) -> anyhow::Result<Self> {
        Ok(Self {
            qdrant: servers.qdrant.client()?,
            servers,
            nats: Mutex::default(),
            nats_is: Presence::default(),
            qdrant_is: Presence::default(),
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
        anyhow::ensure!(is_connected, self.nats_is_away());
        Ok(queue::nats::jetstream(client))
    }

    fn nats_is_away(&self) -> String {
        let url = self.servers.nats.nats_url.join(", ");
        format!("nats at {url} does not answer; start it, or name another by --nats-url")
    }

    fn qdrant_is_away(&self) -> String {
        let url = &self.servers.qdrant.qdrant_url;
        format!("qdrant at {url} does not answer; start it, or name another by --qdrant-url")
    }

    /// What to say of NATS where it does not answer. Whoever may not ask is not answered either.
    async fn ask_nats(&self) -> Option<String> {
        let asked = async {
            let jetstream = self.jetstream().await?;
            // It is there, whatever it says.
            drop(jetstream.get_stream(JOBS).await);
            anyhow::Ok(())
        };
        match timeout(AWAY, asked).await {
            Ok(asked) => asked.err().map(said),
            Err(_) => {
                let may_not = was_denied(&format!("$JS.API.STREAM.INFO.{JOBS}"));
                (!may_not).then(|| self.nats_is_away())
            }
        }
    }

    async fn ask_qdrant(&self) -> Option<String> {
        let is_away = match timeout(AWAY, self.qdrant.health_check()).await {
            Ok(Ok(_)) => false,
            Ok(Err(error)) => may_pass(&error),
            Err(_) => true,
        };
        is_away.then(|| self.qdrant_is_away())
    }
}

/// Whether a server answers, and what is said where it does not.
#[derive(Debug, Default)]
struct Presence(watch::Sender<Option<String>>);

impl Presence {
    /// Waits until NATS does not answer any more; gives the message about that.
    async fn gone(&self) -> String {
        let mut seen = self.0.subscribe();
        let gone = seen.wait_for(Option::is_some).await;
        gone.ok().and_then(|gone| gone.clone()).unwrap_or_default()
    }

    async fn back(&self) {
        drop(self.0.subscribe().wait_for(Option::is_none).await);
    }

    /// Asks it again and again; `ask` gives what to say where it does not answer.
    async fn follow(&self, mut ask: impl AsyncFnMut() -> Option<String>) {
        loop {
            let found = ask().await;
            self.0.send_if_modified(|before| {
                let is_news = before.is_some() != found.is_some();
                if is_news {
                    *before = found;
                }
                is_news
            });
            tokio::time::sleep(BETWEEN_REQUESTS).await;
        }
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
    let sources = &app.sources;
    tokio::join!(
        sources.nats_is.follow(async || sources.ask_nats().await),
        sources
            .qdrant_is
            .follow(async || sources.ask_qdrant().await),
        look_at_queue(app),
        look_at_letters(app),
        look_at_runs(app),
        look_at_index(app),
        look_at_workers(app),
        app.board.sample(),
    );
}

/// Looks, puts what was found on the board, and waits; while the server is away, until it is back.
async fn again_and_again<T: Seen>(
    board: &Board,
    server: &Presence,
    (pause, patience): (Duration, Duration),
    mut look: impl AsyncFnMut() -> anyhow::Result<T>,
) {
    loop {
        let begun = Instant::now();
        let found = tokio::select! {
            biased;
            away = server.gone() => {
                board.put::<T>(Err(away));
                server.back().await;
                continue;
            }
            found = timeout(patience, look()) => match found {
                Ok(found) => found.map_err(said),
                Err(_) => Err(format!("no answer within {} s", patience.as_secs())),
            },
        };
        // A server that is away may be back at any moment.
        let rest = match &found {
            Ok(_) => (begun.elapsed() * 10).min(LONGEST_PAUSE),
            Err(_) => Duration::ZERO,
        };
        board.put(found);
        tokio::select! {
            () = tokio::time::sleep(pause.max(rest)) => {}
            _ = server.gone() => {}
        }
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
    let mut looker = LaneReader::default();
    let look = async || {
        let jetstream = app.sources.jetstream().await?;
        let jobs = stream(&jetstream, JOBS).await?;
        let found = looker.look(&jobs, MOST_LANES).await?;
        Ok(Queue {
            lanes: found.lanes,
            more_lanes: found.more,
            rate: found.rate,
            jobs: jobs.cached_info().state.messages,
            orphaned: first_of(orphaned(&jobs).await?),
        })
    };
    let times = (app.config.interval, PATIENCE);
    again_and_again(&app.board, &app.sources.nats_is, times, look).await;
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
    let times = (app.config.interval, PATIENCE);
    again_and_again(&app.board, &app.sources.nats_is, times, look).await;
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
    let times = (app.config.interval, PATIENCE);
    again_and_again(&app.board, &app.sources.nats_is, times, look).await;
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
    let times = (app.config.interval.max(SLOWER / 2), PATIENCE_FOR_POINTS);
    again_and_again(&app.board, &app.sources.qdrant_is, times, look).await;
}

async fn look_at_workers(app: &App) {
    if app.config.workers.workers.is_empty() {
        return;
    }
    let mut looker = WorkerReader::default();
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
    let times = (app.config.interval.max(SLOWER / 2), PATIENCE);
    // Each of them is asked by itself, with a limit.
    again_and_again(&app.board, &Presence::default(), times, look).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::board::Setup;

    fn board() -> Board {
        Board::new(Setup {
            version: "",
            interval_seconds: 1.0,
            can_search: false,
            can_search_vectors: false,
            can_change: false,
            can_plan: false,
            asks_workers: false,
            price_per_hour: None,
            currency: None,
            tokens_per_second: None,
        })
    }

    fn letters(board: &Board) -> serde_json::Value {
        let state: serde_json::Value = serde_json::from_slice(&board.state()).unwrap();
        state["letters"].clone()
    }

    /// A look that took long is followed by a long pause, and one that never ends by nothing.
    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_away_is_said_to_be_at_once_however_long_looks_take() {
        let (board, server) = (board(), Presence::default());
        let times = (Duration::from_secs(2), PATIENCE);
        let mut looks = 0;
        let look = async || {
            looks += 1;
            match looks {
                1 => tokio::time::sleep(Duration::from_secs(6)).await,
                2 => std::future::pending().await,
                _ => {}
            }
            Ok(Letters {
                total: looks,
                causes: Causes::default(),
            })
        };
        let away = || server.0.send_replace(Some("away".to_owned()));
        let back = || server.0.send_replace(None);
        let story = async {
            // The first look has ended, and its pause lasts for a minute.
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(letters(&board)["data"]["total"], 1);
            away();
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(letters(&board)["error"], "away");
            back();
            tokio::time::sleep(Duration::from_secs(1)).await;
            // The second look hangs.
            away();
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(letters(&board)["error"], "away");
            back();
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(letters(&board)["data"]["total"], 3);
            assert!(letters(&board)["error"].is_null());
        };
        tokio::select! {
            () = again_and_again(&board, &server, times, look) => {}
            () = story => {}
        }
    }

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
