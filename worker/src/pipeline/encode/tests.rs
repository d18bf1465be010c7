use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use contract::digest::Digest;
use contract::job::{Job, MAX_JOB_BYTES};
use contract::model::{
    Activation, Dtype, Head, Identity, Invariance, Manifest, Measured, Output, Pooling, Prefixes,
    SpecialTokens, StagedFile, TOKENIZER, TermWeight, Terms, TokenVectors,
};
use contract::tokenizer::Tokenizer;
use contract::topology::Task;
use serde_json::{Value, json};

use super::{Encoder, Rules};
use crate::batch::{Inputs, RawJob, RowKey};
use crate::config::{GivenVectors, TooLong};
use crate::error::Refusal;
use crate::frame::{Frame, Texts};
use crate::plan::Shapes;

fn rules() -> Rules {
    Rules {
        collections: vec!["docs".parse().unwrap()],
        too_long: TooLong::Refuse,
        given_vectors: GivenVectors::Use,
    }
}

fn manifest(task: Task, dimensions: usize) -> Manifest {
    let file = StagedFile {
        bytes: 1,
        sha256: Digest::of(b"tokenizer"),
    };
    let identity = Identity {
        task,
        onnx: "model.onnx".to_owned(),
        files: BTreeMap::from([(TOKENIZER.to_owned(), file)]),
        pooling: Pooling::Graph,
        normalize: false,
        prefixes: Prefixes::default(),
        max_tokens: 16,
        dimensions,
        dtype: Dtype::Fp32,
        activation: Activation::Raw,
        labels: Vec::new(),
        head: Head::default(),
        special_tokens: SpecialTokens::Token,
        output: contract::model::Output::Dense,
    };
    Manifest::new("m".parse().unwrap(), identity, Vec::new())
}

fn encoder(model: &str, manifest: Manifest, rules: Rules) -> Encoder {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/models");
    let tokenizer = Tokenizer::load(&models.join(model).join(TOKENIZER)).unwrap();
    let shapes = Shapes {
        tokens: 1024,
        step: 1,
        longest: 16,
    };
    let texts = Texts {
        frame: Frame::of(&tokenizer, &manifest.identity).unwrap(),
        query_weights: None,
        tokenizer,
    };
    Encoder::new(texts, manifest, rules, shapes)
}

fn embedder(rules: Rules) -> Encoder {
    encoder("tiny-embed", manifest(Task::Embed, 1), rules)
}

fn rescorer(too_long: TooLong, dimensions: usize) -> Encoder {
    let rules = Rules {
        too_long,
        ..rules()
    };
    encoder("tiny-rerank", manifest(Task::Rescore, dimensions), rules)
}

fn encode(encoder: &Encoder, jobs: &[Value]) -> (Inputs, Vec<(usize, Refusal)>) {
    let raw = jobs.iter().map(|job| RawJob {
        payload: Bytes::from(job.to_string()),
        default_version: Some(1),
    });
    encoder.encode(raw.collect())
}

fn rescore(encoder: &Encoder, items: &[Value]) -> (Inputs, Vec<(usize, Refusal)>) {
    let job = |items: &Value| json!({ "version": "1.0", "kind": "rescore", "reply": "r", "items": items });
    encode(encoder, &items.iter().map(job).collect::<Vec<_>>())
}

/// A job with one document of these chunks.
fn document(chunks: &Value) -> Value {
    let document = json!({ "id": "d", "chunks": chunks });
    json!({ "version": "1.0", "kind": "embed", "collection": "docs", "documents": [document] })
}

/// A job with other top-level fields besides.
fn with(mut job: Value, fields: &Value) -> Value {
    let fields = fields.as_object().unwrap().clone();
    job.as_object_mut().unwrap().extend(fields);
    job
}

/// Token ids of each row that is to be run, without padding.
fn ids(inputs: &Inputs) -> Vec<(RowKey, Vec<i64>)> {
    let mut rows = Vec::new();
    for tensor in &inputs.tensors {
        for (at, key) in tensor.rows.iter().enumerate() {
            let ids = tensor.input_ids.row(at).to_vec();
            rows.push((*key, ids[..tensor.lengths[at]].to_vec()));
        }
    }
    rows.sort();
    rows
}

#[test]
fn a_refused_job_leaves_the_batch_and_the_others_keep_their_rows() {
    let good = || document(&json!([{ "text": "about all" }, { "text": "also" }]));
    let elsewhere = with(good(), &json!({ "collection": "secret" }));
    let long = document(&json!([{ "text": "about ".repeat(40) }]));
    let unknown = with(good(), &json!({ "kind": "translate" }));
    let jobs = [elsewhere, good(), long, unknown, good()];
    let (inputs, refused) = encode(&embedder(rules()), &jobs);
    let causes: Vec<_> = refused.iter().map(|(at, it)| (*at, it.cause())).collect();
    let expected = [
        (0, "collection_not_allowed"),
        (2, "too_long"),
        (3, "unknown_kind"),
    ];
    assert_eq!(causes, expected);
    assert_eq!((inputs.jobs.len(), &inputs.rows[..]), (2, &[2, 2][..]));
    let rows = ids(&inputs);
    let alone = ids(&encode(&embedder(rules()), &[good()]).0);
    let of = |job: usize| -> Vec<_> {
        let rows = rows.iter().filter(|(key, _)| key.job == job);
        rows.map(|(key, ids)| (key.row, ids.clone())).collect()
    };
    let alone: Vec<_> = alone.into_iter().map(|(key, ids)| (key.row, ids)).collect();
    assert_eq!((of(0), of(1)), (alone.clone(), alone));
}

#[test]
fn a_text_that_does_not_fit_takes_its_document_and_leaves_the_others_of_its_job() {
    let job = json!({
        "version": "1.0", "kind": "embed", "collection": "docs", "documents": [
            { "id": "one", "chunks": [{ "text": "about all" }] },
            { "id": "long", "chunks": [{ "text": "about" }, { "text": "about ".repeat(40) }] },
            { "id": "other", "chunks": [{ "text": "also" }, { "text": "about" }] },
        ],
    });
    let (inputs, refused) = encode(&embedder(rules()), &[job]);
    assert!(refused.is_empty(), "{refused:?}");
    let decoded = &inputs.jobs[0];
    let Job::Embed(embed) = &decoded.job else {
        panic!("another job")
    };
    let left: Vec<_> = embed.documents.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(left, ["one", "other"]);
    assert_eq!(inputs.rows, [3]);
    let reason = decoded.incomplete.as_ref().unwrap();
    assert!(
        matches!(reason, Refusal::TooLong { row: 2, .. }),
        "{reason}"
    );
    let items = json!({
        "version": "1.0", "kind": "rescore", "collection": "docs", "items": [
            { "point": "1", "query": "about", "text": "about ".repeat(40) },
            { "point": "2", "query": "about", "text": "all" },
        ],
    });
    let (inputs, _) = encode(&rescorer(TooLong::Refuse, 1), std::slice::from_ref(&items));
    assert_eq!(
        (inputs.rows[0], inputs.jobs[0].incomplete.is_some()),
        (1, true)
    );
    // An answer has no holes.
    let asked = with(items, &json!({ "reply": "r" }));
    let (_, refused) = encode(&rescorer(TooLong::Refuse, 1), &[asked]);
    assert_eq!(refused[0].1.cause(), "too_long");
}

#[test]
fn only_a_dense_model_takes_documents_and_any_takes_queries() {
    let mut manifest = manifest(Task::Embed, 1_000);
    manifest.identity.output = Output::Sparse(Terms {
        weight: TermWeight::Log,
        threshold: 0.0,
        most: 10,
        excluded: Vec::new(),
        query_weights: None,
    });
    let encoder = encoder("tiny-splade", manifest, rules());
    let query = |count: usize| {
        json!({
            "version": "1.0", "kind": "embed", "queries": vec!["about"; count], "reply": "r"
        })
    };
    let jobs = [
        document(&json!([{ "text": "about" }])),
        query(3),
        query(1_024),
    ];
    let (inputs, refused) = encode(&encoder, &jobs);
    assert_eq!(inputs.rows, [3, 1_024], "its answers are small");
    assert_eq!(refused[0].1.cause(), "wrong_task");
    assert!(refused[0].1.to_string().contains("indexer attach"));
}

#[test]
fn a_query_of_late_interaction_is_framed_and_its_answer_is_bounded() {
    let mut manifest = manifest(Task::Embed, 128);
    manifest.identity.output = Output::Multi(TokenVectors {
        query_marker: Some(7),
        document_marker: Some(8),
        query_tokens: 6,
        expansion: Some(4),
        attend_to_expansion: false,
        skipped: Vec::new(),
    });
    let encoder = encoder("tiny-embed", manifest, rules());
    let query = |queries: &[&str]| json!({ "version": "1.0", "kind": "embed", "queries": queries, "reply": "r" });
    let (inputs, _) = encode(&encoder, &[query(&["about"])]);
    assert_eq!(ids(&inputs)[0].1, [2, 7, 61, 3, 4, 4]);
    let tensor = &inputs.tensors[0];
    assert_eq!((tensor.lengths[0], tensor.attended(0)), (6, 4));
    assert!(tensor.reading(0).is_query);
    // 6 vectors of 128 numbers, with 14 bytes each.
    let most = MAX_JOB_BYTES / (6 * 128 * 14);
    let (_, refused) = encode(
        &encoder,
        &[query(&vec!["about"; most]), query(&vec!["about"; most + 1])],
    );
    let causes: Vec<_> = refused.iter().map(|(at, it)| (*at, it.cause())).collect();
    assert_eq!(causes, [(1, "too_many_queries")]);
    let long = "about ".repeat(5);
    let (_, refused) = encode(&encoder, &[query(&[&long])]);
    assert!(matches!(refused[0].1, Refusal::TooLong { max: 5, .. }));
}

#[test]
fn a_job_of_another_task_and_one_without_a_version_are_refused() {
    let delete = json!({
        "version": "1.0", "kind": "delete", "collection": "docs", "documents": [{ "id": "d" }]
    });
    let (_, refused) = encode(&rescorer(TooLong::Refuse, 1), std::slice::from_ref(&delete));
    assert_eq!(refused[0].1.cause(), "wrong_task");
    let unversioned = RawJob {
        payload: Bytes::from(delete.to_string()),
        default_version: None,
    };
    let (inputs, refused) = embedder(rules()).encode(vec![unversioned]);
    assert_eq!(refused[0].1.cause(), "bad_version");
    let (deleted, refused) = encode(&embedder(rules()), &[delete]);
    assert!(inputs.jobs.is_empty() && refused.is_empty());
    assert_eq!((deleted.rows, deleted.tensors.len()), (vec![0], 0));
}

#[test]
fn token_ids_are_taken_from_the_same_tokenization_only_and_must_be_known() {
    let encoder = embedder(rules());
    let tokenization = manifest(Task::Embed, 1).tokenization();
    let chunks = |ids: &[u32]| document(&json!([{ "text": "about", "token_ids": ids }]));
    let same = |ids: &[u32]| with(chunks(ids), &json!({ "tokenization": tokenization }));
    let first = |job: Value| ids(&encode(&encoder, &[job]).0).remove(0).1;
    assert_eq!(first(same(&[2, 70, 3])), [2, 70, 3]);
    assert_eq!(first(chunks(&[2, 70, 3])), [2, 61, 3], "the text is used");
    let (_, refused) = encode(&encoder, &[same(&[2, 1_000_000, 3]), same(&[61; 17])]);
    let causes: Vec<_> = refused.iter().map(|(_, refusal)| refusal.cause()).collect();
    assert_eq!(causes, ["unknown_token", "too_long"]);
}

#[test]
fn a_vector_that_came_with_its_chunk_is_used_if_it_is_of_the_same_model_and_allowed() {
    let fingerprint = manifest(Task::Embed, 1).fingerprint;
    let one = "AACAPw==";
    let job = document(&json!([{ "text": "about" }, { "text": "all", "vector": one }]));
    let same = with(job.clone(), &json!({ "fingerprint": fingerprint }));
    let (inputs, _) = encode(&embedder(rules()), std::slice::from_ref(&same));
    let key = |row| RowKey { job: 0, row };
    assert_eq!(inputs.known, [(key(1), vec![1.0].into())]);
    assert_eq!((inputs.rows[0], ids(&inputs).len()), (2, 1));
    let distrustful = Rules {
        given_vectors: GivenVectors::Embed,
        ..rules()
    };
    for (rules, job) in [(rules(), job), (distrustful, same)] {
        let (inputs, _) = encode(&embedder(rules), &[job]);
        assert!(inputs.known.is_empty());
        assert_eq!(ids(&inputs).len(), 2);
    }
}

#[test]
fn a_text_that_is_too_long_is_cut_where_that_is_allowed() {
    let rules = Rules {
        too_long: TooLong::Truncate,
        ..rules()
    };
    let job = document(&json!([{ "text": "about ".repeat(5_000) }]));
    let (inputs, refused) = encode(&embedder(rules), &[job]);
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(ids(&inputs)[0].1.len(), 16);
}

#[test]
fn a_job_may_ask_for_queries_and_items_to_be_cut_and_never_for_documents() {
    let (queries, items) = (
        ["short", &"word ".repeat(40)],
        [&"word ".repeat(40), "short"],
    );
    let queries = json!({ "version": "1.0", "kind": "embed", "queries": queries, "reply": "r", "truncate": true });
    let items = items.map(|text| json!({ "query": "q", "text": text }));
    let items = json!({ "version": "1.0", "kind": "rescore", "items": items, "reply": "r", "truncate": true });
    for (encoder, job, cut) in [
        (embedder(rules()), queries, 1),
        (rescorer(TooLong::Refuse, 1), items, 0),
    ] {
        let (inputs, refused) = encode(&encoder, &[job]);
        assert!(refused.is_empty(), "{refused:?}");
        assert_eq!(inputs.jobs[0].truncated, [cut]);
        assert_eq!(inputs.rows, [2]);
    }
    let chunks = json!([{ "text": "word ".repeat(40) }]);
    let job = with(document(&chunks), &json!({ "truncate": true }));
    let (_, refused) = encode(&embedder(rules()), &[job]);
    assert_eq!(refused[0].1.cause(), "too_long");
}

#[test]
fn pairs_and_single_texts_share_a_tensor_each_with_its_token_types() {
    let items = json!([{ "query": "lag", "text": "stream" }, { "text": "stream" }]);
    let (inputs, refused) = rescore(&rescorer(TooLong::Refuse, 1), &[items]);
    assert!(refused.is_empty(), "{refused:?}");
    let tensor = &inputs.tensors[0];
    assert_eq!(tensor.lengths, [5, 3]);
    let types = tensor.type_ids.as_ref().expect("a pair has types");
    assert_eq!(types.row(0).to_vec(), [0, 0, 0, 1, 1]);
    assert_eq!(types.row(1).to_vec(), [0; 5]);
}

#[test]
fn a_pair_that_is_too_long_is_refused_or_cut_and_takes_only_its_job() {
    let long = "stream ".repeat(40);
    let huge = "stream ".repeat(4_000);
    let jobs = [
        json!([{ "query": "lag", "text": "stream" }]),
        json!([{ "query": "lag", "text": long }]),
        json!([{ "query": huge, "text": huge }]),
    ];
    let (inputs, refused) = rescore(&rescorer(TooLong::Refuse, 1), &jobs);
    assert_eq!(inputs.rows, [1]);
    let positions: Vec<_> = refused.iter().map(|(position, _)| *position).collect();
    assert_eq!(positions, [1, 2]);
    assert!(
        refused.iter().all(|(_, refusal)| matches!(refusal, Refusal::TooLong { tokens, max: 16, .. } if *tokens > 16)),
        "{refused:?}"
    );
    let (inputs, refused) = rescore(&rescorer(TooLong::Truncate, 1), &jobs);
    assert!(refused.is_empty(), "{refused:?}");
    let lengths: Vec<_> = inputs.tensors.iter().flat_map(|t| &t.lengths).collect();
    assert_eq!(lengths, [&16, &16, &5]);
}

#[test]
fn an_answer_that_fits_no_message_is_refused() {
    let items = |count: usize| json!(vec![json!({ "text": "stream" }); count]);
    let many_labels = rescorer(TooLong::Refuse, 1_000);
    let (_, refused) = rescore(&many_labels, &[items(80), items(60)]);
    assert!(
        matches!(
            refused[..],
            [(
                0,
                Refusal::TooManyQueries {
                    queries: 80,
                    most: 70
                }
            )]
        ),
        "{refused:?}"
    );
}

#[test]
fn a_token_that_the_model_has_no_row_for_takes_only_its_document_whoever_tokenized_it() {
    let mut known = manifest(Task::Embed, 1);
    known.measured = Some(Measured {
        provider: "cpu".to_owned(),
        memory_bytes: 1,
        invariance: Invariance::Cosine(1.0),
        vocabulary: None,
    });
    let all = encoder("tiny-embed", known.clone(), rules());
    let documents = json!([
        { "id": "a", "chunks": [{ "text": "tide" }] },
        { "id": "b", "chunks": [{ "text": "a b" }] },
    ]);
    let job = with(document(&json!([])), &json!({ "documents": documents }));
    let (inputs, refused) = encode(&all, std::slice::from_ref(&job));
    assert!(refused.is_empty(), "{refused:?}");
    let largest = |(_, ids): &(RowKey, Vec<i64>)| ids.iter().copied().max().unwrap();
    let both: Vec<_> = ids(&inputs).iter().map(largest).collect();
    assert_ne!(both[0], both[1]);
    let rows = usize::try_from(both[0].max(both[1])).unwrap();
    known.measured.as_mut().unwrap().vocabulary = Some(rows);
    let fewer = encoder("tiny-embed", known, rules());
    let (inputs, refused) = encode(&fewer, &[job]);
    assert!(refused.is_empty(), "{refused:?}");
    let left_out = inputs.jobs[0].incomplete.as_ref().unwrap();
    assert!(
        matches!(left_out, Refusal::UnknownToken { vocabulary, .. } if *vocabulary == rows),
        "{left_out}"
    );
    assert_eq!(ids(&inputs).len(), 1);
}
