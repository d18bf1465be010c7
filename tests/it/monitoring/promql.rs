//! The metrics that a query of Prometheus reads.

use anyhow::Context as _;

/// A metric as a query selects it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) metric: String,
    pub(super) matchers: Vec<Matcher>,
}

/// A condition on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Matcher {
    pub(super) label: String,
    /// The value, where it must be equal to this one and is no variable of a dashboard.
    pub(super) value: Option<String>,
}

/// Words of the language that take no parentheses right after them.
const WORDS: [&str; 14] = [
    "and", "or", "unless", "bool", "offset", "sum", "min", "max", "avg", "count", "topk",
    "quantile", "stddev", "group",
];
/// Words that are followed by labels in parentheses.
const LABELLED: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];

/// All selectors of a query.
pub(super) fn selectors(query: &str) -> anyhow::Result<Vec<Selector>> {
    let (mut selectors, mut rest) = (Vec::new(), query.trim_start());
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '"' => after(&rest[1..], '"').with_context(|| format!("a string of {query}"))?,
            '[' => after(rest, ']').with_context(|| format!("a range of {query}"))?,
            '$' | '0'..='9' => rest[1..].trim_start_matches(is_name),
            first if is_name(first) => {
                let (name, behind) =
                    rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()));
                selection(name, behind.trim_start(), &mut selectors)
                    .with_context(|| format!("`{name}` of {query}"))?
            }
            other => &rest[other.len_utf8()..],
        }
        .trim_start();
    }
    Ok(selectors)
}

/// Takes what belongs to a name; gives what is behind it.
fn selection<'q>(
    name: &str,
    behind: &'q str,
    selectors: &mut Vec<Selector>,
) -> anyhow::Result<&'q str> {
    if LABELLED.contains(&name) {
        return after(behind, ')');
    }
    if WORDS.contains(&name) || behind.starts_with('(') {
        return Ok(behind);
    }
    let (matchers, behind) = match behind.strip_prefix('{') {
        Some(inside) => {
            let end = after(inside, '}')?;
            (matchers(&inside[..inside.len() - end.len() - 1])?, end)
        }
        None => (Vec::new(), behind),
    };
    selectors.push(Selector {
        metric: name.to_owned(),
        matchers,
    });
    Ok(behind)
}

fn matchers(inside: &str) -> anyhow::Result<Vec<Matcher>> {
    let parts = inside.split("\",").map(str::trim);
    let matcher = |part: &str| {
        let operator = part
            .find(['=', '!'])
            .context("a label without a condition")?;
        let (label, condition) = part.split_at(operator);
        let (operator, value) = condition.split_once('"').context("a value")?;
        let value = value.trim_end_matches('"');
        let exact = operator.trim() == "=" && !value.contains('$');
        anyhow::Ok(Matcher {
            label: label.trim().to_owned(),
            value: exact.then(|| value.to_owned()),
        })
    };
    parts.filter(|part| !part.is_empty()).map(matcher).collect()
}

fn after(text: &str, end: char) -> anyhow::Result<&str> {
    let behind = text.split_once(end).map(|(_, behind)| behind);
    behind.with_context(|| format!("`{end}` is missing"))
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

#[test]
fn the_metrics_of_a_query_are_found() {
    let query = r#"sum by (le, pod) (rate(a_total{x="1", y=~"b|c", z="$d"}[5m])) / on (pod) group_left ()
        max_over_time(b{} [1h:15s]) > 2e3 unless ebb:c:d offset 5m or vector(0)"#;
    let found = selectors(query).unwrap();
    let names: Vec<_> = found.iter().map(|found| found.metric.as_str()).collect();
    assert_eq!(names, ["a_total", "b", "ebb:c:d"]);
    let matchers = found[0].matchers.iter();
    let matchers: Vec<_> = matchers
        .map(|matcher| (matcher.label.as_str(), matcher.value.as_deref()))
        .collect();
    assert_eq!(matchers, [("x", Some("1")), ("y", None), ("z", None)]);
}
