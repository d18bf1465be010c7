//! Store: the requests to Qdrant. Each says in an error what it did not do, and a write counts only once Qdrant says
//! that it is completed.

use std::collections::HashMap;
use std::future::Future;

use contract::names::CollectionName;
use qdrant_client::QdrantError;
use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::points_update_operation::{
    DeletePoints, DeleteVectors, Operation, PointStructList, SetPayload,
};
use qdrant_client::qdrant::{
    CollectionInfo, Condition, CountPoints, CountResponse, Filter, GetCollectionInfoResponse,
    GetPoints, GetResponse, PointId, PointStruct, PointsSelector, PointsUpdateOperation,
    ReadConsistency, RetrievedPoint, ScrollPoints, ScrollResponse, UpdateBatchPoints,
    UpdateBatchResponse, UpdateResult, UpdateStatus, Value, VectorsSelector,
};
use thiserror::Error;
use uuid::Uuid;

use crate::Points;
use crate::guard::Guard;
use crate::limits::Limits;
use crate::payload::include;
use crate::refusal::Refusal;
use crate::selection::VectorSelection;
use crate::vectors::UnknownVectors;

/// Points of one request: larger ones gain little and hold more memory on both sides.
pub(crate) const POINTS_PER_REQUEST: usize = 128;
/// Bytes of one request in memory: a few points with much metadata are a large request too.
pub(crate) const BYTES_PER_REQUEST: usize = 4 << 20;

/// Points of one read by ids.
const POINTS_PER_READ: usize = 1024;
/// Points that are counted, or removed, at once where that cannot be done for all of them together.
const POINTS_PER_PART: u32 = 1024;

/// Why points are not read or not written.
#[derive(Debug, Error)]
pub enum PointsError {
    /// Qdrant, or the way to it, failed.
    #[error("failed to {action} `{collection}`")]
    Qdrant {
        action: &'static str,
        collection: CollectionName,
        #[source]
        source: Box<QdrantError>,
    },
    /// The collection has vectors that this program does not know.
    #[error("failed to write points into `{collection}`")]
    Vectors {
        collection: CollectionName,
        #[source]
        source: UnknownVectors,
    },
    /// Qdrant answered, but the write is not done.
    #[error("qdrant answered `{status}` instead of `Completed` to {action} `{collection}`")]
    NotCompleted {
        action: &'static str,
        collection: CollectionName,
        status: String,
    },
    /// Qdrant said that a write is done, and not every replica has it.
    #[error(
        "{points} points of `{collection}` are not on every replica as they were written; write them again"
    )]
    NotOnAllReplicas {
        collection: CollectionName,
        /// How many points differ, or are left over.
        points: u64,
    },
}

impl PointsError {
    /// Why Qdrant has refused the request, if it has answered that.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Qdrant { source, .. } => Some(Refusal::of(source)),
            Self::Vectors { .. } | Self::NotCompleted { .. } | Self::NotOnAllReplicas { .. } => {
                None
            }
        }
    }
}

/// A server with points. Implemented for [`crate::Qdrant`]; others may count requests, or record them.
pub trait Store: Sync {
    /// Looks a collection up.
    fn info(
        &self,
        collection: &str,
    ) -> impl Future<Output = Result<GetCollectionInfoResponse, QdrantError>> + Send;

    /// The limits of a collection, as they were when it was looked up last; after a refusal for a limit, as they are.
    fn limits(&self, collection: &str) -> impl Future<Output = Result<Limits, QdrantError>> + Send;

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

impl<S: Store> Points<'_, S> {
    /// Points by their ids, with some fields of their payload; with no fields named, with all.
    ///
    /// # Errors
    /// [`PointsError::Qdrant`].
    pub async fn get(
        self,
        ids: impl IntoIterator<Item = impl Into<PointId>>,
        fields: &[&str],
    ) -> Result<Vec<RetrievedPoint>, PointsError> {
        self.get_at(None, ids, fields, &VectorSelection::none())
            .await
    }

    /// The same, with some of their vectors. All of them are in memory: whoever reads large ones asks for no more points
    /// than [`VectorSelection::points`] at once.
    ///
    /// # Errors
    /// [`PointsError::Qdrant`].
    pub async fn get_with(
        self,
        vectors: &VectorSelection,
        ids: impl IntoIterator<Item = impl Into<PointId>>,
        fields: &[&str],
    ) -> Result<Vec<RetrievedPoint>, PointsError> {
        self.get_at(None, ids, fields, vectors).await
    }

    /// As [`Points::get`], from as many replicas as `consistency` says.
    pub(crate) async fn get_at(
        self,
        consistency: Option<ReadConsistency>,
        ids: impl IntoIterator<Item = impl Into<PointId>>,
        fields: &[&str],
        vectors: &VectorSelection,
    ) -> Result<Vec<RetrievedPoint>, PointsError> {
        let payload = if fields.is_empty() {
            true.into()
        } else {
            include(fields)
        };
        let ids: Vec<PointId> = ids.into_iter().map(Into::into).collect();
        let (mut found, mut rest) = (Vec::new(), ids.as_slice());
        if rest.is_empty() {
            return Ok(found);
        }
        let (mut limits, mut vectors) = (self.limits().await?, vectors.clone());
        while !rest.is_empty() {
            let most = limits.ids(vectors.points(POINTS_PER_READ));
            let (part, others) = rest.split_at(most.min(rest.len()));
            let request = GetPoints {
                collection_name: self.collection.to_string(),
                ids: part.to_vec(),
                with_payload: Some(payload.clone()),
                with_vectors: Some(vectors.selector()),
                read_consistency: consistency,
                ..GetPoints::default()
            };
            let answer = self.store.get(request).await;
            match answer.map_err(self.failed("read points of")) {
                Ok(answer) => {
                    found.extend(answer.result);
                    rest = others;
                }
                Err(error) if error.refusal() == Some(Refusal::Content) => {
                    vectors = self.select_again(&vectors, error).await?;
                }
                Err(error) => limits = self.limits_after(limits, error).await?,
            }
        }
        Ok(found)
    }

    /// Exact number of points that a filter matches.
    ///
    /// # Errors
    /// [`PointsError::Qdrant`].
    pub async fn count(self, filter: Filter) -> Result<u64, PointsError> {
        self.count_at(None, filter).await
    }

    /// As [`Points::count`], by as many replicas as `consistency` says.
    pub(crate) async fn count_at(
        self,
        consistency: Option<ReadConsistency>,
        filter: Filter,
    ) -> Result<u64, PointsError> {
        let mut limits = self.limits().await?;
        while limits.exact {
            let request = CountPoints {
                collection_name: self.collection.to_string(),
                filter: Some(filter.clone()),
                exact: Some(true),
                read_consistency: consistency,
                ..CountPoints::default()
            };
            let answer = self.store.count(request).await;
            match answer.map_err(self.failed("count the points of")) {
                Ok(answer) => return Ok(answer.result.map_or(0, |result| result.count)),
                Err(error) => limits = self.limits_after(limits, error).await?,
            }
        }
        let (mut count, mut pages) = (0, self.pages(filter, &[], POINTS_PER_PART));
        while let Some(page) = pages.next().await? {
            count += page.len() as u64;
        }
        Ok(count)
    }

    /// Removes all points that a filter matches.
    ///
    /// # Errors
    /// [`PointsError`].
    pub async fn delete(self, filter: Filter) -> Result<(), PointsError> {
        let mut limits = self.limits().await?;
        loop {
            let deleted = if limits.allows_any_number_of_writes() {
                self.delete_at_once(filter.clone()).await
            } else {
                self.delete_in_parts(&filter, limits).await
            };
            match deleted {
                Ok(()) => return Ok(()),
                Err(error) => limits = self.limits_after(limits, error).await?,
            }
        }
    }

    async fn delete_at_once(self, filter: Filter) -> Result<(), PointsError> {
        let delete = DeletePoints {
            points: Some(selector(filter)),
            ..DeletePoints::default()
        };
        let operations = vec![Operation::DeletePoints(delete)];
        self.update("delete points from", operations).await
    }

    /// Under a rate limit a filter may match more points than may be written in a minute. What is written between the look
    /// and the removal is kept if the filter does not match it any more.
    async fn delete_in_parts(self, filter: &Filter, limits: Limits) -> Result<(), PointsError> {
        let part = limits.selected(POINTS_PER_PART as usize);
        let part = u32::try_from(part).unwrap_or(POINTS_PER_PART);
        let mut pages = self.pages(filter.clone(), &[], part);
        while let Some(page) = pages.next().await? {
            let ids: Vec<_> = page.into_iter().filter_map(|point| point.id).collect();
            if ids.is_empty() {
                continue;
            }
            let these = Filter::must([Condition::has_id(ids), filter.clone().into()]);
            self.delete_at_once(these).await?;
        }
        Ok(())
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
    /// Under a rate limit each operation is a request: one that is refused in the middle would begin anew, and spend on its
    /// first operations what the last ones need.
    ///
    /// # Errors
    /// [`PointsError`]; a part of the operations may be done.
    pub async fn update(
        self,
        action: &'static str,
        operations: Vec<Operation>,
    ) -> Result<(), PointsError> {
        if operations.is_empty() {
            return Ok(());
        }
        if self.limits().await?.allows_any_number_of_writes() {
            return self.send(action, operations).await;
        }
        for operation in operations {
            self.send(action, vec![operation]).await?;
        }
        Ok(())
    }

    async fn send(
        self,
        action: &'static str,
        operations: Vec<Operation>,
    ) -> Result<(), PointsError> {
        let expected = operations.len();
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

    /// The largest requests that the collection takes.
    ///
    /// # Errors
    /// [`PointsError::Qdrant`].
    pub async fn limits(self) -> Result<Limits, PointsError> {
        let limits = self.store.limits(self.collection.as_str()).await;
        limits.map_err(self.failed("look up"))
    }

    /// After an error of a request that kept to `used`: the limits that have been set since, to which it is to be cut.
    ///
    /// # Errors
    /// The same error, if no limit is its cause, or none has changed.
    pub async fn limits_after(
        self,
        used: Limits,
        error: PointsError,
    ) -> Result<Limits, PointsError> {
        if !error.refusal().is_some_and(Refusal::is_of_installation) {
            return Err(error);
        }
        match self.limits().await? {
            limits if limits == used => Err(error),
            limits => Ok(limits),
        }
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
