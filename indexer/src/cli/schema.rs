//! Schema: what each verb prints with `--json`, as `outcomes.schema.json` says.

use clap::CommandFactory as _;
use schemars::JsonSchema;

use super::Cli;
use crate::dead_letters::StoredLetter;
use crate::published;
use crate::{
    attach, delete, dlq, doctor, eval, extract, generation, plan, provision, publish, rebuild,
    render, rescore, rollback, search, status, sync,
};

/// One property for each verb: the object that it prints on one line. What is added later is optional; what is there
/// keeps its name and its meaning until a major version.
#[expect(dead_code, reason = "its fields name types for their schemas")]
#[derive(JsonSchema)]
#[schemars(title = "What the verbs of indexer print with --json")]
struct Outcomes {
    attach: attach::Attachment,
    delete: delete::Deleted,
    detach: attach::detach::Detached,
    dlq: DeadLetters,
    doctor: doctor::Findings,
    eval: eval::Report,
    /// A line for each document, chunk, loss, refusal and file, and one for all.
    extract: extract::show::Line<'static>,
    /// A line for each generation.
    gc: generation::retire::Generation,
    plan: plan::Plan,
    provision: provision::Provisioned,
    publish: publish::Published,
    /// With `--dry-run` it is that of `plan`.
    rebuild: rebuild::Report,
    render: render::Rendered,
    rescore: rescore::Rescored,
    rollback: rollback::RolledBack,
    search: search::Hits,
    /// With `--watch` a line for each look.
    status: status::Status,
    /// With `--dry-run` it is that of `plan`.
    sync: sync::Report,
}

/// By the verbs of `dlq`.
#[expect(dead_code, reason = "its fields name types for their schemas")]
#[derive(JsonSchema)]
struct DeadLetters {
    drop: dlq::Dropped,
    ls: Listed,
    replay: dlq::Replayed,
    show: dlq::ShownLetter,
    sweep: dlq::Swept,
}

#[expect(dead_code, reason = "its fields name types for their schemas")]
#[derive(JsonSchema)]
struct Listed {
    dead_letters: Vec<StoredLetter>,
}

#[test]
fn the_published_schema_is_current() {
    let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
    let schema = schemars::SchemaGenerator::new(settings).into_root_schema_for::<Outcomes>();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/outcomes.schema.json");
    published::is_current(path, &published::text(&schema));
}

#[test]
fn each_verb_that_prints_json_has_a_schema() {
    let schema = schemars::schema_for!(Outcomes).to_value();
    let has_json = |verb: &clap::Command| verb.get_arguments().any(|arg| arg.get_id() == "json");
    let listed = |schema: &serde_json::Value| -> Vec<String> {
        let properties = schema["properties"].as_object().unwrap();
        properties.keys().cloned().collect()
    };
    let named = |command: &clap::Command| -> Vec<String> {
        let verbs = command.get_subcommands();
        let printing = verbs.filter(|verb| has_json(verb) || verb.get_name() == "dlq");
        let mut names: Vec<_> = printing.map(|verb| verb.get_name().to_owned()).collect();
        names.sort();
        names
    };
    let cli = Cli::command();
    assert_eq!(listed(&schema), named(&cli));
    let letters = &schema["$defs"]["DeadLetters"];
    assert_eq!(listed(letters), named(cli.find_subcommand("dlq").unwrap()));
}
