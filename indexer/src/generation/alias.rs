//! Alias: what an alias points to, and the one request that points it elsewhere.

use std::time::Duration;

use anyhow::Context as _;
use contract::names::CollectionName;
use points::Qdrant;
use qdrant_client::qdrant::{AliasDescription, CreateAliasBuilder};

use super::collection::look_up;
use crate::config::Servers;

/// Nobody who publishes waits for Qdrant longer than this; a login of a publisher may not even reach it.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// The collection behind an alias, `None` if there is no such alias.
pub async fn find(
    qdrant: &Qdrant,
    alias: &CollectionName,
) -> anyhow::Result<Option<CollectionName>> {
    let aliases = list(qdrant).await?;
    let found = aliases
        .into_iter()
        .find(|it| it.alias_name == *alias.as_str());
    Ok(found
        .map(|found| found.collection_name.parse())
        .transpose()?)
}

/// The collection behind an alias.
pub async fn target(qdrant: &Qdrant, alias: &CollectionName) -> anyhow::Result<CollectionName> {
    find(qdrant, alias).await?.with_context(|| {
        format!("there is no alias `{alias}`; make it, empty, by `indexer provision --collections {alias}`, and run this again")
    })
}

/// The collection behind an alias, for who has nothing to do with one that is not there.
pub async fn existing(qdrant: &Qdrant, alias: &CollectionName) -> anyhow::Result<CollectionName> {
    let advice = "`indexer status` shows the aliases that there are";
    let found = find(qdrant, alias).await?;
    found.with_context(|| format!("there is no alias `{alias}`; {advice}"))
}

/// The message about a name that is neither an alias nor a collection.
pub fn missing(name: &CollectionName) -> String {
    format!(
        "there is neither an alias nor a collection `{name}`; `indexer status` shows those that there are, and `indexer \
         provision --collections {name}` makes it"
    )
}

/// Warns of documents for a name that is there in no way: their jobs wait until it is made. It is no error, because it may
/// be made later, and where Qdrant cannot be asked, nothing is said: who publishes needs NATS alone. To be done beside the
/// publishing.
pub async fn warn_of_missing(servers: &Servers, name: &CollectionName) {
    let Ok(qdrant) = servers.qdrant.client() else {
        return;
    };
    let looked = tokio::time::timeout(LONGEST_LOOK, look_up(&qdrant, name)).await;
    if matches!(looked, Ok(Ok(None))) {
        tracing::warn!("{}; until then nothing is written", missing(name));
    }
}

/// The collection behind a name, which may be an alias or a collection itself.
pub async fn resolved(qdrant: &Qdrant, name: &CollectionName) -> anyhow::Result<CollectionName> {
    if collections(qdrant).await?.contains(name) {
        return Ok(name.clone());
    }
    find(qdrant, name).await?.with_context(|| missing(name))
}

pub async fn collections(qdrant: &Qdrant) -> anyhow::Result<Vec<CollectionName>> {
    let found = qdrant.list_collections().await;
    let found = found.context("failed to list the collections")?.collections;
    // A name that is none of ours is not a generation either.
    Ok(found
        .into_iter()
        .filter_map(|found| found.name.parse().ok())
        .collect())
}

/// Collections that any alias points to.
pub async fn targets(qdrant: &Qdrant) -> anyhow::Result<Vec<String>> {
    let aliases = list(qdrant).await?.into_iter();
    Ok(aliases.map(|found| found.collection_name).collect())
}

/// All aliases with their collections, by name. A name that is none of ours is left out.
pub async fn pairs(qdrant: &Qdrant) -> anyhow::Result<Vec<(CollectionName, CollectionName)>> {
    let aliases = list(qdrant).await?.into_iter();
    let mut pairs: Vec<_> = aliases
        .filter_map(|found| {
            Some((
                found.alias_name.parse().ok()?,
                found.collection_name.parse().ok()?,
            ))
        })
        .collect();
    pairs.sort();
    Ok(pairs)
}

async fn list(qdrant: &Qdrant) -> anyhow::Result<Vec<AliasDescription>> {
    let aliases = qdrant.list_aliases().await;
    Ok(aliases.context("failed to list the aliases")?.aliases)
}

/// Points an alias to a collection and reads it back.
///
/// `CreateAlias` replaces an alias that exists, in one step. Deleting it first would be two, and a crash between them
/// would leave none.
pub async fn point(
    qdrant: &Qdrant,
    alias: &CollectionName,
    to: &CollectionName,
) -> anyhow::Result<()> {
    let request = CreateAliasBuilder::new(to.as_str(), alias.as_str());
    let created = qdrant.create_alias(request).await;
    created.with_context(|| format!("failed to point alias `{alias}` to `{to}`"))?;
    let found = target(qdrant, alias).await?;
    anyhow::ensure!(
        found == *to,
        "alias `{alias}` points to `{found}` after it was pointed to `{to}`"
    );
    Ok(())
}
