//! Payload indexes as text: the type of a field, then what is said of it, each behind a colon.
//!
//! | type | what may be said |
//! |---|---|
//! | `keyword`, `uuid` | `on_disk`, `is_tenant` |
//! | `integer` | `on_disk`, `is_principal`, `lookup`, `range`: `lookup` alone leaves ranges out, `range` alone equality |
//! | `float`, `datetime` | `on_disk`, `is_principal` |
//! | `geo`, `bool` | `on_disk` |
//! | `text` | `on_disk`, `lowercase`, `phrase_matching`, `ascii_folding`, `min=N`, `max=N`, and a tokenizer: `word`, `prefix`, `whitespace` or `multilingual` |

#![expect(
    deprecated,
    reason = "servers before 1.19 know only the fields that newer ones replace"
)]

use std::fmt::{self, Write as _};

use qdrant_client::QdrantError;
use qdrant_client::qdrant::payload_index_params::IndexParams;
use qdrant_client::qdrant::{
    BoolIndexParams, DatetimeIndexParams, FieldType, FloatIndexParams, GeoIndexParams,
    IntegerIndexParams, KeywordIndexParams, PayloadIndexParams, PayloadSchemaInfo,
    PayloadSchemaType, TextIndexParams, TokenizerType, UuidIndexParams,
};

const TYPES: [(&str, FieldType, PayloadSchemaType); 8] = [
    ("keyword", FieldType::Keyword, PayloadSchemaType::Keyword),
    ("integer", FieldType::Integer, PayloadSchemaType::Integer),
    ("float", FieldType::Float, PayloadSchemaType::Float),
    ("geo", FieldType::Geo, PayloadSchemaType::Geo),
    ("text", FieldType::Text, PayloadSchemaType::Text),
    ("bool", FieldType::Bool, PayloadSchemaType::Bool),
    ("datetime", FieldType::Datetime, PayloadSchemaType::Datetime),
    ("uuid", FieldType::Uuid, PayloadSchemaType::Uuid),
];

const TOKENIZERS: [(&str, TokenizerType); 4] = [
    ("word", TokenizerType::Word),
    ("prefix", TokenizerType::Prefix),
    ("whitespace", TokenizerType::Whitespace),
    ("multilingual", TokenizerType::Multilingual),
];

/// The index of a payload field.
#[derive(Clone, Debug, PartialEq)]
pub struct PayloadIndex {
    pub kind: FieldType,
    /// All other parameters, as the server takes them.
    pub params: Option<PayloadIndexParams>,
}

impl PayloadIndex {
    /// An index of a type and nothing else.
    #[must_use]
    pub fn plain(kind: FieldType) -> Self {
        Self { kind, params: None }
    }

    /// What a server says of an index; `None` for a type that is not known here.
    #[must_use]
    pub fn of(info: &PayloadSchemaInfo) -> Option<Self> {
        let mut types = TYPES.into_iter();
        let (_, kind, _) = types.find(|(_, _, shown)| *shown == info.data_type())?;
        Some(Self {
            kind,
            params: info.params.clone(),
        })
    }

    /// Reads the text of an index.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let known = TYPES.into_iter().find(|(known, _, _)| *known == name);
        let Some((_, kind, _)) = known else {
            let names: Vec<_> = TYPES.iter().map(|(name, _, _)| *name).collect();
            return Err(format!(
                "`{name}` is no type of an index: expected one of {}, or none",
                names.join(", ")
            ));
        };
        let mut params = empty(kind);
        let mut said = false;
        for part in parts {
            said = true;
            if !say(&mut params, part) {
                return Err(format!(
                    "`{part}` cannot be said of an index of type {name}"
                ));
            }
        }
        let params = said.then_some(PayloadIndexParams {
            index_params: Some(params),
        });
        Ok(Self { kind, params })
    }

    /// The text of this index. What the text cannot say is there as the client shows it.
    pub(super) fn show(&self) -> String {
        let mut types = TYPES.iter();
        let name = types.find(|(_, kind, _)| *kind == self.kind);
        let mut text = name.map_or("unknown", |(name, _, _)| *name).to_owned();
        let params = self.params.as_ref();
        let Some(params) = params.and_then(|params| params.index_params.as_ref()) else {
            return text;
        };
        let mut rest = params.clone();
        for flag in FLAGS.into_iter().filter(|flag| take(&mut rest, flag)) {
            text.push(':');
            text.push_str(flag);
        }
        if let IndexParams::TextIndexParams(it) = &mut rest {
            text.push_str(&take_text(it));
        }
        if rest != empty(self.kind) {
            // Writing to a text cannot fail.
            let _infallible = write!(text, ":{rest:?}");
        }
        text
    }
}

const FLAGS: [&str; 8] = [
    "on_disk",
    "is_tenant",
    "is_principal",
    "lookup",
    "range",
    "lowercase",
    "phrase_matching",
    "ascii_folding",
];

fn empty(kind: FieldType) -> IndexParams {
    match kind {
        FieldType::Keyword => IndexParams::KeywordIndexParams(KeywordIndexParams::default()),
        FieldType::Integer => IndexParams::IntegerIndexParams(IntegerIndexParams::default()),
        FieldType::Float => IndexParams::FloatIndexParams(FloatIndexParams::default()),
        FieldType::Geo => IndexParams::GeoIndexParams(GeoIndexParams::default()),
        FieldType::Text => IndexParams::TextIndexParams(TextIndexParams {
            tokenizer: TokenizerType::Word.into(),
            ..TextIndexParams::default()
        }),
        FieldType::Bool => IndexParams::BoolIndexParams(BoolIndexParams::default()),
        FieldType::Datetime => IndexParams::DatetimeIndexParams(DatetimeIndexParams::default()),
        FieldType::Uuid => IndexParams::UuidIndexParams(UuidIndexParams::default()),
    }
}

/// The place of a flag, where this type has it.
fn flag<'a>(params: &'a mut IndexParams, name: &str) -> Option<&'a mut Option<bool>> {
    match (params, name) {
        (IndexParams::KeywordIndexParams(it), "on_disk") => Some(&mut it.on_disk),
        (IndexParams::KeywordIndexParams(it), "is_tenant") => Some(&mut it.is_tenant),
        (IndexParams::UuidIndexParams(it), "on_disk") => Some(&mut it.on_disk),
        (IndexParams::UuidIndexParams(it), "is_tenant") => Some(&mut it.is_tenant),
        (IndexParams::IntegerIndexParams(it), "on_disk") => Some(&mut it.on_disk),
        (IndexParams::IntegerIndexParams(it), "is_principal") => Some(&mut it.is_principal),
        (IndexParams::IntegerIndexParams(it), "lookup") => Some(&mut it.lookup),
        (IndexParams::IntegerIndexParams(it), "range") => Some(&mut it.range),
        (IndexParams::FloatIndexParams(it), "on_disk") => Some(&mut it.on_disk),
        (IndexParams::FloatIndexParams(it), "is_principal") => Some(&mut it.is_principal),
        (IndexParams::DatetimeIndexParams(it), "on_disk") => Some(&mut it.on_disk),
        (IndexParams::DatetimeIndexParams(it), "is_principal") => Some(&mut it.is_principal),
        (IndexParams::GeoIndexParams(it), "on_disk") => Some(&mut it.on_disk),
        (IndexParams::BoolIndexParams(it), "on_disk") => Some(&mut it.on_disk),
        (IndexParams::TextIndexParams(it), "on_disk") => Some(&mut it.on_disk),
        (IndexParams::TextIndexParams(it), "lowercase") => Some(&mut it.lowercase),
        (IndexParams::TextIndexParams(it), "phrase_matching") => Some(&mut it.phrase_matching),
        (IndexParams::TextIndexParams(it), "ascii_folding") => Some(&mut it.ascii_folding),
        _ => None,
    }
}

/// Takes a part of a text; false where this type has none of the kind.
fn say(params: &mut IndexParams, part: &str) -> bool {
    if let Some(place) = flag(params, part) {
        *place = Some(true);
        if let IndexParams::IntegerIndexParams(it) = params
            && (it.lookup.is_some() || it.range.is_some())
        {
            // A server takes both where neither is said.
            (it.lookup, it.range) = (it.lookup.or(Some(false)), it.range.or(Some(false)));
        }
        return true;
    }
    let IndexParams::TextIndexParams(it) = params else {
        return false;
    };
    if let Some((_, tokenizer)) = TOKENIZERS.iter().find(|(name, _)| *name == part) {
        it.tokenizer = (*tokenizer).into();
        return true;
    }
    let number = |name: &str| part.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
    match (number("min"), number("max")) {
        (Some(least), _) => it.min_token_len = Some(least),
        (None, Some(most)) => it.max_token_len = Some(most),
        (None, None) => return false,
    }
    true
}

/// Takes a flag out of the parameters; whether it was set. One that is off is as good as one that is not there.
fn take(params: &mut IndexParams, name: &str) -> bool {
    let value = flag(params, name).and_then(Option::take);
    value == Some(true)
}

fn take_text(params: &mut TextIndexParams) -> String {
    let mut text = String::new();
    let mut tokenizers = TOKENIZERS.iter();
    let known = tokenizers.find(|(_, tokenizer)| i32::from(*tokenizer) == params.tokenizer);
    if let Some((name, tokenizer)) = known {
        if *tokenizer != TokenizerType::Word {
            text.push_str(&format!(":{name}"));
        }
        params.tokenizer = TokenizerType::Word.into();
    }
    let least = params.min_token_len.take();
    let most = params.max_token_len.take();
    for (name, value) in [("min", least), ("max", most)] {
        if let Some(value) = value {
            text.push_str(&format!(":{name}={value}"));
        }
    }
    text
}

/// A filter needs an index that the collection does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingIndex {
    /// The field that the filter names.
    pub field: String,
    /// Types of an index that would do, as the server lists them.
    pub types: Vec<String>,
}

impl MissingIndex {
    /// Reads the words of a server, which puts the field between two marks of the same kind.
    pub(super) fn read(refusal: &str) -> Option<Self> {
        let (_, rest) = refusal.split_once("Index required but not found for ")?;
        let quote = rest
            .chars()
            .next()
            .filter(|quote| !quote.is_alphanumeric())?;
        let (field, rest) = rest[quote.len_utf8()..].split_once(quote)?;
        let types = rest
            .split_once('[')
            .and_then(|(_, types)| types.split_once(']'));
        let types = types.map_or("", |(types, _)| types).split(", ");
        let types = types.filter(|name| !name.is_empty() && !name.contains('('));
        Some(Self {
            field: field.to_owned(),
            types: types.map(str::to_owned).collect(),
        })
    }
}

impl fmt::Display for MissingIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, types } = self;
        write!(
            f,
            "the filter needs an index of `{field}`: run `indexer provision --index {field}="
        )?;
        match types.as_slice() {
            [only] => write!(f, "{only}`"),
            [] => write!(f, "TYPE`"),
            several => write!(f, "TYPE` with one of {}", several.join(", ")),
        }
    }
}

/// The index that a server misses, if it refused a request for that.
#[must_use]
pub fn missing_index(error: &QdrantError) -> Option<MissingIndex> {
    let QdrantError::ResponseError { status } = error else {
        return None;
    };
    MissingIndex::read(status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_read_as_it_is_shown() {
        for text in [
            "keyword",
            "keyword:on_disk:is_tenant",
            "integer:lookup",
            "integer:is_principal:lookup:range",
            "float:on_disk",
            "bool",
            "geo",
            "datetime:is_principal",
            "text",
            "text:lowercase:phrase_matching:multilingual:min=2:max=20",
            "uuid:is_tenant",
        ] {
            let index = PayloadIndex::read(text).unwrap();
            assert_eq!(index.show(), text);
        }
    }

    #[test]
    fn what_a_type_does_not_have_is_refused() {
        for (text, reason) in [
            ("int", "`int` is no type"),
            ("float:is_tenant", "`is_tenant` cannot be said"),
            ("keyword:on-disk", "`on-disk` cannot be said"),
            ("text:min=few", "`min=few` cannot be said"),
        ] {
            let error = PayloadIndex::read(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn what_the_text_cannot_say_is_shown_all_the_same() {
        let mut index = PayloadIndex::read("keyword:on_disk").unwrap();
        if let Some(IndexParams::KeywordIndexParams(it)) = index
            .params
            .as_mut()
            .and_then(|params| params.index_params.as_mut())
        {
            it.enable_hnsw = Some(false);
        }
        assert!(
            index.show().contains("enable_hnsw: Some(false)"),
            "{}",
            index.show()
        );
    }
}
