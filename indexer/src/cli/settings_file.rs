//! Settings file: what would be typed again and again, below the environment and the command line.
//!
//! ```toml
//! nats-url = "nats://nats:4222"      # of every verb that has it
//! model = "/models/minilm"
//!
//! [search]                           # of one verb
//! limit = 10
//! ```
//!
//! A setting of the file becomes the default of the option of its name, so that `--help` shows it, and it is checked like
//! any other. A name that no verb has is a fault.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Command;
use toml::{Table, Value};

/// Looked for where the program is started, unless another is named.
const FILE: &str = "ebb.toml";
const OPTION: &str = "--config";
const VARIABLE: &str = "EBB_CONFIG";
/// Secrets do not lie in a file that is shown around.
const SECRET: [&str; 3] = ["nats-password", "qdrant-api-key", "token"];

/// The command with the defaults of a file, if there is one.
///
/// # Errors
/// A sentence for each fault of the file.
pub fn with_defaults(command: Command) -> Result<Command, Vec<String>> {
    let named = named(std::env::args_os().skip(1))
        .or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from));
    let (path, must_be_there) = match named {
        Some(path) => (path, true),
        None => (PathBuf::from(FILE), false),
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if !must_be_there && error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(command);
        }
        Err(error) => {
            return Err(vec![format!(
                "{OPTION}: cannot read `{}`: {error}",
                path.display()
            )]);
        }
    };
    apply(command, &text).map_err(|faults| said_of(&path, &faults))
}

fn said_of(path: &Path, faults: &[String]) -> Vec<String> {
    faults
        .iter()
        .map(|fault| format!("{}: {fault}", path.display()))
        .collect()
}

/// The file that the command line names: it has to be read before the command line is.
fn named(arguments: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        if text == "--" {
            return None;
        }
        if text == OPTION {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(path) = text
            .strip_prefix(OPTION)
            .and_then(|rest| rest.strip_prefix('='))
        {
            return Some(path.into());
        }
    }
    None
}

fn apply(command: Command, text: &str) -> Result<Command, Vec<String>> {
    let table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| vec![error.to_string()])?;
    let mut faults = Vec::new();
    let mut command = command;
    let (verbs, shared): (Vec<_>, Vec<_>) =
        table.into_iter().partition(|(_, value)| value.is_table());
    // What is said of one verb comes last, and holds.
    for (name, value) in shared {
        match default(&name, &value) {
            Ok(default) if is_known(&command, &name) => command = set(command, &name, &default),
            Ok(_) => faults.push(unknown(&name, &options(&command))),
            Err(fault) => faults.push(fault),
        }
    }
    for (verb, settings) in verbs {
        let Some(below) = command.find_subcommand(&verb).cloned() else {
            let known = command
                .get_subcommands()
                .map(|it| it.get_name().to_owned())
                .collect();
            faults.push(unknown(&verb, &known));
            continue;
        };
        let mut below = below;
        for (name, value) in settings.as_table().into_iter().flatten() {
            match default(name, value) {
                Ok(default) if is_known(&below, name) => below = set(below, name, &default),
                Ok(_) => faults.push(format!("[{verb}] {}", unknown(name, &options(&below)))),
                Err(fault) => faults.push(format!("[{verb}] {fault}")),
            }
        }
        command = command.mut_subcommand(&verb, |_| below);
    }
    if faults.is_empty() {
        Ok(command)
    } else {
        Err(faults)
    }
}

/// The texts that a value stands for, as they would be typed.
fn default(name: &str, value: &Value) -> Result<Vec<String>, String> {
    if SECRET.contains(&name) {
        return Err(format!("{name}: a secret belongs in the environment"));
    }
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(truth) => Ok(truth.to_string()),
        Value::Array(_) | Value::Table(_) | Value::Datetime(_) => Err(format!(
            "{name}: a text, a number, true, false, or a list of these is expected"
        )),
    };
    match value.as_array() {
        Some(values) => values.iter().map(one).collect(),
        None => Ok(vec![one(value)?]),
    }
}

fn options(command: &Command) -> BTreeSet<String> {
    let own = command
        .get_arguments()
        .filter_map(|it| it.get_long().map(str::to_owned));
    own.chain(command.get_subcommands().flat_map(options))
        .collect()
}

fn is_known(command: &Command, name: &str) -> bool {
    options(command).contains(name)
}

fn unknown(name: &str, known: &BTreeSet<String>) -> String {
    let near = known
        .iter()
        .map(|it| (strsim::jaro_winkler(it, name), it))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match near {
        Some((_, near)) => format!("`{name}` is no setting; is `{near}` meant?"),
        None => format!(
            "`{name}` is no setting; `indexer help` lists the verbs, and `indexer VERB --help` their settings"
        ),
    }
}

/// Sets a default wherever an option of that name is. The texts live as long as the process: clap keeps references.
fn set(command: Command, name: &str, default: &[String]) -> Command {
    let default: Vec<&'static str> = default
        .iter()
        .map(|text| &*Box::leak(text.clone().into_boxed_str()))
        .collect();
    let command = command.mut_args(|argument| {
        if argument.get_long() == Some(name) {
            argument.required(false).default_values(default.clone())
        } else {
            argument
        }
    });
    let owned: Vec<String> = default.iter().map(|text| (*text).to_owned()).collect();
    command.mut_subcommands(|below| set(below, name, &owned))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::*;
    use crate::cli::{Cli, Verb};

    fn parsed(text: &str, arguments: &[&str]) -> Cli {
        let command = apply(Cli::command(), text).unwrap();
        let matches = command
            .try_get_matches_from([&["indexer"], arguments].concat())
            .unwrap();
        Cli::from_arg_matches(&matches).unwrap()
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
        let faults = apply(Cli::command(), file).unwrap_err();
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
        assert!(apply(Cli::command(), "a = ").is_err());
    }

    #[test]
    fn the_file_is_named_on_the_command_line() {
        let of = |words: &[&str]| named(words.iter().map(OsString::from));
        assert_eq!(of(&["status", "--config", "a.toml"]), Some("a.toml".into()));
        assert_eq!(of(&["--config=b.toml", "status"]), Some("b.toml".into()));
        assert_eq!(of(&["delete", "--", "--config", "x"]), None);
        assert_eq!(of(&["--configure"]), None);
    }
}
