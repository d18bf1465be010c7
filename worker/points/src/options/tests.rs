use contract::model::{Activation, Dtype, Head, Identity, Pooling, Prefixes, SpecialTokens};
use contract::topology::Task;
use qdrant_client::qdrant::vectors_config::Config;
use qdrant_client::qdrant::{
    CollectionConfig, CollectionParams, FieldType, HnswConfigDiff, Modifier, PayloadSchemaInfo,
    PayloadSchemaType, SparseIndexConfig, SparseVectorConfig, SparseVectorParams, VectorParams,
    VectorParamsMap, VectorsConfig,
};

use super::*;
use crate::collection::{FINGERPRINT, PAYLOAD_INDEXES, SEARCH};
use crate::vectors::{OtherVector, VECTORS};

fn options(entries: &[(&str, &str)]) -> Options {
    Options::read(entries.iter().copied()).unwrap()
}

/// A collection as a server shows it, with one vector of the model `m` and the indexes that every collection has.
fn collection(record: &Record) -> CollectionInfo {
    let vector = VectorParams {
        size: 4,
        ..VectorParams::default()
    };
    let map = [("m".to_owned(), vector)].into();
    let params = CollectionParams {
        shard_number: 1,
        replication_factor: Some(1),
        write_consistency_factor: Some(1),
        vectors_config: Some(VectorsConfig {
            config: Some(Config::ParamsMap(VectorParamsMap { map })),
        }),
        ..CollectionParams::default()
    };
    let own = [(MODEL, "m"), (FINGERPRINT, "f")];
    let own = own.map(|(key, value)| (key.to_owned(), json!(value).into()));
    let config = CollectionConfig {
        params: Some(params),
        hnsw_config: Some(HnswConfigDiff {
            m: Some(16),
            ef_construct: Some(100),
            ..HnswConfigDiff::default()
        }),
        metadata: own.into_iter().chain([record.entry()]).collect(),
        ..CollectionConfig::default()
    };
    let schema = PAYLOAD_INDEXES.map(|(field, kind)| {
        let plain = PayloadIndex::plain(kind).show();
        let kind = PayloadSchemaType::from_str_name(&capital(&plain)).unwrap();
        let info = PayloadSchemaInfo {
            data_type: kind.into(),
            ..PayloadSchemaInfo::default()
        };
        (field.to_owned(), info)
    });
    CollectionInfo {
        config: Some(config),
        payload_schema: schema.into(),
        ..CollectionInfo::default()
    }
}

fn capital(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}

fn recorded(entries: &[(&str, &str)], pending: &[(&str, &str)]) -> Record {
    Record {
        options: options(entries),
        pending: options(pending),
    }
}

fn hnsw(info: &mut CollectionInfo) -> &mut HnswConfigDiff {
    let config = info.config.as_mut().unwrap();
    config.hnsw_config.as_mut().unwrap()
}

#[test]
fn what_is_given_holds_then_what_the_collection_has_then_the_default_of_the_server() {
    let mut serving = collection(&Record::default());
    hnsw(&mut serving).m = Some(24);
    let next = next_generation(&serving, &options(&[("hnsw.ef_construct", "200")]));
    assert_eq!(next.settings.get("hnsw.m").as_deref(), Some("24"));
    assert_eq!(
        next.settings.get("hnsw.ef_construct").as_deref(),
        Some("200")
    );
    assert_eq!(next.settings.get("hnsw.payload_m"), None);
    assert_eq!(
        next.record.options,
        options(&[("hnsw.ef_construct", "200")])
    );
    let changed = next
        .changed
        .iter()
        .map(|it| (it.name.as_str(), it.wanted.as_str()));
    assert_eq!(changed.collect::<Vec<_>>(), [("hnsw.ef_construct", "200")]);
}

#[test]
fn a_recorded_option_that_somebody_changed_by_hand_is_kept_as_it_is_and_named() {
    let serving = collection(&recorded(
        &[("hnsw.m", "32"), ("hnsw.ef_construct", "100")],
        &[],
    ));
    let next = next_generation(&serving, &Options::default());
    assert_eq!(next.settings.get("hnsw.m").as_deref(), Some("16"));
    assert_eq!(
        next.record.options,
        options(&[("hnsw.ef_construct", "100")])
    );
    assert!(
        next.named[0].contains("`hnsw.m` was recorded as 32 and is 16"),
        "{:?}",
        next.named
    );

    let given = next_generation(&serving, &options(&[("hnsw.m", "8")]));
    assert_eq!(given.settings.get("hnsw.m").as_deref(), Some("8"));
    assert!(given.named.is_empty(), "{:?}", given.named);
}

#[test]
fn what_is_not_there_has_no_settings_and_the_server_decides() {
    let next = next_generation(&CollectionInfo::default(), &Options::default());
    let first = first_generation(&Options::default());
    assert_eq!(next.settings, first.settings);
    assert_eq!(next.settings.get("shards"), None);
    assert_eq!(next.settings.get("payload"), None);
}

#[test]
fn what_takes_a_rebuild_is_recorded_and_the_next_generation_has_it() {
    let name: CollectionName = "docs".parse().unwrap();
    let given = options(&[("shards", "4"), ("write_consistency", "2")]);
    let adjustment = adjust(&name, &collection(&Record::default()), &given);
    let names = |it: &[Difference]| it.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&adjustment.by_rebuild), ["shards"]);
    assert_eq!(names(&adjustment.changed), ["write_consistency"]);
    let update = adjustment.update.unwrap();
    assert_eq!(update.params.unwrap().write_consistency_factor, Some(2));

    let pending = recorded(&[("shards", "4")], &[("shards", "1")]);
    assert_eq!(update.metadata[OPTIONS], {
        let options = given.clone();
        Record {
            options,
            ..pending.clone()
        }
        .entry()
        .1
    });
    let next = next_generation(&collection(&pending), &Options::default());
    assert_eq!(next.settings.get("shards").as_deref(), Some("4"));
    assert_eq!(next.record, recorded(&[("shards", "4")], &[]));
}

#[test]
fn a_collection_that_has_its_options_is_left_alone() {
    let name: CollectionName = "docs".parse().unwrap();
    let given = options(&[("hnsw.m", "16"), ("index.meta.lang", "none")]);
    let info = collection(&Record {
        options: given.clone(),
        ..Record::default()
    });
    assert_eq!(adjust(&name, &info, &given), Adjustment::default());
    assert_eq!(
        adjust(&name, &info, &Options::default()),
        Adjustment::default()
    );
}

#[test]
fn indexes_of_users_are_created_changed_dropped_and_kept() {
    let name: CollectionName = "docs".parse().unwrap();
    let mut info = collection(&Record::default());
    for field in ["meta.old", "meta.kept", "meta.lang"] {
        let index = PayloadSchemaInfo {
            data_type: PayloadSchemaType::Keyword.into(),
            ..PayloadSchemaInfo::default()
        };
        info.payload_schema.insert(field.to_owned(), index);
    }
    let given = options(&[
        ("index.meta.old", "none"),
        ("index.meta.lang", "keyword:is_tenant"),
        ("index.meta.price", "float"),
    ]);
    let adjustment = adjust(&name, &info, &given);
    let created = adjustment.create.iter();
    let created: Vec<_> = created
        .map(|it| (it.field_name.as_str(), it.field_type()))
        .collect();
    let expected = [
        ("meta.lang", FieldType::Keyword),
        ("meta.price", FieldType::Float),
    ];
    assert_eq!(created, expected);
    assert_eq!(adjustment.drop, ["meta.old"]);

    let next = next_generation(&info, &given).settings;
    let text = |field: &str| next.get(&format!("index.{field}")).unwrap();
    assert_eq!(text("meta.kept"), "keyword");
    assert_eq!(text("meta.lang"), "keyword:is_tenant");
    assert_eq!(text("meta.old"), "none");
    assert_eq!(text("doc_id"), "keyword");
}

#[test]
fn a_vector_with_a_graph_of_its_own_has_none_while_it_is_loaded_and_its_own_afterwards() {
    let mut info = collection(&Record::default());
    let params = info
        .config
        .as_mut()
        .and_then(|config| config.params.as_mut())
        .unwrap();
    let vectors = params
        .vectors_config
        .as_mut()
        .and_then(|it| it.config.as_mut());
    if let Some(Config::ParamsMap(map)) = vectors {
        map.map.get_mut("m").unwrap().hnsw_config = Some(HnswConfigDiff {
            m: Some(30),
            payload_m: Some(8),
            ..HnswConfigDiff::default()
        });
    }
    let next = next_generation(&info, &Options::default()).settings;
    assert_eq!(next.get("vector.hnsw.m").as_deref(), Some("30"));
    let loading = next.clone().for_bulk_load();
    for name in ["hnsw.m", "vector.hnsw.m", "vector.hnsw.payload_m"] {
        assert_eq!(loading.get(name).as_deref(), Some("0"), "{name}");
    }
    let name = "docs".parse().unwrap();
    let update = next.update(&name, "m", &loading).unwrap();
    assert_eq!(update.hnsw_config.unwrap().m, Some(16));
    assert!(update.vectors_config.is_some());
}

#[test]
fn how_quantized_copies_are_searched_in_is_recorded_and_kept() {
    let options = options(&[("search.rescore", "false"), ("search.oversampling", "2.5")]);
    let record = Record {
        options,
        pending: Options::default(),
    };
    let next = next_generation(&collection(&record), &Options::default());
    assert_eq!(next.record, record);
    assert!(next.named.is_empty() && next.changed.is_empty());
    let params = next.settings.search_params().unwrap();
    assert_eq!(
        (params.rescore, params.oversampling),
        (Some(false), Some(2.5))
    );
    // The same hits with their true scores: none but those that were found.
    let scored = next.settings.exact_scores();
    assert_eq!((scored.rescore, scored.oversampling), (Some(true), None));
    assert_eq!(
        first_generation(&Options::default())
            .settings
            .search_params(),
        None
    );
}

fn manifest() -> Manifest {
    let identity = Identity {
        task: Task::Embed,
        onnx: "model.onnx".to_owned(),
        files: BTreeMap::new(),
        pooling: Pooling::Graph,
        normalize: true,
        prefixes: Prefixes::default(),
        max_tokens: 16,
        dimensions: 4,
        dtype: Dtype::Fp32,
        activation: Activation::Raw,
        labels: Vec::new(),
        head: Head::default(),
        special_tokens: SpecialTokens::Token,
        output: contract::model::Output::Dense,
    };
    Manifest::new("m".parse().unwrap(), identity, Vec::new())
}

#[test]
fn a_vector_of_words_is_kept_with_its_index_until_another_one_is_asked_for() {
    let mut serving = collection(&Record::default());
    let config = serving.config.as_mut().unwrap();
    let english = Bm25Options::of_language("english");
    let stored = SparseVectorParams {
        index: Some(SparseIndexConfig {
            full_scan_threshold: Some(1),
            ..SparseIndexConfig::default()
        }),
        modifier: Some(Modifier::Idf.into()),
    };
    let sparse = [("bm25".to_owned(), stored), ("splade".to_owned(), stored)];
    let params = config.params.as_mut().unwrap();
    params.sparse_vectors_config = Some(SparseVectorConfig { map: sparse.into() });
    let listed = json!([OtherVector::bm25(english.clone())]);
    let search = json!({"mode": "dense"});
    config.metadata.extend([
        (VECTORS.to_owned(), listed.clone().into()),
        (SEARCH.to_owned(), search.clone().into()),
    ]);

    let next = next_generation(&serving, &options(&[("hnsw.m", "24")]));
    assert_eq!(next.named, ["vector `splade`: nobody here writes it"]);
    let changed: Vec<_> = next.changed.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(changed, ["hnsw.m"]);
    let manifest = manifest();
    let name = "docs--2".parse().unwrap();
    let request = next.settings.create(&name, &manifest);
    let vectors = request.sparse_vectors_config.unwrap().map;
    assert_eq!(vectors, [("bm25".to_owned(), stored)].into());
    assert_eq!(request.metadata[VECTORS], listed.into());
    assert_eq!(request.metadata[SEARCH], search.into());

    let german = Retrieval {
        bm25: Some(Bm25Options::of_language("german")),
        search: None,
    };
    let next = next.with_retrieval(&serving, &german);
    let changed: Vec<_> = next.changed.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(changed, ["bm25", "hnsw.m", "metadata.ebb_search"]);
    let request = next.settings.create(&name, &manifest);
    assert!(!request.metadata.contains_key(SEARCH));
    assert_eq!(request.sparse_vectors_config.unwrap().map["bm25"], stored);
    let none = next.with_retrieval(&serving, &Retrieval::default());
    let request = none.settings.create(&name, &manifest);
    assert_eq!(request.sparse_vectors_config, None);
    assert!(!request.metadata.contains_key(VECTORS));
}

#[test]
fn a_filter_without_its_index_is_told_which_option_makes_it() {
    let said = |text| MissingIndex::read(text).map(|missing| missing.to_string());
    let one = "Bad request: Index required but not found for \"meta.lang\" of one of the following types: [keyword]. \
               Help: Create an index for this key or use a different filter.";
    let advice = "the filter needs an index of `meta.lang`: run `indexer provision --index meta.lang=keyword`";
    assert_eq!(said(one).as_deref(), Some(advice));
    let several = "Index required but not found for `meta.p` of one of the following types: [float, text (with more)]";
    let advice = said(several).unwrap();
    assert!(advice.ends_with("--index meta.p=float`"), "{advice}");
    let unknown = said("Index required but not found for \"meta.p\"").unwrap();
    assert!(unknown.ends_with("--index meta.p=TYPE`"), "{unknown}");
    assert_eq!(said("Wrong input: Vector dimension error"), None);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let args = OptionArgs {
        shards: Some(0),
        datatype: Some("float64".to_owned()),
        quantization: Some("int4".to_owned()),
        hnsw: vec!["links=3".to_owned(), "m=many".to_owned(), "m".to_owned()],
        strict_mode: vec!["max_query_limit=1000".to_owned()],
        index: vec!["doc_id=integer".to_owned(), "meta.x=int".to_owned()],
        ..OptionArgs::default()
    };
    let faults: Vec<_> = args.faults().iter().map(ToString::to_string).collect();
    for expected in [
        "--shards: must be at least 1",
        "--datatype: `float64` is none of",
        "--quantization: `int4` is no quantization",
        "--hnsw: `links` is unknown; known are m, ef_construct",
        "--hnsw: `many` is not a number",
        "--hnsw: `m` has no `=`",
        "--index: every collection needs the index of `doc_id` as keyword",
        "--index: `int` is no type of an index",
    ] {
        assert!(
            faults.iter().any(|fault| fault.starts_with(expected)),
            "{expected} is not in {faults:#?}"
        );
    }
    assert_eq!(faults.len(), 8, "{faults:#?}");
    assert_eq!(args.options().get("strict.max_query_limit"), Some("1000"));
}

#[test]
fn nothing_is_no_value() {
    let nothing = || Some(String::new());
    let args = OptionArgs {
        datatype: nothing(),
        vectors: nothing(),
        payload: nothing(),
        quantization: nothing(),
        rescore_vectors: nothing(),
        oversampling: nothing(),
        ..OptionArgs::default()
    };
    let faults: Vec<_> = args.faults().iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), 6, "{faults:#?}");
}

#[test]
fn a_node_holds_its_share_of_what_the_options_put_into_memory() {
    let of = Sizes {
        points: 1_000_000,
        dimensions: 384,
        text_bytes: 0,
        nodes: 1,
    };
    let size = |entries: &[(&str, &str)], nodes| {
        let next = first_generation(&options(entries));
        next.settings.size(Sizes { nodes, ..of })
    };
    let plain = size(&[], 1);
    assert_eq!(plain.vectors_bytes, 1_000_000 * 384 * 4);
    assert_eq!(plain.graph_bytes, 1_000_000 * 33 * 4);
    let spread = size(&[("shards", "3"), ("replication", "2")], 3);
    assert_eq!(spread.points, 666_667);
    let small = size(&[("vectors", "disk"), ("quantization", "int8:ram")], 1);
    assert_eq!(small.quantized_bytes, 1_000_000 * 388);
    assert!(
        small.memory_bytes < plain.memory_bytes / 2,
        "{small:?} {plain:?}"
    );
    assert!(small.disk_bytes > plain.disk_bytes);
}
