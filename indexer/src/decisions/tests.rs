//! Decisions: what is read, what is refused, and the published schema.

use std::collections::BTreeSet;

use serde_json::Value;

use super::read::FIELDS;
use super::{Decisions, Gpu, Location, Quantity, Span, read};

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
    assert_eq!(decisions.gpu, Gpu::None);
    assert_eq!(
        (decisions.max_workers, decisions.drain_target),
        (8, Span::minutes(30))
    );
    assert_eq!(decisions.alias.as_str(), "docs");
    assert_eq!(decisions.source, None);
    assert_eq!(decisions.schedule.cron.to_string(), "17 2 * * *");
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
options: {shards: 3, quantization: int8:ram, index: 'meta.lang=keyword:is_tenant,meta.price=float'}
";
    let decisions = read(&format!("{LEAST}{more}")).unwrap();
    assert_eq!(
        decisions.gpu.resource().as_deref(),
        Some("nvidia.com/mig-1g.10gb")
    );
    assert!(matches!(
        decisions.source.clone().unwrap().location(),
        Location::Claim { .. }
    ));
    assert_eq!(decisions.schedule.time_zone.to_string(), "Europe/Berlin");
    let environment = decisions.options.environment();
    let index = environment.iter().find(|(name, _)| *name == "EBB_INDEX");
    assert_eq!(
        index.map(|(_, value)| value.as_str()),
        Some("meta.lang=keyword:is_tenant,meta.price=float")
    );
    // What is written is read again.
    let json = serde_json::to_string(&decisions).unwrap();
    assert_eq!(read(&json).unwrap(), decisions);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let yaml = "model:
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
";
    let faults = faults(yaml);
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
    assert_eq!(
        schema["properties"].as_object().unwrap().len(),
        9,
        "nine decisions"
    );
}

/// `EBB_UPDATE=1 cargo test -p indexer` writes the schema anew.
#[test]
fn the_published_schema_is_current() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/decisions.schema.json"
    );
    let generated = serde_json::to_value(schemars::schema_for!(Decisions)).unwrap();
    if std::env::var_os("EBB_UPDATE").is_some() {
        let text = serde_json::to_string_pretty(&generated).unwrap();
        std::fs::write(path, text + "\n").unwrap();
    }
    let published = std::fs::read(path).expect("deploy/decisions.schema.json exists");
    let published: Value = serde_json::from_slice(&published).unwrap();
    assert!(
        published == generated,
        "decisions.schema.json is not current; run with EBB_UPDATE=1"
    );
}

#[test]
fn the_decisions_of_the_repository_can_be_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/decisions.yaml");
    read(&std::fs::read_to_string(path).unwrap()).unwrap();
}
