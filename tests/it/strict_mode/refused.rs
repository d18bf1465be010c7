//! What a server refuses in strict mode, request by request, as the classification of refusals has it.

use anyhow::Context as _;
use contract::names::CollectionName;
use points::refusal::Refusal;
use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, CreateFieldIndexCollectionBuilder, DeletePointsBuilder,
    FieldType, Filter, Fusion, GetPointsBuilder, PointId, PointStruct, PrefetchQueryBuilder,
    QueryBatchPointsBuilder, QueryPoints, QueryPointsBuilder, ScrollPointsBuilder,
    SearchParamsBuilder, StrictModeConfig, UpdateBatchPoints, UpsertPointsBuilder, Vector,
};
use qdrant_client::{Payload, Qdrant, QdrantError};
use tests::Bed;

use super::{client, limit};

/// A collection with three points, and requests to it.
pub(super) struct Asker {
    client: Qdrant,
    collection: String,
    model: String,
    dimensions: usize,
}

impl Asker {
    fn points(&self, count: u64) -> Vec<PointStruct> {
        let point = |n| {
            let vector = Vector::from(vec![0.5; self.dimensions]);
            let vectors = std::collections::HashMap::from([(self.model.clone(), vector)]);
            PointStruct::new(n, vectors, Payload::new())
        };
        (1..=count).map(point).collect()
    }

    async fn upsert(&self, count: u64) -> Result<(), QdrantError> {
        let upsert = UpsertPointsBuilder::new(&self.collection, self.points(count)).wait(true);
        self.client.upsert_points(upsert).await.map(drop)
    }

    /// Writes a point again and again until the server has counted what there is, which it does every 32 writes.
    pub(super) async fn until_full(&self) -> anyhow::Result<()> {
        for _ in 0..100 {
            match of(self.upsert(1).await) {
                None => {}
                Some(Refusal::Full) => return Ok(()),
                other => anyhow::bail!("{other:?}"),
            }
        }
        anyhow::bail!("it is not full")
    }

    fn search(&self) -> QueryPointsBuilder {
        QueryPointsBuilder::new(&self.collection)
            .query(vec![0.5_f32; self.dimensions])
            .using(self.model.as_str())
    }

    /// A fusion of one part.
    fn fused(&self, part: PrefetchQueryBuilder) -> QueryPointsBuilder {
        let part = part
            .query(vec![0.5_f32; self.dimensions])
            .using(self.model.as_str());
        let query = QueryPointsBuilder::new(&self.collection).add_prefetch(part);
        query.query(Fusion::Rrf).limit(1)
    }

    async fn scroll(&self, limit: u32, filter: Filter) -> Result<(), QdrantError> {
        let scroll = ScrollPointsBuilder::new(&self.collection);
        let scroll = scroll.limit(limit).filter(filter);
        self.client.scroll(scroll).await.map(drop)
    }

    async fn delete(&self, filter: Filter) -> Result<(), QdrantError> {
        let delete = DeletePointsBuilder::new(&self.collection).wait(true);
        self.client
            .delete_points(delete.points(filter))
            .await
            .map(drop)
    }
}

fn of(answer: Result<(), QdrantError>) -> Option<Refusal> {
    answer.err().map(|error| Refusal::of(&error))
}

pub(super) async fn asker(bed: &Bed) -> anyhow::Result<Asker> {
    let asker = Asker {
        client: client(bed)?,
        collection: bed.stack.collection.clone(),
        model: bed.manifest.name.to_string(),
        dimensions: bed.manifest.identity.dimensions,
    };
    asker.upsert(3).await?;
    Ok(asker)
}

#[tokio::test]
async fn sizes_of_requests_are_refused_as_limits() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let asker = asker(&bed).await?;
    let strict = StrictModeConfig {
        max_query_limit: Some(2),
        max_timeout: Some(5),
        upsert_max_batchsize: Some(2),
        search_max_batchsize: Some(1),
        search_allow_exact: Some(false),
        search_max_hnsw_ef: Some(10),
        filter_max_conditions: Some(2),
        condition_max_size: Some(2),
        ..StrictModeConfig::default()
    };
    limit(&bed, strict).await?;
    let limited = Some(Refusal::Limit);
    let upserted = (of(asker.upsert(2).await), of(asker.upsert(3).await));
    assert_eq!(upserted, (None, limited));
    assert_eq!(of(asker.scroll(2, Filter::default()).await), None);
    assert_eq!(of(asker.scroll(3, Filter::default()).await), limited);
    let empty = |field: &str| Condition::is_empty(field);
    let two = Filter::must([empty("a"), Filter::should([empty("b")]).into()]);
    let three = Filter::must([empty("a"), Filter::should([empty("b"), empty("c")]).into()]);
    assert_eq!(of(asker.scroll(1, two.clone()).await), None);
    assert_eq!(of(asker.scroll(1, three.clone()).await), limited);
    assert_eq!(of(asker.delete(three).await), limited);
    let ids = |count: u64| Filter::must([Condition::has_id((1..=count).map(PointId::from))]);
    assert_eq!(of(asker.scroll(1, ids(2)).await), None);
    assert_eq!(of(asker.scroll(1, ids(3)).await), limited);
    let count = |exact| CountPointsBuilder::new(&asker.collection).exact(exact);
    let counted = async |exact| of(asker.client.count(count(exact)).await.map(drop));
    assert_eq!((counted(false).await, counted(true).await), (None, limited));
    let query = async |query: QueryPointsBuilder| of(asker.client.query(query).await.map(drop));
    assert_eq!(query(asker.search().limit(2)).await, None);
    assert_eq!(query(asker.search().limit(3)).await, limited);
    assert_eq!(query(asker.search().limit(1).timeout(9)).await, limited);
    for params in [
        SearchParamsBuilder::default().exact(true),
        SearchParamsBuilder::default().hnsw_ef(11),
    ] {
        assert_eq!(query(asker.search().limit(1).params(params)).await, limited);
    }
    let part = |limit: u64| PrefetchQueryBuilder::default().limit(limit);
    assert_eq!(query(asker.fused(part(2))).await, None);
    assert_eq!(query(asker.fused(part(3))).await, limited);
    let exact = part(2).params(SearchParamsBuilder::default().exact(true));
    assert_eq!(query(asker.fused(exact)).await, limited);
    let batch = async |size: usize| {
        let searches: Vec<QueryPoints> = vec![asker.search().limit(1).into(); size];
        let batch = QueryBatchPointsBuilder::new(&asker.collection, searches);
        of(asker.client.query_batch(batch).await.map(drop))
    };
    assert_eq!((batch(1).await, batch(2).await), (None, limited));
    bed.end().await
}

#[tokio::test]
async fn what_has_no_index_or_no_room_is_refused_as_that() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let asker = asker(&bed).await?;
    let unindexed = Filter::must([Condition::matches("meta.lang", "en".to_owned())]);
    let indexed = Filter::must([Condition::matches("doc_id", "d".to_owned())]);
    let strict = StrictModeConfig {
        unindexed_filtering_retrieve: Some(false),
        unindexed_filtering_update: Some(false),
        max_payload_index_count: Some(1),
        ..StrictModeConfig::default()
    };
    limit(&bed, strict).await?;
    assert_eq!(of(asker.scroll(1, indexed.clone()).await), None);
    assert_eq!(of(asker.delete(indexed).await), None);
    let index = Some(Refusal::Index);
    assert_eq!(of(asker.scroll(1, unindexed.clone()).await), index);
    assert_eq!(of(asker.delete(unindexed).await), index);
    let create = CreateFieldIndexCollectionBuilder::new(&asker.collection, "x", FieldType::Keyword);
    let created = asker.client.create_field_index(create.wait(true)).await;
    assert_eq!(of(created.map(drop)), Some(Refusal::Full));

    let points = StrictModeConfig {
        max_points_count: Some(3),
        ..StrictModeConfig::default()
    };
    limit(&bed, points).await?;
    asker.until_full().await?;
    let bytes = StrictModeConfig {
        max_points_count: Some(1000),
        max_collection_vector_size_bytes: Some(3),
        ..StrictModeConfig::default()
    };
    limit(&bed, bytes).await?;
    asker.until_full().await?;
    bed.end().await
}

#[tokio::test]
async fn too_many_requests_are_refused_with_a_time_and_one_that_is_too_large_without()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let asker = asker(&bed).await?;
    let strict = StrictModeConfig {
        read_rate_limit: Some(2),
        write_rate_limit: Some(2),
        ..StrictModeConfig::default()
    };
    limit(&bed, strict).await?;
    let get = async |count: u64| {
        let ids: Vec<_> = (1..=count).map(PointId::from).collect();
        let get = GetPointsBuilder::new(&asker.collection, ids);
        of(asker.client.get_points(get).await.map(drop))
    };
    assert_eq!(get(3).await, Some(Refusal::Limit));
    assert_eq!(get(2).await, None);
    assert!(matches!(get(2).await, Some(Refusal::Rate(wait)) if !wait.is_zero()));
    assert_eq!(of(asker.upsert(3).await), Some(Refusal::Limit));
    assert_eq!(of(asker.upsert(2).await), None);
    assert!(matches!(of(asker.upsert(2).await), Some(Refusal::Rate(wait)) if !wait.is_zero()));
    bed.end().await
}

#[tokio::test]
async fn what_is_wrong_with_a_point_is_refused_as_its_content() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let asker = asker(&bed).await?;
    let with = |name: &str, length: usize| {
        let vector = Vector::from(vec![0.5; length]);
        let vectors = std::collections::HashMap::from([(name.to_owned(), vector)]);
        PointStruct::new(9, vectors, Payload::new())
    };
    let upserted = async |point: PointStruct, wait| {
        let points = [asker.points(1), vec![point]].concat();
        let upsert = UpsertPointsBuilder::new(&asker.collection, points).wait(wait);
        of(asker.client.upsert_points(upsert).await.map(drop))
    };
    let content = Some(Refusal::Content);
    let wrong = with(&asker.model, 3);
    assert_eq!(upserted(wrong.clone(), true).await, content);
    assert_eq!(upserted(wrong, false).await, content);
    // Names are looked at when the write is applied, which nobody waits for.
    let unknown = with("other", asker.dimensions);
    assert_eq!(upserted(unknown.clone(), true).await, content);
    assert_eq!(upserted(unknown, false).await, None);
    assert_eq!(of(asker.upsert(0).await), Some(Refusal::Content));
    let missing: CollectionName = "no-such-collection".parse()?;
    let batch = UpdateBatchPoints {
        collection_name: missing.to_string(),
        wait: Some(true),
        ..UpdateBatchPoints::default()
    };
    let answer = asker.client.update_points_batch(batch).await;
    let error = answer.err().context("a batch of nothing is done")?;
    let refused = Refusal::of(&error);
    assert_eq!(
        refused,
        Refusal::Content,
        "before the collection is looked up"
    );
    bed.end().await
}
