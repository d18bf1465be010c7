//! Collections: their life, their settings, and the aliases that lead to them.

use std::time::Duration;

use contract::field;
use fixtures::wait::until;
use points::collection::PAYLOAD_INDEXES;
use qdrant_client::qdrant::{
    CollectionInfo, CollectionStatus, CreateAliasBuilder, CreateCollection,
    CreateCollectionBuilder, CreateFieldIndexCollectionBuilder, Distance, FieldType,
    HnswConfigDiff, OptimizersConfigDiff, UpdateCollection, UpsertPointsBuilder,
    VectorParamsBuilder, VectorsConfigBuilder,
};
use serde_json::{Value, json};

use super::Player;
use super::answer::answer;
use super::state::{DIMENSIONS, VECTOR, VERSION, point};

const LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn play(player: &mut Player<'_>, prefix: &str) -> anyhow::Result<()> {
    let (first, second) = (format!("{prefix}--first"), format!("{prefix}--second"));
    create(player, &first).await;
    settings(player, &first).await?;
    let other = player.qdrant.create_collection(request(&second)).await;
    player.note(
        "create a second one",
        answer(other, |done| json!(done.result)),
    );
    aliases(player, prefix, &first, &second).await;
    remove(player, &[&first, &second]).await;
    Ok(())
}

fn request(name: &str) -> CreateCollection {
    let mut vectors = VectorsConfigBuilder::default();
    let params = VectorParamsBuilder::new(DIMENSIONS as u64, Distance::Dot);
    vectors.add_named_vector_params(VECTOR, params);
    let mut request: CreateCollection = CreateCollectionBuilder::new(name)
        .vectors_config(vectors)
        .into();
    request.metadata = [("ebb_model".to_owned(), "tiny".into())].into();
    request
}

async fn create(player: &mut Player<'_>, name: &str) {
    let missing = player.qdrant.collection_info(name.to_owned()).await;
    player.note(
        "info of a missing collection",
        answer(missing, |_| json!("found")),
    );
    let done = player.qdrant.create_collection(request(name)).await;
    player.note("create", answer(done, |done| json!(done.result)));
    let again = player.qdrant.create_collection(request(name)).await;
    player.note(
        "create what is there",
        answer(again, |done| json!(done.result)),
    );
    for (what, bad) in [("no dimensions", 0), ("too many dimensions", 65_537)] {
        let params = VectorParamsBuilder::new(bad, Distance::Dot);
        let bad = CreateCollectionBuilder::new(format!("{name}-bad")).vectors_config(params);
        let done = player.qdrant.create_collection(bad).await;
        player.note(
            &format!("create with {what}"),
            answer(done, |done| json!(done.result)),
        );
    }
    for (what, bad) in [
        ("an empty name", String::new()),
        ("a name with a slash", format!("{name}/x")),
    ] {
        let done = player.qdrant.create_collection(request(&bad)).await;
        player.note(
            &format!("create with {what}"),
            answer(done, |done| json!(done.result)),
        );
    }
    let info = player.qdrant.collection_info(name.to_owned()).await;
    player.note(
        "info of a fresh collection",
        answer(info, |info| info.result.map(brief).into()),
    );
}

async fn settings(player: &mut Player<'_>, name: &str) -> anyhow::Result<()> {
    let (field, kind) = PAYLOAD_INDEXES[0];
    for (what, field, kind) in [
        ("index a field", field, kind),
        ("index a field again", field, kind),
        ("index a field as another type", field, FieldType::Integer),
        ("index a nested field", "meta.lang", FieldType::Keyword),
        ("index a time", field::INDEXED_AT, FieldType::Datetime),
    ] {
        let index = CreateFieldIndexCollectionBuilder::new(name, field, kind).wait(true);
        let done = player.qdrant.create_field_index(index).await;
        let done = answer(done, |done| {
            done.result.map(|it| it.status().as_str_name()).into()
        });
        player.note(what, done);
    }
    let missing = CreateFieldIndexCollectionBuilder::new("no-such-collection", field, kind);
    let done = player.qdrant.create_field_index(missing.wait(true)).await;
    player.note(
        "index a field of a missing collection",
        answer(done, |_| json!("done")),
    );
    let links = |collection: &str, m| UpdateCollection {
        collection_name: collection.to_owned(),
        hnsw_config: Some(HnswConfigDiff {
            m: Some(m),
            ..HnswConfigDiff::default()
        }),
        ..UpdateCollection::default()
    };
    let wake = UpdateCollection {
        hnsw_config: None,
        optimizers_config: Some(OptimizersConfigDiff::default()),
        ..links(name, 0)
    };
    for (what, update) in [
        ("no graph", links(name, 0)),
        ("a graph", links(name, 24)),
        ("wake the optimizers", wake),
        (
            "update a missing collection",
            links("no-such-collection", 0),
        ),
    ] {
        let done = player.qdrant.update_collection(update).await;
        player.note(what, answer(done, |done| json!(done.result)));
    }
    let points = vec![point("a", 0, VERSION), point("a", 1, VERSION)];
    let upsert = UpsertPointsBuilder::new(name, points).wait(true);
    player.qdrant.upsert_points(upsert).await?;
    let info = until("a collection to be green", LIMIT, async || {
        let info = player.qdrant.collection_info(name.to_owned()).await?.result;
        Ok(info.filter(|info| info.status() == CollectionStatus::Green))
    })
    .await?;
    player.note("info after changes", brief(info));
    Ok(())
}

/// What Ebb reads of a collection. Its state is left out: whether it is yellow for a moment is a matter of time.
fn brief(info: CollectionInfo) -> Value {
    let config = info.config.unwrap_or_default();
    let hnsw = config.hnsw_config.unwrap_or_default();
    let mut indexes: Vec<_> = info
        .payload_schema
        .iter()
        .map(|(field, schema)| json!([field, schema.data_type().as_str_name(), schema.points]))
        .collect();
    indexes.sort_by_key(ToString::to_string);
    let metadata = config
        .metadata
        .into_iter()
        .map(|(key, value)| (key, value.into_json()));
    json!({
        "m": hnsw.m,
        "ef_construct": hnsw.ef_construct,
        "indexes": indexes,
        "metadata": metadata.collect::<std::collections::BTreeMap<_, _>>(),
        "points": info.points_count,
    })
}

async fn aliases(player: &mut Player<'_>, alias: &str, first: &str, second: &str) {
    for (what, to) in [
        ("point an alias", first),
        ("move the alias", second),
        ("point the alias where it points", second),
        ("point the alias to nothing", "no-such-collection"),
    ] {
        let done = player
            .qdrant
            .create_alias(CreateAliasBuilder::new(to, alias))
            .await;
        player.note(what, answer(done, |done| json!(done.result)));
        let listed = player.qdrant.list_aliases().await;
        let listed = answer(listed, |listed| {
            let found = listed
                .aliases
                .iter()
                .find(|found| found.alias_name == alias);
            let target = found.map(|found| found.collection_name.trim_start_matches(alias));
            json!(target)
        });
        player.note(&format!("{what}, and where it leads"), listed);
    }
    let clash = player
        .qdrant
        .create_alias(CreateAliasBuilder::new(first, second))
        .await;
    player.note(
        "alias with the name of a collection",
        answer(clash, |done| json!(done.result)),
    );
    let clash = player.qdrant.create_collection(request(alias)).await;
    player.note(
        "collection with the name of an alias",
        answer(clash, |done| json!(done.result)),
    );
    let through = player.qdrant.collection_info(alias.to_owned()).await;
    let through = answer(through, |info| {
        json!(info.result.and_then(|it| it.points_count))
    });
    player.note("info through an alias", through);
}

async fn remove(player: &mut Player<'_>, names: &[&str]) {
    for (number, name) in (1..).zip(names) {
        for what in ["delete a collection", "delete it again"] {
            let done = player.qdrant.delete_collection((*name).to_owned()).await;
            player.note(
                &format!("{what} ({number})"),
                answer(done, |done| json!(done.result)),
            );
        }
    }
    let listed = player.qdrant.list_collections().await;
    let listed = answer(listed, |listed| {
        let left = listed
            .collections
            .iter()
            .filter(|it| names.contains(&it.name.as_str()));
        json!(left.count())
    });
    player.note("collections that are left", listed);
}
