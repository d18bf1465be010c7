//! Filter: which points a verb works on, in the JSON of Qdrant's REST interface.
//!
//! ```json
//! {"must": [{"key": "meta.lang", "match": {"value": "en"}}], "must_not": [{"is_empty": {"key": "scores.m"}}]}
//! ```
//! | clause or condition | |
//! |---|---|
//! | `must`, `should`, `must_not` | one condition or a list of them |
//! | `{"key": K, "match": {"value": V}}` | V a string, an integer or a truth value |
//! | `{"key": K, "match": {"any": [V, ...]}}`, `except` | all strings, or all integers |
//! | `{"key": K, "match": {"text": T}}` | words of a full-text index |
//! | `{"key": K, "range": {"lt", "lte", "gt", "gte"}}` | numbers |
//! | `{"is_empty": {"key": K}}`, `{"is_null": {"key": K}}` | |
//! | `{"has_id": [ID, ...]}` | integers and UUIDs |
//! | a filter | in the place of a condition |
//!
//! What is not in this table is refused: a filter that is not understood would select other points than were meant.

#[cfg(test)]
mod tests;

use std::str::FromStr;

use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::{
    Condition, FieldCondition, Filter, Match, PointId, Range, RepeatedIntegers, RepeatedStrings,
};
use serde_json::{Map, Value};
use thiserror::Error;

/// Deepest nesting of filters: Qdrant's protocol is read to a bounded depth.
const MAX_DEPTH: usize = 16;

/// A filter with the text that it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct PointFilter {
    pub filter: Filter,
    pub text: String,
}

/// Why a text is not a filter.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FilterError {
    #[error("it is not json: {0}")]
    Json(String),
    #[error("`{found}` in the place of {expected}")]
    Unexpected {
        /// The part of the filter that is wrong, cut to 80 characters.
        found: String,
        expected: &'static str,
    },
}

impl FromStr for PointFilter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let json: Value =
            serde_json::from_str(text).map_err(|error| FilterError::Json(error.to_string()))?;
        Ok(Self {
            filter: filter(&json, 0)?,
            text: text.to_owned(),
        })
    }
}

fn unexpected(found: &Value, expected: &'static str) -> FilterError {
    FilterError::Unexpected {
        found: found.to_string().chars().take(80).collect(),
        expected,
    }
}

fn filter(json: &Value, depth: usize) -> Result<Filter, FilterError> {
    const EXPECTED: &str = "a filter of `must`, `should` and `must_not`";
    let wrong = || unexpected(json, EXPECTED);
    let clauses = json.as_object().filter(|_| depth < MAX_DEPTH);
    let mut filter = Filter::default();
    for (clause, conditions) in clauses.ok_or_else(wrong)? {
        let conditions = self::conditions(conditions, depth)?;
        match clause.as_str() {
            "must" => filter.must = conditions,
            "should" => filter.should = conditions,
            "must_not" => filter.must_not = conditions,
            _ => return Err(wrong()),
        }
    }
    Ok(filter)
}

fn conditions(json: &Value, depth: usize) -> Result<Vec<Condition>, FilterError> {
    let one = std::slice::from_ref(json);
    let list = json.as_array().map_or(one, Vec::as_slice);
    list.iter().map(|json| condition(json, depth)).collect()
}

fn condition(json: &Value, depth: usize) -> Result<Condition, FilterError> {
    const EXPECTED: &str =
        "a condition: `key` with `match` or `range`, `is_empty`, `is_null`, `has_id`, or a filter";
    let wrong = || unexpected(json, EXPECTED);
    let fields = json.as_object().ok_or_else(wrong)?;
    let mut names: Vec<&str> = fields.keys().map(String::as_str).collect();
    names.sort_unstable();
    match names.as_slice() {
        ["key", "match"] => Ok(Condition::from(FieldCondition {
            key: text(&json["key"])?,
            r#match: Some(Match {
                match_value: Some(match_value(&json["match"])?),
            }),
            ..FieldCondition::default()
        })),
        ["key", "range"] => Ok(Condition::range(
            text(&json["key"])?,
            range(&json["range"])?,
        )),
        ["is_empty"] => Ok(Condition::is_empty(key_of(&json["is_empty"])?)),
        ["is_null"] => Ok(Condition::is_null(key_of(&json["is_null"])?)),
        ["has_id"] => Ok(Condition::has_id(list(&json["has_id"], id)?)),
        [] => Err(wrong()),
        clauses
            if clauses
                .iter()
                .all(|name| ["must", "should", "must_not"].contains(name)) =>
        {
            Ok(Condition::from(filter(json, depth + 1)?))
        }
        _ => Err(wrong()),
    }
}

fn text(json: &Value) -> Result<String, FilterError> {
    let text = json.as_str().map(str::to_owned);
    text.ok_or_else(|| unexpected(json, "a string"))
}

fn key_of(json: &Value) -> Result<String, FilterError> {
    match only(json) {
        Some(("key", key)) => text(key),
        _ => Err(unexpected(json, "`key` alone")),
    }
}

/// The only field of an object.
fn only(json: &Value) -> Option<(&str, &Value)> {
    let fields: &Map<String, Value> = json.as_object()?;
    let (name, value) = fields.iter().next()?;
    (fields.len() == 1).then_some((name.as_str(), value))
}

fn match_value(json: &Value) -> Result<MatchValue, FilterError> {
    match only(json) {
        Some(("value", Value::String(text))) => Ok(MatchValue::Keyword(text.clone())),
        Some(("value", Value::Bool(flag))) => Ok(MatchValue::Boolean(*flag)),
        Some(("value", number)) => integer(number).map(MatchValue::Integer),
        Some(("text", words)) => text(words).map(MatchValue::Text),
        Some(("any", values)) => Ok(match texts_or_integers(values)? {
            Values::Texts(strings) => MatchValue::Keywords(RepeatedStrings { strings }),
            Values::Integers(integers) => MatchValue::Integers(RepeatedIntegers { integers }),
        }),
        Some(("except", values)) => Ok(match texts_or_integers(values)? {
            Values::Texts(strings) => MatchValue::ExceptKeywords(RepeatedStrings { strings }),
            Values::Integers(integers) => MatchValue::ExceptIntegers(RepeatedIntegers { integers }),
        }),
        _ => Err(unexpected(json, "one of `value`, `any`, `except`, `text`")),
    }
}

enum Values {
    Texts(Vec<String>),
    Integers(Vec<i64>),
}

fn texts_or_integers(json: &Value) -> Result<Values, FilterError> {
    if json[0].is_string() {
        list(json, text).map(Values::Texts)
    } else {
        list(json, integer).map(Values::Integers)
    }
}

fn list<T>(
    json: &Value,
    read: impl Fn(&Value) -> Result<T, FilterError>,
) -> Result<Vec<T>, FilterError> {
    match json.as_array() {
        Some(values) if !values.is_empty() => values.iter().map(read).collect(),
        Some(_) | None => Err(unexpected(json, "a list that is not empty")),
    }
}

fn integer(json: &Value) -> Result<i64, FilterError> {
    let integer = json.as_i64();
    integer.ok_or_else(|| {
        unexpected(
            json,
            "a string, an integer or a truth value, all of one kind",
        )
    })
}

fn id(json: &Value) -> Result<PointId, FilterError> {
    match (json.as_u64(), json.as_str()) {
        (Some(number), _) => Ok(number.into()),
        (None, Some(uuid)) => Ok(uuid.into()),
        (None, None) => Err(unexpected(json, "a point id")),
    }
}

fn range(json: &Value) -> Result<Range, FilterError> {
    let wrong = || unexpected(json, "`lt`, `lte`, `gt` and `gte` with numbers");
    let mut range = Range::default();
    let bounds = json.as_object().filter(|bounds| !bounds.is_empty());
    for (name, bound) in bounds.ok_or_else(wrong)? {
        let bound = Some(bound.as_f64().ok_or_else(wrong)?);
        match name.as_str() {
            "lt" => range.lt = bound,
            "lte" => range.lte = bound,
            "gt" => range.gt = bound,
            "gte" => range.gte = bound,
            _ => return Err(wrong()),
        }
    }
    Ok(range)
}
