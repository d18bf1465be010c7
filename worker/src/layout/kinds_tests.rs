use serde_json::json;

use super::super::tests::directory;
use super::*;

const SPLADE: &str = "sentence_transformers.sparse_encoder.models.SpladePooling";

fn read(files: &[(&str, Value)], given: Option<OutputKind>) -> Result<StatedKind, String> {
    let config = json!({ "architectures": ["BertForMaskedLM"] });
    let stated = StatedKind::read(directory(files).path(), &config, given);
    stated.map_err(|error| error.to_string())
}

fn modules(kinds: &[&str]) -> (&'static str, Value) {
    let module = |(at, kind): (usize, &&str)| {
        let path = if at == 0 {
            String::new()
        } else {
            format!("{at}_M")
        };
        json!({ "idx": at, "path": path, "type": kind })
    };
    (
        "modules.json",
        kinds.iter().enumerate().map(module).collect(),
    )
}

fn splade(pooling: Value) -> [(&'static str, Value); 2] {
    let mlm = "sentence_transformers.sparse_encoder.models.MLMTransformer";
    [modules(&[mlm, SPLADE]), ("1_M/config.json", pooling)]
}

#[test]
fn each_library_says_the_kind_in_its_own_way() {
    let terms = |weight, query_weights: Option<&str>| {
        let query_weights = query_weights.map(str::to_owned);
        StatedKind::Sparse(StatedTerms {
            weight,
            query_weights,
        })
    };
    let found = read(&splade(json!({ "pooling_strategy": "max" })), None);
    assert_eq!(found, Ok(terms(TermWeight::Log, None)));
    let found = read(
        &splade(json!({ "activation_function": "log1p_relu" })),
        None,
    );
    assert_eq!(found, Ok(terms(TermWeight::LogLog, None)));
    let table = (QUERY_WEIGHTS, json!({ "tide": 2.0 }));
    let found = read(std::slice::from_ref(&table), None);
    assert_eq!(found, Ok(terms(TermWeight::Log, Some(QUERY_WEIGHTS))));
    let routes = json!({ "structure": {
        "query": ["query_0_SparseStaticEmbedding"],
        "document": ["document_0_MLMTransformer", "document_1_SpladePooling"],
    } });
    let router = [
        modules(&["sentence_transformers.models.Router"]),
        ("router_config.json", routes),
        (
            "document_1_SpladePooling/config.json",
            json!({ "activation_function": "relu" }),
        ),
        table,
    ];
    let found = read(&router, None);
    assert_eq!(found, Ok(terms(TermWeight::Log, Some(QUERY_WEIGHTS))));
    let plain = read(&[], None);
    assert_eq!(plain, Ok(StatedKind::Dense));
    assert_eq!(
        read(&[], Some(OutputKind::Sparse)),
        Ok(terms(TermWeight::Log, None))
    );
}

#[test]
fn late_interaction_is_told_by_its_projection_or_its_artifact() {
    let late = modules(&[
        "sentence_transformers.models.Transformer",
        "pylate.models.Dense.Dense",
    ]);
    let said = json!({ "query_prefix": "[Q] ", "document_length": 180, "skiplist_words": ["!"] });
    let found = read(&[late, (SENTENCE, said)], None).unwrap();
    let StatedKind::Multi(found) = found else {
        panic!("{found:?}")
    };
    assert_eq!(found.query_marker.as_deref(), Some("[Q] "));
    assert_eq!((found.query_tokens, found.document_tokens), (32, Some(180)));
    assert_eq!((found.skipped.len(), found.expands), (1, true));
    let artifact =
        json!({ "query_token_id": "[unused0]", "query_maxlen": 24, "attend_to_mask_tokens": true });
    let found = read(&[(ARTIFACT, artifact)], None).unwrap();
    let StatedKind::Multi(found) = found else {
        panic!("{found:?}")
    };
    assert_eq!(found.query_marker.as_deref(), Some("[unused0]"));
    assert_eq!(
        (found.query_tokens, found.attends, found.skipped.len()),
        (24, true, 32)
    );
}

#[test]
fn what_does_not_fit_is_refused_by_its_name() {
    let router = [modules(&["sentence_transformers.models.Router"])];
    let cases = [
        (
            read(&splade(json!({})), Some(OutputKind::Multi)),
            "--kind multi",
        ),
        (
            read(&splade(json!({ "pooling_strategy": "sum" })), None),
            "\"sum\"",
        ),
        (
            read(&splade(json!({ "activation_function": "tanh" })), None),
            "tanh",
        ),
        (read(&router, None), "router_config.json"),
    ];
    for (refused, word) in cases {
        let refused = refused.unwrap_err();
        assert!(refused.contains(word), "{word}: {refused}");
    }
}
