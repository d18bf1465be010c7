//! Recorded: a store in memory that writes down what it is asked, ends when it is told to, and lets somebody else in
//! between any two requests. It keeps the vectors that an upsert lacks, or drops them, as servers do. Its points may have an
//! attached vector beside that of the model, of one number.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what the protocol does not use ends the test"
)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use contract::names::CollectionName;
use qdrant_client::QdrantError;
use qdrant_client::qdrant::condition::ConditionOneOf;
use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::points_update_operation::{Operation, SetPayload, UpdateVectors};
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::vectors::VectorsOptions;
use qdrant_client::qdrant::with_vectors_selector::SelectorOptions;
use qdrant_client::qdrant::{
    CollectionConfig, CollectionInfo, CollectionParams, Condition, CountPoints, CountResponse,
    CountResult, DenseVector, FieldCondition, Filter, GetCollectionInfoResponse, GetPoints,
    GetResponse, NamedVectorsOutput, PointsSelector, RetrievedPoint, ScrollPoints, ScrollResponse,
    UpdateBatchPoints, UpdateBatchResponse, UpdateResult, UpdateStatus, Value, Vector,
    VectorOutput, VectorParamsBuilder, Vectors, VectorsConfigBuilder, VectorsOutput, vector,
    vector_output, vectors_output,
};
use serde_json::json;

use crate::Points;
use crate::limits::Limits;
use crate::payload::{id_text, is_deleted, number};
use crate::schema::Schema;
use crate::store::Store;

/// Name of the vector of the model.
pub(super) const MODEL: &str = "m";
/// Name of the attached vector.
pub(super) const ATTACHED: &str = "a";

/// A point as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) payload: HashMap<String, Value>,
    /// Whether it has its vector.
    pub(super) vector: bool,
    pub(super) attached: Option<f32>,
}

type Interruption = Box<dyn FnMut(&Recorded) + Send>;

/// The store. Points are ordered by their ids, as pages are.
pub(super) struct Recorded {
    pub(super) points: Mutex<BTreeMap<String, Stored>>,
    /// Names of the requests and operations so far.
    pub(super) asked: Mutex<Vec<String>>,
    /// Whether an upsert keeps the vectors that the new point lacks.
    merges: bool,
    /// Operations and reads that are still done; all later ones fail.
    pub(super) left: Mutex<usize>,
    /// Called once, when so many reads and operations are done.
    interruption: Mutex<Option<(usize, Interruption)>>,
    /// What a write is answered.
    answers: UpdateStatus,
    /// The largest requests that it takes; larger ones end the test.
    limits: Limits,
    pub(super) collection: CollectionName,
}

impl Recorded {
    pub(super) fn new(merges: bool) -> Self {
        Self {
            points: Mutex::default(),
            asked: Mutex::default(),
            merges,
            left: Mutex::new(usize::MAX),
            interruption: Mutex::default(),
            answers: UpdateStatus::Completed,
            limits: Limits::default(),
            collection: "docs".parse().unwrap(),
        }
    }

    pub(super) fn with_points(self, points: BTreeMap<String, Stored>) -> Self {
        *self.points.lock().unwrap() = points;
        self
    }

    pub(super) fn answering(self, answers: UpdateStatus) -> Self {
        Self { answers, ..self }
    }

    pub(super) fn limited(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    pub(super) fn dying_after(self, steps: usize) -> Self {
        *self.left.lock().unwrap() = steps;
        self
    }

    pub(super) fn interrupted_after(
        self,
        steps: usize,
        interruption: impl FnMut(&Self) + Send + 'static,
    ) -> Self {
        *self.interruption.lock().unwrap() = Some((steps, Box::new(interruption)));
        self
    }

    pub(super) fn points(&self) -> Points<'_, Self> {
        Points::new(self, &self.collection)
    }

    pub(super) fn content(&self) -> BTreeMap<String, Stored> {
        self.points.lock().unwrap().clone()
    }

    pub(super) fn steps(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// Everybody passes here before anything is read or changed.
    fn step(&self, name: &str) -> Result<(), QdrantError> {
        let interruption = {
            let mut slot = self.interruption.lock().unwrap();
            let due = slot.as_ref().is_some_and(|(at, _)| *at == self.steps());
            if due { slot.take() } else { None }
        };
        if let Some((_, mut interruption)) = interruption {
            interruption(self);
        }
        let mut left = self.left.lock().unwrap();
        if *left == 0 {
            return Err(QdrantError::Io(std::io::Error::other("dead")));
        }
        *left -= 1;
        self.asked.lock().unwrap().push(name.to_owned());
        Ok(())
    }

    fn matching(&self, filter: &Filter) -> Vec<String> {
        let points = self.points.lock().unwrap();
        let found = points
            .iter()
            .filter(|(id, point)| matches(filter, id, &point.payload));
        found.map(|(id, _)| id.clone()).collect()
    }

    fn selected(&self, selector: Option<PointsSelector>) -> Vec<String> {
        let selected = match selector.unwrap().points_selector_one_of.unwrap() {
            PointsSelectorOneOf::Filter(filter) => {
                self.check(&filter);
                self.matching(&filter)
            }
            PointsSelectorOneOf::Points(list) => list.ids.iter().map(id_text).collect(),
        };
        assert!(
            self.limits.allows_any_number_of_writes()
                || selected.len() <= self.limits.selected(usize::MAX)
        );
        selected
    }

    /// Ends the test if a filter is larger than the collection takes.
    fn check(&self, filter: &Filter) {
        let (count, size) = (conditions(filter), largest_condition(filter));
        let most = self.limits.filters(usize::MAX, 1);
        assert!(
            count <= most,
            "{count} conditions, at most {most}: {filter:?}"
        );
        assert!(size <= self.limits.values(usize::MAX), "{filter:?}");
    }

    pub(super) fn perform(&self, operation: Operation) -> Result<(), QdrantError> {
        match operation {
            Operation::Upsert(list) => {
                self.step("upsert")?;
                assert!(list.points.len() <= self.limits.upsert(usize::MAX));
                for point in list.points {
                    let id = id_text(&point.id.unwrap());
                    let filter = list.update_filter.clone().unwrap_or_default();
                    let mut points = self.points.lock().unwrap();
                    let old = points.get(&id);
                    if old.is_some_and(|old| !matches(&filter, &id, &old.payload)) {
                        continue;
                    }
                    let vectors = named(point.vectors);
                    let kept = old.filter(|_| self.merges);
                    let kept_attached = kept.and_then(|old| old.attached);
                    let new = Stored {
                        payload: point.payload,
                        vector: vectors.contains_key(MODEL) || kept.is_some_and(|old| old.vector),
                        attached: vectors.get(ATTACHED).map(number_of).or(kept_attached),
                    };
                    points.insert(id, new);
                }
            }
            Operation::DeletePoints(delete) => {
                self.step("delete")?;
                for id in self.selected(delete.points) {
                    self.points.lock().unwrap().remove(&id);
                }
            }
            Operation::DeleteVectors(delete) => {
                self.step("delete_vectors")?;
                let names = delete.vectors.unwrap().names;
                for id in self.selected(delete.points_selector) {
                    let mut points = self.points.lock().unwrap();
                    let point = points.get_mut(&id).unwrap();
                    point.vector &= !names.iter().any(|name| name == MODEL);
                    point.attached = point
                        .attached
                        .filter(|_| !names.iter().any(|name| name == ATTACHED));
                }
            }
            Operation::UpdateVectors(update) => {
                self.step("update_vectors")?;
                self.update_vectors(update);
            }
            Operation::SetPayload(set) => {
                self.step("set_payload")?;
                self.set_payload(&set);
            }
            _ => panic!("the protocol has no such operation"),
        }
        Ok(())
    }

    fn update_vectors(&self, update: UpdateVectors) {
        let filter = update.update_filter.unwrap_or_default();
        for point in update.points {
            let id = id_text(&point.id.unwrap());
            let mut points = self.points.lock().unwrap();
            let there = points.get_mut(&id).expect("a point that is there");
            if matches(&filter, &id, &there.payload) {
                there.attached = named(point.vectors).get(ATTACHED).map(number_of);
            }
        }
    }

    fn set_payload(&self, set: &SetPayload) {
        for id in self.selected(set.points_selector.clone()) {
            let mut points = self.points.lock().unwrap();
            let payload = &mut points.get_mut(&id).unwrap().payload;
            let above = set.key.clone().expect("a field in an object");
            let above = payload.entry(above).or_insert_with(|| json!({}).into());
            let Some(Kind::StructValue(above)) = &mut above.kind else {
                panic!("not an object");
            };
            above.fields.extend(set.payload.clone());
        }
    }
}

fn named(vectors: Option<Vectors>) -> HashMap<String, Vector> {
    match vectors.unwrap().vectors_options.unwrap() {
        VectorsOptions::Vectors(named) => named.vectors,
        VectorsOptions::Vector(_) => HashMap::new(),
    }
}

fn number_of(vector: &Vector) -> f32 {
    match &vector.vector {
        Some(vector::Vector::Dense(dense)) => dense.data[0],
        _ => panic!("not a dense vector"),
    }
}

/// What the store says of its collection.
fn described() -> CollectionInfo {
    let mut vectors = VectorsConfigBuilder::default();
    vectors.add_named_vector_params(
        MODEL,
        VectorParamsBuilder::new(2, qdrant_client::qdrant::Distance::Dot),
    );
    let params = CollectionParams {
        vectors_config: Some(vectors.into()),
        ..CollectionParams::default()
    };
    let config = CollectionConfig {
        params: Some(params),
        ..CollectionConfig::default()
    };
    CollectionInfo {
        config: Some(config),
        ..CollectionInfo::default()
    }
}

/// What a writer knows of it.
pub(super) fn schema() -> Schema {
    Schema::of(&described()).unwrap()
}

impl Store for Recorded {
    async fn info(&self, _collection: &str) -> Result<GetCollectionInfoResponse, QdrantError> {
        self.step("info")?;
        Ok(GetCollectionInfoResponse {
            result: Some(described()),
            ..GetCollectionInfoResponse::default()
        })
    }

    async fn limits(&self, _collection: &str) -> Result<Limits, QdrantError> {
        Ok(self.limits)
    }

    async fn get(&self, request: GetPoints) -> Result<GetResponse, QdrantError> {
        self.step("get")?;
        assert!(request.ids.len() <= self.limits.ids(usize::MAX));
        let asked = request.with_vectors.and_then(|it| it.selector_options);
        let asked = match asked {
            Some(SelectorOptions::Include(selected)) => selected.names,
            Some(SelectorOptions::Enable(false)) | None => Vec::new(),
            Some(SelectorOptions::Enable(true)) => panic!("all vectors of a point"),
        };
        let points = self.points.lock().unwrap();
        let found = request.ids.into_iter().filter_map(|id| {
            let stored = points.get(&id_text(&id))?;
            Some(RetrievedPoint {
                id: Some(id),
                payload: stored.payload.clone(),
                vectors: Some(vectors(stored, &asked)),
                ..RetrievedPoint::default()
            })
        });
        Ok(GetResponse {
            result: found.collect(),
            ..GetResponse::default()
        })
    }

    async fn scroll(&self, request: ScrollPoints) -> Result<ScrollResponse, QdrantError> {
        self.step("scroll")?;
        let limit = request.limit.unwrap() as usize;
        assert!(limit <= self.limits.page(usize::MAX));
        self.check(request.filter.as_ref().unwrap());
        let from = request.offset.as_ref().map(id_text).unwrap_or_default();
        let mut ids = self.matching(&request.filter.unwrap());
        ids.retain(|id| *id >= from);
        let rest = ids.split_off(ids.len().min(limit));
        let points = self.points.lock().unwrap();
        let page = ids.into_iter().map(|id| RetrievedPoint {
            payload: points[&id].payload.clone(),
            id: Some(id.into()),
            ..RetrievedPoint::default()
        });
        Ok(ScrollResponse {
            result: page.collect(),
            next_page_offset: rest.into_iter().next().map(Into::into),
            ..ScrollResponse::default()
        })
    }

    async fn count(&self, request: CountPoints) -> Result<CountResponse, QdrantError> {
        self.step("count")?;
        assert!(self.limits.exact);
        let count = self.matching(&request.filter.unwrap()).len() as u64;
        Ok(CountResponse {
            result: Some(CountResult { count }),
            ..CountResponse::default()
        })
    }

    async fn update(&self, request: UpdateBatchPoints) -> Result<UpdateBatchResponse, QdrantError> {
        let mut result = Vec::new();
        for operation in request.operations {
            self.perform(operation.operation.unwrap())?;
            result.push(UpdateResult {
                status: self.answers.into(),
                ..UpdateResult::default()
            });
        }
        Ok(UpdateBatchResponse {
            result,
            ..UpdateBatchResponse::default()
        })
    }
}

/// As Qdrant counts them: a filter within a filter counts as its conditions.
fn conditions(filter: &Filter) -> usize {
    let each = [&filter.must, &filter.must_not, &filter.should];
    let each = each.into_iter().flatten();
    each.map(|condition| match condition.condition_one_of.as_ref() {
        Some(ConditionOneOf::Filter(filter)) => conditions(filter),
        _ => 1,
    })
    .sum()
}

fn largest_condition(filter: &Filter) -> usize {
    let each = [&filter.must, &filter.must_not, &filter.should];
    let each = each.into_iter().flatten();
    let sizes = each.map(|condition| match condition.condition_one_of.as_ref() {
        Some(ConditionOneOf::Filter(filter)) => largest_condition(filter),
        Some(ConditionOneOf::HasId(ids)) => ids.has_id.len(),
        _ => 0,
    });
    sizes.max().unwrap_or(0)
}

/// Vectors as they are read.
fn vectors(stored: &Stored, asked: &[String]) -> VectorsOutput {
    let own = stored.vector.then(|| (MODEL, VectorOutput::default()));
    let attached = stored.attached.map(|number| {
        let data = vec![number];
        let vector = vector_output::Vector::Dense(DenseVector { data });
        let vector = VectorOutput {
            vector: Some(vector),
            ..VectorOutput::default()
        };
        (ATTACHED, vector)
    });
    let all = own.into_iter().chain(attached);
    let asked = all.filter(|(name, _)| asked.iter().any(|it| it == name));
    let vectors = asked
        .map(|(name, vector)| (name.to_owned(), vector))
        .collect();
    let named = NamedVectorsOutput { vectors };
    VectorsOutput {
        vectors_options: Some(vectors_output::VectorsOptions::Vectors(named)),
    }
}

/// What Qdrant documents of filters, as far as they are used here.
fn matches(filter: &Filter, id: &str, payload: &HashMap<String, Value>) -> bool {
    let holds = |condition: &Condition| holds(condition, id, payload);
    filter.must.iter().all(holds)
        && !filter.must_not.iter().any(holds)
        && (filter.should.is_empty() || filter.should.iter().any(holds))
}

fn holds(condition: &Condition, id: &str, payload: &HashMap<String, Value>) -> bool {
    match condition.condition_one_of.as_ref().unwrap() {
        ConditionOneOf::Filter(filter) => matches(filter, id, payload),
        ConditionOneOf::HasId(ids) => ids.has_id.iter().any(|it| id_text(it) == id),
        ConditionOneOf::IsEmpty(field) => !payload.contains_key(&field.key),
        ConditionOneOf::Field(field) => field_holds(field, payload),
        _ => panic!("the protocol has no such condition"),
    }
}

fn field_holds(condition: &FieldCondition, payload: &HashMap<String, Value>) -> bool {
    let Some(value) = payload.get(&condition.key).and_then(|it| it.kind.as_ref()) else {
        return false;
    };
    if let Some(range) = &condition.range {
        let Kind::IntegerValue(value) = value else {
            return false;
        };
        let value = f64::from(i32::try_from(*value).unwrap());
        return range.lt.is_none_or(|limit| value < limit)
            && range.lte.is_none_or(|limit| value <= limit)
            && range.gt.is_none_or(|limit| value > limit)
            && range.gte.is_none_or(|limit| value >= limit);
    }
    let wanted = condition.r#match.as_ref().unwrap().match_value.as_ref();
    match (wanted.unwrap(), value) {
        (MatchValue::Keyword(wanted), Kind::StringValue(value)) => wanted == value,
        (MatchValue::Integer(wanted), Kind::IntegerValue(value)) => wanted == value,
        (MatchValue::Boolean(wanted), Kind::BoolValue(value)) => wanted == value,
        _ => false,
    }
}

/// What people find: chunk, version and whether it is a tombstone, in the order of the chunks.
pub(super) fn shown(points: &BTreeMap<String, Stored>) -> Vec<(u64, u64, bool)> {
    let mut shown: Vec<_> = points
        .values()
        .map(|stored| {
            let point = RetrievedPoint {
                payload: stored.payload.clone(),
                ..RetrievedPoint::default()
            };
            let number = |field| number(&point, field);
            assert_eq!(
                stored.vector,
                !is_deleted(&point),
                "a chunk has a vector and a tombstone has none: {stored:?}"
            );
            (number("chunk"), number("version"), is_deleted(&point))
        })
        .collect();
    shown.sort_unstable();
    shown
}
