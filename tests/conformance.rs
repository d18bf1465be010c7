//! Conformance: the requests that Ebb makes of Qdrant, good ones and bad ones, with what a server answers to each.
//!
//! A [`Transcript`] is the list of answers of one server, without anything that may differ between two runs. Those of real
//! servers are recorded in `fixtures/conformance/`, and the local Qdrant is held against them: a test that passes there
//! proves something about a real server only as far as both answer alike.
//!
//! The requests are played against collections in three states, because a real server takes different ways through its
//! code: a small one, one whose segments are indexed, and one that is being optimized while the requests come.

mod answer;
mod attached;
mod collections;
mod hybrid;
mod reads;
mod refusals;
mod searches;
mod state;
mod writes;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use fixtures::programs::workspace;
use qdrant_client::Qdrant;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use state::State;

/// What a server answered, by the name of the request.
pub type Answers = BTreeMap<String, Value>;

/// The answers of one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// Version of the server.
    pub server: String,
    /// Day of the recording, `YYYY-MM-DD`.
    pub recorded: String,
    /// The answers.
    pub answers: Answers,
}

/// Requests that the local Qdrant answers in a way of its own on purpose, in one state of a collection at least, and why.
pub const ON_PURPOSE: [(&str, &str); 2] = [
    (
        "tombstone, and what is left",
        "a server before 1.19 keeps the old vector in some states of a segment; the local one always does, so that \
         tests meet the worst",
    ),
    (
        "removal of an unknown vector",
        "a server finds the fault only where it has to rewrite the point; the local one always says it",
    ),
];

/// A request to which two servers gave different answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The request.
    pub request: String,
    /// What is recorded; null if it was not asked then.
    pub recorded: Value,
    /// What was answered now; null if it was not asked now.
    pub answered: Value,
}

/// Plays a server's part of the conversation into a list of answers.
struct Player<'a> {
    qdrant: &'a Qdrant,
    /// What the names of the requests begin with.
    group: String,
    answers: Answers,
}

impl Player<'_> {
    fn note(&mut self, request: &str, answer: Value) {
        let name = format!("{}: {request}", self.group);
        let twice = self.answers.insert(name, answer);
        debug_assert!(twice.is_none(), "`{request}` was asked twice");
    }
}

/// Plays all requests. `prefix` begins the names of all collections, which are removed at the end.
///
/// # Errors
/// If the server cannot be reached, or a collection does not come into its state.
pub async fn play(qdrant: &Qdrant, prefix: &str) -> anyhow::Result<Answers> {
    let mut player = Player {
        qdrant,
        group: "collections".to_owned(),
        answers: Answers::new(),
    };
    collections::play(&mut player, prefix).await?;
    "hybrid".clone_into(&mut player.group);
    hybrid::play(&mut player, prefix).await?;
    "attached".clone_into(&mut player.group);
    attached::play(&mut player, prefix).await?;
    for state in State::ALL {
        let collection = state.create(qdrant, prefix).await?;
        player.group = state.name().to_owned();
        let name = collection.name();
        reads::play(&mut player, name).await?;
        searches::play(&mut player, name).await?;
        refusals::play(&mut player, name).await?;
        writes::play(&mut player, name).await?;
        collection.remove(qdrant).await?;
    }
    Ok(player.answers)
}

impl Difference {
    /// Why the local Qdrant answers this in a way of its own, if it does so on purpose.
    #[must_use]
    pub fn purpose(&self) -> Option<&'static str> {
        let (_, request) = self.request.split_once(": ")?;
        let mut known = ON_PURPOSE.iter();
        known.find_map(|(name, reason)| (*name == request).then_some(*reason))
    }
}

/// What two servers answer differently, in the order of the requests' names.
#[must_use]
pub fn differences(recorded: &Answers, answered: &Answers) -> Vec<Difference> {
    let names: std::collections::BTreeSet<_> = recorded.keys().chain(answered.keys()).collect();
    let of = |answers: &Answers, name: &str| answers.get(name).cloned().unwrap_or_default();
    names
        .into_iter()
        .map(|name| Difference {
            request: name.clone(),
            recorded: of(recorded, name),
            answered: of(answered, name),
        })
        .filter(|found| found.recorded != found.answered)
        .collect()
}

/// Version that a server says it has.
///
/// # Errors
/// If it does not answer.
pub async fn version(qdrant: &Qdrant) -> anyhow::Result<String> {
    let health = qdrant.health_check().await;
    Ok(health
        .context("failed to ask qdrant for its version")?
        .version)
}

/// Where the recordings lie.
#[must_use]
pub fn directory() -> PathBuf {
    workspace().join("fixtures/conformance")
}

/// All recordings, in the order of their files' names.
///
/// # Errors
/// If one cannot be read.
pub fn recordings() -> anyhow::Result<Vec<Transcript>> {
    let mut files: Vec<_> = std::fs::read_dir(directory())?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|it| it == "json"));
    files.sort();
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file)?;
        serde_json::from_str(&text)
            .with_context(|| format!("`{}` is not a recording", file.display()))
    };
    files.into_iter().map(read).collect()
}

impl Transcript {
    /// Writes the recording to the file that is named after the server's version; gives its path.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn save(&self) -> anyhow::Result<PathBuf> {
        std::fs::create_dir_all(directory())?;
        let path = directory().join(format!("qdrant-{}.json", self.server));
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(&path, text)
            .with_context(|| format!("failed to write `{}`", path.display()))?;
        Ok(path)
    }
}
