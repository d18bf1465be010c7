//! Replicated: two recorded stores as the replicas of a shard, behind a node that may reach only one of them.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each request meets few of the faults"
)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use qdrant_client::QdrantError;
use qdrant_client::qdrant::{
    CountPoints, CountResponse, CountResult, GetCollectionInfoResponse, GetPoints, GetResponse,
    ReadConsistency, ReadConsistencyType, ScrollPoints, ScrollResponse, UpdateBatchPoints,
    UpdateBatchResponse, UpdateResult, UpdateStatus, Value, read_consistency,
    with_payload_selector::SelectorOptions,
};

use super::recorded::{Recorded, Stored};
use crate::Points;
use crate::limits::Limits;
use crate::store::Store;

/// What goes wrong, and at which request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// The node is cut off from then on: its own replica alone takes what is written, and that counts as completed.
    CutOff(usize),
    /// One request reaches this replica alone, and counts as completed: by a node that has left the other out, before the
    /// next request goes to a node that knows nothing of it.
    LeftOut(usize, usize),
    /// One request reaches this replica alone, and fails.
    Broken(usize, usize),
}

type Rival = Box<dyn FnMut(&Replicated) + Send>;

pub(super) struct Replicated {
    pub(super) replicas: [Recorded; 2],
    /// The replica of the node that answers.
    own: Mutex<usize>,
    fault: Mutex<Fault>,
    /// Requests so far.
    requests: Mutex<usize>,
    /// Comes when the request of this number has reached one replica, this one, and not yet the other.
    rival: Mutex<Option<(usize, usize, Rival)>>,
}

impl Replicated {
    pub(super) fn new(content: &BTreeMap<String, Stored>, own: usize) -> Self {
        let replica = || Recorded::new(true).with_points(content.clone());
        Self {
            replicas: [replica(), replica()],
            own: Mutex::new(own),
            fault: Mutex::new(Fault::None),
            requests: Mutex::new(0),
            rival: Mutex::new(None),
        }
    }

    pub(super) fn with(self, fault: Fault) -> Self {
        *self.fault.lock().unwrap() = fault;
        self
    }

    pub(super) fn met_by(
        self,
        request: usize,
        first: usize,
        rival: impl FnMut(&Self) + Send + 'static,
    ) -> Self {
        *self.rival.lock().unwrap() = Some((request, first, Box::new(rival)));
        self
    }

    /// All is well from now on, and the node with this replica answers.
    pub(super) fn heal(&self, own: usize) {
        *self.fault.lock().unwrap() = Fault::None;
        *self.own.lock().unwrap() = own;
    }

    /// A replica that counts as dead is made anew from the other.
    pub(super) fn copy_over(&self, dead: usize) {
        *self.replicas[dead].points.lock().unwrap() = self.replicas[1 - dead].content();
    }

    pub(super) fn points(&self) -> Points<'_, Self> {
        Points {
            store: self,
            collection: &self.replicas[0].collection,
        }
    }

    pub(super) fn requests(&self) -> usize {
        *self.requests.lock().unwrap()
    }

    fn own(&self) -> &Recorded {
        &self.replicas[*self.own.lock().unwrap()]
    }

    fn next_request(&self) -> usize {
        let mut requests = self.requests.lock().unwrap();
        *requests += 1;
        *requests - 1
    }

    /// Whether the node must ask more than its own replica; an error if it cannot.
    fn asks_all(
        &self,
        consistency: Option<ReadConsistency>,
    ) -> Result<Option<ReadConsistencyType>, QdrantError> {
        let request = self.next_request();
        let Some(read_consistency::Value::Type(kind)) = consistency.and_then(|it| it.value) else {
            return Ok(None);
        };
        match *self.fault.lock().unwrap() {
            Fault::CutOff(from) if request >= from => Err(unavailable()),
            _ => Ok(Some(ReadConsistencyType::try_from(kind).unwrap())),
        }
    }

    /// Lets somebody else in between the two replicas.
    fn let_rival_in(&self, request: usize, reached: usize) {
        let due = |(at, first, _): &(usize, usize, Rival)| (*at, *first) == (request, reached);
        let rival = {
            let mut slot = self.rival.lock().unwrap();
            if slot.as_ref().is_some_and(due) {
                slot.take()
            } else {
                None
            }
        };
        if let Some((_, _, mut rival)) = rival {
            rival(self);
        }
    }
}

fn unavailable() -> QdrantError {
    let text = "The replica set for shard 0 does not have enough active replicas";
    QdrantError::Io(std::io::Error::other(text))
}

impl Store for Replicated {
    async fn info(&self, collection: &str) -> Result<GetCollectionInfoResponse, QdrantError> {
        self.next_request();
        let mut answer = self.own().info(collection).await?;
        let info = answer.result.as_mut();
        let config = info.and_then(|info| info.config.as_mut());
        let params = config.and_then(|config| config.params.as_mut());
        params.unwrap().replication_factor = Some(2);
        Ok(answer)
    }

    // Remembered by the client, so that it is no request.
    async fn limits(&self, collection: &str) -> Result<Limits, QdrantError> {
        self.own().limits(collection).await
    }

    async fn get(&self, request: GetPoints) -> Result<GetResponse, QdrantError> {
        let Some(_) = self.asks_all(request.read_consistency)? else {
            return self.own().get(request).await;
        };
        let selector = request.with_payload.clone().unwrap().selector_options;
        let Some(SelectorOptions::Include(fields)) = selector else {
            panic!("all replicas are asked for some fields only");
        };
        let seen = |payload: &HashMap<String, Value>| -> Vec<Option<Value>> {
            let fields = fields.fields.iter();
            fields.map(|field| payload.get(field).cloned()).collect()
        };
        let mut answer = self.replicas[0].get(request.clone()).await?;
        let other = self.replicas[1].get(request).await?.result;
        answer.result.retain(|point| {
            let same = other.iter().find(|other| other.id == point.id);
            same.is_some_and(|same| {
                seen(&same.payload) == seen(&point.payload) && same.vectors == point.vectors
            })
        });
        Ok(answer)
    }

    async fn scroll(&self, request: ScrollPoints) -> Result<ScrollResponse, QdrantError> {
        self.next_request();
        self.own().scroll(request).await
    }

    async fn count(&self, request: CountPoints) -> Result<CountResponse, QdrantError> {
        let kind = self.asks_all(request.read_consistency)?;
        let mut counts = Vec::new();
        for replica in &self.replicas {
            let answer = replica.count(request.clone()).await?;
            counts.push(answer.result.unwrap().count);
        }
        let count = match kind {
            None => counts[*self.own.lock().unwrap()],
            Some(ReadConsistencyType::Majority) => counts[0].max(counts[1]),
            Some(ReadConsistencyType::All | ReadConsistencyType::Quorum) => {
                counts[0].min(counts[1])
            }
        };
        Ok(CountResponse {
            result: Some(CountResult { count }),
            ..CountResponse::default()
        })
    }

    async fn update(&self, request: UpdateBatchPoints) -> Result<UpdateBatchResponse, QdrantError> {
        let number = self.next_request();
        let own = *self.own.lock().unwrap();
        let (reached, fails) = match *self.fault.lock().unwrap() {
            Fault::CutOff(from) if number >= from => (vec![own], false),
            Fault::LeftOut(at, only) if number == at => (vec![only], false),
            Fault::Broken(at, only) if number == at => (vec![only], true),
            _ => (vec![0, 1], false),
        };
        let rival = self.rival.lock().unwrap();
        let first = rival.as_ref().map_or(0, |(_, first, _)| *first);
        drop(rival);
        let mut reached = reached;
        reached.sort_unstable_by_key(|replica| *replica != first);
        let mut result = Vec::new();
        for replica in reached {
            result.clear();
            for operation in request.operations.clone() {
                self.replicas[replica].perform(operation.operation.unwrap())?;
                result.push(UpdateResult {
                    status: UpdateStatus::Completed.into(),
                    ..UpdateResult::default()
                });
            }
            self.let_rival_in(number, replica);
        }
        if fails {
            return Err(unavailable());
        }
        Ok(UpdateBatchResponse {
            result,
            ..UpdateBatchResponse::default()
        })
    }
}
