//! Collections, their payload indexes, and the aliases in front of them.

use anyhow::Context as _;
use contract::model::Manifest;
use contract::names::CollectionName;
use points::Qdrant;
use points::collection::{self, PAYLOAD_INDEXES};
use points::limits;
use qdrant_client::qdrant::CreateFieldIndexCollectionBuilder;

use super::{Change, ProvisionConfig, Step};
use crate::generation::alias;
use crate::generation::collection::look_up;

/// Suffix of the collection that is created empty. Rebuilds create the later ones.
const FIRST_GENERATION: &str = "initial";

pub async fn provision(
    config: &ProvisionConfig,
    qdrant: &Qdrant,
    manifest: &Manifest,
) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    for alias in &config.installation.collections {
        steps.extend(provision_alias(config, qdrant, manifest, alias).await?);
    }
    Ok(steps)
}

/// One alias with what is behind it.
pub async fn provision_alias(
    config: &ProvisionConfig,
    qdrant: &Qdrant,
    manifest: &Manifest,
    alias: &CollectionName,
) -> anyhow::Result<[Step; 3]> {
    Ok([
        provision_collection(config, qdrant, manifest, alias).await?,
        provision_indexes(config, qdrant, alias).await?,
        check_limits(qdrant, alias).await?,
    ])
}

/// Names the limits of the collection that Ebb cannot keep to.
async fn check_limits(qdrant: &Qdrant, alias: &CollectionName) -> anyhow::Result<Step> {
    let info = look_up(qdrant, alias).await?.unwrap_or_default();
    let unfit = limits::unfit(&info);
    Ok(Step {
        subject: format!("strict mode of `{alias}`"),
        change: if unfit.is_empty() {
            Change::None
        } else {
            Change::Unfit(unfit)
        },
    })
}

/// Creates the alias with an empty collection behind it, unless something answers to its name already.
async fn provision_collection(
    config: &ProvisionConfig,
    qdrant: &Qdrant,
    manifest: &Manifest,
    alias: &CollectionName,
) -> anyhow::Result<Step> {
    let subject = format!("collection `{alias}`");
    if let Some(info) = look_up(qdrant, alias).await? {
        collection::check(alias, &info, manifest)?;
        return Ok(Step {
            subject,
            change: Change::None,
        });
    }
    if !config.check {
        let generation = alias.generation(FIRST_GENERATION)?;
        // A run that died between the two requests has left the collection without its alias.
        if look_up(qdrant, &generation).await?.is_none() {
            let created = qdrant
                .create_collection(collection::create(&generation, manifest))
                .await;
            created.with_context(|| format!("failed to create collection `{generation}`"))?;
        }
        alias::point(qdrant, alias, &generation).await?;
    }
    Ok(Step {
        subject,
        change: Change::Create,
    })
}

async fn provision_indexes(
    config: &ProvisionConfig,
    qdrant: &Qdrant,
    alias: &CollectionName,
) -> anyhow::Result<Step> {
    let subject = format!("payload indexes of `{alias}`");
    let info = look_up(qdrant, alias).await?.unwrap_or_default();
    let names = limits::missing_indexes(&info);
    let is_missing = |(field, _): &(&str, _)| names.contains(field);
    let missing: Vec<_> = PAYLOAD_INDEXES.into_iter().filter(is_missing).collect();
    if missing.is_empty() {
        return Ok(Step {
            subject,
            change: Change::None,
        });
    }
    if !config.check {
        for (field, kind) in &missing {
            let index = CreateFieldIndexCollectionBuilder::new(alias.as_str(), *field, *kind);
            let created = qdrant.create_field_index(index.wait(true)).await;
            created.with_context(|| format!("failed to index `{field}` of `{alias}`"))?;
        }
    }
    let change = Change::Update(vec![(
        "missing".to_owned(),
        names.join(", "),
        "none".to_owned(),
    )]);
    Ok(Step { subject, change })
}
