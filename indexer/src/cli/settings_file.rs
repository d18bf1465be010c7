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
//! A setting of the file is put before what is typed, wherever neither the environment nor the command line says something
//! else: so all rules of the options hold for it. A name that no verb has is a fault. What selects dead letters, names the
//! file itself or lets the page change something is said on the command line alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::{Table, Value};

/// Looked for where the program is started, unless another is named.
const FILE: &str = "ebb.toml";
const OPTION: &str = "--config";
const VARIABLE: &str = "EBB_CONFIG";
/// Secrets do not lie in a file that is shown around.
const SECRET: [&str; 3] = ["nats-password", "qdrant-api-key", "token"];
/// Ways to log in, of which one is taken.
const LOGIN: [&str; 4] = ["nats-user", "nats-password", "nats-nkey", "nats-creds"];
/// Heading of the options that say which dead letters are meant.
const SELECTION: &str = "Selection";
/// What is said each time: that all is meant, that a page may change something, and where the settings are.
const TYPED: [&str; 3] = ["all", "allow-changes", "config"];

/// The arguments with the settings of a file, if there is one.
///
/// # Errors
/// A sentence for each fault of the file.
pub fn with_settings(
    command: &Command,
    arguments: Vec<OsString>,
) -> Result<Vec<OsString>, Vec<String>> {
    let named = named(arguments.iter().skip(1).cloned())
        .or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from));
    let (path, must_be_there) = match named {
        Some(path) => (path, true),
        None => (PathBuf::from(FILE), false),
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if !must_be_there && error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(arguments);
        }
        Err(error) => {
            return Err(vec![format!(
                "{OPTION}: cannot read `{}`: {error}",
                path.display()
            )]);
        }
    };
    let settings = Settings::read(command, &text).map_err(|faults| said_of(&path, &faults))?;
    Ok(settings.put_into(command, arguments))
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

/// What a file says: of all verbs, and of each.
#[derive(Debug, Default)]
struct Settings {
    shared: BTreeMap<String, Vec<String>>,
    of_verbs: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

impl Settings {
    fn read(command: &Command, text: &str) -> Result<Self, Vec<String>> {
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| vec![error.to_string()])?;
        let (mut settings, mut faults) = (Self::default(), Vec::new());
        for (name, value) in table {
            let Value::Table(own) = value else {
                let read = setting(command, &name, &value);
                keep(read, &name, &mut settings.shared, &mut faults);
                continue;
            };
            let Some(verb) = command.find_subcommand(&name) else {
                let verbs = command.get_subcommands();
                let known = verbs.map(|it| it.get_name().to_owned()).collect();
                faults.push(unknown(&name, &known));
                continue;
            };
            let of_verb = settings.of_verbs.entry(name.clone()).or_default();
            for (own, value) in own {
                let read = setting(verb, &own, &value);
                let read = read.map_err(|fault| format!("[{name}] {fault}"));
                keep(read, &own, of_verb, &mut faults);
            }
        }
        if faults.is_empty() {
            Ok(settings)
        } else {
            Err(faults)
        }
    }

    /// Puts settings behind the names of the verbs that they are of. What is typed comes later, and is not said twice.
    fn put_into(&self, command: &Command, mut arguments: Vec<OsString>) -> Vec<OsString> {
        let lenient = command.clone().ignore_errors(true);
        // Whoever asks for help or the version needs no settings.
        let Ok(matches) = lenient.try_get_matches_from(&arguments) else {
            return arguments;
        };
        let (mut place, mut verbs) = (1, Vec::new());
        let (mut level, mut found) = (command, &matches);
        loop {
            let own = verbs
                .first()
                .and_then(|verb: &String| self.of_verbs.get(verb));
            let put = self.of_level(level, found, own);
            let next = place + put.len();
            arguments.splice(place..place, put);
            let Some((name, below)) = found.subcommand() else {
                return arguments;
            };
            let typed = arguments.iter().skip(next).position(|it| it == name);
            let (Some(typed), Some(verb)) = (typed, level.find_subcommand(name)) else {
                return arguments;
            };
            place = next + typed + 1;
            verbs.push(name.to_owned());
            (level, found) = (verb, below);
        }
    }

    fn of_level(
        &self,
        level: &Command,
        found: &ArgMatches,
        own: Option<&BTreeMap<String, Vec<String>>>,
    ) -> Vec<OsString> {
        let is_said = |argument: &Arg| {
            let source = found.value_source(argument.get_id().as_str());
            source.is_some_and(|source| source != ValueSource::DefaultValue)
        };
        let is_login = |argument: &Arg| argument.get_long().is_some_and(|it| LOGIN.contains(&it));
        let has_login = level.get_arguments().any(|it| is_login(it) && is_said(it));
        let open = level
            .get_arguments()
            .filter(|it| may_be_set(it) && !is_said(it) && !(has_login && is_login(it)));
        let mut put = Vec::new();
        for argument in open {
            let Some(name) = argument.get_long() else {
                continue;
            };
            let values = own.and_then(|own| own.get(name));
            let Some(values) = values.or_else(|| self.shared.get(name)) else {
                continue;
            };
            if matches!(argument.get_action(), ArgAction::SetTrue) {
                let is_on = values.iter().all(|value| value == "true");
                put.extend(is_on.then(|| format!("--{name}").into()));
            } else {
                put.extend(
                    values
                        .iter()
                        .map(|value| format!("--{name}={value}").into()),
                );
            }
        }
        put
    }
}

fn keep(
    read: Result<Vec<String>, String>,
    name: &str,
    settings: &mut BTreeMap<String, Vec<String>>,
    faults: &mut Vec<String>,
) {
    match read {
        Ok(values) => drop(settings.insert(name.to_owned(), values)),
        Err(fault) => faults.push(fault),
    }
}

/// Whether a file may say it.
fn may_be_set(argument: &Arg) -> bool {
    let name = argument.get_long().unwrap_or_default();
    argument.get_help_heading() != Some(SELECTION) && !TYPED.contains(&name)
}

/// The values of a setting that a command or one below it has.
fn setting(command: &Command, name: &str, value: &Value) -> Result<Vec<String>, String> {
    let values = texts(name, value)?;
    let mut found = arguments(command)
        .filter(|it| it.get_long() == Some(name))
        .peekable();
    if found.peek().is_none() {
        let known = arguments(command).filter_map(Arg::get_long);
        return Err(unknown(name, &known.map(str::to_owned).collect()));
    }
    if !found.any(may_be_set) {
        return Err(format!("{name}: is said on the command line alone"));
    }
    Ok(values)
}

/// The texts that a value stands for, as they would be typed.
fn texts(name: &str, value: &Value) -> Result<Vec<String>, String> {
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

/// The options of a command and of all below it.
fn arguments(command: &Command) -> Box<dyn Iterator<Item = &Arg> + '_> {
    let below = command.get_subcommands().flat_map(arguments);
    Box::new(command.get_arguments().chain(below))
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

#[cfg(test)]
mod tests {
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
        assert!(Settings::read(&Cli::command(), "a = ").is_err());
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
}
