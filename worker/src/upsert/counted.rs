//! Counted: the client of Qdrant, whose requests show in the metrics.

use std::time::Instant;

use points::store::Store;
use qdrant_client::qdrant::points_update_operation::Operation;
use qdrant_client::qdrant::{
    CountPoints, CountResponse, GetCollectionInfoResponse, GetPoints, GetResponse, ScrollPoints,
    ScrollResponse, UpdateBatchPoints, UpdateBatchResponse,
};
use qdrant_client::{Qdrant, QdrantError};

use crate::metrics;

/// The client.
pub(super) struct Counted(pub(super) Qdrant);

impl Store for Counted {
    async fn info(&self, collection: &str) -> Result<GetCollectionInfoResponse, QdrantError> {
        timed("collection_info", self.0.info(collection)).await
    }

    async fn get(&self, request: GetPoints) -> Result<GetResponse, QdrantError> {
        timed("get", self.0.get(request)).await
    }

    async fn scroll(&self, request: ScrollPoints) -> Result<ScrollResponse, QdrantError> {
        timed("scroll", Store::scroll(&self.0, request)).await
    }

    async fn count(&self, request: CountPoints) -> Result<CountResponse, QdrantError> {
        Store::count(&self.0, request).await
    }

    async fn update(&self, request: UpdateBatchPoints) -> Result<UpdateBatchResponse, QdrantError> {
        timed(operation(&request), self.0.update(request)).await
    }
}

/// Writes are named by their first operation: what follows in the same request belongs to it.
fn operation(request: &UpdateBatchPoints) -> &'static str {
    let first = request.operations.first();
    match first.and_then(|first| first.operation.as_ref()) {
        Some(Operation::Upsert(_)) => "upsert",
        Some(Operation::DeletePoints(_)) => "delete",
        _ => "set_payload",
    }
}

/// Sends a request, and counts it.
async fn timed<T>(
    operation: &'static str,
    request: impl Future<Output = Result<T, QdrantError>>,
) -> Result<T, QdrantError> {
    let started = Instant::now();
    let answer = request.await;
    metrics::qdrant_answered(operation, started.elapsed(), answer.is_ok());
    answer
}
