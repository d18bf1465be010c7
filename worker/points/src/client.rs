//! Client: the only one of Qdrant, through which every request of Ebb goes.
//!
//! **What is asked again.** All requests of Ebb are reads, or writes that may be done twice. So a request that met an
//! outage is sent again until it is answered, for [`PATIENCE`] at most: a server that is restarted in the middle of a run
//! does not end the run. Only a server that has answered before is waited for: a wrong address fails at once. Whoever
//! looks at a system ([`Qdrant::new`]) is not kept waiting, and workers wait for servers themselves, with their jobs kept.
//!
//! A request beyond the rate that a collection allows is sent again when the server says, by everybody, for
//! [`RATE_PATIENCE`] at most. Such requests wait in line, so that each of them has its turn.
//!
//! **Limits** of a collection are remembered when it is looked up, and forgotten when a request meets one.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use qdrant_client::QdrantError;
use qdrant_client::qdrant::{
    CollectionClusterInfoRequest, CollectionClusterInfoResponse, CollectionOperationResponse,
    CountPoints, CountResponse, CreateAlias, CreateCollection, CreateFieldIndexCollection,
    CreateVectorNameRequest, DeleteFieldIndexCollection, DeleteVectorNameRequest,
    GetCollectionInfoResponse, GetPoints, GetResponse, HealthCheckReply, ListAliasesResponse,
    ListCollectionsResponse, PointsOperationResponse, QueryBatchPoints, QueryBatchResponse,
    QueryPoints, QueryResponse, ScrollPoints, ScrollResponse, UpdateBatchPoints,
    UpdateBatchResponse, UpdateCollection,
};
use tokio::time::Instant;

use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::refusal::login_advice;
use crate::status_code;
use crate::store::Store;

#[cfg(test)]
mod tests;

/// How long a request that meets an outage is sent again: longer than a server takes to start again.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How long a request waits for its turn under a rate limit, which gives back all that it allows within a minute.
pub const RATE_PATIENCE: Duration = Duration::from_secs(600);
/// Pause before a request is sent again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A server says whole seconds; none would be asked again in a hot loop.
const SHORTEST_RATE_PAUSE: Duration = Duration::from_secs(1);

/// A client of a server. Clones share everything.
#[derive(Clone)]
pub struct Qdrant(Arc<Inner>);

struct Inner {
    client: qdrant_client::Qdrant,
    patience: Duration,
    /// Whether the server has ever answered.
    has_answered: AtomicBool,
    /// Whether the outage that there is has been said: all requests under way meet it.
    is_said: AtomicBool,
    limits: Mutex<HashMap<String, Limits>>,
    /// Held by the request that is the next to be sent again under a rate limit.
    turn: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Qdrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qdrant")
            .field("patience", &self.0.patience)
            .finish_non_exhaustive()
    }
}

impl Qdrant {
    /// A client whose requests fail as soon as there is an outage.
    #[must_use]
    pub fn new(client: qdrant_client::Qdrant) -> Self {
        Self::with_patience(client, Duration::ZERO)
    }

    /// A client that waits for the end of an outage for so long.
    #[must_use]
    pub fn with_patience(client: qdrant_client::Qdrant, patience: Duration) -> Self {
        Self(Arc::new(Inner {
            client,
            patience,
            has_answered: AtomicBool::new(false),
            is_said: AtomicBool::new(false),
            limits: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }))
    }

    /// Asks for the version of the server.
    ///
    /// # Errors
    /// [`QdrantError`].
    pub async fn health_check(&self) -> Result<HealthCheckReply, QdrantError> {
        self.ask(|| self.0.client.health_check()).await
    }

    /// Lists the collections.
    ///
    /// # Errors
    /// [`QdrantError`].
    pub async fn list_collections(&self) -> Result<ListCollectionsResponse, QdrantError> {
        self.ask(|| self.0.client.list_collections()).await
    }

    /// Lists the aliases.
    ///
    /// # Errors
    /// [`QdrantError`].
    pub async fn list_aliases(&self) -> Result<ListAliasesResponse, QdrantError> {
        self.ask(|| self.0.client.list_aliases()).await
    }

    /// Looks up a collection, or what is behind an alias, and remembers its limits.
    ///
    /// # Errors
    /// [`QdrantError`].
    pub async fn collection_info(
        &self,
        name: &str,
    ) -> Result<GetCollectionInfoResponse, QdrantError> {
        let answer = self.ask(|| self.0.client.collection_info(name)).await?;
        if let Some(info) = &answer.result {
            self.0.limits().insert(name.to_owned(), Limits::of(info));
        }
        Ok(answer)
    }

    /// Looks up where the shards of a collection are.
    ///
    /// # Errors
    /// [`QdrantError`].
    pub async fn collection_cluster_info(
        &self,
        name: &str,
    ) -> Result<CollectionClusterInfoResponse, QdrantError> {
        let request = || CollectionClusterInfoRequest {
            collection_name: name.to_owned(),
        };
        self.ask(|| self.0.client.collection_cluster_info(request()))
            .await
    }

    /// Creates a collection. One that an earlier attempt of the same request has made is there.
    ///
    /// # Errors
    /// [`QdrantError`].
    pub async fn create_collection(
        &self,
        request: impl Into<CreateCollection>,
    ) -> Result<CollectionOperationResponse, QdrantError> {
        let (request, attempts) = (request.into(), AtomicUsize::new(0));
        let created = self
            .ask(|| {
                attempts.fetch_add(1, Ordering::Relaxed);
                self.0.client.create_collection(request.clone())
            })
            .await;
        match created {
            Err(error)
                if status_code::is(&error, status_code::ALREADY_EXISTS)
                    && attempts.into_inner() > 1 =>
            {
                Ok(CollectionOperationResponse::default())
            }
            created => created,
        }
    }

    /// Changes the settings of a collection.
    ///
    /// # Errors
    /// [`QdrantError`].
    pub async fn update_collection(
        &self,
        request: impl Into<UpdateCollection>,
    ) -> Result<CollectionOperationResponse, QdrantError> {
        let request = request.into();
        self.ask(|| self.0.client.update_collection(request.clone()))
            .await
    }

    /// Deletes a collection; one that is not there is no error.
    ///
    /// # Errors
    /// [`QdrantError`].
    pub async fn delete_collection(
        &self,
        name: &str,
    ) -> Result<CollectionOperationResponse, QdrantError> {
        self.ask(|| self.0.client.delete_collection(name)).await
    }

    /// Points an alias to a collection.
    ///
    /// # Errors
    /// [`QdrantError`].
    pub async fn create_alias(
        &self,
        request: impl Into<CreateAlias>,
    ) -> Result<CollectionOperationResponse, QdrantError> {
        let request = request.into();
        self.ask(|| self.0.client.create_alias(request.clone()))
            .await
    }

    /// Makes a payload index.
    ///
    /// # Errors
    /// [`QdrantError`].
    pub async fn create_field_index(
        &self,
        request: impl Into<CreateFieldIndexCollection>,
    ) -> Result<PointsOperationResponse, QdrantError> {
        let request = request.into();
        self.ask(|| self.0.client.create_field_index(request.clone()))
            .await
    }

    /// Drops a payload index.
    ///
    /// # Errors
    /// [`QdrantError`].
    pub async fn delete_field_index(
        &self,
        request: impl Into<DeleteFieldIndexCollection>,
    ) -> Result<PointsOperationResponse, QdrantError> {
        let request = request.into();
        self.ask(|| self.0.client.delete_field_index(request.clone()))
            .await
    }

    /// Gives a collection another vector. One that is there as it should be is no error.
    ///
    /// # Errors
    /// [`QdrantError`].
    pub async fn create_vector_name(
        &self,
        request: CreateVectorNameRequest,
    ) -> Result<PointsOperationResponse, QdrantError> {
        self.ask(|| self.0.client.create_vector_name(request.clone()))
            .await
    }

    /// Removes a vector from a collection; one that is not there is no error.
    ///
    /// # Errors
    /// [`QdrantError`].
    pub async fn delete_vector_name(
        &self,
        request: DeleteVectorNameRequest,
    ) -> Result<PointsOperationResponse, QdrantError> {
        self.ask(|| self.0.client.delete_vector_name(request.clone()))
            .await
    }

    /// Searches.
    ///
    /// # Errors
    /// [`QdrantError`].
    pub async fn query(
        &self,
        request: impl Into<QueryPoints>,
    ) -> Result<QueryResponse, QdrantError> {
        let request = request.into();
        self.ask(|| self.0.client.query(request.clone())).await
    }

    /// Searches several times with one request.
    ///
    /// # Errors
    /// [`QdrantError`].
    pub async fn query_batch(
        &self,
        request: impl Into<QueryBatchPoints>,
    ) -> Result<QueryBatchResponse, QdrantError> {
        let request = request.into();
        self.ask(|| self.0.client.query_batch(request.clone()))
            .await
    }

    /// Sends a request until it is answered, or it is no use to go on.
    async fn ask<T, F>(&self, request: impl Fn() -> F) -> Result<T, QdrantError>
    where
        F: Future<Output = Result<T, QdrantError>>,
    {
        let (mut outage, mut line) = (Outage::new(self.0.patience), Line::default());
        loop {
            let error = match request().await {
                Ok(answer) => {
                    self.0.has_answered.store(true, Ordering::Relaxed);
                    self.0.is_said.store(false, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let refusal = Refusal::of(&error);
            let goes_on = match refusal {
                Refusal::Rate(after) => line.wait(&self.0.turn, after).await,
                Refusal::Outage if self.is_waited_for(&error) => {
                    outage.wait(&error, &self.0.is_said).await
                }
                Refusal::Limit | Refusal::Index | Refusal::Full | Refusal::Setup => {
                    self.0.limits().clear();
                    false
                }
                Refusal::Outage | Refusal::Rights | Refusal::Missing | Refusal::Content => false,
            };
            if !goes_on {
                return Err(error);
            }
        }
    }

    /// A certificate that is not trusted will not be trusted later.
    fn is_waited_for(&self, error: &QdrantError) -> bool {
        self.0.has_answered.load(Ordering::Relaxed) && login_advice(error).is_none()
    }

    /// Whether a write is sent once at most, so that it need not be kept.
    fn is_sent_once(&self, collection: &str) -> bool {
        let limits = self.0.limits().get(collection).copied();
        let is_free = limits.is_some_and(Limits::allows_any_number_of_writes);
        self.0.patience.is_zero() && is_free
    }
}

impl Inner {
    fn limits(&self) -> MutexGuard<'_, HashMap<String, Limits>> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The outage that a request has met.
struct Outage {
    patience: Duration,
    since: Option<Instant>,
    pause: Duration,
}

impl Outage {
    fn new(patience: Duration) -> Self {
        Self {
            patience,
            since: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Waits before the request is sent again; whether it is worth it.
    async fn wait(&mut self, error: &QdrantError, is_said: &AtomicBool) -> bool {
        if self.patience.is_zero() {
            return false;
        }
        let seconds = self.patience.as_secs();
        if !is_said.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "qdrant failed; trying again for {seconds} s");
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() + self.pause > self.patience {
            tracing::error!(%error, "qdrant has failed for {seconds} s; giving up");
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

/// The place of a request in the line of those that a rate limit has stopped.
#[derive(Default)]
struct Line<'a> {
    turn: Option<tokio::sync::MutexGuard<'a, ()>>,
    since: Option<Instant>,
}

impl<'a> Line<'a> {
    /// Waits until the request may be sent again; whether it is worth it.
    async fn wait(&mut self, turn: &'a tokio::sync::Mutex<()>, after: Duration) -> bool {
        let after = after.max(SHORTEST_RATE_PAUSE);
        if self.turn.is_none() {
            tracing::debug!(
                seconds = after.as_secs(),
                "waiting for the rate limit of qdrant"
            );
            self.turn = Some(turn.lock().await);
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() + after > RATE_PATIENCE {
            return false;
        }
        tokio::time::sleep(after).await;
        true
    }
}

impl Store for Qdrant {
    async fn info(&self, collection: &str) -> Result<GetCollectionInfoResponse, QdrantError> {
        self.collection_info(collection).await
    }

    async fn limits(&self, collection: &str) -> Result<Limits, QdrantError> {
        let known = self.0.limits().get(collection).copied();
        if let Some(known) = known {
            return Ok(known);
        }
        let info = self.collection_info(collection).await?;
        Ok(Limits::of(&info.result.unwrap_or_default()))
    }

    async fn get(&self, request: GetPoints) -> Result<GetResponse, QdrantError> {
        self.ask(|| self.0.client.get_points(request.clone())).await
    }

    async fn scroll(&self, request: ScrollPoints) -> Result<ScrollResponse, QdrantError> {
        self.ask(|| self.0.client.scroll(request.clone())).await
    }

    async fn count(&self, request: CountPoints) -> Result<CountResponse, QdrantError> {
        self.ask(|| self.0.client.count(request.clone())).await
    }

    async fn update(&self, request: UpdateBatchPoints) -> Result<UpdateBatchResponse, QdrantError> {
        // Points are large: they are copied only where they may have to be sent once more.
        if self.is_sent_once(&request.collection_name) {
            let answer = self.0.client.update_points_batch(request).await;
            if let Err(error) = &answer
                && Refusal::of(error) != Refusal::Outage
            {
                self.0.limits().clear();
            }
            return answer;
        }
        self.ask(|| self.0.client.update_points_batch(request.clone()))
            .await
    }
}
