//! Options of an alias: whatever its collection was given, by whomever, its next generation has as well.

use fixtures::process::output;
use points::collection;
use points::options::{OPTIONS, Record};
use qdrant_client::qdrant::payload_index_params::IndexParams;
use qdrant_client::qdrant::quantization_config::Quantization;
use qdrant_client::qdrant::vectors_config::Config;
use qdrant_client::qdrant::{
    CollectionConfig, CollectionInfo, Condition, CountPointsBuilder, CreateAliasBuilder,
    CreateCollection, CreateFieldIndexCollectionBuilder, Datatype, FieldType, Filter,
    FloatIndexParamsBuilder, HnswConfigDiff, HnswConfigDiffBuilder, IntegerIndexParams,
    KeywordIndexParamsBuilder, OptimizersConfigDiffBuilder, PayloadIndexParams, PayloadSchemaType,
    ScalarQuantizationBuilder, StrictModeConfig, TextIndexParamsBuilder, TokenizerType,
    UpdateCollectionBuilder, UuidIndexParams, VectorParams,
};
use serde_json::{Value, json};
use tests::{Bed, tiny_embed};

use crate::rescoring::stage;

use super::{corpus, found, qdrant, rebuild, rebuild_with, serving, wanted};

/// The collection that an operator made by hand, with none of its settings as a server has them by default.
fn by_hand(bed: &Bed) -> anyhow::Result<CreateCollection> {
    let name = format!("{}--byhand", bed.stack.collection);
    let mut request = collection::create(&name.parse()?, &bed.manifest, None);
    let vectors = request
        .vectors_config
        .as_mut()
        .and_then(|it| it.config.as_mut());
    if let Some(Config::ParamsMap(map)) = vectors {
        for params in map.map.values_mut() {
            *params = VectorParams {
                hnsw_config: Some(HnswConfigDiffBuilder::default().payload_m(12).build()),
                datatype: Some(Datatype::Float16.into()),
                #[expect(deprecated, reason = "older servers know this one alone")]
                on_disk: Some(true),
                ..*params
            };
        }
    }
    let int8 = ScalarQuantizationBuilder::default()
        .quantile(0.99)
        .always_ram(true);
    request
        .metadata
        .insert("team".to_owned(), json!({"name": "search"}).into());
    Ok(CreateCollection {
        shard_number: Some(4),
        replication_factor: Some(3),
        write_consistency_factor: Some(2),
        #[expect(deprecated, reason = "older servers know this one alone")]
        on_disk_payload: Some(false),
        hnsw_config: Some(hnsw()),
        optimizers_config: Some(
            OptimizersConfigDiffBuilder::default()
                .indexing_threshold(15_000)
                .vacuum_min_vector_number(2_000)
                .build(),
        ),
        quantization_config: Some(Quantization::Scalar(int8.build()).into()),
        strict_mode_config: Some(StrictModeConfig {
            enabled: Some(true),
            max_query_limit: Some(100_000),
            max_timeout: Some(120),
            search_max_oversampling: Some(4.0),
            ..StrictModeConfig::default()
        }),
        ..request
    })
}

fn hnsw() -> HnswConfigDiff {
    HnswConfigDiffBuilder::default()
        .m(24)
        .ef_construct(200)
        .full_scan_threshold(5_000)
        .on_disk(true)
        .payload_m(8)
        .build()
}

/// An index of each type that a server has.
fn indexes() -> [(&'static str, FieldType, Option<IndexParams>); 8] {
    let tenant = KeywordIndexParamsBuilder::default()
        .is_tenant(true)
        .on_disk(true);
    let text = TextIndexParamsBuilder::new(TokenizerType::Whitespace).lowercase(true);
    let number = IntegerIndexParams {
        lookup: Some(false),
        range: Some(true),
        ..IntegerIndexParams::default()
    };
    let principal = FloatIndexParamsBuilder::default().is_principal(true);
    let uuid = UuidIndexParams {
        is_tenant: Some(true),
        ..UuidIndexParams::default()
    };
    [
        (
            "meta.lang",
            FieldType::Keyword,
            Some(IndexParams::KeywordIndexParams(tenant.build())),
        ),
        (
            "meta.pages",
            FieldType::Integer,
            Some(IndexParams::IntegerIndexParams(number)),
        ),
        (
            "meta.price",
            FieldType::Float,
            Some(IndexParams::FloatIndexParams(principal.build())),
        ),
        (
            "meta.title",
            FieldType::Text,
            Some(IndexParams::TextIndexParams(text.build())),
        ),
        (
            "meta.owner",
            FieldType::Uuid,
            Some(IndexParams::UuidIndexParams(uuid)),
        ),
        ("meta.public", FieldType::Bool, None),
        ("meta.place", FieldType::Geo, None),
        ("meta.written", FieldType::Datetime, None),
    ]
}

/// A bed whose alias leads to the collection that was made by hand.
async fn tuned() -> anyhow::Result<Bed> {
    let bed = Bed::unprovisioned(&tiny_embed(), "tiny").await?;
    let client = qdrant(&bed)?;
    let request = by_hand(&bed)?;
    let name = request.collection_name.clone();
    client.create_collection(request).await?;
    for (field, kind, params) in indexes() {
        let mut index = CreateFieldIndexCollectionBuilder::new(&name, field, kind)
            .wait(true)
            .build();
        index.field_index_params = params.map(PayloadIndexParams::from);
        client.create_field_index(index).await?;
    }
    let alias = CreateAliasBuilder::new(&name, bed.stack.collection.as_str());
    client.create_alias(alias).await?;
    bed.stack.indexer(&["provision"]).await?;
    Ok(bed)
}

async fn info(bed: &Bed) -> anyhow::Result<CollectionInfo> {
    let name = serving(bed).await?;
    let info = qdrant(bed)?.collection_info(name).await?.result;
    Ok(info.unwrap_or_default())
}

/// Everything that a server says of the settings, but for what Ebb records of them.
fn settings(info: &CollectionInfo) -> (CollectionConfig, Vec<(String, i32, String)>) {
    let mut config = info.config.clone().unwrap_or_default();
    config.metadata.remove(OPTIONS);
    let indexes = info.payload_schema.iter();
    let index = |params: &Option<PayloadIndexParams>| format!("{params:?}");
    let mut indexes: Vec<_> = indexes
        .map(|(field, it)| (field.clone(), it.data_type, index(&it.params)))
        .collect();
    indexes.sort();
    (config, indexes)
}

/// Values of settings that a report names: found and wanted.
fn changed(report: &Value, name: &str) -> Option<[String; 2]> {
    let changed = report["settings"]["changed"].as_array()?;
    let it = changed.iter().find(|it| it["name"] == name)?;
    Some(["found", "wanted"].map(|side| it[side].as_str().unwrap_or_default().to_owned()))
}

#[tokio::test]
async fn a_rebuild_keeps_every_setting_of_the_collection_that_serves() -> anyhow::Result<()> {
    let bed = tuned().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let before = settings(&info(&bed).await?);
    assert!(before.1.len() > indexes().len(), "{before:?}");
    let documents = corpus(12);
    let ran = rebuild(&bed, &documents, &["--run-id", "r1"]).await?;
    let report = ran.done();
    assert_eq!(report["settings"], json!({"changed": [], "not_kept": []}));
    assert_eq!(settings(&info(&bed).await?), before);
    assert_eq!(found(&bed).await?, wanted(&documents));

    // Once more, from what a rebuild has made, and through a crash right before the graph is built.
    let arguments = ["--run-id", "r2"];
    rebuild_with(&bed, &documents, &arguments, "rebuild-caught-up=kill").await?;
    rebuild(&bed, &documents, &arguments).await?.done();
    assert!(serving(&bed).await?.ends_with("--r2"));
    assert_eq!(settings(&info(&bed).await?), before);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn options_of_a_rebuild_are_recorded_and_hold_for_the_next_generations() -> anyhow::Result<()>
{
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let documents = corpus(6);
    let options = [
        ["--shards", "5"],
        ["--quantization", "int8:ram"],
        ["--vectors", "disk"],
        ["--datatype", "float16"],
        ["--hnsw", "m=24,ef_construct=200"],
        ["--strict-mode", "enabled=true,max_query_limit=50000"],
        ["--index", "meta.lang=keyword:is_tenant,meta.price=float"],
    ];
    let first = rebuild(&bed, &documents, options.as_flattened()).await?;
    // A cluster has as many by default as it has nodes.
    let shards = changed(first.done(), "shards");
    assert_eq!(shards.map(|[_, wanted]| wanted).as_deref(), Some("5"));
    let given = info(&bed).await?;
    let params = given.config.clone().and_then(|config| config.params);
    assert_eq!(params.map(|params| params.shard_number), Some(5));
    let index = &given.payload_schema["meta.lang"];
    assert_eq!(index.data_type(), PayloadSchemaType::Keyword);
    let record = Record::of(&given);
    assert_eq!(record.options.get("quantization"), Some("int8:ram"));
    assert_eq!(record.options.get("index.meta.price"), Some("float"));

    // By hand, and with one option anew.
    let name = serving(&bed).await?;
    let mut update = UpdateCollectionBuilder::new(&name).build();
    update.hnsw_config = Some(HnswConfigDiffBuilder::default().ef_construct(150).build());
    qdrant(&bed)?.update_collection(update).await?;
    let second = rebuild(&bed, &documents, &["--hnsw", "m=12", "--run-id", "again"]).await?;
    let report = second.done();
    assert_eq!(
        changed(report, "hnsw.m"),
        Some(["24", "12"].map(str::to_owned))
    );
    let not_kept = report["settings"]["not_kept"].to_string();
    assert!(
        not_kept.contains("`hnsw.ef_construct` was recorded as 200 and is 150"),
        "{not_kept}"
    );
    let next = info(&bed).await?;
    let ((mut expected, indexes), (found, kept)) = (settings(&given), settings(&next));
    let graph = expected.hnsw_config.as_mut().unwrap();
    (graph.m, graph.ef_construct) = (Some(12), Some(150));
    assert_eq!((found, kept), (expected, indexes));
    let record = Record::of(&next);
    assert_eq!(record.options.get("hnsw.m"), Some("12"));
    assert_eq!(record.options.get("hnsw.ef_construct"), None);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn what_somebody_changes_while_a_rebuild_runs_remains_when_it_ends() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let documents = corpus(5);
    let arguments = ["--run-id", "r1"];
    rebuild_with(&bed, &documents, &arguments, "rebuild-copied=kill").await?;
    let (client, name) = (qdrant(&bed)?, serving(&bed).await?);
    let mut update = UpdateCollectionBuilder::new(&name).build();
    update.hnsw_config = Some(HnswConfigDiffBuilder::default().m(20).build());
    client.update_collection(update).await?;
    let index = CreateFieldIndexCollectionBuilder::new(&name, "meta.late", FieldType::Keyword);
    client.create_field_index(index.wait(true)).await?;
    rebuild(&bed, &documents, &arguments).await?.done();
    let info = info(&bed).await?;
    assert!(serving(&bed).await?.ends_with("--r1"));
    let graph = info.config.and_then(|config| config.hnsw_config);
    assert_eq!(graph.and_then(|graph| graph.m), Some(20));
    assert!(info.payload_schema.contains_key("meta.late"));
    worker.process.kill().await?;
    bed.end().await
}

async fn check(bed: &Bed, more: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
    let mut command = bed.stack.program("indexer");
    let output = command
        .args(["provision", "--check"])
        .args(more)
        .output()
        .await?;
    Ok((output.status.code(), String::from_utf8(output.stdout)?))
}

/// An index that somebody drops, so that filters read everything, shows in both checks.
async fn index_dropped_by_hand_is_seen(bed: &Bed) -> anyhow::Result<()> {
    let name = serving(bed).await?;
    let dropped = qdrant_client::qdrant::DeleteFieldIndexCollectionBuilder::new(name, "meta.lang");
    qdrant(bed)?.delete_field_index(dropped.wait(true)).await?;
    let (code, said) = check(bed, &[]).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("recorded options of"), "{said}");
    assert!(said.contains("index.meta.lang: keyword -> none"), "{said}");
    let mut doctor = bed.stack.program("indexer");
    let said = doctor.args(["doctor", "--json"]).output().await?.stdout;
    let said = String::from_utf8(said)?;
    assert!(said.contains("index.meta.lang"), "{said}");
    Ok(())
}

#[tokio::test]
async fn provisioning_changes_what_can_be_changed_in_place_and_says_what_takes_a_rebuild()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let options = [
        ["--shards", "5"],
        ["--write-consistency", "1"],
        ["--vectors", "disk"],
        ["--quantization", "binary:ram"],
        ["--hnsw", "m=20,on_disk=true"],
        ["--strict-mode", "enabled=true,max_timeout=99"],
        ["--index", "meta.lang=keyword,meta.at=datetime:on_disk"],
    ];
    let options = options.as_flattened();
    let (code, said) = check(&bed, options).await?;
    assert_eq!(code, Some(1), "{said}");
    for line in [
        "index.meta.lang: nothing -> keyword",
        "hnsw.m: 16 -> 20",
        "quantization: none -> binary:ram",
        "-> 5",
        "`indexer rebuild` changes them",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let mut provision = bed.stack.program("indexer");
    output({
        provision.arg("provision").args(options);
        provision
    })
    .await?;
    let changed = info(&bed).await?;
    let config = changed.config.clone().unwrap_or_default();
    assert_eq!(config.hnsw_config.and_then(|graph| graph.m), Some(20));
    assert_eq!(
        config
            .strict_mode_config
            .and_then(|strict| strict.max_timeout),
        Some(99)
    );
    assert!(changed.payload_schema.contains_key("meta.lang"));
    let (code, said) = check(&bed, options).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("-> 5") && !said.contains("hnsw"), "{said}");

    // The recorded shards come with the next generation, without being asked for again.
    let worker = bed.stack.worker("worker", &[]).await?;
    rebuild(&bed, &corpus(3), &[]).await?.done();
    let (code, said) = check(&bed, options).await?;
    assert_eq!(code, Some(0), "{said}");

    index_dropped_by_hand_is_seen(&bed).await?;
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn options_that_cannot_be_used_are_refused_at_once() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let mut command = bed.stack.program("indexer");
    command.args([
        "provision",
        "--quantization",
        "int4",
        "--index",
        "meta.lang=word",
        "--shards",
        "0",
    ]);
    let output = command.output().await?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(64), "{said}");
    for setting in ["--quantization", "--index", "--shards"] {
        assert!(said.contains(setting), "{setting}: {said}");
    }
    let mut command = bed.stack.program("indexer");
    let output = command
        .args(["provision", "--datatype", "uint8"])
        .output()
        .await?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("have length 1"), "{said}");
    bed.end().await
}

#[tokio::test]
async fn a_plan_says_what_the_chunks_take_on_each_node() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let folder = super::write(&bed, &corpus(50))?;
    let plan = async |more: &[&str]| -> anyhow::Result<Value> {
        let mut command = bed.stack.program("indexer");
        command.args(["plan", "--json"]).args(more).arg(&folder);
        Ok(serde_json::from_str(&output(command).await?)?)
    };
    let dimensions = bed.manifest.identity.dimensions as u64;
    let plain = plan(&[]).await?;
    assert_eq!(plain["storage"]["points"], 50);
    assert_eq!(plain["storage"]["vectors_bytes"], 50 * dimensions * 4);
    assert_eq!(plain["storage"]["quantized_bytes"], 0);
    let options = [
        "--shards",
        "4",
        "--replication",
        "2",
        "--nodes",
        "4",
        "--quantization",
        "int8",
    ];
    let spread = plan(&options).await?;
    assert_eq!(spread["storage"]["points"], 25);
    assert_eq!(spread["storage"]["quantized_bytes"], 25 * (dimensions + 4));
    bed.end().await
}

#[tokio::test]
async fn a_filter_that_strict_mode_refuses_is_told_which_index_it_needs() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let strict = "enabled=true,unindexed_filtering_retrieve=false";
    bed.stack
        .indexer(&["provision", "--strict-mode", strict])
        .await?;
    let filter = Filter::must([Condition::matches("meta.lang", "en".to_owned())]);
    let count = CountPointsBuilder::new(&bed.stack.collection).filter(filter);
    // A server that does not refuse has nothing to explain.
    if qdrant(&bed)?.count(count).await.is_ok() {
        return bed.end().await;
    }
    let mut command = bed.stack.program("indexer");
    let models = tempfile::tempdir()?;
    command.env("EBB_MODEL", stage(&[], models.path()).await?);
    command.args(["rescore", "--dry-run", "--query", "a", "--filter"]);
    command.arg(json!({"must": [{"key": "meta.lang", "match": {"value": "en"}}]}).to_string());
    let output = command.output().await?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("`indexer provision --index meta.lang="),
        "{said}"
    );
    bed.end().await
}
