//! What several tests start from.

use std::collections::HashMap;

use contract::digest::Digest;

use super::evaluation::{Evaluation, QueryOutcome, Subject};
use super::measure::Measures;
use super::read::{LeftOut, Topic, Topics};
use crate::retrieval::{Mode, Search};

/// An evaluation of queries with these values of nDCG@10.
pub fn evaluation(queries: &[(&str, f64)]) -> Evaluation {
    let name = |text: &str| text.parse().expect("a collection name");
    let mut evaluation = Evaluation::new(Subject {
        alias: name("docs"),
        collection: name("docs--first"),
        model: "tiny".parse().expect("a model name"),
        fingerprint: Digest::of(b"model"),
        exact: false,
        search: Search::of(Mode::Dense),
    });
    let outcome = |(id, ndcg): &(&str, f64)| QueryOutcome {
        id: (*id).to_owned(),
        text: format!("text of {id}"),
        relevant: 1,
        measures: vec![Measures {
            k: 10,
            ndcg: *ndcg,
            ..Measures::default()
        }],
        hits: Vec::new(),
    };
    evaluation.queries = queries.iter().map(outcome).collect();
    evaluation.finish();
    evaluation
}

/// Queries with one relevant document each.
pub fn topics(ids: &[&str]) -> Topics {
    let topic = |id: &&str| Topic {
        id: (*id).to_owned(),
        text: format!("text of {id}"),
        grades: HashMap::from([("d".to_owned(), 1)]),
        ideal: vec![1],
    };
    Topics {
        topics: ids.iter().map(topic).collect(),
        left_out: LeftOut::default(),
        digest: Digest::of(ids.join("\n").as_bytes()),
    }
}
