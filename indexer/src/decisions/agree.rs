//! Agree: what the models of one installation must not have in common, and what only some of them may have.

use std::collections::BTreeMap;

use contract::names::CollectionName;
use contract::topology::Task;

use super::read::Fault;
use super::text::is_object_name;
use super::{AliasOptions, Decisions, Schedule, Serving};

/// The label by which the objects of the first model are told from the others.
const FIRST: &str = "main";
/// The longest name of a CronJob is 52, and `model-stage-` stands before it.
const LONGEST_SUFFIX: usize = 40;
/// Digits that a CronJob puts behind the name of its Jobs: the minute of its schedule.
const MINUTE: &str = "99999999";

/// Everything in which the models do not agree.
pub fn disagreements(decisions: &Decisions) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut fault = |field: String, problem: String| faults.push(Fault { field, problem });
    if decisions.first.model.task == Task::Rescore {
        let problem = "the first model has to embed: one that rescores belongs into `more_models`";
        fault("model.task".to_owned(), problem.to_owned());
    }
    if decisions.first.attached {
        let problem =
            "the first model fills its alias: one that is attached belongs into `more_models`";
        fault("attached".to_owned(), problem.to_owned());
    }
    let mut suffixes = BTreeMap::from([(decisions.first.suffix(), "model.name".to_owned())]);
    let mut aliases = BTreeMap::from([(decisions.alias(&decisions.first), "alias".to_owned())]);
    for (index, serving) in decisions.more_models.iter().enumerate() {
        let at = |field: &str| format!("more_models[{index}].{field}");
        let name = at("model.name");
        if let Some(problem) = unfit_name(&serving.suffix()) {
            fault(name.clone(), problem);
        }
        if let Some(other) = suffixes.insert(serving.suffix(), name.clone()) {
            let problem = format!("`{}` is the name that {other} has", serving.model.name);
            fault(name, problem);
        }
        if serving.fills_alias() {
            let problem = of_alias(decisions, serving, &aliases);
            aliases.insert(decisions.alias(serving), at("alias"));
            problem.into_iter().for_each(|it| fault(at("alias"), it));
            continue;
        }
        let added = of_no_alias(serving).into_iter();
        added.for_each(|(field, problem)| fault(at(field), problem));
        let alias = decisions.alias(serving);
        if serving.attached && !aliases.contains_key(&alias) {
            let problem = format!("`{alias}` is filled by no model before this one");
            fault(at("alias"), problem);
        }
    }
    faults
}

/// Why the names of objects cannot end with this suffix, if they cannot.
fn unfit_name(suffix: &str) -> Option<String> {
    if suffix == FIRST {
        return Some(format!(
            "`{FIRST}` is what objects of the first model are labelled with"
        ));
    }
    let fits = suffix.len() <= LONGEST_SUFFIX && is_object_name(suffix);
    let rule = format!(
        "`{suffix}` ends the names of objects: expected at most {LONGEST_SUFFIX} letters, digits, `-` and `_`, with a \
         letter or digit at both ends"
    );
    (!fits).then_some(rule)
}

/// What is wrong with the alias of a further model that embeds.
fn of_alias(
    decisions: &Decisions,
    serving: &Serving,
    others: &BTreeMap<CollectionName, String>,
) -> Option<String> {
    if serving.alias.is_none() {
        return Some("has to be decided: two models do not fill one alias".to_owned());
    }
    let alias = decisions.alias(serving);
    if let Some(other) = others.get(&alias) {
        return Some(format!(
            "`{alias}` is filled by another model, see `{other}`"
        ));
    }
    let run = format!("rebuild-{}-{MINUTE}", serving.suffix());
    alias.generation(&run).err().map(|error| error.to_string())
}

/// Decisions about an alias that a model which is attached, or rescores, does not fill.
fn of_no_alias(serving: &Serving) -> Vec<(&'static str, String)> {
    let adds = match serving.model.task {
        Task::Embed => "is attached",
        Task::Rescore => "rescores",
    };
    let decided = [
        (
            "attached",
            serving.attached && serving.model.task == Task::Rescore,
        ),
        ("source", serving.source.is_some()),
        ("schedule", serving.schedule != Schedule::default()),
        ("options", serving.options != AliasOptions::default()),
    ];
    let decided = decided.into_iter().filter(|(_, decided)| *decided);
    let problem = format!("is not for a model that {adds}: it fills no alias");
    decided.map(|(field, _)| (field, problem.clone())).collect()
}
