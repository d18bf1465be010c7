//! Requests to Qdrant: each says what it did not do.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use contract::names::CollectionName;
use contract::point::{self, Head, field};
use qdrant_client::qdrant::{
    Condition, DeletePointVectors, DeletePoints, Filter, GetPoints, PayloadIncludeSelector, PointId, PointStruct,
    PointsOperationResponse, PointsSelector, ScrollPoints, SetPayloadPoints, UpdateResult,
    UpdateStatus, UpsertPoints, Value, VectorsSelector, WithPayloadSelector, points_selector::PointsSelectorOneOf,
    with_payload_selector::SelectorOptions,
};
use qdrant_client::{Qdrant, QdrantError};
use uuid::Uuid;

use crate::error::UpsertError;
use crate::metrics;

/// Heads of one read.
const HEADS_PER_REQUEST: usize = 1024;
/// Leftovers of one read; there are hardly ever any.
const LEFTOVERS_PER_REQUEST: u32 = 1024;

/// The heads of documents that have one.
pub(super) type Heads = HashMap<String, Head>;

/// Reads the heads of documents.
pub(super) async fn heads(
    qdrant: &Qdrant,
    collection: &CollectionName,
    doc_ids: &[&str],
) -> Result<Heads, UpsertError> {
    let mut heads = Heads::new();
    for part in doc_ids.chunks(HEADS_PER_REQUEST) {
        let ids = part.iter().map(|doc_id| point::head_id(doc_id));
        let request = GetPoints {
            collection_name: collection.to_string(),
            ids: ids.collect(),
            with_payload: Some(include(&Head::FIELDS)),
            with_vectors: Some(false.into()),
            ..GetPoints::default()
        };
        let response = timed("get", qdrant.get_points(request)).await;
        let response = response.map_err(failed("read heads of", collection))?;
        heads.extend(response.result.iter().filter_map(Head::read));
    }
    Ok(heads)
}

/// The documents that have points which `filter` matches.
pub(super) async fn documents_with(
    qdrant: &Qdrant,
    collection: &CollectionName,
    filter: Filter,
) -> Result<HashSet<String>, UpsertError> {
    let mut found = HashSet::new();
    let mut offset = None;
    loop {
        let request = ScrollPoints {
            collection_name: collection.to_string(),
            filter: Some(filter.clone()),
            limit: Some(LEFTOVERS_PER_REQUEST),
            offset: offset.take(),
            with_payload: Some(include(&[field::DOC_ID])),
            with_vectors: Some(false.into()),
            ..ScrollPoints::default()
        };
        let response = timed("scroll", qdrant.scroll(request)).await;
        let response = response.map_err(failed("look for old chunks in", collection))?;
        let doc_id =
            |payload: &HashMap<String, Value>| payload.get(field::DOC_ID)?.as_str().cloned();
        found.extend(
            response
                .result
                .iter()
                .filter_map(|point| doc_id(&point.payload)),
        );
        match response.next_page_offset {
            Some(next) => offset = Some(next),
            None => return Ok(found),
        }
    }
}

/// Writes points; those that are there and do not match `guard` keep their state.
pub(super) async fn upsert(
    qdrant: &Qdrant,
    collection: &CollectionName,
    guard: Filter,
    points: Vec<PointStruct>,
) -> Result<(), UpsertError> {
    let request = UpsertPoints {
        collection_name: collection.to_string(),
        wait: Some(true),
        points,
        update_filter: Some(guard),
        ..UpsertPoints::default()
    };
    completed(
        "upsert points into",
        collection,
        timed("upsert", qdrant.upsert_points(request)).await,
    )
}

/// A write that goes all the way and changes nothing: it asks for a point that is not there.
pub(super) async fn write_nothing(
    qdrant: &Qdrant,
    collection: &CollectionName,
) -> Result<(), UpsertError> {
    let nobody = PointId::from(Uuid::nil().to_string());
    let selector = PointsSelectorOneOf::Filter(Filter::must([Condition::has_id([nobody])]));
    let request = SetPayloadPoints {
        collection_name: collection.to_string(),
        wait: Some(true),
        payload: HashMap::from([("probe".to_owned(), Value::from(true))]),
        points_selector: Some(PointsSelector {
            points_selector_one_of: Some(selector),
        }),
        ..SetPayloadPoints::default()
    };
    completed(
        "probe",
        collection,
        timed("set_payload", qdrant.set_payload(request)).await,
    )
}

/// Deletes all points that `filter` matches.
pub(super) async fn delete(
    qdrant: &Qdrant,
    collection: &CollectionName,
    filter: Filter,
) -> Result<(), UpsertError> {
    let selector = PointsSelectorOneOf::Filter(filter);
    let request = DeletePoints {
        collection_name: collection.to_string(),
        wait: Some(true),
        points: Some(PointsSelector {
            points_selector_one_of: Some(selector),
        }),
        ..DeletePoints::default()
    };
    completed(
        "delete points from",
        collection,
        timed("delete", qdrant.delete_points(request)).await,
    )
}

/// Removes vectors by their names from all points that `filter` matches; the points themselves stay.
pub(super) async fn delete_vectors(
    qdrant: &Qdrant,
    collection: &CollectionName,
    names: &[String],
    filter: Filter,
) -> Result<(), UpsertError> {
    let selector = PointsSelectorOneOf::Filter(filter);
    let request = DeletePointVectors {
        collection_name: collection.to_string(),
        wait: Some(true),
        points_selector: Some(PointsSelector {
            points_selector_one_of: Some(selector),
        }),
        vectors: Some(VectorsSelector {
            names: names.to_vec(),
        }),
        ..DeletePointVectors::default()
    };
    completed(
        "delete vectors from",
        collection,
        timed("delete_vectors", qdrant.delete_vectors(request)).await,
    )
}

/// Sends a request, and counts it.
pub(super) async fn timed<T>(
    operation: &'static str,
    request: impl Future<Output = Result<T, QdrantError>>,
) -> Result<T, QdrantError> {
    let started = Instant::now();
    let answer = request.await;
    metrics::qdrant_answered(operation, started.elapsed(), answer.is_ok());
    answer
}

fn include(fields: &[&str]) -> WithPayloadSelector {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    let include = SelectorOptions::Include(PayloadIncludeSelector { fields });
    WithPayloadSelector {
        selector_options: Some(include),
    }
}

/// A write is done when Qdrant says `Completed`; other answers come with gRPC status OK too.
fn completed(
    action: &'static str,
    collection: &CollectionName,
    response: Result<PointsOperationResponse, QdrantError>,
) -> Result<(), UpsertError> {
    let response = response.map_err(failed(action, collection))?;
    is_completed(action, collection, response.result.as_ref())
}

/// Looks at the answer to one write.
pub(super) fn is_completed(
    action: &'static str,
    collection: &CollectionName,
    result: Option<&UpdateResult>,
) -> Result<(), UpsertError> {
    let status = result.map_or(UpdateStatus::UnknownUpdateStatus, UpdateResult::status);
    if status == UpdateStatus::Completed {
        return Ok(());
    }
    let status = status.as_str_name().to_owned();
    Err(UpsertError::NotCompleted {
        action,
        collection: collection.clone(),
        status,
    })
}

/// Names the action and the collection in an error of the client.
pub(super) fn failed(
    action: &'static str,
    collection: &CollectionName,
) -> impl FnOnce(QdrantError) -> UpsertError {
    let collection = collection.clone();
    move |source| UpsertError::Qdrant {
        action,
        collection,
        source: Box::new(source),
    }
}
