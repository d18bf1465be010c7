//! Hybrid: a vector of words that the server makes, and searches that fuse it with the nearest points.

use std::collections::HashMap;

use contract::bm25::{self, Bm25Options};
use contract::field;
use points::guard::tombstones;
use points::point_id;
use points::vectors::document;
use qdrant_client::Payload;
use qdrant_client::qdrant::{
    CollectionInfo, Condition, CreateCollection, CreateCollectionBuilder, Distance, Document,
    Filter, Fusion, GetPoints, Modifier, NamedVectors, PointStruct, PrefetchQueryBuilder, Query,
    QueryBatchPointsBuilder, QueryPoints, QueryPointsBuilder, Rrf, ScrollPoints,
    SparseVectorParamsBuilder, SparseVectorsConfigBuilder, UpsertPointsBuilder, Vector,
    VectorParamsBuilder, VectorsConfigBuilder, query,
};
use serde_json::{Value, json};

use super::Player;
use super::answer::{answer, hits, points};
use super::state::{DIMENSIONS, VECTOR, vector};

/// Texts of documents, so that words are rare and common, and lengths differ.
const TEXTS: [(&str, &str); 5] = [
    ("a", "The pump starts before the valve opens."),
    (
        "b",
        "Pumps and valves, pumps and pipes: the pumping station.",
    ),
    ("c", "Open the valve slowly."),
    ("d", "Error E-4711 means that the pipe has no pressure."),
    ("e", ""),
];

pub(super) async fn play(player: &mut Player<'_>, prefix: &str) -> anyhow::Result<()> {
    let name = format!("{prefix}--hybrid");
    create(player, &name).await;
    write(player, &name).await;
    searches(player, &name).await;
    fusions(player, &name).await;
    player.qdrant.delete_collection(name).await?;
    Ok(())
}

fn english() -> Bm25Options {
    Bm25Options::of_language("english")
}

async fn create(player: &mut Player<'_>, name: &str) {
    let mut vectors = VectorsConfigBuilder::default();
    let params = VectorParamsBuilder::new(DIMENSIONS as u64, Distance::Dot);
    vectors.add_named_vector_params(VECTOR, params);
    let mut sparse = SparseVectorsConfigBuilder::default();
    let params = SparseVectorParamsBuilder::default().modifier(Modifier::Idf);
    sparse.add_named_vector_params(bm25::VECTOR, params);
    let request: CreateCollection = CreateCollectionBuilder::new(name)
        .vectors_config(vectors)
        .sparse_vectors_config(sparse)
        .into();
    let done = player.qdrant.create_collection(request).await;
    player.note(
        "create with a vector of words",
        answer(done, |done| json!(done.result)),
    );
    let info = player.qdrant.collection_info(name.to_owned()).await;
    player.note(
        "info of a collection with a vector of words",
        answer(info, |info| info.result.map(sparse_vectors).into()),
    );
}

fn sparse_vectors(info: CollectionInfo) -> Value {
    let params = info.config.and_then(|config| config.params);
    let sparse = params.and_then(|params| params.sparse_vectors_config);
    let sparse = sparse.unwrap_or_default().map.into_iter();
    let sparse = sparse.map(|(name, params)| json!([name, params.modifier().as_str_name()]));
    sparse.collect()
}

/// A point with both vectors.
fn point(doc_id: &str, words: Document) -> PointStruct {
    let named = NamedVectors::default()
        .add_vector(VECTOR, vector(doc_id, 0))
        .add_vector(bm25::VECTOR, words);
    let payload = HashMap::from([(field::DOC_ID, qdrant_client::qdrant::Value::from(doc_id))]);
    PointStruct::new(
        point_id(doc_id, 0).to_string(),
        named,
        Payload::from(payload),
    )
}

async fn write(player: &mut Player<'_>, name: &str) {
    let english = english();
    let german = Bm25Options::of_language("german");
    let texts = TEXTS.map(|(doc_id, text)| point(doc_id, document(text.to_owned(), &english)));
    let wrong = Document {
        options: HashMap::from([("k".to_owned(), (-1.0).into())]),
        ..document("pump".to_owned(), &english)
    };
    let sparse = |name: &str| {
        let words =
            NamedVectors::default().add_vector(name, Vector::new_sparse(vec![1], vec![1.0]));
        let id = point_id("f", 0).to_string();
        PointStruct::new(id, words, Payload::new())
    };
    let german = document("Die Pumpen der Häuser".to_owned(), &german);
    for (request, points) in [
        ("words of texts, and of none", texts.to_vec()),
        ("words of another language", vec![point("g", german)]),
        (
            "words by an unknown model",
            vec![point("f", Document::new("pump", "splade"))],
        ),
        ("words by a wrong option", vec![point("f", wrong)]),
        ("words for the other vector", vec![sparse(VECTOR)]),
        ("words for an unknown vector", vec![sparse("other")]),
    ] {
        let upsert = UpsertPointsBuilder::new(name, points).wait(true);
        let done = player.qdrant.upsert_points(upsert).await;
        let done = answer(done, |done| {
            done.result.map(|it| it.status().as_str_name()).into()
        });
        player.note(request, done);
    }
    let ids = ["a", "b", "c", "d", "e", "g"];
    let get = GetPoints {
        collection_name: name.to_owned(),
        ids: ids.map(|id| point_id(id, 0).to_string().into()).to_vec(),
        with_payload: Some(true.into()),
        with_vectors: Some(true.into()),
        ..GetPoints::default()
    };
    let found = player.qdrant.get_points(get).await;
    player.note(
        "get words",
        answer(found, |found| sorted(points(&found.result))),
    );
    let lacking = ScrollPoints {
        collection_name: name.to_owned(),
        filter: Some(Filter::must_not([Condition::has_vector(bm25::VECTOR)])),
        ..ScrollPoints::default()
    };
    let found = player.qdrant.scroll(lacking).await;
    player.note(
        "points without words",
        answer(found, |found| sorted(points(&found.result))),
    );
}

/// What comes in no promised order, in one that is always the same. So are the terms of a text.
fn sorted(mut points: Value) -> Value {
    if let Value::Array(points) = &mut points {
        points.sort_by_key(|point| point["id"].to_string());
    }
    points
}

fn words(name: &str, text: &str) -> QueryPointsBuilder {
    QueryPointsBuilder::new(name)
        .query(Query::new_nearest(document(text.to_owned(), &english())))
        .using(bm25::VECTOR)
        .filter(Filter::must_not([tombstones()]))
        .limit(5)
}

async fn searches(player: &mut Player<'_>, name: &str) {
    let unknown = Query::new_nearest(Document::new("pump", "splade"));
    let queries: [(&str, QueryPoints); 8] = [
        ("search a word", words(name, "valves").into()),
        (
            "search rare and common words",
            words(name, "pressure of the pumps").into(),
        ),
        (
            "search words above a score",
            words(name, "valve").score_threshold(0.5).into(),
        ),
        (
            "search words that are nowhere",
            words(name, "xylophone").into(),
        ),
        ("search no words", words(name, "").into()),
        (
            "search words by an unknown model",
            QueryPointsBuilder::new(name)
                .query(unknown)
                .using(bm25::VECTOR)
                .into(),
        ),
        (
            "search words in the other vector",
            words(name, "valve").using(VECTOR).into(),
        ),
        (
            "search a vector in the words",
            QueryPointsBuilder::new(name)
                .query(vector("a", 0))
                .using(bm25::VECTOR)
                .into(),
        ),
    ];
    for (request, query) in queries {
        ask(player, request, query).await;
    }
}

async fn ask(player: &mut Player<'_>, request: &str, query: QueryPoints) {
    let found = player.qdrant.query(query).await;
    player.note(request, answer(found, |found| hits(&found.result)));
}

fn fused(name: &str, fusion: impl Into<Query>) -> QueryPointsBuilder {
    let nearest = PrefetchQueryBuilder::default()
        .query(vector("a", 0))
        .using(VECTOR)
        .limit(4_u64);
    let words = PrefetchQueryBuilder::default()
        .query(Query::new_nearest(document(
            "valves and pressure".to_owned(),
            &english(),
        )))
        .using(bm25::VECTOR)
        .limit(4_u64);
    QueryPointsBuilder::new(name)
        .add_prefetch(nearest)
        .add_prefetch(words)
        .query(fusion)
        .filter(Filter::must_not([tombstones()]))
        .limit(5)
}

fn rrf(k: u32, weights: &[f32]) -> Query {
    let rrf = Rrf {
        k: Some(k),
        weights: weights.to_vec(),
    };
    Query {
        variant: Some(query::Variant::Rrf(rrf)),
    }
}

async fn fusions(player: &mut Player<'_>, name: &str) {
    let queries: [(&str, QueryPoints); 9] = [
        ("fuse by ranks", fused(name, Fusion::Rrf).into()),
        (
            "fuse by ranks with a constant",
            fused(name, rrf(9, &[])).into(),
        ),
        (
            "fuse by ranks with weights",
            fused(name, rrf(9, &[2.0, 0.5])).into(),
        ),
        ("fuse by scores", fused(name, Fusion::Dbsf).into()),
        (
            "fuse from an offset",
            fused(name, Fusion::Dbsf).offset(2).into(),
        ),
        ("fuse with no constant", fused(name, rrf(0, &[])).into()),
        (
            "fuse with too few weights",
            fused(name, rrf(9, &[1.0])).into(),
        ),
        (
            "fuse nothing",
            QueryPointsBuilder::new(name).query(Fusion::Rrf).into(),
        ),
        (
            "fuse a part of an unknown vector",
            fused(name, Fusion::Rrf)
                .add_prefetch(
                    PrefetchQueryBuilder::default()
                        .query(vector("a", 0))
                        .using("other"),
                )
                .into(),
        ),
    ];
    for (request, query) in queries {
        ask(player, request, query).await;
    }
    let queries: Vec<QueryPoints> = vec![
        fused(name, rrf(9, &[])).into(),
        words(name, "valves and pressure").into(),
    ];
    let batch = QueryBatchPointsBuilder::new(name, queries);
    let found = player.qdrant.query_batch(batch).await;
    player.note(
        "fuse, and ask for a part",
        answer(found, |found| {
            found.result.iter().map(|it| hits(&it.result)).collect()
        }),
    );
}
