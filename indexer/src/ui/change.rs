//! Change: what `--allow-changes` allows: replay and drop dead letters, and plan a sync. One at a time.
//!
//! What was begun goes on to its end when whoever asked for it has gone.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use clap::Parser;
use contract::names::CollectionName;
use points::options::Options;
use serde::Deserialize;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::answer::{Answer, App, Refusal, Shared, apart, json, read};
use super::board::{DryRun, now_millis};
use super::look::said;
use crate::config::ModelDir;
use crate::dead_letters::Selection;
use crate::dlq::{DropConfig, remove};
use crate::dlq::{ReplayConfig, replay as replay_letters};
use crate::sync::{self, PlanConfig};

/// Most ids of a request.
const MOST_IDS: usize = 1_000;

/// Locks of the changes of which only one may be under way.
#[derive(Debug, Default)]
pub struct Changes {
    letters: Arc<Mutex<()>>,
    plans: Arc<Mutex<()>>,
}

/// Which dead letters are to be changed: those with these ids, or those of this cause.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LetterSelection {
    #[serde(default)]
    ids: Vec<u64>,
    cause: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Planned {
    alias: CollectionName,
}

/// The settings of a plan with their defaults.
#[derive(Parser)]
struct PlanDefaults {
    #[command(flatten)]
    config: PlanConfig,
}

impl LetterSelection {
    fn selection(self) -> Result<Selection, Refusal> {
        if self.ids.len() > MOST_IDS {
            return Err(Refusal::bad(format!("more than {MOST_IDS} ids")));
        }
        let selection = Selection {
            ids: self.ids,
            cause: self
                .cause
                .into_iter()
                .filter(|cause| !cause.is_empty())
                .collect(),
            ..Selection::default()
        };
        match selection.faults_of_change(false).first() {
            Some(_) => Err(Refusal::bad("give ids or a cause")),
            None => Ok(selection),
        }
    }
}

pub async fn replay(State(app): Shared, body: Bytes) -> Answer {
    let turn = turn(&app, &app.changes.letters)?;
    apart(turn, move || replayed(app, body)).await
}

async fn replayed(app: Arc<App>, body: Bytes) -> Answer {
    let config = ReplayConfig {
        all: false,
        dry_run: false,
        json: true,
        selection: read::<LetterSelection>(&body)?.selection()?,
    };
    let jetstream = app.sources.jetstream().await?;
    Ok(json(
        &replay_letters(&jetstream, &config, &mut std::io::sink()).await?,
    ))
}

pub async fn discard(State(app): Shared, body: Bytes) -> Answer {
    let turn = turn(&app, &app.changes.letters)?;
    apart(turn, move || dropped(app, body)).await
}

async fn dropped(app: Arc<App>, body: Bytes) -> Answer {
    let config = DropConfig {
        all: false,
        dry_run: false,
        json: true,
        selection: read::<LetterSelection>(&body)?.selection()?,
    };
    let jetstream = app.sources.jetstream().await?;
    Ok(json(
        &remove(&jetstream, &config, &mut std::io::sink()).await?,
    ))
}

/// The right to change something.
fn turn(app: &App, of: &Arc<Mutex<()>>) -> Result<OwnedMutexGuard<()>, Refusal> {
    if !app.config.allow_changes {
        let advice = "this page only shows; start it with --allow-changes";
        return Err(Refusal::new(StatusCode::FORBIDDEN, advice));
    }
    of.clone().try_lock_owned().map_err(|_| {
        Refusal::new(
            StatusCode::CONFLICT,
            "a change is under way; wait for its end",
        )
    })
}

/// Starts a plan of a sync with the sources that were named at the start.
pub async fn dry_run(State(app): Shared, body: Bytes) -> Answer {
    let Planned { alias } = read(&body)?;
    let turn = turn(&app, &app.changes.plans)?;
    let config = plan_config(&app, alias.clone())?;
    let begun = DryRun {
        alias: alias.to_string(),
        started: now_millis(),
        is_running: true,
        ..DryRun::default()
    };
    app.board.put_dry_run(begun.clone());
    tokio::spawn(apart(turn, move || planned(app, config, begun)));
    Ok(json(&serde_json::json!({ "started": alias })))
}

async fn planned(app: Arc<App>, config: PlanConfig, begun: DryRun) -> Answer {
    let (comparison, sizing) = (&config.comparison, &config.sizing);
    let planned = sync::dry_run(comparison, sizing, &Options::default()).await;
    let planned = planned.and_then(|plan| Ok(serde_json::to_value(&plan)?));
    let mut ended = DryRun {
        is_running: false,
        ..begun
    };
    match planned {
        Ok(plan) => ended.plan = Some(plan),
        Err(error) => ended.error = Some(said(error)),
    }
    app.board.put_dry_run(ended);
    Ok(json(&()))
}

fn plan_config(app: &App, alias: CollectionName) -> Result<PlanConfig, Refusal> {
    let Some(model) = app
        .config
        .model_dir()
        .filter(|_| !app.config.sources.is_empty())
    else {
        return Err(Refusal::bad(
            "start the page with --sources and --model to plan",
        ));
    };
    let ModelDir {
        model: directory, ..
    } = &model;
    let words = [
        "plan".into(),
        "--model".into(),
        directory.clone().into_os_string(),
    ];
    let sources = app.config.sources.iter().map(Into::into);
    let parsed = PlanDefaults::try_parse_from(words.into_iter().chain(sources));
    let mut config = parsed
        .map_err(|error| Refusal::bad(error.to_string()))?
        .config;
    config.comparison.alias = alias;
    config.comparison.model = model;
    config.comparison.servers = app.config.servers.clone();
    config.sizing.tokens_per_second = app.config.tokens_per_second;
    config.sizing.price_per_hour = app
        .config
        .price_per_hour
        .filter(|_| config.sizing.tokens_per_second.is_some());
    match config.comparison.faults().first() {
        Some(fault) => Err(Refusal::bad(fault.to_string())),
        None => Ok(config),
    }
}
