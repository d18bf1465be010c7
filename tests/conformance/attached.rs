//! Attached: vectors that come to a collection which is there, are written on condition of a version, and leave it.

use contract::digest::Digest;
use contract::field;
use contract::model::OutputKind;
use contract::names::CollectionName;
use points::attachment;
use points::guard::tombstones;
use points::point_id;
use points::vectors::{MakerModel, vector_names};
use qdrant_client::qdrant::points_update_operation::{Operation, UpdateVectors};
use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, CreateCollectionBuilder, Distance, Filter, NamedVectors,
    PointVectors, VectorParamsBuilder, VectorsConfigBuilder,
};
use serde_json::json;

use super::Player;
use super::answer::answer;
use super::state::{DIMENSIONS, VECTOR, VERSION, point, tombstone};
use super::writes::{update, write};

/// Name of the vector that comes.
const OTHER: &str = "other";

pub(super) async fn play(player: &mut Player<'_>, prefix: &str) -> anyhow::Result<()> {
    let name: CollectionName = format!("{prefix}--attached").parse()?;
    fill(player, &name).await?;
    create(player, &name).await?;
    write_vectors(player, &name).await;
    for request in ["removal of the vector", "removal of a vector that is gone"] {
        let removed = attachment::remove(&name, OTHER);
        let removed = player.qdrant.delete_vector_name(removed).await;
        player.note(request, answer(removed, |_| json!("done")));
    }
    names(player, &name, "vectors after the removal").await;
    player.qdrant.delete_collection(name.as_str()).await?;
    Ok(())
}

async fn fill(player: &mut Player<'_>, name: &CollectionName) -> anyhow::Result<()> {
    let mut vectors = VectorsConfigBuilder::default();
    let params = VectorParamsBuilder::new(DIMENSIONS as u64, Distance::Dot);
    vectors.add_named_vector_params(VECTOR, params);
    let request = CreateCollectionBuilder::new(name.as_str()).vectors_config(vectors);
    player.qdrant.create_collection(request).await?;
    let points = ["a", "b", "c"].map(|id| write(point(id, 0, VERSION), VERSION));
    update(
        player,
        name.as_str(),
        "points without the vector",
        points.to_vec(),
    )
    .await;
    let buried = write(tombstone("d", VERSION), VERSION);
    update(player, name.as_str(), "a tombstone", vec![buried]).await;
    Ok(())
}

fn model(dimensions: u64) -> MakerModel {
    MakerModel {
        name: "other".parse().expect("it is a name"),
        fingerprint: Digest::of(b"other"),
        dimensions,
        normalize: true,
    }
}

async fn create(player: &mut Player<'_>, name: &CollectionName) -> anyhow::Result<()> {
    use OutputKind::{Dense, Sparse};
    for (request, vector, kind, dimensions) in [
        ("a dense vector in place", OTHER, Dense, 2),
        ("the same once more", OTHER, Dense, 2),
        ("the same with another length", OTHER, Dense, 3),
        ("a sparse one of its name", OTHER, Sparse, 0),
        ("a sparse vector in place", "terms", Sparse, 0),
        ("a dense one of that name", "terms", Dense, 2),
        (
            "the vector that the collection began with",
            VECTOR,
            Dense,
            2,
        ),
    ] {
        let made = attachment::create(name, vector, kind, &model(dimensions));
        let made = player.qdrant.create_vector_name(made).await;
        let made = answer(made, |made| {
            made.result.map(|it| it.status().as_str_name()).into()
        });
        player.note(request, made);
    }
    names(player, name, "vectors in place").await;
    Ok(())
}

async fn names(player: &mut Player<'_>, name: &CollectionName, request: &str) {
    let info = player.qdrant.collection_info(name.as_str()).await;
    let names = answer(info, |info| {
        json!(vector_names(&info.result.unwrap_or_default()))
    });
    player.note(request, names);
}

async fn write_vectors(player: &mut Player<'_>, name: &CollectionName) {
    for (request, operations) in [
        ("vector of the version", vec![vector(&["a"], VERSION)]),
        (
            "vector of another version",
            vec![vector(&["b"], VERSION + 1)],
        ),
        ("vector for a tombstone", vec![vector(&["d"], VERSION)]),
        (
            "vector for a point that is not there",
            vec![vector(&["x"], VERSION)],
        ),
        (
            "vectors for one that is there and one that is not",
            vec![vector(&["c", "y"], VERSION)],
        ),
        (
            "a write, and the vector of its version",
            vec![
                write(point("b", 0, VERSION + 1), VERSION + 1),
                vector(&["b"], VERSION + 1),
            ],
        ),
    ] {
        update(player, name.as_str(), request, operations).await;
        let has = Filter::must([Condition::has_vector(OTHER)]);
        let count = CountPointsBuilder::new(name.as_str())
            .filter(has)
            .exact(true);
        let count = player.qdrant.count(count).await;
        let count = answer(count, |count| json!(count.result.map(|it| it.count)));
        player.note(&format!("{request}, and how many have it"), count);
    }
}

/// Gives the heads of documents the vector, if they have this version.
fn vector(doc_ids: &[&str], version: u64) -> Operation {
    let version = i64::try_from(version).unwrap_or(i64::MAX);
    let of = |doc_id: &&str| PointVectors {
        id: Some(point_id(doc_id, 0).to_string().into()),
        vectors: Some(
            NamedVectors::default()
                .add_vector(OTHER, vec![0.6, 0.8])
                .into(),
        ),
    };
    Operation::UpdateVectors(UpdateVectors {
        points: doc_ids.iter().map(of).collect(),
        update_filter: Some(Filter {
            must: vec![Condition::matches(field::VERSION, version)],
            must_not: vec![tombstones()],
            ..Filter::default()
        }),
        ..UpdateVectors::default()
    })
}
