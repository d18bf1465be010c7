use clap::{CommandFactory as _, Parser as _};

use super::*;
use crate::cli::{Cli, Verb};

fn put(text: &str, arguments: &[&str]) -> Vec<OsString> {
    let command = Cli::command();
    let settings = Settings::read(&command, text).unwrap();
    let typed = [&["indexer"], arguments].concat();
    settings.put_into(&command, typed.into_iter().map(Into::into).collect())
}

fn parsed(text: &str, arguments: &[&str]) -> Cli {
    Cli::try_parse_from(put(text, arguments)).unwrap()
}

#[test]
fn a_setting_of_the_file_is_a_default_and_what_is_said_of_one_verb_holds() {
    let file = "nats-url = [\"nats://a\", \"nats://b\"]\nlimit = 3\n[search]\nlimit = 7\ngroup-by-document = true\n";
    let Verb::Search(search) = parsed(file, &["search", "x"]).verb else {
        panic!("another verb");
    };
    assert_eq!((search.limit, search.group_by_document), (7, true));
    assert_eq!(search.servers.nats.nats_url, ["nats://a", "nats://b"]);
    let Verb::Search(search) = parsed(file, &["search", "x", "--limit", "9"]).verb else {
        panic!("another verb");
    };
    assert_eq!(search.limit, 9);
    let Verb::Rebuild(rebuild) = parsed("model = \"/m\"", &["rebuild", "a.md"]).verb else {
        panic!("another verb");
    };
    assert_eq!(rebuild.model.model, PathBuf::from("/m"));
}

#[test]
fn all_faults_of_a_file_are_named() {
    let file = "nats-urll = \"x\"\nnats-password = \"p\"\nqdrant-url = 1979-05-27\n[serch]\na = 1\n[search]\nno = 1\n";
    let faults = Settings::read(&Cli::command(), file).unwrap_err();
    assert_eq!(faults.len(), 5, "{faults:#?}");
    let said = faults.join("\n");
    for part in [
        "is `nats-url` meant",
        "a secret belongs",
        "is `search` meant",
        "[search] `no`",
        "a text, a number",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for line in [
        "line 1: `nats-urll`",
        "line 3: qdrant-url",
        "line 7: [search]",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(Settings::read(&Cli::command(), "a = ").is_err());
}

#[test]
fn a_value_that_no_option_takes_is_named_with_its_line_whatever_verb_is_typed() {
    for (file, fault) in [
        (
            "# first\n\n[search]\nlimit = \"many\"\n",
            "line 4: [search] limit: `many`",
        ),
        (
            "[publish]\nlane = \"fast\"\n",
            "line 2: [publish] lane: `fast`: not one of live, bulk",
        ),
        (
            "model = [\"/a\", \"/b\"]",
            "line 1: model: one value is expected",
        ),
        (
            "[search]\ngroup-by-document = 1",
            "line 2: [search] group-by-document: true or false",
        ),
        ("interval = \"soon\"", "line 1: interval: `soon`"),
        (
            "[dlq.sweeep]\njson = true",
            "line 1: [dlq] `sweeep` is no setting; is `sweep` meant?",
        ),
        ("[dlq.sweep]\nno = true", "line 2: [dlq.sweep] `no`"),
    ] {
        let faults = Settings::read(&Cli::command(), file).unwrap_err();
        assert!(faults[0].starts_with(fault), "{file}: {faults:?}");
    }
}

#[test]
fn what_is_said_of_a_verb_below_another_is_said_of_it_alone() {
    let file = "json = false\n[dlq]\njson = false\n[dlq.sweep]\njson = true";
    assert_eq!(
        put(file, &["dlq", "sweep"]),
        ["indexer", "dlq", "sweep", "--json"]
    );
    assert_eq!(put(file, &["dlq", "ls"]), ["indexer", "dlq", "ls"]);
}

#[test]
fn what_is_meant_for_one_time_is_typed() {
    for file in [
        "fresh = true",
        "[rebuild]\nfull = true",
        "dry-run = true",
        "[detach]\nvector = \"v\"",
    ] {
        let faults = Settings::read(&Cli::command(), file).unwrap_err();
        assert!(
            faults[0].contains("on the command line alone"),
            "{faults:?}"
        );
    }
    let searched = "[search]\nvector = \"v\"\nfirst-model = \"/m\"";
    let Verb::Search(search) = parsed(searched, &["search", "x"]).verb else {
        panic!("another verb");
    };
    assert!(search.vector.is_some());
    assert_eq!(search.first_model, Some(PathBuf::from("/m")));
}

#[test]
fn settings_keep_to_the_rules_of_options_and_give_way_to_what_is_typed() {
    let conflicting = put(
        "[rebuild]\nfrom-collection = \"docs\"",
        &["rebuild", "docs/"],
    );
    assert!(Cli::try_parse_from(conflicting).is_err());
    let alone = put(
        "[rebuild]\nfrom-collection = \"docs\"\nmodel = \"/m\"",
        &["rebuild"],
    );
    assert!(Cli::try_parse_from(alone).is_ok());
    let off = put("[search]\njson = false", &["search", "x"]);
    assert_eq!(off, ["indexer", "search", "x"]);
    let file = "nats-creds = \"/c\"\nnats-url = \"nats://n\"";
    let typed = ["delete", "a", "--nats-user", "u"];
    assert_eq!(
        put(file, &typed),
        [
            "indexer",
            "delete",
            "--nats-url=nats://n",
            "a",
            "--nats-user",
            "u"
        ]
    );
    assert_eq!(put(file, &["--help"]), ["indexer", "--help"]);
}

#[test]
fn no_file_selects_dead_letters_or_lets_a_page_change_them() {
    let file = "model = \"minilm\"\nlimit = 3\n";
    for verb in [&["dlq", "drop"][..], &["dlq", "replay"], &["dlq", "ls"]] {
        let typed = [&["indexer"], verb].concat();
        assert_eq!(put(file, verb), typed);
    }
    for file in [
        "all = true",
        "[dlq]\nlimit = 3",
        "[ui]\nallow-changes = true",
        "config = \"other.toml\"",
    ] {
        let faults = Settings::read(&Cli::command(), file).unwrap_err();
        assert!(
            faults[0].contains("on the command line alone"),
            "{faults:?}"
        );
    }
}

#[test]
fn the_file_is_named_on_the_command_line() {
    let of = |words: &[&str]| named(words.iter().map(OsString::from));
    assert_eq!(of(&["status", "--config", "a.toml"]), Some("a.toml".into()));
    assert_eq!(of(&["--config=b.toml", "status"]), Some("b.toml".into()));
    assert_eq!(of(&["delete", "--", "--config", "x"]), None);
    assert_eq!(of(&["--configure"]), None);
}
