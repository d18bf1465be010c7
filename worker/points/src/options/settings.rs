//! Settings: everything that a server says of a collection and that can be said of the next one.

#![expect(
    deprecated,
    reason = "servers before 1.19 know only the fields that newer ones replace"
)]

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use contract::bm25::{self, Bm25Options};
use contract::model::Manifest;
use contract::names::CollectionName;
use qdrant_client::qdrant::vectors_config::Config;
use qdrant_client::qdrant::{
    CollectionInfo, CollectionParams, CollectionParamsDiff, CreateCollection, HnswConfigDiff,
    IdTrackerParams, OptimizersConfigDiff, PayloadStorageParams, QuantizationConfig,
    QuantizationSearchParams, ShardingMethod, SparseVectorParams, StrictModeConfig,
    UpdateCollection, Value, VectorParams, VectorParamsDiff, VectorParamsDiffMap,
    VectorsConfigDiff, WalConfigDiff, vectors_config_diff,
};

use super::fields::{Changes, FIELDS, field};
use super::index::PayloadIndex;
use super::{INDEX, NO_INDEX, OWN_METADATA, Record, Retrieval, quantization};
use crate::attachment;
use crate::collection::{self, MODEL, PAYLOAD_INDEXES, SEARCH};
use crate::vectors::{CollectionVectors, OtherVector, RESERVED};

/// Links of a node of the graph where nobody says: the server's default.
pub(super) const DEFAULT_M: u64 = 16;

/// The settings of a collection. What is `None` is left to the server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    pub(super) shards: Option<u32>,
    pub(super) replication: Option<u32>,
    pub(super) write_consistency: Option<u32>,
    pub(super) read_fan_out_factor: Option<u32>,
    pub(super) read_fan_out_delay_ms: Option<u64>,
    pub(super) payload_on_disk: Option<bool>,
    pub(super) payload: Option<PayloadStorageParams>,
    pub(super) id_tracker: Option<IdTrackerParams>,
    /// Parameters of the vectors of the model, without their length and distance.
    pub(super) vector: VectorParams,
    pub(super) hnsw: HnswConfigDiff,
    pub(super) optimizers: OptimizersConfigDiff,
    pub(super) wal: Option<WalConfigDiff>,
    pub(super) quantization: Option<QuantizationConfig>,
    /// Whether hits in quantized copies are ordered anew by the whole vectors. No server keeps this and the next: searches
    /// say it, by what is recorded.
    pub(super) rescore: Option<bool>,
    /// How many times more hits are looked for in quantized copies than are wanted.
    pub(super) oversampling: Option<f64>,
    pub(super) strict_mode: Option<StrictModeConfig>,
    /// How Qdrant makes the vector of words; `None` without one.
    pub(super) bm25: Option<Bm25Options>,
    /// How that vector is stored.
    pub(super) sparse: Option<SparseVectorParams>,
    /// What others have written into the metadata, and how the alias is searched.
    pub(super) metadata: HashMap<String, Value>,
    /// Payload indexes by field.
    pub(super) indexes: BTreeMap<String, PayloadIndex>,
}

impl Settings {
    /// The settings of a collection, and in a sentence each what of it no other collection can get.
    #[must_use]
    pub fn of(info: &CollectionInfo) -> (Self, Vec<String>) {
        let record = Record::of(info);
        let Some(config) = info.config.clone() else {
            return (Self::default(), Vec::new());
        };
        let params = config.params.unwrap_or_default();
        let mut left_out = Vec::new();
        let model = config.metadata.get(MODEL).and_then(Value::as_str).cloned();
        let vectors = CollectionVectors::of(info).unwrap_or_else(|error| {
            left_out.push(format!("vectors beside that of the model: {error}"));
            CollectionVectors::default()
        });
        let bm25 = vectors.bm25().cloned();
        let sparse = params.sparse_vectors_config.as_ref();
        let sparse = sparse.filter(|_| bm25.is_some());
        let sparse = sparse.and_then(|sparse| sparse.map.get(bm25::VECTOR).copied());
        let vector = primary(&params, model.as_deref(), &vectors, &mut left_out);
        if params.sharding_method() == ShardingMethod::Custom {
            left_out.push("sharding by keys: points are written without one".to_owned());
        }
        let mut metadata = config.metadata;
        metadata.retain(|key, _| key == SEARCH || !key.starts_with(OWN_METADATA));
        let settings = Self {
            shards: Some(params.shard_number),
            replication: params.replication_factor,
            write_consistency: params.write_consistency_factor,
            read_fan_out_factor: params.read_fan_out_factor,
            read_fan_out_delay_ms: params.read_fan_out_delay_ms,
            payload_on_disk: Some(params.on_disk_payload),
            payload: params.payload,
            id_tracker: params.id_tracker,
            vector,
            hnsw: config.hnsw_config.unwrap_or_default(),
            optimizers: config.optimizer_config.unwrap_or_default(),
            wal: config.wal_config,
            quantization: config.quantization_config,
            rescore: recorded(&record, "search.rescore"),
            oversampling: recorded(&record, "search.oversampling"),
            strict_mode: config.strict_mode_config,
            bm25,
            sparse,
            metadata,
            indexes: indexes(info, &mut left_out),
        };
        (settings, left_out)
    }

    /// The value of a setting by name; `None` where the server decides, or there is none of the name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        if let Some(field) = name.strip_prefix(INDEX) {
            let index = self.indexes.get(field).map(PayloadIndex::show);
            return Some(index.unwrap_or_else(|| NO_INDEX.to_owned()));
        }
        (field(name)?.get)(self)
    }

    /// Writes a setting that is an option.
    ///
    /// # Errors
    /// What is wrong with the name or the value.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        if let Some(field) = name.strip_prefix(INDEX) {
            return self.set_index(field, value);
        }
        match field(name).and_then(|field| field.set) {
            Some(set) => set(self, value),
            None => Err(unknown(name)),
        }
    }

    fn set_index(&mut self, field: &str, value: &str) -> Result<(), String> {
        let own = own_index(field);
        if value == NO_INDEX && own.is_none() {
            self.indexes.remove(field);
            return Ok(());
        }
        if field.is_empty() {
            return Err("the name of the field is missing".to_owned());
        }
        let index = PayloadIndex::read(value)?;
        if let Some(own) = own
            && own != index.kind
        {
            let own = PayloadIndex::plain(own).show();
            return Err(format!(
                "every collection needs the index of `{field}` as {own}"
            ));
        }
        self.indexes.insert(field.to_owned(), index);
        Ok(())
    }

    /// All settings that have a value, by name.
    #[must_use]
    pub fn listed(&self) -> BTreeMap<String, String> {
        let fields = FIELDS.iter();
        let fields = fields.filter_map(|field| Some((field.name.to_owned(), (field.get)(self)?)));
        let indexes = self.indexes.iter();
        let indexes = indexes.map(|(field, index)| (format!("{INDEX}{field}"), index.show()));
        let metadata = self.metadata.iter();
        let metadata = metadata.map(|(key, value)| {
            // Fields of an object have no order there, and equal values have to look equal.
            let mut json = serde_json::Value::from(value.clone());
            json.sort_all_objects();
            (format!("metadata.{key}"), json.to_string())
        });
        fields.chain(indexes).chain(metadata).collect()
    }

    /// The settings with the indexes that every collection has.
    #[must_use]
    pub(super) fn with_own_indexes(mut self) -> Self {
        for (field, kind) in PAYLOAD_INDEXES {
            let index = self.indexes.entry(field.to_owned());
            let index = index.or_insert_with(|| PayloadIndex::plain(kind));
            if index.kind != kind {
                *index = PayloadIndex::plain(kind);
            }
        }
        self
    }

    /// With another vector of words, and searched in another way; nothing said of the search leaves it to whoever searches.
    #[must_use]
    pub fn with_retrieval(mut self, retrieval: &Retrieval) -> Self {
        self.bm25.clone_from(&retrieval.bm25);
        self.sparse = self.sparse.filter(|_| self.bm25.is_some());
        self.metadata.remove(SEARCH);
        let search = retrieval.search.clone();
        self.metadata
            .extend(search.map(|search| (SEARCH.to_owned(), search)));
        self
    }

    /// How quantized copies are searched in; `None` as the server does by default.
    #[must_use]
    pub fn search_params(&self) -> Option<QuantizationSearchParams> {
        let said = self.rescore.is_some() || self.oversampling.is_some();
        said.then_some(QuantizationSearchParams {
            ignore: None,
            rescore: self.rescore,
            oversampling: self.oversampling,
        })
    }

    /// The same hits as with [`Self::search_params`], with the scores of the whole vectors: those of quantized copies are
    /// rounded, and cannot be compared with those of an exact search.
    #[must_use]
    pub fn exact_scores(&self) -> QuantizationSearchParams {
        let plain = self.rescore == Some(false);
        QuantizationSearchParams {
            ignore: None,
            rescore: Some(true),
            oversampling: self.oversampling.filter(|_| !plain),
        }
    }

    /// Payload indexes by field.
    #[must_use]
    pub fn indexes(&self) -> &BTreeMap<String, PayloadIndex> {
        &self.indexes
    }

    /// The profile of a bulk load: the same without a graph, neither of all points nor of those of a payload value. The
    /// graph is built once, when all points are there.
    #[must_use]
    pub fn for_bulk_load(mut self) -> Self {
        without_graph(&mut self.hnsw);
        self.hnsw.m = Some(0);
        if let Some(own) = &mut self.vector.hnsw_config {
            without_graph(own);
        }
        self
    }

    /// The request that creates a collection of these settings for a model. Indexes are not part of it.
    #[must_use]
    pub fn create(&self, name: &CollectionName, manifest: &Manifest) -> CreateCollection {
        let mut request = collection::create(name, manifest, self.bm25.as_ref());
        let sparse = request.sparse_vectors_config.as_mut();
        let sparse = sparse.and_then(|sparse| sparse.map.get_mut(bm25::VECTOR));
        if let Some((sparse, kept)) = sparse.zip(self.sparse) {
            sparse.index = kept.index;
        }
        let vectors = request.vectors_config.as_mut();
        if let Some(Config::ParamsMap(map)) = vectors.and_then(|vectors| vectors.config.as_mut()) {
            for params in map.map.values_mut() {
                *params = VectorParams {
                    size: params.size,
                    distance: params.distance,
                    ..self.vector
                };
            }
        }
        request.metadata.extend(self.metadata.clone());
        CreateCollection {
            shard_number: self.shards,
            replication_factor: self.replication,
            write_consistency_factor: self.write_consistency,
            on_disk_payload: self.payload_on_disk,
            payload: self.payload,
            id_tracker: self.id_tracker,
            hnsw_config: Some(self.hnsw),
            optimizers_config: Some(self.optimizers),
            wal_config: self.wal,
            quantization_config: self.quantization,
            strict_mode_config: self.strict_mode.clone(),
            ..request
        }
    }

    /// Adds attached vectors to the request that creates a collection, with their names reserved: nobody hands anything on for
    /// them before they are in service. Dense ones lie where the primary one does.
    pub fn reserve_attached(&self, request: &mut CreateCollection, attached: &[OtherVector]) {
        if attached.is_empty() {
            return;
        }
        for vector in attached.iter().filter_map(OtherVector::attached) {
            attachment::add_to(request, vector, &self.vector);
        }
        let reserved = (RESERVED.to_owned(), serde_json::json!(attached).into());
        request.metadata.extend([reserved]);
    }

    /// The request that gives a collection which has `found` these settings, as far as they can be changed; `None` where
    /// nothing of it differs. Indexes are not part of it.
    #[must_use]
    pub fn update(
        &self,
        name: &CollectionName,
        vector: &str,
        found: &Self,
    ) -> Option<UpdateCollection> {
        let mut wanted = self.clone();
        wanted.hnsw.m = wanted.hnsw.m.or(Some(DEFAULT_M));
        let hnsw = (wanted.hnsw != found.hnsw).then_some(wanted.hnsw);
        let quantized = self.quantization != found.quantization;
        let metadata = self.metadata.iter();
        let metadata = metadata.filter(|(key, value)| found.metadata.get(*key) != Some(value));
        let request = UpdateCollection {
            collection_name: name.to_string(),
            params: self.params(found),
            hnsw_config: hnsw,
            vectors_config: self.vectors(vector, found),
            optimizers_config: (self.optimizers != found.optimizers).then_some(self.optimizers),
            quantization_config: quantized.then(|| quantization::change(self.quantization)),
            strict_mode_config: self
                .strict_mode
                .clone()
                .filter(|strict| Some(strict) != found.strict_mode.as_ref()),
            metadata: metadata
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            ..UpdateCollection::default()
        };
        let nothing = UpdateCollection {
            collection_name: name.to_string(),
            ..UpdateCollection::default()
        };
        (request != nothing).then_some(request)
    }

    fn params(&self, found: &Self) -> Option<CollectionParamsDiff> {
        let diff = CollectionParamsDiff {
            replication_factor: None,
            write_consistency_factor: differing(self.write_consistency, found.write_consistency),
            on_disk_payload: differing(self.payload_on_disk, found.payload_on_disk),
            read_fan_out_factor: differing(self.read_fan_out_factor, found.read_fan_out_factor),
            read_fan_out_delay_ms: differing(
                self.read_fan_out_delay_ms,
                found.read_fan_out_delay_ms,
            ),
            payload: differing(self.payload, found.payload),
            id_tracker: differing(self.id_tracker, found.id_tracker),
        };
        (diff != CollectionParamsDiff::default()).then_some(diff)
    }

    fn vectors(&self, name: &str, found: &Self) -> Option<VectorsConfigDiff> {
        let (wanted, found) = (&self.vector, &found.vector);
        let quantized = wanted.quantization_config != found.quantization_config;
        let diff = VectorParamsDiff {
            hnsw_config: differing(wanted.hnsw_config, found.hnsw_config),
            quantization_config: quantized
                .then(|| quantization::change(wanted.quantization_config)),
            on_disk: differing(wanted.on_disk, found.on_disk),
            memory: differing(wanted.memory, found.memory),
        };
        let map = [(name.to_owned(), diff)].into();
        (diff != VectorParamsDiff::default()).then_some(VectorsConfigDiff {
            config: Some(vectors_config_diff::Config::ParamsMap(
                VectorParamsDiffMap { map },
            )),
        })
    }
}

fn recorded<T: FromStr>(record: &Record, name: &str) -> Option<T> {
    record.options.get(name)?.parse().ok()
}

/// Whether a setting of a collection that is there can be another one.
pub(super) fn changes_in_place(name: &str) -> bool {
    field(name).is_none_or(|field| field.changes == Changes::InPlace)
}

/// The type that a field has in every collection, if it is such a field.
fn own_index(name: &str) -> Option<qdrant_client::qdrant::FieldType> {
    let mut own = PAYLOAD_INDEXES.iter();
    own.find(|(field, _)| *field == name).map(|(_, kind)| *kind)
}

fn differing<T: PartialEq>(wanted: Option<T>, found: Option<T>) -> Option<T> {
    if wanted == found { None } else { wanted }
}

fn without_graph(hnsw: &mut HnswConfigDiff) {
    for links in [&mut hnsw.m, &mut hnsw.payload_m] {
        *links = links.map(|_| 0);
    }
}

fn unknown(name: &str) -> String {
    let group = name.split_once('.').map_or("", |(group, _)| group);
    let known = FIELDS.iter().filter(|field| field.set.is_some());
    let known = known.filter_map(|field| field.name.strip_prefix(group)?.strip_prefix('.'));
    let known: Vec<_> = known.collect();
    let own = name.strip_prefix(group).unwrap_or(name);
    let own = own.trim_start_matches('.');
    format!("`{own}` is unknown; known are {}", known.join(", "))
}

/// The settings of the vectors that the model of a collection writes.
fn primary(
    params: &CollectionParams,
    model: Option<&str>,
    known: &CollectionVectors,
    left_out: &mut Vec<String>,
) -> VectorParams {
    let config = params.vectors_config.as_ref();
    let mut found = VectorParams::default();
    let mut others = Vec::new();
    match config.and_then(|config| config.config.as_ref()) {
        Some(Config::Params(params)) => found = *params,
        Some(Config::ParamsMap(map)) => {
            for (name, params) in &map.map {
                if Some(name.as_str()) == model || map.map.len() == 1 {
                    found = *params;
                } else {
                    others.push(name);
                }
            }
        }
        None => {}
    }
    if found.multivector_config.take().is_some() {
        left_out.push("several vectors of a point: models here yield one".to_owned());
    }
    let sparse = params.sparse_vectors_config.iter();
    let sparse = sparse.flat_map(|sparse| sparse.map.keys());
    others.extend(sparse);
    others.retain(|name| known.owner(name).is_none());
    others.sort();
    for name in others {
        left_out.push(format!("vector `{name}`: nobody here writes it"));
    }
    VectorParams {
        size: 0,
        distance: 0,
        ..found
    }
}

fn indexes(info: &CollectionInfo, left_out: &mut Vec<String>) -> BTreeMap<String, PayloadIndex> {
    let mut indexes = BTreeMap::new();
    for (field, found) in &info.payload_schema {
        let index = PayloadIndex::of(found);
        let other = index
            .as_ref()
            .is_none_or(|index| own_index(field).is_some_and(|kind| kind != index.kind));
        match index {
            Some(index) if !other => drop(indexes.insert(field.clone(), index)),
            Some(_) => left_out.push(format!("index of `{field}`: its type has to be another")),
            None => left_out.push(format!("index of `{field}`: its type is not known here")),
        }
    }
    left_out.sort();
    indexes
}
