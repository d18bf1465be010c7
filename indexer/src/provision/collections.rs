//! Collections, their options and payload indexes, and the aliases in front of them.

use anyhow::Context as _;
use contract::bm25::Bm25Options;
use contract::model::Manifest;
use contract::names::CollectionName;
use points::collection::{self, PAYLOAD_INDEXES};
use points::limits;
use points::options::{self, Adjustment, Difference};
use points::{Points, Qdrant};
use qdrant_client::qdrant::{
    CollectionInfo, CreateCollection, CreateFieldIndexCollectionBuilder,
    DeleteFieldIndexCollectionBuilder, UpdateCollection,
};

use super::{Change, ProvisionConfig, Step};
use crate::generation::alias;
use crate::generation::collection::look_up;
use crate::retrieval::Searched;
use crate::retrieval::options::retrieval;

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
    if let Some(attached) = attached(qdrant, manifest, alias).await? {
        return Ok(vec![attached]);
    }
    let mut steps = provision_collection(config, qdrant, manifest, alias).await?;
    steps.push(provision_indexes(config, qdrant, alias).await?);
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

/// What is there for a model that is attached to the collection of another one, or was: that is not its to provision.
async fn attached(
    qdrant: &Qdrant,
    manifest: &Manifest,
    alias: &CollectionName,
) -> anyhow::Result<Option<Step>> {
    let Some(info) = look_up(qdrant, alias).await? else {
        return Ok(None);
    };
    let vectors = Points::new(qdrant, alias).schema_of(&info)?.vectors;
    let is_primary = collection::check(alias, &info, manifest).is_ok();
    let is_attached = !is_primary && vectors.knows(&manifest.fingerprint);
    Ok(is_attached.then(|| Step {
        subject: format!(
            "collection `{alias}`, to which `{}` is attached",
            manifest.name
        ),
        change: Change::None,
    }))
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

/// The steps for options that differ, by what a change takes.
fn option_steps(alias: &CollectionName, adjustment: Adjustment) -> Vec<Step> {
    let fields = |it: Vec<Difference>| {
        let fields = it.into_iter().map(|it| (it.name, it.found, it.wanted));
        fields.collect::<Vec<_>>()
    };
    let step = |subject: String, change| Step { subject, change };
    let mut changed = fields(adjustment.changed);
    let is_recorded = adjustment.by_hand.is_empty() && adjustment.by_rebuild.is_empty();
    if changed.is_empty() && is_recorded && adjustment.update.is_some() {
        let field = ["record", "other options", "those that were given"];
        changed.push(field.map(str::to_owned).into());
    }
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
) -> anyhow::Result<Vec<Step>> {
    let subject = format!("collection `{alias}`");
    if let Some(info) = look_up(qdrant, alias).await? {
        let (change, by_rebuild) = provision_found(config, qdrant, manifest, alias, &info).await?;
        let steps = [Some(Step { subject, change }), by_rebuild];
        return Ok(steps.into_iter().flatten().collect());
    }
    let mut by_rebuild = None;
    if !config.check {
        let generation = alias.generation(FIRST_GENERATION)?;
        // A run that died between the two requests has left the collection without its alias.
        if let Some(info) = look_up(qdrant, &generation).await? {
            let found = provision_found(config, qdrant, manifest, &generation, &info);
            by_rebuild = found.await?.1;
        } else {
            let created = qdrant.create_collection(new_collection(config, manifest, &generation)?);
            let created = created.await;
            created.with_context(|| format!("failed to create collection `{generation}`"))?;
        }
        alias::point(qdrant, alias, &generation).await?;
    }
    let created = Step {
        subject,
        change: Change::Create,
    };
    Ok([Some(created), by_rebuild].into_iter().flatten().collect())
}

/// A collection that is there: what changed in how it is searched, and what of its words only a rebuild changes.
async fn provision_found(
    config: &ProvisionConfig,
    qdrant: &Qdrant,
    manifest: &Manifest,
    name: &CollectionName,
    info: &CollectionInfo,
) -> anyhow::Result<(Change, Option<Step>)> {
    collection::check(name, info, manifest)?;
    let searched = Searched::of(name, info)?;
    let by_rebuild = words_step(config, &searched)?;
    let asked = config.search.asked();
    // A mode that needs other words than there are waits for them.
    if by_rebuild.is_some() && asked.of(&searched).is_err() {
        return Ok((Change::None, by_rebuild));
    }
    let change = provision_search(config, qdrant, &searched).await?;
    Ok((change, by_rebuild))
}

/// The collection has other words than those that are asked for, or none.
fn words_step(config: &ProvisionConfig, searched: &Searched) -> anyhow::Result<Option<Step>> {
    let Some(wanted) = config.bm25.wanted()? else {
        return Ok(None);
    };
    if wanted == searched.bm25 {
        return Ok(None);
    }
    let shown = |bm25: &Option<Bm25Options>| match bm25 {
        Some(options) => options.to_json().to_string(),
        None => "none".to_owned(),
    };
    let field = ("bm25".to_owned(), shown(&searched.bm25), shown(&wanted));
    Ok(Some(Step {
        subject: format!("words of `{}` for its next generation", searched.collection),
        change: Change::Rebuild(vec![field]),
    }))
}

fn new_collection(
    config: &ProvisionConfig,
    manifest: &Manifest,
    name: &CollectionName,
) -> anyhow::Result<CreateCollection> {
    let retrieval = retrieval(&config.bm25, &config.search, name, None)?;
    let first = options::first_generation(&config.installation.options.options());
    let settings = first.settings.with_retrieval(&retrieval);
    let mut request = settings.create(name, manifest);
    request.metadata.extend([first.record.entry()]);
    Ok(request)
}

/// Records how a collection that is there is searched.
async fn provision_search(
    config: &ProvisionConfig,
    qdrant: &Qdrant,
    searched: &Searched,
) -> anyhow::Result<Change> {
    let alias = &searched.collection;
    let asked = config.search.asked();
    let wanted = asked.of(searched)?;
    if !asked.is_set() || searched.recorded == Some(wanted) {
        return Ok(Change::None);
    }
    if !config.check {
        let request = UpdateCollection {
            collection_name: alias.to_string(),
            metadata: [wanted.metadata()].into(),
            ..UpdateCollection::default()
        };
        let updated = qdrant.update_collection(request).await;
        updated.with_context(|| format!("failed to record how `{alias}` is searched"))?;
    }
    let found = searched.recorded;
    let found = found.map_or("nothing".to_owned(), |search| search.to_string());
    let field = ("search".to_owned(), found, wanted.to_string());
    Ok(Change::Update(vec![field]))
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
