//! What records of all formats have in common: id, title, text and the rest.

use serde_json::{Map, Value};

use super::decode::has_text;
use crate::document::{Content, Document, Markup};
use crate::source::SourceError;
use crate::source::{Origin, check_id};

/// The names an id may have, the first that is there counts.
pub const ID: [&str; 2] = ["_id", "id"];

/// Makes a document of the fields of a record. `_id` or `id` is its id, `title` its title, `text` its text;
/// every other field becomes metadata.
pub fn document(mut fields: Map<String, Value>, origin: Origin) -> Result<Document, SourceError> {
    let id = ID
        .iter()
        .find_map(|name| Some((*name, fields.remove(*name)?)));
    let (name, id) = id.ok_or_else(|| missing(&origin, "_id"))?;
    let id = check_id(id_text(id, name, &origin)?, || origin.clone())?;
    let title = match fields.remove("title") {
        None | Some(Value::Null) => None,
        Some(Value::String(title)) => Some(title).filter(|title| !title.trim().is_empty()),
        Some(other) => return Err(wrong_kind(&other, "title", "a string", &origin)),
    };
    let text = match fields.remove("text") {
        None | Some(Value::Null) => return Err(missing(&origin, "text")),
        Some(Value::String(text)) => has_text(text, &origin)?,
        Some(other) => return Err(wrong_kind(&other, "text", "a string", &origin)),
    };
    let text = Content::Text(text);
    Ok(Document {
        id,
        title,
        meta: fields,
        text,
        markup: Markup::Plain,
        origin,
    })
}

/// Numbers are common as ids and have one shortest form when they are whole.
fn id_text(id: Value, name: &'static str, origin: &Origin) -> Result<String, SourceError> {
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

fn missing(origin: &Origin, field: &'static str) -> SourceError {
    SourceError::MissingField {
        origin: origin.clone(),
        field,
    }
}

fn wrong_kind(
    value: &Value,
    field: &'static str,
    expected: &'static str,
    origin: &Origin,
) -> SourceError {
    SourceError::FieldKind {
        origin: origin.clone(),
        field,
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
