//! Collections, their payload indexes, and the aliases in front of them.

use anyhow::Context as _;
use contract::bm25::Bm25Options;
use contract::model::Manifest;
use contract::names::CollectionName;
use points::collection::{self, PAYLOAD_INDEXES};
use qdrant_client::Qdrant;
use qdrant_client::qdrant::{
    CollectionInfo, CreateCollection, CreateFieldIndexCollectionBuilder, UpdateCollection,
};

use super::{Change, ProvisionConfig, Step};
use crate::generation::alias;
use crate::generation::collection::look_up;
use crate::retrieval::Searched;

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
) -> anyhow::Result<[Step; 2]> {
    Ok([
        provision_collection(config, qdrant, manifest, alias).await?,
        provision_indexes(config, qdrant, alias).await?,
    ])
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
        let change = provision_search(config, qdrant, alias, &info).await?;
        return Ok(Step { subject, change });
    }
    if !config.check {
        let generation = alias.generation(FIRST_GENERATION)?;
        // A run that died between the two requests has left the collection without its alias.
        if look_up(qdrant, &generation).await?.is_none() {
            let created = qdrant.create_collection(new_collection(config, manifest, &generation)?);
            let created = created.await;
            created.with_context(|| format!("failed to create collection `{generation}`"))?;
        }
        alias::point(qdrant, alias, &generation).await?;
    }
    Ok(Step {
        subject,
        change: Change::Create,
    })
}

fn new_collection(
    config: &ProvisionConfig,
    manifest: &Manifest,
    name: &CollectionName,
) -> anyhow::Result<CreateCollection> {
    let searched = Searched {
        collection: name.clone(),
        bm25: config.bm25.of_new(None)?,
        recorded: None,
    };
    let mut request = collection::create(name, manifest, searched.bm25.as_ref());
    let recorded = config.search.asked().recorded(&searched)?;
    request.metadata.extend(recorded);
    Ok(request)
}

/// Records how a collection that is there is searched. Its vectors take a rebuild.
async fn provision_search(
    config: &ProvisionConfig,
    qdrant: &Qdrant,
    alias: &CollectionName,
    info: &CollectionInfo,
) -> anyhow::Result<Change> {
    let searched = Searched::of(alias, info)?;
    let other = |wanted: &Option<Bm25Options>| *wanted != searched.bm25;
    anyhow::ensure!(
        !config.bm25.wanted()?.as_ref().is_some_and(other),
        "collection `{alias}` has {}, other than --bm25 and --bm25-options say; give them to `indexer rebuild`, which \
         reuses all vectors, or leave them out here",
        match &searched.bm25 {
            Some(options) => format!("BM25 with the options {}", options.to_json()),
            None => "no BM25".to_owned(),
        }
    );
    let asked = config.search.asked();
    let wanted = asked.of(&searched)?;
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
    let found = searched.default().to_string();
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
    let is_missing = |(field, _): &(&str, _)| !info.payload_schema.contains_key(*field);
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
    let names: Vec<_> = missing.iter().map(|(field, _)| *field).collect();
    let change = Change::Update(vec![(
        "missing".to_owned(),
        names.join(", "),
        "none".to_owned(),
    )]);
    Ok(Step { subject, change })
}
