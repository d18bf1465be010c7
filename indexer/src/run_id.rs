//! Run ids: what runs are called, and which names they must not have.

use contract::names::CollectionName;
use runtime::settings::ConfigFault;

use crate::run::Stored;

/// An id that sorts by time, with what tells two of the same second apart.
pub(crate) fn run_id(started: u64) -> String {
    let time = humantime::format_rfc3339_seconds(crate::run::as_time(started)).to_string();
    let time: String = time.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{}-{:06}", time.to_lowercase(), started % 1_000_000)
}

/// The id itself, or with the first number behind it that no run has, and whose generation is not there.
pub(crate) fn unused(runs: &[Stored], is_there: impl Fn(&str) -> bool, id: &str) -> String {
    let is_free = |candidate: &String| {
        let known = runs.iter().any(|run| run.record.run == *candidate);
        !known && !is_there(candidate)
    };
    let numbered = (2..).map(|number: u32| format!("{id}-{number}"));
    let mut candidates = std::iter::once(id.to_owned()).chain(numbered);
    candidates.find(is_free).unwrap_or_else(|| id.to_owned())
}

/// What is wrong with a name as a part of keys, if anything: NATS takes no key that ends with a dot or has two in a row.
/// In the name of a generation two dashes stand between alias and run.
#[must_use]
pub(crate) fn key_fault(setting: &'static str, name: &str) -> Option<ConfigFault> {
    let wrong = name.ends_with('.') || name.contains("..");
    wrong.then(|| {
        ConfigFault::new(
            setting,
            format!("`{name}` ends with a dot or has two in a row"),
        )
    })
}

/// What is wrong with the id of a run for an alias, if anything.
pub(crate) fn run_id_fault(alias: &CollectionName, run: &str) -> Option<ConfigFault> {
    let setting = "--run-id";
    if let Err(error) = alias.generation(run) {
        return Some(ConfigFault::new(setting, error.to_string()));
    }
    if run.contains("--") {
        // It would name a generation of another alias.
        let problem = format!("`{run}` has two dashes in a row, which stand between alias and run");
        return Some(ConfigFault::new(setting, problem));
    }
    key_fault(setting, run)
}
