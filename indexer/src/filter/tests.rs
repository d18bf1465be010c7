//! Filters as they are given.

use super::*;

fn parse(text: &str) -> Result<Filter, FilterError> {
    text.parse::<PointFilter>().map(|read| read.filter)
}

#[test]
fn a_filter_is_read_as_qdrant_takes_it() {
    let read = parse(
        r#"{"must": [{"key": "meta.lang", "match": {"value": "en"}}, {"key": "n", "match": {"any": [1, 2]}},
                     {"key": "version", "range": {"gte": 5, "lt": 7.5}}],
            "should": {"is_empty": {"key": "scores.m"}},
            "must_not": [{"key": "deleted", "match": {"value": true}}, {"has_id": [7, "u"]},
                         {"must": {"is_null": {"key": "x"}}}]}"#,
    );
    let between = Range {
        gte: Some(5.0),
        lt: Some(7.5),
        ..Range::default()
    };
    let expected = Filter {
        must: vec![
            Condition::matches("meta.lang", "en".to_owned()),
            Condition::matches("n", vec![1, 2]),
            Condition::range("version", between),
        ],
        should: vec![Condition::is_empty("scores.m")],
        must_not: vec![
            Condition::matches("deleted", true),
            Condition::has_id([PointId::from(7), PointId::from("u")]),
            Condition::from(Filter::must([Condition::is_null("x")])),
        ],
        min_should: None,
    };
    assert_eq!(read.unwrap(), expected);
    assert_eq!(parse("{}").unwrap(), Filter::default());
}

#[test]
fn what_is_not_understood_is_refused_and_shown() {
    for (text, part) in [
        ("{", "json"),
        ("[]", "filter"),
        (r#"{"must_be": []}"#, "must_be"),
        (r#"{"must": [{"key": "a"}]}"#, "condition"),
        (
            r#"{"must": [{"key": "a", "geo_radius": {}}]}"#,
            "geo_radius",
        ),
        (
            r#"{"must": [{"key": "a", "match": {"value": 1.5}}]}"#,
            "1.5",
        ),
        (
            r#"{"must": [{"key": "a", "match": {"any": ["x", 1]}}]}"#,
            "string",
        ),
        (r#"{"must": [{"key": "a", "match": {"any": []}}]}"#, "empty"),
        (
            r#"{"must": [{"key": "a", "range": {"above": 1}}]}"#,
            "above",
        ),
        (r#"{"must": [{"is_empty": {"key": "a", "or": 1}}]}"#, "key"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    let deep = r#"{"must":"#.repeat(100) + "{}" + &"}".repeat(100);
    assert!(parse(&deep).is_err());
}
