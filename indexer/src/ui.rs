//! Ui: a page for a browser that shows what runs, waits, failed and is there, and searches.
//!
//! ```text
//! NATS, Qdrant, workers --> look (one of each, however many watch) --> Board --> one event --> every viewer
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `config` | settings, and who may search and change anything |
//! | `board` | what was seen last of each part, what is wrong with it, and the event that is made of it |
//! | `history` | samples of the last hour |
//! | `look` | looks at the servers again and again; each part by itself, so that a late server delays nothing else |
//! | `listen` | connections: so many at most, and none that does not move |
//! | `guard` | which requests are answered: by host, origin and token |
//! | `page` | the page, with a policy that lets it load nothing from anywhere |
//! | `answer` | the requests |
//! | `letters`, `find`, `change` | dead letters; search; what `--allow-changes` allows |
//!
//! **What is bounded.** A viewer has no queue: whoever reads slowly misses events, and the next is the newest. An event
//! holds counts and the first of everything, never all; the rest is asked for page by page. The history is a ring.
//!
//! **What leaves it.** Texts of documents go to whoever searches, and into nothing else: jobs are shown without them.

mod answer;
mod board;
mod change;
mod config;
mod find;
mod guard;
mod history;
mod letters;
mod listen;
mod look;
mod page;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;

use answer::App;
pub use config::UiConfig;
use listen::Connections;

/// Serves until the process ends.
///
/// # Errors
/// If the address cannot be bound.
pub async fn ui(config: UiConfig, out: &mut (dyn Write + Send)) -> anyhow::Result<ExitCode> {
    let listen = config.listen;
    let bound = tokio::net::TcpListener::bind(listen).await;
    let tcp = bound.with_context(|| {
        format!(
            "failed to listen at {listen}; give another address by --listen, such as 127.0.0.1:0"
        )
    })?;
    let address = tcp.local_addr()?;
    let app = Arc::new(App::new(config)?);
    look::start(app.clone())?;
    writeln!(out, "{}", app.config.link(address))?;
    out.flush()?;
    let routes: Router = answer::routes(&app);
    axum::serve(Connections::new(tcp), routes).await?;
    Ok(ExitCode::SUCCESS)
}
