//! Explain: a request as JSON, in the form of Qdrant's REST interface, for a person to read. Vectors are told by their
//! length.

use qdrant_client::qdrant::condition::ConditionOneOf;
use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::{
    Condition, FieldCondition, Filter, Fusion, PointId, PrefetchQuery, Query, QueryPoints,
    SearchParams, VectorInput, query, vector_input,
};
use serde_json::{Map, Value, json};

/// A request as it was sent.
pub fn explain(request: &QueryPoints) -> Value {
    let mut json = Map::new();
    json.insert("collection".to_owned(), json!(request.collection_name));
    if !request.prefetch.is_empty() {
        let prefetch = request.prefetch.iter().map(part).collect();
        json.insert("prefetch".to_owned(), prefetch);
    }
    put(&mut json, "query", request.query.as_ref().map(query));
    let using = request.using.as_ref().map(|it| json!(it));
    put(&mut json, "using", using);
    put(&mut json, "filter", request.filter.as_ref().map(filter));
    put(&mut json, "params", request.params.as_ref().map(params));
    let threshold = request.score_threshold.map(|it| json!(it));
    put(&mut json, "score_threshold", threshold);
    put(&mut json, "limit", request.limit.map(|it| json!(it)));
    let offset = request.offset.filter(|it| *it > 0).map(|it| json!(it));
    put(&mut json, "offset", offset);
    Value::Object(json)
}

fn part(part: &PrefetchQuery) -> Value {
    let mut json = Map::new();
    if !part.prefetch.is_empty() {
        let prefetch = part.prefetch.iter().map(self::part).collect();
        json.insert("prefetch".to_owned(), prefetch);
    }
    put(&mut json, "query", part.query.as_ref().map(query));
    put(&mut json, "using", part.using.as_ref().map(|it| json!(it)));
    put(&mut json, "filter", part.filter.as_ref().map(filter));
    put(&mut json, "params", part.params.as_ref().map(params));
    put(&mut json, "limit", part.limit.map(|it| json!(it)));
    Value::Object(json)
}

fn put(json: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    json.extend(value.map(|value| (name.to_owned(), value)));
}

fn params(params: &SearchParams) -> Value {
    let mut json = Map::new();
    put(&mut json, "exact", params.exact.map(|it| json!(it)));
    let quantization = params.quantization.as_ref().map(|quantization| {
        let mut json = Map::new();
        put(
            &mut json,
            "rescore",
            quantization.rescore.map(|it| json!(it)),
        );
        let oversampling = quantization.oversampling.map(|it| json!(it));
        put(&mut json, "oversampling", oversampling);
        Value::Object(json)
    });
    put(&mut json, "quantization", quantization);
    Value::Object(json)
}

fn query(query: &Query) -> Value {
    match &query.variant {
        Some(query::Variant::Nearest(input)) => json!({"nearest": nearest(input)}),
        Some(query::Variant::Rrf(rrf)) if rrf.weights.is_empty() => json!({"rrf": {"k": rrf.k}}),
        Some(query::Variant::Rrf(rrf)) => {
            json!({"rrf": {"k": rrf.k, "weights": rrf.weights}})
        }
        Some(query::Variant::Fusion(fusion)) => {
            let name = Fusion::try_from(*fusion).map_or("", |fusion| fusion.as_str_name());
            json!({"fusion": name.to_lowercase()})
        }
        _ => Value::Null,
    }
}

fn nearest(input: &VectorInput) -> Value {
    match &input.variant {
        Some(vector_input::Variant::Dense(vector)) => {
            json!(format!("{} numbers", vector.data.len()))
        }
        Some(vector_input::Variant::Sparse(vector)) => {
            json!(format!("{} terms", vector.indices.len()))
        }
        Some(vector_input::Variant::MultiDense(multi)) => {
            json!(format!("{} vectors", multi.vectors.len()))
        }
        Some(vector_input::Variant::Document(document)) => {
            let options = document.options.iter();
            let options: Map<String, Value> = options
                .map(|(key, value)| (key.clone(), value.clone().into()))
                .collect();
            json!({"text": document.text, "model": document.model, "options": options})
        }
        _ => Value::Null,
    }
}

/// The filters that [`crate::filter`] reads.
fn filter(filter: &Filter) -> Value {
    let clauses = [
        ("must", &filter.must),
        ("should", &filter.should),
        ("must_not", &filter.must_not),
    ];
    let clauses = clauses.into_iter().filter(|(_, it)| !it.is_empty());
    let clauses = clauses.map(|(name, conditions)| {
        let conditions: Value = conditions.iter().map(condition).collect();
        (name.to_owned(), conditions)
    });
    Value::Object(clauses.collect())
}

fn condition(condition: &Condition) -> Value {
    match &condition.condition_one_of {
        Some(ConditionOneOf::Filter(inner)) => filter(inner),
        Some(ConditionOneOf::Field(field)) => self::field(field),
        Some(ConditionOneOf::IsEmpty(empty)) => json!({"is_empty": {"key": empty.key}}),
        Some(ConditionOneOf::IsNull(field)) => json!({"is_null": {"key": field.key}}),
        Some(ConditionOneOf::HasId(ids)) => {
            json!({"has_id": ids.has_id.iter().map(id).collect::<Vec<_>>()})
        }
        Some(ConditionOneOf::HasVector(vector)) => json!({"has_vector": vector.has_vector}),
        Some(ConditionOneOf::Nested(_) | ConditionOneOf::Slice(_)) | None => Value::Null,
    }
}

fn id(id: &PointId) -> Value {
    match &id.point_id_options {
        Some(PointIdOptions::Num(number)) => json!(number),
        Some(PointIdOptions::Uuid(uuid)) => json!(uuid),
        None => Value::Null,
    }
}

fn field(field: &FieldCondition) -> Value {
    let mut json = Map::from_iter([("key".to_owned(), json!(field.key))]);
    let matched = field
        .r#match
        .as_ref()
        .and_then(|it| it.match_value.as_ref());
    put(&mut json, "match", matched.map(match_value));
    let range = field.range.as_ref().map(|range| {
        let mut bounds = Map::new();
        put(&mut bounds, "lt", range.lt.map(|it| json!(it)));
        put(&mut bounds, "lte", range.lte.map(|it| json!(it)));
        put(&mut bounds, "gt", range.gt.map(|it| json!(it)));
        put(&mut bounds, "gte", range.gte.map(|it| json!(it)));
        Value::Object(bounds)
    });
    put(&mut json, "range", range);
    Value::Object(json)
}

fn match_value(value: &MatchValue) -> Value {
    match value {
        MatchValue::Keyword(text) => json!({"value": text}),
        MatchValue::Integer(number) => json!({"value": number}),
        MatchValue::Boolean(truth) => json!({"value": truth}),
        MatchValue::Text(text) => json!({"text": text}),
        MatchValue::Phrase(text) => json!({"phrase": text}),
        MatchValue::Keywords(any) => json!({"any": any.strings}),
        MatchValue::Integers(any) => json!({"any": any.integers}),
        MatchValue::ExceptKeywords(except) => json!({"except": except.strings}),
        MatchValue::ExceptIntegers(except) => json!({"except": except.integers}),
        MatchValue::TextAny(_) | MatchValue::Prefix(_) | MatchValue::Substring(_) => Value::Null,
    }
}
