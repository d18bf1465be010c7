//! The chart of Helm takes the same decisions: its schema, its defaults, and the constants that its formulas are about are
//! written from here. `tests` holds what it renders against what kustomize builds.

use std::collections::BTreeMap;

use contract::topology::{
    DEFAULT_ACK_WAIT, DEFAULT_BATCH_JOBS, DEFAULT_GRACE, LAST_CALL, LONGEST_RETRY_DELAY,
    RUNTIME_END,
};
use queue::streams::MAX_WAITING;
use serde_json::{Map, Value, json};

use crate::decisions::{AliasOptions, Decisions, Gpu, read};
use crate::fleet::derive::{LIVE_TARGET, MODELS, ROOM, STARTED_BATCHES};
use crate::fleet::in_flight;
use crate::fleet::rules::MOST_IN_FLIGHT;
use crate::jobs::JOB_TOKENS;
use crate::published;

const LEAST: &str = "model: {name: m, source: 's3://models/m', fingerprint: \
                     b8955aad2ad6b8955aad2ad6b8955aad2ad6b8955aad2ad6b8955aad2ad6b895}\n";

/// What is decided about the chart alone: its name, its default, and what it means.
const OF_THE_CHART: [(&str, &str); 2] = [
    (
        "autoscaler",
        "Whether KEDA scales the workers: not before `provision` has made the consumers",
    ),
    (
        "create_namespaces",
        "Whether the namespaces are made, or are there already",
    ),
];

fn schema() -> Value {
    let mut schema = serde_json::to_value(schemars::schema_for!(Decisions)).unwrap();
    for (name, description) in OF_THE_CHART {
        let property = json!({ "type": "boolean", "default": true, "description": description });
        schema["properties"][name] = property;
    }
    // Helm has it in the values of a chart that is part of another one.
    schema["properties"]["global"] = json!({ "type": "object" });
    schema
}

/// Everything that is decided where nobody decides.
fn defaults() -> String {
    let decisions = read(LEAST).unwrap();
    let Value::Object(mut values) = serde_json::to_value(decisions).unwrap() else {
        panic!("decisions are a mapping");
    };
    values.remove("model");
    values.insert("alias".to_owned(), Value::from("docs"));
    values.extend(OF_THE_CHART.map(|(name, _)| (name.to_owned(), Value::Bool(true))));
    "# What is decided where you decide nothing; `model` has no default. The decisions are those of ../decisions.yaml,\n\
     # and values.schema.json says what each means.\n"
        .to_owned()
        + &yaml_serde::to_string(&values).unwrap()
}

fn constants() -> String {
    let gpus: Map<_, _> = Gpu::all()
        .map(|gpu| {
            let numbers = json!({
                "rate": gpu.tokens_per_second(), "start": gpu.start_time().as_secs(),
                "batch": gpu.batch_tokens(), "pool": gpu.overlay(), "resource": gpu.resource(),
            });
            (gpu.to_string(), numbers)
        })
        .collect();
    let batch_jobs = u64::from(DEFAULT_BATCH_JOBS);
    let decided = serde_json::to_value(read(LEAST).unwrap().first).unwrap();
    let of_three = "servers: three\n";
    let three = read(&format!("{LEAST}{of_three}")).unwrap();
    let constants = json!({
        "ack_wait": DEFAULT_ACK_WAIT.as_secs(), "grace": DEFAULT_GRACE.as_secs(),
        "ending": (LAST_CALL + RUNTIME_END + ROOM).as_secs(),
        "retry": LONGEST_RETRY_DELAY.as_secs(), "job_tokens": JOB_TOKENS,
        "live_target": LIVE_TARGET.as_secs(), "started_batches": STARTED_BATCHES,
        "most_workers": (MOST_IN_FLIGHT / in_flight(batch_jobs)).min(MAX_WAITING.try_into().unwrap()),
        "models": MODELS,
        "defaults": {
            "gpu": decided["gpu"], "max_workers": decided["max_workers"],
            "drain_target": decided["drain_target"], "schedule": decided["schedule"],
        },
        "of_three": three.options(&three.first), "options": option_names(), "gpus": gpus,
    });
    format!(
        "{{{{- /* Written by the tests of the indexer: the numbers that decisions are derived with. */ -}}}}\n\
         {{{{- define \"ebb.constants\" -}}}}\n{}\n{{{{- end -}}}}\n",
        serde_json::to_string_pretty(&constants).unwrap()
    )
}

/// The setting of each option.
fn option_names() -> BTreeMap<String, &'static str> {
    let schema = serde_json::to_value(schemars::schema_for!(AliasOptions)).unwrap();
    let names = schema["properties"].as_object().unwrap().keys();
    let setting = |name: &String| {
        let is_number = matches!(
            name.as_str(),
            "shards" | "replication" | "write_consistency"
        );
        let value = if is_number { json!(1) } else { json!("x") };
        let options: AliasOptions = serde_json::from_value(json!({ name: value })).unwrap();
        let [(setting, _)] = options.environment()[..] else {
            panic!("{name} is one setting");
        };
        (name.clone(), setting)
    };
    names.map(setting).collect()
}

#[test]
fn the_chart_has_the_decisions_and_constants_of_the_program() {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/chart");
    let schema = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    for (name, wanted) in [
        ("values.schema.json", schema),
        ("values.yaml", defaults()),
        ("templates/_constants.tpl", constants()),
    ] {
        published::is_current(&format!("{chart}/{name}"), &wanted);
    }
}
