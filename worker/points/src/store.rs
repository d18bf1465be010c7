//! Store: the requests to Qdrant. Each says in an error what it did not do, and a write counts only once Qdrant says
//! that it is completed.

use std::collections::HashMap;
use std::future::Future;

use contract::names::CollectionName;
use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::points_update_operation::{
    DeletePoints, DeleteVectors, Operation, PointStructList, SetPayload,
};
use qdrant_client::qdrant::{
    CollectionInfo, Condition, CountPoints, CountResponse, Filter, GetCollectionInfoResponse,
    GetPoints, GetResponse, PointId, PointStruct, PointsSelector, PointsUpdateOperation,
    RetrievedPoint, ScrollPoints, ScrollResponse, UpdateBatchPoints, UpdateBatchResponse,
    UpdateResult, UpdateStatus, Value, VectorsSelector,
};
use qdrant_client::{Qdrant, QdrantError};
use thiserror::Error;
use uuid::Uuid;

use crate::payload::include;
use crate::vectors::{CollectionVectors, UnknownVectors};
use crate::{Points, guard::Guard};

/// Points of one read by ids.
const POINTS_PER_READ: usize = 1024;

/// Why points are not read or not written.
#[derive(Debug, Error)]
pub enum PointsError {
    /// Qdrant, or the way to it, failed.
    #[error("failed to {action} `{collection}`")]
    Qdrant {
        /// What was tried.
        action: &'static str,
        /// Where.
        collection: CollectionName,
        /// What came back.
        #[source]
        source: Box<QdrantError>,
    },
    /// The collection has vectors that this program does not know.
    #[error("failed to write points into `{collection}`")]
    Vectors {
        /// Where.
        collection: CollectionName,
        /// Why.
        #[source]
        source: UnknownVectors,
    },
    /// Qdrant answered, but the write is not done.
    #[error("qdrant answered `{status}` instead of `Completed` to {action} `{collection}`")]
    NotCompleted {
        /// What was tried.
        action: &'static str,
        /// Where.
        collection: CollectionName,
        /// What it said.
        status: String,
    },
}

/// A server with points. Implemented for the client of Qdrant; others may count requests, or record them.
pub trait Store: Sync {
    /// Looks a collection up.
    fn info(
        &self,
        collection: &str,
    ) -> impl Future<Output = Result<GetCollectionInfoResponse, QdrantError>> + Send;

    /// Reads points by their ids.
    fn get(
        &self,
        request: GetPoints,
    ) -> impl Future<Output = Result<GetResponse, QdrantError>> + Send;

    /// Reads a page of points.
    fn scroll(
        &self,
        request: ScrollPoints,
    ) -> impl Future<Output = Result<ScrollResponse, QdrantError>> + Send;

    /// Counts points.
    fn count(
        &self,
        request: CountPoints,
    ) -> impl Future<Output = Result<CountResponse, QdrantError>> + Send;

    /// Writes, one operation after the other.
    fn update(
        &self,
        request: UpdateBatchPoints,
    ) -> impl Future<Output = Result<UpdateBatchResponse, QdrantError>> + Send;
}

impl Store for Qdrant {
    fn info(
        &self,
        collection: &str,
    ) -> impl Future<Output = Result<GetCollectionInfoResponse, QdrantError>> + Send {
        self.collection_info(collection.to_owned())
    }

    fn get(
        &self,
        request: GetPoints,
    ) -> impl Future<Output = Result<GetResponse, QdrantError>> + Send {
        self.get_points(request)
    }

    fn scroll(
        &self,
        request: ScrollPoints,
    ) -> impl Future<Output = Result<ScrollResponse, QdrantError>> + Send {
        Self::scroll(self, request)
    }

    fn count(
        &self,
        request: CountPoints,
    ) -> impl Future<Output = Result<CountResponse, QdrantError>> + Send {
        Self::count(self, request)
    }

    fn update(
        &self,
        request: UpdateBatchPoints,
    ) -> impl Future<Output = Result<UpdateBatchResponse, QdrantError>> + Send {
        self.update_points_batch(request)
    }
}

impl<S: Store> Points<'_, S> {
    /// Points by their ids, with some fields of their payload; with no fields named, with all.
    ///
    /// # Errors
    /// [`PointsError::Qdrant`].
    pub async fn get(
        self,
        ids: impl IntoIterator<Item = impl Into<PointId>>,
        fields: &[&str],
        with_vectors: bool,
    ) -> Result<Vec<RetrievedPoint>, PointsError> {
        let payload = if fields.is_empty() {
            true.into()
        } else {
            include(fields)
        };
        let ids: Vec<PointId> = ids.into_iter().map(Into::into).collect();
        let mut found = Vec::new();
        for ids in ids.chunks(POINTS_PER_READ) {
            let request = GetPoints {
                collection_name: self.collection.to_string(),
                ids: ids.to_vec(),
                with_payload: Some(payload.clone()),
                with_vectors: Some(with_vectors.into()),
                ..GetPoints::default()
            };
            let answer = self.store.get(request).await;
            found.extend(answer.map_err(self.failed("read points of"))?.result);
        }
        Ok(found)
    }

    /// Exact number of points that a filter matches.
    ///
    /// # Errors
    /// [`PointsError::Qdrant`].
    pub async fn count(self, filter: Filter) -> Result<u64, PointsError> {
        let request = CountPoints {
            collection_name: self.collection.to_string(),
            filter: Some(filter),
            exact: Some(true),
            ..CountPoints::default()
        };
        let answer = self.store.count(request).await;
        let answer = answer.map_err(self.failed("count the points of"))?;
        Ok(answer.result.map_or(0, |result| result.count))
    }

    /// Removes all points that a filter matches.
    ///
    /// # Errors
    /// [`PointsError`].
    pub async fn delete(self, filter: Filter) -> Result<(), PointsError> {
        let delete = DeletePoints {
            points: Some(selector(filter)),
            ..DeletePoints::default()
        };
        let operations = vec![Operation::DeletePoints(delete)];
        self.update("delete points from", operations).await
    }

    /// A write that goes all the way and changes nothing: it asks for a point that is not there.
    ///
    /// # Errors
    /// [`PointsError`].
    pub async fn write_nothing(self) -> Result<(), PointsError> {
        let nobody = PointId::from(Uuid::nil().to_string());
        let set = SetPayload {
            payload: HashMap::from([("probe".to_owned(), Value::from(true))]),
            points_selector: Some(selector(Filter::must([Condition::has_id([nobody])]))),
            ..SetPayload::default()
        };
        self.update("probe", vec![Operation::SetPayload(set)]).await
    }

    /// Writes, one operation after the other, and waits until all of them are durable. `action` is what is done, for
    /// errors.
    ///
    /// # Errors
    /// [`PointsError`]; a part of the operations may be done.
    pub async fn update(
        self,
        action: &'static str,
        operations: Vec<Operation>,
    ) -> Result<(), PointsError> {
        let expected = operations.len();
        if expected == 0 {
            return Ok(());
        }
        let operation = |operation| PointsUpdateOperation {
            operation: Some(operation),
        };
        let request = UpdateBatchPoints {
            collection_name: self.collection.to_string(),
            wait: Some(true),
            operations: operations.into_iter().map(operation).collect(),
            ..UpdateBatchPoints::default()
        };
        let answer = self.store.update(request).await;
        let results = answer.map_err(self.failed(action))?.result;
        // Of some operations nothing may have been said. Other answers come with gRPC status OK too.
        for answer in 0..expected {
            let status = results.get(answer).map(UpdateResult::status);
            let status = status.unwrap_or(UpdateStatus::UnknownUpdateStatus);
            if status != UpdateStatus::Completed {
                return Err(PointsError::NotCompleted {
                    action,
                    collection: self.collection.clone(),
                    status: status.as_str_name().to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Looks the collection up.
    ///
    /// # Errors
    /// [`PointsError::Qdrant`].
    pub async fn info(self) -> Result<CollectionInfo, PointsError> {
        let info = self.store.info(self.collection.as_str()).await;
        let info = info.map_err(self.failed("look up"))?;
        Ok(info.result.unwrap_or_default())
    }

    /// The vectors of the collection.
    ///
    /// # Errors
    /// [`PointsError`].
    pub async fn vectors(self) -> Result<CollectionVectors, PointsError> {
        self.vectors_of(&self.info().await?)
    }

    /// The vectors of the collection, as a look at it has found them.
    ///
    /// # Errors
    /// [`PointsError::Vectors`].
    pub fn vectors_of(self, info: &CollectionInfo) -> Result<CollectionVectors, PointsError> {
        CollectionVectors::of(info).map_err(|source| PointsError::Vectors {
            collection: self.collection.clone(),
            source,
        })
    }

    /// Names the action and the collection in an error of the client.
    pub(crate) fn failed(self, action: &'static str) -> impl FnOnce(QdrantError) -> PointsError {
        let collection = self.collection.clone();
        move |source| PointsError::Qdrant {
            action,
            collection,
            source: Box::new(source),
        }
    }
}

/// Writes points; those that are there and that `guard` does not let be replaced keep their state.
pub(crate) fn upsert(points: Vec<PointStruct>, guard: Guard) -> Operation {
    Operation::Upsert(PointStructList {
        points,
        update_filter: Some(guard.filter()),
        ..PointStructList::default()
    })
}

/// Removes vectors from all points that a filter matches; the points themselves stay.
pub(crate) fn delete_vectors(names: Vec<String>, filter: Filter) -> Operation {
    Operation::DeleteVectors(DeleteVectors {
        points_selector: Some(selector(filter)),
        vectors: Some(VectorsSelector { names }),
        ..DeleteVectors::default()
    })
}

/// Selects points by a filter, which the server evaluates when it applies the operation.
#[must_use]
pub fn selector(filter: Filter) -> PointsSelector {
    PointsSelector {
        points_selector_one_of: Some(PointsSelectorOneOf::Filter(filter)),
    }
}
