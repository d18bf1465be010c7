//! Answer: the search for a consumer in what `/jsz` says.

use contract::topology::JOBS;
use serde_json::Value;

use super::Finding;

/// Servers of the cluster; 0 without one.
pub fn cluster_size(answer: &Value) -> u64 {
    answer["meta_cluster"]["cluster_size"].as_u64().unwrap_or(0)
}

/// A consumer of the stream of jobs, or what is missing on the way to it.
pub fn find<'a>(answer: &'a Value, account: &str, consumer: &str) -> Result<&'a Value, Finding> {
    let accounts = list(&answer["account_details"]);
    let is_it = |found: &&Value| found["name"] == account || found["id"] == account;
    let Some(found) = accounts.iter().find(is_it) else {
        let advice = "give the account of the workers to the ScaledObject: by its name or id, `$G` where there is none";
        return Err(missing("account", account, accounts, advice));
    };
    let streams = list(&found["stream_detail"]);
    let Some(stream) = named(streams, JOBS) else {
        let advice = "run `indexer provision`, or correct the account: this one has no jobs";
        return Err(missing("stream", JOBS, streams, advice));
    };
    let consumers = list(&stream["consumer_detail"]);
    named(consumers, consumer).ok_or_else(|| {
        let advice = "run `indexer provision`: without it the autoscaler starts nobody";
        missing("consumer", consumer, consumers, advice)
    })
}

fn missing(kind: &str, name: &str, found: &[Value], advice: &str) -> Finding {
    let what = format!("what the autoscaler reads: {kind}");
    Finding::error(what, names(found), format!("`{name}`"), advice)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn named<'a>(values: &'a [Value], name: &str) -> Option<&'a Value> {
    values.iter().find(|value| value["name"] == name)
}

fn names(values: &[Value]) -> String {
    let names: Vec<_> = values
        .iter()
        .filter_map(|value| value["name"].as_str())
        .collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer() -> Value {
        json!({ "account_details": [
            { "name": "OPS", "id": "A1", "stream_detail": [] },
            { "name": "EBB", "id": "A2", "stream_detail": [
                { "name": JOBS, "consumer_detail": [{ "name": "embed-m-live", "num_pending": 3 }] },
            ]},
        ]})
    }

    #[test]
    fn an_account_is_found_by_its_name_and_by_its_id() {
        for account in ["EBB", "A2"] {
            let answer = answer();
            assert_eq!(
                find(&answer, account, "embed-m-live").unwrap()["num_pending"],
                3
            );
        }
    }

    #[test]
    fn the_first_thing_that_is_missing_is_named_with_what_is_there() {
        let answer = answer();
        for (account, consumer, kind, found) in [
            ("$G", "embed-m-live", "account", "OPS, EBB"),
            ("OPS", "embed-m-live", "stream", "none"),
            ("EBB", "embed-m-bulk", "consumer", "embed-m-live"),
        ] {
            let finding = find(&answer, account, consumer).unwrap_err();
            assert!(finding.what.ends_with(kind), "{finding}");
            assert_eq!(finding.found, found);
        }
    }
}
