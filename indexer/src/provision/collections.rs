//! Collections, their options and payload indexes, and the aliases in front of them.

use anyhow::Context as _;
use contract::model::Manifest;
use contract::names::CollectionName;
use points::Qdrant;
use points::collection::{self, PAYLOAD_INDEXES};
use points::limits;
use points::options::{self, Adjustment, Difference};
use qdrant_client::qdrant::{
    CollectionInfo, CreateFieldIndexCollectionBuilder, DeleteFieldIndexCollectionBuilder,
};

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

/// One alias with what is behind it: the collection first. One that is only to be created has nothing else to look at.
pub async fn provision_alias(
    config: &ProvisionConfig,
    qdrant: &Qdrant,
    manifest: &Manifest,
    alias: &CollectionName,
) -> anyhow::Result<Vec<Step>> {
    let mut steps = vec![
        provision_collection(config, qdrant, manifest, alias).await?,
        provision_indexes(config, qdrant, alias).await?,
    ];
    if let Some(info) = look_up(qdrant, alias).await? {
        steps.push(limits_step(alias, &info));
        let given = config.installation.options.options();
        let target = alias::find(qdrant, alias).await?;
        let adjustment = options::adjust(target.as_ref().unwrap_or(alias), &info, &given);
        if !config.check {
            change(qdrant, alias, &adjustment).await?;
        }
        steps.extend(option_steps(alias, adjustment));
    }
    Ok(steps)
}

/// The record comes last: whoever finds it finds what it says.
async fn change(
    qdrant: &Qdrant,
    alias: &CollectionName,
    adjustment: &Adjustment,
) -> anyhow::Result<()> {
    for request in adjustment.create.clone() {
        let field = request.field_name.clone();
        let created = qdrant.create_field_index(request).await;
        created.with_context(|| format!("failed to index `{field}` of `{alias}`"))?;
    }
    for field in &adjustment.drop {
        let request = DeleteFieldIndexCollectionBuilder::new(alias.as_str(), field);
        let dropped = qdrant.delete_field_index(request.wait(true)).await;
        dropped.with_context(|| format!("failed to drop the index of `{field}` of `{alias}`"))?;
    }
    if let Some(update) = adjustment.update.clone() {
        let updated = qdrant.update_collection(update).await;
        updated.with_context(|| format!("failed to change the options of `{alias}`"))?;
    }
    Ok(())
}

/// What differs, by what it takes.
fn option_steps(alias: &CollectionName, adjustment: Adjustment) -> Vec<Step> {
    let fields = |it: Vec<Difference>| {
        let fields = it.into_iter().map(|it| (it.name, it.found, it.wanted));
        fields.collect::<Vec<_>>()
    };
    let step = |subject: String, change| Step { subject, change };
    let changed = fields(adjustment.changed);
    let subject = format!("options of `{alias}`");
    let mut steps = vec![if changed.is_empty() {
        step(subject, Change::None)
    } else {
        step(subject, Change::Update(changed))
    }];
    if !adjustment.by_hand.is_empty() {
        let subject = format!("recorded options of `{alias}`");
        steps.push(step(subject, Change::Update(fields(adjustment.by_hand))));
    }
    if !adjustment.by_rebuild.is_empty() {
        let subject = format!("options of `{alias}` for its next generation");
        steps.push(step(
            subject,
            Change::Rebuild(fields(adjustment.by_rebuild)),
        ));
    }
    steps
}

/// Names the limits of the collection that Ebb cannot keep to.
fn limits_step(alias: &CollectionName, info: &CollectionInfo) -> Step {
    let unfit = limits::unfit(info);
    Step {
        subject: format!("strict mode of `{alias}`"),
        change: if unfit.is_empty() {
            Change::None
        } else {
            Change::Unfit(unfit)
        },
    }
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
            let first = options::first_generation(&config.installation.options.options());
            let mut request = first.settings.create(&generation, manifest);
            request.metadata.extend([first.record.entry()]);
            let created = qdrant.create_collection(request).await;
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
