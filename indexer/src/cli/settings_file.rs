//! Settings file: what would be typed again and again, below the environment and the command line.
//!
//! ```toml
//! nats-url = "nats://nats:4222"      # of every verb that has it
//! model = "/models/minilm"
//!
//! [search]                           # of one verb
//! limit = 10
//!
//! [dlq.sweep]                        # of a verb below another
//! json = true
//! ```
//!
//! A setting of the file is put before what is typed, wherever neither the environment nor the command line says something
//! else: so all rules of the options hold for it. A name that no verb has is a fault, and so is a value that an option of
//! that name does not take, whatever verb is typed: the line of the file is named. What selects dead letters, names the file
//! itself, lets the page change something or is meant for one time is said on the command line alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use runtime::settings;
use toml::de::{DeTable, DeValue};
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
/// What is said each time: that all is meant, that a page may change something, where the settings are, and what a verb does
/// differently this once. A file that gives up a run or changes nothing whenever a verb is typed is a trap.
const TYPED: [&str; 10] = [
    "all",
    "allow-changes",
    "check",
    "config",
    "dry-run",
    "fresh",
    "full",
    "resume",
    "run-id",
    "version",
];

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

/// The settings of a file, by the words that lead to a verb; settings of all verbs stand under no words.
#[derive(Debug, Default)]
struct Settings(BTreeMap<Vec<String>, BTreeMap<String, Vec<String>>>);

/// A file while it is read.
struct Reading<'a> {
    text: &'a str,
    settings: Settings,
    faults: Vec<String>,
}

impl Settings {
    fn read(command: &Command, text: &str) -> Result<Self, Vec<String>> {
        let wrong = |error: toml::de::Error| vec![error.to_string()];
        let table: Table = text.parse().map_err(wrong)?;
        let places = DeTable::parse(text).map_err(wrong)?;
        let mut reading = Reading {
            text,
            settings: Self::default(),
            faults: Vec::new(),
        };
        reading.read(command, &[], &table, places.get_ref());
        match reading.faults.is_empty() {
            true => Ok(reading.settings),
            false => Err(reading.faults),
        }
    }

    /// The value of a setting for a verb, else for the verb above it, else for all verbs.
    fn find(&self, words: &[String], name: &str) -> Option<&Vec<String>> {
        let levels = (0..=words.len()).rev();
        let mut found = levels.filter_map(|level| self.0.get(&words[..level])?.get(name));
        found.next()
    }

    /// Puts settings behind the names of the verbs that they are of. What is typed comes later, and is not said twice.
    fn put_into(&self, command: &Command, mut arguments: Vec<OsString>) -> Vec<OsString> {
        let lenient = command.clone().ignore_errors(true);
        // Whoever asks for help or the version needs no settings.
        let Ok(matches) = lenient.try_get_matches_from(&arguments) else {
            return arguments;
        };
        let (mut place, mut words) = (1, Vec::new());
        let (mut level, mut found) = (command, &matches);
        loop {
            let put = self.of_level(level, found, &words);
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
            words.push(name.to_owned());
            (level, found) = (verb, below);
        }
    }

    fn of_level(&self, level: &Command, found: &ArgMatches, words: &[String]) -> Vec<OsString> {
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
            let Some(values) = self.find(words, name) else {
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

impl Reading<'_> {
    /// Reads what is said of a command and of those below it.
    fn read(&mut self, command: &Command, words: &[String], table: &Table, places: &DeTable<'_>) {
        for (name, value) in table {
            let place = places.iter().find(|(key, _)| key.get_ref() == name);
            let line = place.map(|(key, _)| self.line(key.span().start));
            let line = line.unwrap_or_default();
            let (Value::Table(below), Some((_, place))) = (value, place) else {
                match setting(command, name, value) {
                    Ok(values) => {
                        let own = self.settings.0.entry(words.to_vec()).or_default();
                        own.insert(name.clone(), values);
                    }
                    Err(fault) => self.blame(line, words, &fault),
                }
                continue;
            };
            let (Some(verb), DeValue::Table(place)) =
                (command.find_subcommand(name), place.get_ref())
            else {
                let verbs = command.get_subcommands();
                let known = verbs.map(|it| it.get_name().to_owned()).collect();
                self.blame(line, words, &unknown(name, &known));
                continue;
            };
            let words = [words, std::slice::from_ref(name)].concat();
            self.read(verb, &words, below, place);
        }
    }

    fn line(&self, place: usize) -> usize {
        self.text[..place].matches('\n').count() + 1
    }

    fn blame(&mut self, line: usize, words: &[String], fault: &str) {
        let table = match words {
            [] => String::new(),
            words => format!("[{}] ", words.join(".")),
        };
        self.faults.push(format!("line {line}: {table}{fault}"));
    }
}

/// Whether a file may say it.
fn may_be_set(argument: &Arg) -> bool {
    let name = argument.get_long().unwrap_or_default();
    // The vector that is removed is not the one that is searched by.
    let is_removed = name == "vector" && argument.is_required_set();
    argument.get_help_heading() != Some(SELECTION) && !TYPED.contains(&name) && !is_removed
}

/// The values of a setting that a command or one below it has.
fn setting(command: &Command, name: &str, value: &Value) -> Result<Vec<String>, String> {
    let values = texts(name, value)?;
    let found: Vec<_> = arguments(command)
        .filter(|it| it.get_long() == Some(name))
        .collect();
    if found.is_empty() {
        let known = arguments(command).filter_map(Arg::get_long);
        return Err(unknown(name, &known.map(str::to_owned).collect()));
    }
    let open: Vec<_> = found.into_iter().filter(|it| may_be_set(it)).collect();
    if open.is_empty() {
        return Err(format!("{name}: is said on the command line alone"));
    }
    for argument in open {
        if let Some(fault) = fault_of(argument, value.is_array(), &values) {
            return Err(format!("{name}: {fault}"));
        }
    }
    Ok(values)
}

/// What is wrong with values of an option.
fn fault_of(argument: &Arg, is_list: bool, values: &[String]) -> Option<String> {
    if matches!(argument.get_action(), ArgAction::SetTrue) {
        let is_truth = |value: &String| ["true", "false"].contains(&value.as_str());
        let is_one = !is_list && values.iter().all(is_truth);
        return (!is_one).then(|| "true or false is expected".to_owned());
    }
    let takes_many = argument.get_value_delimiter().is_some()
        || matches!(argument.get_action(), ArgAction::Append)
        || argument
            .get_num_args()
            .is_some_and(|it| it.max_values() > 1);
    if is_list && !takes_many {
        return Some("one value is expected, and a list is given".to_owned());
    }
    values
        .iter()
        .find_map(|value| settings::value_fault(argument, value))
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
mod tests;
