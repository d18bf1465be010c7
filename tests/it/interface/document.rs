//! Document: it is valid, and agrees with the code on every name.

use std::collections::BTreeSet;
use std::path::PathBuf;

use contract::topology::{JOBS, Lane, Priority, Task, header, reply_subject};
use fixtures::programs::workspace;
use queue::dead_letter;
use serde_json::{Value, json};

fn folder() -> PathBuf {
    workspace().join("deploy/contract")
}

/// The document, as JSON.
pub(super) fn document() -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(folder().join("asyncapi.yaml"))?;
    Ok(yaml_serde::from_str(&text)?)
}

/// Whatever a file of JSON says.
pub(super) fn json_file(path: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(
        workspace().join(path),
    )?)?)
}

/// What is wrong with a value by a schema.
pub(super) fn faults(schema: &Value, value: &Value) -> anyhow::Result<Vec<String>> {
    let validator = jsonschema::validator_for(schema)?;
    let fault =
        |error: jsonschema::ValidationError<'_>| format!("{}: {error}", error.instance_path());
    Ok(validator.iter_errors(value).map(fault).collect())
}

#[test]
fn the_document_is_asyncapi() -> anyhow::Result<()> {
    let schema = json_file("tests/it/interface/asyncapi-3.0.0.schema.json")?;
    let mut document = document()?;
    assert_eq!(faults(&schema, &document)?, [""; 0]);
    // The schema tells a document from another one.
    document["operations"]["index"]["action"] = json!("dance");
    assert_ne!(faults(&schema, &document)?, [""; 0]);
    Ok(())
}

/// Every reference in a value: inside the document, or to a file beside it.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if let (true, Some(target)) = (name == "$ref", field.as_str()) {
                    found.insert(target.to_owned());
                }
                references(field, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_reference_leads_somewhere() -> anyhow::Result<()> {
    let document = document()?;
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for schema in ["job.schema.json", "answer.schema.json"] {
        let beside = format!("../../worker/contract/{schema}");
        assert!(found.contains(&beside), "nothing leads to {beside}");
    }
    for target in found {
        let there = match target.strip_prefix('#') {
            Some(pointer) => document.pointer(pointer).is_some(),
            None => folder().join(&target).is_file(),
        };
        assert!(there, "`{target}` is not there");
    }
    Ok(())
}

fn filled(address: &Value, values: &[(&str, &str)]) -> String {
    let address = address.as_str().unwrap_or_default().to_owned();
    values.iter().fold(address, |address, (name, value)| {
        address.replace(&format!("{{{name}}}"), value)
    })
}

#[test]
fn the_channels_are_those_of_the_code() -> anyhow::Result<()> {
    let document = document()?;
    let address = |channel: &str| &document["channels"][channel]["address"];
    let lanes = &document["components"]["parameters"]["lane"]["enum"];
    assert_eq!(*lanes, json!(Priority::ALL.map(Priority::as_str)));
    for task in [Task::Embed, Task::Rescore] {
        for lane in Lane::of(task, &"minilm".parse()?) {
            let values = [("model", "minilm"), ("lane", lane.priority.as_str())];
            assert_eq!(filled(address(task.as_str()), &values), lane.subject());
        }
    }
    let answer = filled(address("results"), &[("reply", "r1")]);
    assert_eq!(answer, reply_subject(&"r1".parse()?));
    let values = [
        ("stream", JOBS),
        ("sequence", "7"),
        ("stored", "1795420221672003924"),
    ];
    let letter = dead_letter::subject(JOBS, 7, 1_795_420_221_672_003_924);
    assert_eq!(filled(address("deadLetters"), &values), letter);
    Ok(())
}

/// Names of headers in a schema of headers.
fn names(headers: &Value) -> BTreeSet<&str> {
    let properties = headers["properties"].as_object();
    properties
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect()
}

#[test]
fn the_headers_are_those_of_the_code() -> anyhow::Result<()> {
    let document = document()?;
    let components = &document["components"];
    let of_jobs = names(&components["messageTraits"]["job"]["headers"]);
    let ours: BTreeSet<_> = of_jobs
        .into_iter()
        .filter(|name| name.starts_with("Ebb-"))
        .collect();
    assert_eq!(
        ours,
        [header::TOKENS, header::DOCUMENT_VERSION, header::REQUEUED].into()
    );
    let of_letters = names(&components["messages"]["deadLetter"]["headers"]);
    let known = [
        header::CAUSE,
        header::REASON,
        header::SUBJECT,
        header::SEQUENCE,
        header::DELIVERIES,
        header::WORKER,
        header::FINGERPRINT,
        header::RUN,
        header::DOCUMENT_VERSION,
    ];
    assert_eq!(of_letters, known.into());
    Ok(())
}

/// The README explains each cause; the causes of the code are tested where they arise.
#[test]
fn the_causes_are_those_that_the_readme_explains() -> anyhow::Result<()> {
    let readme = std::fs::read_to_string(workspace().join("README.md"))?;
    let table = readme
        .split("| cause | the job |")
        .nth(1)
        .unwrap_or_default();
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let codes = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let explained: BTreeSet<_> = codes.collect();
    let document = document()?;
    let causes = &document["components"]["messages"]["deadLetter"]["headers"]["properties"]["Ebb-Cause"]
        ["enum"];
    let listed: BTreeSet<_> = causes
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    assert!(listed.len() > 10);
    assert_eq!(listed, explained);
    Ok(())
}

#[test]
fn the_catalog_names_an_owner_the_system_the_document_and_the_report() -> anyhow::Result<()> {
    use serde::Deserialize as _;
    let text = std::fs::read_to_string(folder().join("catalog-info.yaml"))?;
    let entities = yaml_serde::Deserializer::from_str(&text).map(Value::deserialize);
    let entities: Vec<Value> = entities.collect::<Result<_, _>>()?;
    let of = |kind: &'static str| entities.iter().filter(move |entity| entity["kind"] == kind);
    assert!(
        entities
            .iter()
            .all(|entity| entity["spec"]["owner"].is_string())
    );
    let system = of("System")
        .next()
        .map(|system| &system["metadata"]["name"]);
    let others = entities.iter().filter(|entity| entity["kind"] != "System");
    assert!(
        others
            .into_iter()
            .all(|entity| Some(&entity["spec"]["system"]) == system)
    );
    for api in of("API") {
        let file = api["spec"]["definition"]["$text"]
            .as_str()
            .unwrap_or_default();
        assert!(
            folder().join(file).is_file() && api["spec"]["type"] == "asyncapi",
            "{api:#}"
        );
    }
    let component = of("Component").next().expect("a component");
    let provided: Vec<_> = of("API")
        .map(|api| api["metadata"]["name"].clone())
        .collect();
    assert_eq!(component["spec"]["providesApis"], json!(provided));
    let links = component["metadata"]["links"].as_array();
    assert!(
        links
            .into_iter()
            .flatten()
            .any(|link| link["title"] == "Eval report"),
        "{component:#}"
    );
    Ok(())
}
