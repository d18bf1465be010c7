//! What records of all formats have in common: id, title, text and the rest.

use std::borrow::Cow;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::{Map, Value};

use super::data_uris;
use super::decode::has_text;
use crate::document::{Amount, Content, Document, Ledger, Markup, Places};
use crate::source::SourceError;
use crate::source::{Origin, check_id};

/// The names an id may have, the first that is there counts.
const ID: [&str; 2] = ["_id", "id"];
const TEXT: &str = "text";
const TITLE: &str = "title";
/// Most columns that a message names.
const NAMED_COLUMNS: usize = 20;

/// Which columns of a table, or fields of a record, mean what.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Columns")]
pub struct Columns {
    /// Column of a table, or field of a JSON object, that is the id of the document; by default `_id` or `id`
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub id_column: Option<String>,
    /// The one that is its text; by default `text`
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub text_column: Option<String>,
    /// The one that is its title; by default `title`
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub title_column: Option<String>,
    /// Those that become its metadata, separated by commas; by default all others
    #[arg(long, value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    pub metadata_columns: Option<Vec<String>>,
}

/// Where records come from, and what their columns mean.
#[derive(Clone, Debug)]
pub struct Source {
    pub columns: Columns,
    pub origin: Origin,
}

impl Columns {
    fn ids(&self) -> Vec<&str> {
        match &self.id_column {
            Some(name) => vec![name],
            None => ID.to_vec(),
        }
    }

    fn text(&self) -> &str {
        self.text_column.as_deref().unwrap_or(TEXT)
    }

    fn title(&self) -> &str {
        self.title_column.as_deref().unwrap_or(TITLE)
    }

    /// Whether a column has to be text.
    pub fn is_text(&self, name: &str) -> bool {
        name == self.text() || name == self.title() || self.ids().contains(&name)
    }

    /// What a table lacks that has these columns, and the option that names another.
    pub fn lacking(&self, found: &[String]) -> Option<(String, &'static str)> {
        let has = |name: &str| found.iter().any(|column| column == name);
        let ids = self.ids();
        if !ids.iter().any(|name| has(name)) {
            return Some((ids.join("` or `"), "--id-column"));
        }
        if !has(self.text()) {
            return Some((self.text().to_owned(), "--text-column"));
        }
        let title = self.title_column.as_ref().filter(|name| !has(name));
        if let Some(title) = title {
            return Some((title.clone(), "--title-column"));
        }
        let mut metadata = self.metadata_columns.iter().flatten();
        let missing = metadata.find(|name| !has(name))?;
        Some((missing.clone(), "--metadata-columns"))
    }
}

impl Source {
    /// Whether the columns of a table are the ones that it needs, each once.
    pub fn check(&self, found: &[String]) -> Result<(), SourceError> {
        let origin = self.origin.clone();
        if let Some((column, option)) = self.columns.lacking(found) {
            return Err(SourceError::MissingColumn {
                origin,
                column,
                option,
                found: listed(found),
            });
        }
        for (place, name) in found.iter().enumerate() {
            if !name.is_empty() && found[..place].contains(name) {
                return Err(SourceError::RepeatedField {
                    origin,
                    field: name.clone(),
                });
            }
        }
        Ok(())
    }
}

/// The columns that were found, for people.
fn listed(found: &[String]) -> String {
    let short = |name: &String| format!("`{}`", name.chars().take(40).collect::<String>());
    let names: Vec<String> = found.iter().take(NAMED_COLUMNS).map(short).collect();
    let more = found.len().saturating_sub(NAMED_COLUMNS);
    match more {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// Makes a document of the fields of a record: its id, its title and its text; the other fields become metadata.
pub fn document(
    mut fields: Map<String, Value>,
    columns: &Columns,
    origin: Origin,
) -> Result<Document, SourceError> {
    let ids = columns.ids();
    let id = ids
        .iter()
        .find_map(|name| Some((*name, fields.remove(*name)?)));
    let (name, id) = id.ok_or_else(|| missing(&origin, ids[0]))?;
    let id = check_id(id_text(id, name, &origin)?, || origin.clone())?;
    let title = title_text(fields.remove(columns.title()), columns.title(), &origin)?;
    let name = columns.text();
    let text = match fields.remove(name) {
        None | Some(Value::Null) => return Err(missing(&origin, name)),
        Some(Value::String(text)) => has_text(text, &origin)?,
        Some(other) => return Err(wrong_kind(&other, name, "a string", &origin)),
    };
    let mut dropped = Ledger::default();
    let text = match data_uris::without(&text, &mut dropped) {
        Cow::Owned(rest) => has_text(rest, &origin)?,
        Cow::Borrowed(_) => text,
    };
    if let Some(kept) = &columns.metadata_columns {
        fields.retain(|name, _| kept.contains(name));
    }
    Ok(Document {
        id,
        title,
        meta: fields,
        text: Content::Text(text),
        markup: Markup::Plain,
        places: Places::Unknown,
        read: Amount::default(),
        dropped,
        origin,
    })
}

/// Numbers are titles too: years, paragraphs, versions.
fn title_text(
    title: Option<Value>,
    name: &str,
    origin: &Origin,
) -> Result<Option<String>, SourceError> {
    match title {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(title)) => Ok(Some(title).filter(|title| !title.trim().is_empty())),
        Some(Value::Number(title)) => Ok(Some(title.to_string())),
        Some(Value::Bool(title)) => Ok(Some(title.to_string())),
        Some(other @ (Value::Array(_) | Value::Object(_))) => {
            Err(wrong_kind(&other, name, "a string or a number", origin))
        }
    }
}

/// Numbers are common as ids and have one shortest form when they are whole.
fn id_text(id: Value, name: &str, origin: &Origin) -> Result<String, SourceError> {
    match id {
        Value::String(id) => Ok(id),
        Value::Number(id) if !id.is_f64() => Ok(id.to_string()),
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::Array(_)
        | Value::Object(_)) => Err(wrong_kind(
            &other,
            name,
            "a string or a whole number",
            origin,
        )),
    }
}

fn missing(origin: &Origin, field: &str) -> SourceError {
    SourceError::MissingField {
        origin: origin.clone(),
        field: field.to_owned(),
    }
}

fn wrong_kind(value: &Value, field: &str, expected: &'static str, origin: &Origin) -> SourceError {
    SourceError::FieldKind {
        origin: origin.clone(),
        field: field.to_owned(),
        expected,
        found: kind_of(value),
    }
}

/// What an error calls a value without showing it.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
