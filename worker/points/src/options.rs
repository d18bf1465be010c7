//! Options of an alias: how its collections are sharded, stored, indexed and limited, from generation to generation.
//!
//! There are three sources of a setting, and the first that says something holds:
//!
//! 1. options that this command was given;
//! 2. what the collection behind the alias has, whoever gave it that: an option, or somebody by the API of Qdrant;
//! 3. the server's default.
//!
//! # The record
//!
//! Options that were given are recorded in the metadata of the collection, under [`OPTIONS`], in the request that creates
//! the collection or changes its settings. There is no second place, so that none can contradict it:
//!
//! - a crash leaves either a collection with its record or no collection;
//! - a rollback brings back the collection of before, with its settings and the record of just these;
//! - a program that knows no options creates collections without them and without a record, and leaves those that are
//!   there as they are. Whoever gives the options again, as an installation with decisions does, is told the difference.
//!
//! The record says two things beyond the settings. A setting that differs from it was changed by hand, and is shown as
//! such; it is kept, and is no recorded option any more from the next generation on. And a setting that no request can
//! change, like the number of shards, is recorded with the value that the collection still has: as long as it has that
//! value, the next generation gets the recorded one.
//!
//! # Retrieval
//!
//! The vector of words beside that of the model, and how the alias is searched, are no options: they are said to the verbs
//! that make collections ([`Retrieval`]). Without a word about them they are kept like any other setting.
//!
//! # Changes
//!
//! What a request can change is changed in a collection that is there ([`adjust`]). The rest takes a rebuild, whose new
//! generation gets all settings before the first point ([`next_generation`]). While it is loaded it has the profile of a
//! bulk load on top ([`Settings::for_bulk_load`]), which is no option and never recorded; when it is indexed, the settings
//! of that moment remain.
//!
//! Settings that servers of later versions may add are unknown here and cannot be kept. What is known and cannot be kept
//! is named by [`Settings::of`].

mod args;
mod fields;
mod index;
mod quantization;
mod settings;
mod size;

use std::collections::BTreeMap;

use contract::bm25::Bm25Options;
use contract::model::Manifest;
use contract::names::{CollectionName, ModelName};
use qdrant_client::qdrant::{
    CollectionInfo, CreateFieldIndexCollection, CreateFieldIndexCollectionBuilder,
    UpdateCollection, Value,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;

use crate::collection::MODEL;

pub use args::OptionArgs;
pub use index::{MissingIndex, PayloadIndex, missing_index};
pub use settings::Settings;
pub use size::{NodeSize, Sizes};

/// Key of the record in the collection's metadata.
pub const OPTIONS: &str = "ebb_options";

/// Prefix of the keys in the metadata that belong to Ebb.
const OWN_METADATA: &str = "ebb_";
/// Prefix of the names of options that are payload indexes.
const INDEX: &str = "index.";
/// The value of an index that is not there.
const NO_INDEX: &str = "none";

/// Options by name, with their values as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Options(BTreeMap<String, String>);

/// Vectors would lose what they say.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "vectors of model `{model}` have length 1, and uint8 keeps whole numbers from 0 to 255 alone; give --datatype \
     float16 or --quantization int8"
)]
pub struct Unsuitable {
    model: ModelName,
}

/// The options that are recorded with a collection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Options that were given.
    #[serde(default)]
    pub options: Options,
    /// Those of them that the collection did not have when they were recorded, with what it had instead.
    #[serde(default)]
    pub pending: Options,
}

/// A setting that is one value here and another there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// Its name.
    pub name: String,
    /// Its value in the collection that is there; nothing where the server decides.
    pub found: String,
    /// The value that it should have, or gets.
    pub wanted: String,
}

/// The next generation of an alias.
#[derive(Clone, Debug, PartialEq)]
pub struct Next {
    /// Its settings when it serves.
    pub settings: Settings,
    /// The options that are recorded with the collection.
    pub record: Record,
    /// How it differs from the collection that serves now.
    pub changed: Vec<Difference>,
    /// What the serving collection has and the next cannot get, and what was recorded of it and is not so any more.
    pub named: Vec<String>,
}

/// What makes a collection that is there have the options.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adjustment {
    /// Settings that the requests change.
    pub changed: Vec<Difference>,
    /// Settings that only a rebuild changes.
    pub by_rebuild: Vec<Difference>,
    /// Recorded options that somebody has changed by hand: recorded, and found. They are kept.
    pub by_hand: Vec<Difference>,
    /// Indexes to create, or to create anew.
    pub create: Vec<CreateFieldIndexCollection>,
    /// Fields whose index is to go.
    pub drop: Vec<String>,
    /// The change of everything else, and of the record: the last request.
    pub update: Option<UpdateCollection>,
}

/// What a collection is searched by beside the vector of its model, and how. It is decided by whoever makes the
/// collection, and is no option.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Retrieval {
    /// How Qdrant makes the vector of words; `None` without one.
    pub bm25: Option<Bm25Options>,
    /// How the alias is searched where nobody says otherwise, as the metadata keep it.
    pub search: Option<Value>,
}

impl Next {
    /// The options with another retrieval than that of the collection `serving`.
    #[must_use]
    pub fn with_retrieval(self, serving: &CollectionInfo, retrieval: &Retrieval) -> Self {
        let settings = self.settings.with_retrieval(retrieval);
        let changed = differences(&Settings::of(serving).0, &settings);
        Self {
            settings,
            changed,
            ..self
        }
    }
}

impl Options {
    /// Reads options, and says of each that is wrong what is wrong with it.
    ///
    /// # Errors
    /// Name and problem of each option that cannot be used.
    pub fn read<'a>(
        entries: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Vec<(String, String)>> {
        let (mut options, mut wrong) = (BTreeMap::new(), Vec::new());
        for (name, value) in entries {
            let mut settings = Settings::default();
            match settings.set(name, value) {
                Ok(()) => {
                    // As it is compared: one value has one text.
                    let value = settings.get(name).unwrap_or_else(|| value.to_owned());
                    options.insert(name.to_owned(), value);
                }
                Err(problem) => wrong.push((name.to_owned(), problem)),
            }
        }
        if wrong.is_empty() {
            Ok(Self(options))
        } else {
            Err(wrong)
        }
    }

    /// Checks that vectors of a model can be stored so.
    ///
    /// # Errors
    /// [`Unsuitable`].
    pub fn suit(&self, manifest: &Manifest) -> Result<(), Unsuitable> {
        if self.get("datatype") == Some("uint8") && manifest.identity.normalize {
            return Err(Unsuitable {
                model: manifest.name.clone(),
            });
        }
        Ok(())
    }

    /// Whether nothing was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of an option.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Names and values in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Writes these options into settings. Those that this version does not know stay recorded and change nothing.
    fn apply(&self, settings: &mut Settings) {
        for (name, value) in self.iter() {
            let _unknown = settings.set(name, value);
        }
    }
}

impl Record {
    /// What is recorded with a collection; nothing where nothing is, or nothing that can be read.
    #[must_use]
    pub fn of(info: &CollectionInfo) -> Self {
        let metadata = info.config.as_ref().map(|config| &config.metadata);
        let recorded = metadata.and_then(|metadata| metadata.get(OPTIONS));
        let json = recorded.and_then(|recorded| serde_json::to_value(recorded).ok());
        json.and_then(|json| serde_json::from_value(json).ok())
            .unwrap_or_default()
    }

    /// The entry of the metadata.
    #[must_use]
    pub fn entry(&self) -> (String, Value) {
        (OPTIONS.to_owned(), json!(self).into())
    }

    /// Recorded options that hold, and those that somebody has changed since.
    fn sort(self, found: &Settings) -> (Options, Vec<Difference>) {
        let (mut held, mut by_hand) = (Options::default(), Vec::new());
        for (name, value) in self.options.0 {
            let there = found.get(&name);
            let pending = self.pending.get(&name).map(str::to_owned);
            if there.as_ref() == Some(&value) || (pending.is_some() && pending == there) {
                held.0.insert(name, value);
            } else {
                by_hand.push(difference(&name, Some(value), there));
            }
        }
        (held, by_hand)
    }
}

/// The next generation of an alias whose collection is `serving`, with the options of this command.
#[must_use]
pub fn next_generation(serving: &CollectionInfo, given: &Options) -> Next {
    let (found, mut named) = Settings::of(serving);
    let mut record = Record::of(serving);
    record.options.0.retain(|name, _| given.get(name).is_none());
    let (mut options, by_hand) = record.sort(&found);
    for Difference {
        name,
        found,
        wanted,
    } in by_hand
    {
        named.push(format!(
            "`{name}` was recorded as {found} and is {wanted}: {wanted} is kept, and nothing recorded"
        ));
    }
    options.0.extend(given.0.clone());
    let mut settings = found.clone();
    options.apply(&mut settings);
    let settings = settings.with_own_indexes();
    let changed = differences(&found, &settings);
    let pending = Options::default();
    Next {
        settings,
        record: Record { options, pending },
        changed,
        named,
    }
}

/// The first generation of an alias.
#[must_use]
pub fn first_generation(given: &Options) -> Next {
    let mut settings = Settings::default();
    given.apply(&mut settings);
    Next {
        settings: settings.with_own_indexes(),
        record: Record {
            options: given.clone(),
            pending: Options::default(),
        },
        changed: Vec::new(),
        named: Vec::new(),
    }
}

/// The requests that give an existing collection the options of this command.
#[must_use]
pub fn adjust(name: &CollectionName, info: &CollectionInfo, given: &Options) -> Adjustment {
    let (found, _) = Settings::of(info);
    let old = Record::of(info);
    let mut record = old.clone();
    record.options.0.retain(|name, _| given.get(name).is_none());
    let (held, by_hand) = record.sort(&found);
    let mut wanted = found.clone();
    let (mut by_rebuild, mut pending) = (Vec::new(), Options::default());
    for (name, value) in held.iter().chain(given.iter()) {
        let there = found.get(name);
        if there.as_deref() == Some(value) {
            continue;
        }
        if settings::changes_in_place(name) {
            let _unknown = wanted.set(name, value);
            continue;
        }
        by_rebuild.push(difference(name, there.clone(), Some(value.to_owned())));
        pending
            .0
            .extend(there.map(|there| (name.to_owned(), there)));
    }
    let mut options = held;
    options.0.extend(given.0.clone());
    let record = Record { options, pending };
    let vector = model(info);
    let mut update = wanted.update(name, &vector, &found);
    if record != old {
        let update = update.get_or_insert_with(|| UpdateCollection {
            collection_name: name.to_string(),
            ..UpdateCollection::default()
        });
        update.metadata.extend([record.entry()]);
    }
    let (create, drop) = index_changes(name, &found, &wanted);
    Adjustment {
        changed: differences(&found, &wanted),
        by_rebuild,
        by_hand,
        create,
        drop,
        update,
    }
}

/// Indexes of `wanted` that a collection with the settings `found` lacks, as requests; and fields of those that it has
/// too many.
#[must_use]
pub fn index_changes(
    name: &CollectionName,
    found: &Settings,
    wanted: &Settings,
) -> (Vec<CreateFieldIndexCollection>, Vec<String>) {
    let lacks = |field: &&String| found.indexes.get(*field) != wanted.indexes.get(*field);
    let create = wanted.indexes.keys().filter(lacks).map(|field| {
        let index = &wanted.indexes[field];
        let request = CreateFieldIndexCollectionBuilder::new(name.as_str(), field, index.kind);
        CreateFieldIndexCollection {
            field_index_params: index.params.clone(),
            ..request.wait(true).build()
        }
    });
    let drop = found.indexes.keys();
    let drop = drop.filter(|field| !wanted.indexes.contains_key(*field));
    (create.collect(), drop.cloned().collect())
}

/// How two collections differ, in the order of the names.
#[must_use]
pub fn differences(found: &Settings, wanted: &Settings) -> Vec<Difference> {
    let (found, wanted) = (found.listed(), wanted.listed());
    let mut names: Vec<_> = found.keys().chain(wanted.keys()).collect();
    names.sort();
    names.dedup();
    let differing = names
        .into_iter()
        .filter(|name| found.get(*name) != wanted.get(*name));
    differing
        .map(|name| difference(name, found.get(name).cloned(), wanted.get(name).cloned()))
        .collect()
}

/// The name of the vectors that the model of a collection writes.
#[must_use]
pub fn model(info: &CollectionInfo) -> String {
    let metadata = info.config.as_ref().map(|config| &config.metadata);
    let model = metadata.and_then(|metadata| metadata.get(MODEL)?.as_str().cloned());
    model.unwrap_or_default()
}

fn difference(name: &str, found: Option<String>, wanted: Option<String>) -> Difference {
    let said = |value: Option<String>| value.unwrap_or_else(|| "nothing".to_owned());
    Difference {
        name: name.to_owned(),
        found: said(found),
        wanted: said(wanted),
    }
}

#[cfg(test)]
mod tests;
