//! Decisions: what is read, what is refused, and the published schema.

use std::collections::BTreeSet;

use super::read::FIELDS;
use super::{Decisions, Gpu, Location, Quantity, Servers, Span, read};
use crate::published;

const LEAST: &str = "model:
  name: minilm
  source: hf://sentence-transformers/all-MiniLM-L6-v2
  fingerprint: b8955aad2ad6b8955aad2ad6b8955aad2ad6b8955aad2ad6b8955aad2ad6b895
";

fn faults(yaml: &str) -> Vec<String> {
    let faults = read(yaml).unwrap_err();
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn a_model_is_enough() {
    let decisions = read(LEAST).unwrap();
    let first = &decisions.first;
    assert_eq!(first.gpu, Gpu::None);
    assert_eq!(
        (first.max_workers, first.drain_target),
        (8, Span::minutes(30))
    );
    assert_eq!(decisions.alias(first).as_str(), "docs");
    assert_eq!(first.source, None);
    assert_eq!(first.schedule.cron.to_string(), "17 2 * * *");
    assert_eq!(decisions.storage.size, Quantity::gibibytes(20));
}

#[test]
fn what_was_decided_is_what_is_read() {
    let more = "gpu: mig-1g.10gb
max_workers: 3
drain_target: 2h
alias: handbook
source: pvc://corpora/handbook
schedule: {cron: '@daily', time_zone: Europe/Berlin}
storage: {class: nfs, size: 1Ti}
servers: three
registry: registry.example.com/ebb
queue: gpus
more_models:
  - model: {name: judge, task: rescore, source: 's3://models/judge', fingerprint: b8955aad2ad6b8955aad2ad6b8955aad2ad6b8955aad2ad6b8955aad2ad6b895}
    gpu: nvidia
options: {shards: 3, quantization: int8:ram, index: 'meta.lang=keyword:is_tenant,meta.price=float'}
";
    let decisions = read(&format!("{LEAST}{more}")).unwrap();
    let first = &decisions.first;
    assert_eq!(
        first.gpu.resource().as_deref(),
        Some("nvidia.com/mig-1g.10gb")
    );
    assert!(matches!(
        first.source.clone().unwrap().location(),
        Location::Claim { .. }
    ));
    assert_eq!(first.schedule.time_zone.to_string(), "Europe/Berlin");
    let environment = first.options.environment();
    let index = environment.iter().find(|(name, _)| *name == "EBB_INDEX");
    assert_eq!(
        index.map(|(_, value)| value.as_str()),
        Some("meta.lang=keyword:is_tenant,meta.price=float")
    );
    let judge = &decisions.more_models[0];
    assert_eq!((judge.max_workers, decisions.servers), (8, Servers::Three));
    assert_eq!(decisions.alias(judge).as_str(), "handbook");
    // What is written is read again.
    let json = serde_json::to_string(&decisions).unwrap();
    assert_eq!(read(&json).unwrap(), decisions);
}

/// Wrong in every field.
const WRONG: &str = "model:
  name: Mini LM
  fingerprint: b8955aad2ad6
  tokens_per_secnd: 100
gpu: mig-1g.11gb
max_worker: 3
max_workers: 0
drain_target: 30
alias: a/b
source: handbook/
schedule: {cron: '99 2 * * *', time_zone: Europe/Berlln}
storage: 20Gi
options: {shards: 0, hnsw: 'm=many,links=3', quantization: int4, index: meta.lang}
colour: blue
servers: two
registry: https://registry.example.com
queue: GPUs
more_models:
  - model: {name: judge, task: score, source: s3://models/judge}
    storage: {size: 1Gi}
    max_workers: 0
";

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let faults = faults(WRONG);
    let wanted = [
        ("model.name", "`Mini LM`"),
        ("model.source", "has to be decided"),
        ("model.fingerprint", "`b8955aad2ad6`"),
        (
            "model.tokens_per_secnd",
            "`tokens_per_second` is the nearest",
        ),
        ("gpu", "`mig-1g.11gb`"),
        ("max_worker", "`max_workers` is the nearest"),
        ("max_workers", "`0`"),
        ("drain_target", "30"),
        ("alias", "`a/b`"),
        ("source", "`handbook/`"),
        ("schedule.cron", "`99`"),
        ("schedule.time_zone", "`Europe/Berlin` is the nearest"),
        ("storage", "expected a mapping with `class`, `size`"),
        ("options.shards", "`0`"),
        ("options.hnsw", "`links` is unknown"),
        ("options.quantization", "`int4` is no quantization"),
        ("options.index", "has no `=`"),
        ("colour", "known are `model`, `gpu`"),
        ("servers", "expected `one` or `three`"),
        ("registry", "a registry of images"),
        ("queue", "`GPUs`"),
        ("more_models[0].model.task", "`score`"),
        ("more_models[0].model.fingerprint", "has to be decided"),
        ("more_models[0].storage", "is unknown"),
        ("more_models[0].max_workers", "`0`"),
    ];
    for (field, problem) in wanted {
        let field = format!("{field}: ");
        let found = faults.iter().find(|fault| fault.starts_with(&field));
        assert!(
            found.is_some_and(|fault| fault.contains(problem)),
            "{field} {faults:#?}"
        );
    }
    assert_eq!(faults.len(), wanted.len(), "{faults:#?}");
}

#[test]
fn models_of_one_installation_have_names_and_aliases_of_their_own() {
    let model = LEAST.lines().skip(2).collect::<Vec<_>>().join("\n");
    let more = |name: &str, rest: &str| {
        let model = model.replace('\n', "\n    ");
        format!("  - model:\n      name: {name}\n    {model}\n{rest}")
    };
    let list = [
        more("minilm", "    alias: papers\n"),
        more("main", "    alias: mails\n"),
        more("no-alias", ""),
        more("a_b", "    alias: papers\n"),
        more("a-b", "    alias: letters\n"),
        more(
            "judge",
            "      task: rescore\n    source: s3://corpus\n    options: {shards: 2}\n",
        ),
        more("good", "    alias: good\n"),
        more("scores", "      task: rescore\n"),
        more("beside", "    attached: true\n    alias: good\n"),
        more(
            "lost",
            "    attached: true\n    alias: nowhere\n    source: s3://corpus\n",
        ),
        more("both", "      task: rescore\n    attached: true\n"),
    ];
    let first = LEAST.replace("name: minilm", "name: minilm\n  task: rescore");
    let faults = faults(&format!("{first}more_models:\n{}", list.concat()));
    let wanted = [
        ("model.task", "the first model has to embed"),
        (
            "more_models[0].model.name",
            "`minilm` is the name that model.name has",
        ),
        ("more_models[1].model.name", "`main`"),
        ("more_models[2].alias", "has to be decided"),
        (
            "more_models[3].alias",
            "`papers` is filled by another model, see `more_models[0].alias`",
        ),
        ("more_models[4].model.name", "more_models[3].model.name"),
        ("more_models[5].source", "fills no alias"),
        ("more_models[5].options", "fills no alias"),
        ("more_models[9].alias", "`nowhere` is filled by no model"),
        ("more_models[9].source", "a model that is attached"),
        ("more_models[10].attached", "a model that rescores"),
    ];
    for (field, problem) in wanted {
        let field = format!("{field}: ");
        let found = faults.iter().find(|fault| fault.starts_with(&field));
        assert!(
            found.is_some_and(|fault| fault.contains(problem)),
            "{field} {faults:#?}"
        );
    }
    assert_eq!(faults.len(), wanted.len(), "{faults:#?}");
}

#[test]
fn what_is_no_yaml_or_no_mapping_is_refused() {
    assert!(faults("model: [").len() == 1);
    assert!(faults("").len() == 1);
    assert!(faults("- model").len() == 1);
    assert!(faults(&format!("{LEAST}gpu: none\ngpu: nvidia\n"))[0].contains("duplicate"));
    assert_eq!(faults("{}").len(), 3, "{:?}", faults("{}"));
}

#[test]
fn the_reader_knows_the_fields_of_the_type() {
    let schema = serde_json::to_value(schemars::schema_for!(Decisions)).unwrap();
    let mut paths = BTreeSet::new();
    let parts = [
        ("", ""),
        ("model.", "Model"),
        ("schedule.", "Schedule"),
        ("storage.", "Storage"),
        ("options.", "AliasOptions"),
    ];
    for (prefix, part) in parts {
        let part = if part.is_empty() {
            &schema
        } else {
            &schema["$defs"][part]
        };
        let keys = part["properties"].as_object().unwrap().keys();
        paths.extend(keys.map(|key| format!("{prefix}{key}")));
    }
    // The parts themselves are no fields.
    for part in ["model", "schedule", "storage", "options"] {
        assert!(paths.remove(part));
    }
    let known: BTreeSet<_> = FIELDS.iter().map(|field| field.path.to_owned()).collect();
    assert_eq!(known, paths);
    assert_eq!(schema["additionalProperties"], false);
    // Those of a further model are those of the first one.
    let further = &schema["$defs"]["Serving"]["properties"];
    for key in further.as_object().unwrap().keys() {
        assert_eq!(schema["properties"][key], further[key], "{key}");
    }
}

#[test]
fn the_published_schema_is_current() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/decisions.schema.json"
    );
    let schema = schemars::schema_for!(Decisions);
    published::is_current(path, &published::text(&schema));
}

#[test]
fn the_decisions_of_the_repository_can_be_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/decisions.yaml");
    read(&std::fs::read_to_string(path).unwrap()).unwrap();
}
