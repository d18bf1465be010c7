//! Tables of Markdown from what the programs print for `--help`.
//!
//! A page holds a table between two markers, and everything between them is generated:
//!
//! | marker | table |
//! |---|---|
//! | `<!-- verbs: indexer -->` | the verbs of a program, or of a verb that has verbs itself |
//! | `<!-- settings: indexer sync -->` | the settings of a verb that no table of several verbs has |
//! | `<!-- settings: indexer sync, plan -->` | the settings that all these verbs share word for word |
//!
//! Each table ends with `<!-- end -->`.

use std::collections::{BTreeMap, BTreeSet};

/// What each verb prints, by program and verb, like `indexer dlq ls`.
pub(super) type Helps = BTreeMap<String, Help>;

const END: &str = "<!-- end -->";

/// What one verb prints for `--help`.
#[derive(Debug, Default)]
pub(super) struct Help {
    /// Names and descriptions of the verbs below it.
    pub(super) verbs: Vec<(String, String)>,
    settings: Vec<Setting>,
}

/// An option or argument, as the cells of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    name: String,
    environment: String,
    default: String,
    meaning: String,
}

/// An option, argument or verb with the lines that describe it.
struct Item {
    signature: String,
    lines: Vec<String>,
}

impl Help {
    /// Reads what a program has printed, in whichever of clap's two layouts.
    pub(super) fn parse(text: &str) -> Self {
        let mut help = Self::default();
        let (mut section, mut usage) = ("", "");
        let mut item: Option<Item> = None;
        // The last line, which begins no item, completes the last item.
        for line in text.lines().chain(["End:"]) {
            let indent = line.len() - line.trim_start().len();
            let begins = (1..=6).contains(&indent);
            let ends = begins || (indent == 0 && !line.is_empty());
            if let Some(item) = item.take_if(|_| ends) {
                help.take(section, usage, item);
            }
            if begins {
                let line = line.trim();
                let (signature, text) = line.split_once("  ").unwrap_or((line, ""));
                item = Some(Item {
                    signature: signature.to_owned(),
                    lines: vec![text.trim().to_owned()],
                });
            } else if let Some(item) = &mut item {
                item.lines.push(line.trim().to_owned());
            } else if let Some(found) = line.strip_prefix("Usage: ") {
                usage = found;
            } else if let Some(found) = line.strip_suffix(':') {
                section = found;
            }
        }
        help
    }

    fn take(&mut self, section: &str, usage: &str, item: Item) {
        let is_builtin = ["help", "-h, --help", "-V, --version"].contains(&&*item.signature);
        match section {
            _ if is_builtin => {}
            "Commands" => self.verbs.push((item.signature, cell(&join(&item.lines)))),
            _ => self.settings.push(Setting::new(&item, usage)),
        }
    }
}

impl Setting {
    fn new(item: &Item, usage: &str) -> Self {
        let signature = item.signature.as_str();
        let is_option = signature.starts_with('-');
        let takes_value = signature.contains('<');
        let name = match signature.split_once(" <") {
            Some((name, _)) if is_option => name,
            _ => signature,
        };
        let (described, values) = described(&item.lines);
        let (mut meaning, mut environment, mut default) = (described, String::new(), String::new());
        let mut choices = values.join(", ");
        while let Some((rest, tag)) = meaning
            .strip_suffix(']')
            .and_then(|text| text.rsplit_once('['))
        {
            let Some((kind, value)) = tag.split_once(": ") else {
                break;
            };
            match kind {
                // The value in the environment of this process is no part of the table.
                "env" => environment = code(value.split('=').next().unwrap_or_default()),
                "default" => default = code(value),
                "possible values" => {
                    let values: Vec<_> = value.split(", ").map(code).collect();
                    choices = values.join(", ");
                }
                _ => break,
            }
            meaning = rest.trim_end().to_owned();
        }
        if default.is_empty() {
            let is_wanted = usage
                .split_whitespace()
                .any(|word| is_option && name.ends_with(word));
            default = match (is_option, takes_value) {
                (false, true) => "required".to_owned(),
                (true, true) if is_wanted => "required".to_owned(),
                (true, false) => "off".to_owned(),
                _ => String::new(),
            };
        }
        if !choices.is_empty() {
            meaning = format!("{meaning}: {choices}");
        }
        Self {
            name: code(name),
            environment,
            default,
            meaning: cell(&meaning),
        }
    }

    fn row(&self) -> String {
        let Self {
            name,
            environment,
            default,
            meaning,
        } = self;
        format!("| {name} | {environment} | {default} | {meaning} |\n")
    }
}

/// The page with its tables as they should be.
pub(super) fn fill(page: &str, helps: &Helps) -> Result<String, String> {
    let tables = tables_of_settings(page);
    let mut filled = String::new();
    let mut rest = page;
    while let Some((before, marker, after)) = next_marker(rest) {
        let (_, after) = after
            .split_once(END)
            .ok_or_else(|| format!("the table `{marker}` has no end"))?;
        let table = match marker.split_once(": ") {
            Some(("verbs", name)) => verbs(find(helps, name)?),
            _ => settings(&names(marker), &tables, helps)?,
        };
        filled += &format!("{before}<!-- {marker} -->\n{table}{END}");
        rest = after;
    }
    Ok(filled + rest)
}

/// Settings of the program that no table of the page has. What the program itself takes, each of its verbs takes as well.
pub(super) fn missing(page: &str, program: &str, helps: &Helps) -> Result<Vec<String>, String> {
    let tables = tables_of_settings(page);
    let mut missing = Vec::new();
    for (name, help) in helps {
        if name == program || name.split(' ').next() != Some(program) {
            continue;
        }
        let mut shown = Vec::new();
        for table in tables.iter().filter(|table| table.contains(name)) {
            shown.extend(shared(table, helps)?);
        }
        let hidden = help.settings.iter().filter(|one| !shown.contains(one));
        missing.extend(hidden.map(|one| format!("{name} {}", one.name)));
    }
    Ok(missing)
}

/// The next marker of a table: what is before it, what it says, and what is behind it.
fn next_marker(text: &str) -> Option<(&str, &str, &str)> {
    let kinds = ["<!-- verbs: ", "<!-- settings: "];
    let start = kinds.iter().filter_map(|kind| text.find(kind)).min()?;
    let (marker, after) = text.get(start + 5..)?.split_once(" -->")?;
    Some((text.get(..start)?, marker, after))
}

/// The verbs of each table of settings.
fn tables_of_settings(mut page: &str) -> Vec<BTreeSet<String>> {
    let mut tables = Vec::new();
    while let Some((_, marker, after)) = next_marker(page) {
        if marker.starts_with("settings: ") {
            tables.push(names(marker).into_iter().collect());
        }
        page = after;
    }
    tables
}

/// `settings: indexer sync, dlq ls` names `indexer sync` and `indexer dlq ls`.
fn names(marker: &str) -> Vec<String> {
    let named = marker.strip_prefix("settings: ").unwrap_or(marker);
    match named.split_once(' ') {
        Some((program, verbs)) => verbs
            .split(", ")
            .map(|verb| format!("{program} {verb}"))
            .collect(),
        None => vec![named.to_owned()],
    }
}

fn find<'h>(helps: &'h Helps, name: &str) -> Result<&'h Help, String> {
    helps
        .get(name)
        .ok_or_else(|| format!("there is no `{name}`"))
}

/// The settings that all verbs of a table have in the same words.
fn shared<'h>(table: &BTreeSet<String>, helps: &'h Helps) -> Result<Vec<&'h Setting>, String> {
    let mut verbs = table.iter();
    let first = verbs.next().ok_or("a table names no verb")?;
    let mut shared: Vec<_> = find(helps, first)?.settings.iter().collect();
    for verb in verbs {
        let help = find(helps, verb)?;
        shared.retain(|one| help.settings.contains(one));
    }
    Ok(shared)
}

fn settings(
    verbs: &[String],
    tables: &[BTreeSet<String>],
    helps: &Helps,
) -> Result<String, String> {
    let table: BTreeSet<_> = verbs.iter().cloned().collect();
    let mut rows = shared(&table, helps)?;
    for larger in tables
        .iter()
        .filter(|other| other.is_superset(&table) && **other != table)
    {
        let elsewhere = shared(larger, helps)?;
        rows.retain(|row| !elsewhere.contains(row));
    }
    if rows.is_empty() {
        return Err(format!("no setting is left for the table of {verbs:?}"));
    }
    let rows = rows.into_iter().map(Setting::row);
    Ok(format!(
        "| setting | environment | default | meaning |\n|---|---|---|---|\n{}",
        rows.collect::<String>()
    ))
}

fn verbs(help: &Help) -> String {
    let rows = help
        .verbs
        .iter()
        .map(|(name, about)| format!("| `{name}` | {about} |\n"));
    format!(
        "| verb | what it does |\n|---|---|\n{}",
        rows.collect::<String>()
    )
}

/// The description and, where they are explained, the possible values.
fn described(lines: &[String]) -> (String, Vec<String>) {
    let (mut text, mut values) = (Vec::new(), Vec::<String>::new());
    let mut is_value = false;
    for line in lines {
        if let Some(value) = line.strip_prefix("- ") {
            is_value = true;
            let (name, meaning) = value.split_once(':').unwrap_or((value, ""));
            values.push(format!("{} ({})", code(name), meaning.trim()));
        } else if line.is_empty() || line == "Possible values:" {
            is_value = false;
        } else if let (true, Some(value)) = (is_value, values.last_mut()) {
            // Within the parentheses.
            value.pop();
            *value += &format!(" {line})");
        } else {
            text.push(line.clone());
        }
    }
    (join(&text), values)
}

/// The lines as one, whatever width they were wrapped for.
fn join(lines: &[String]) -> String {
    let lines: Vec<_> = lines.iter().filter(|line| !line.is_empty()).collect();
    lines
        .iter()
        .flat_map(|line| line.split_whitespace())
        .collect::<Vec<_>>()
        .join(" ")
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// Text that stays within its cell, and whose stars are stars.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('*', "\\*")
}
