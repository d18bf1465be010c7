//! The manifest: what its fingerprint covers, and what is noticed.

#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

use std::collections::BTreeMap;

use contract::digest::Digest;
use contract::model::{
    Activation, Curve, Dtype, Head, Identity, Layer, MANIFEST, Manifest, ModelError, Pooling,
    Prefixes, SpecialTokens, StagedFile,
};
use contract::topology::Task;

fn identity() -> Identity {
    let file = StagedFile {
        bytes: 5,
        sha256: Digest::of(b"graph"),
    };
    Identity {
        task: Task::Embed,
        onnx: "model.onnx".to_owned(),
        files: BTreeMap::from([("model.onnx".to_owned(), file)]),
        pooling: Pooling::Mean,
        normalize: true,
        prefixes: Prefixes::default(),
        max_tokens: 256,
        dimensions: 384,
        dtype: Dtype::Fp32,
        activation: Activation::Raw,
        labels: Vec::new(),
        head: Head::default(),
        special_tokens: SpecialTokens::Token,
        output: contract::model::Output::Dense,
    }
}

fn staged(identity: Identity) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("model.onnx"), b"graph").unwrap();
    let manifest = Manifest::new("m".parse().unwrap(), identity, Vec::new());
    std::fs::write(
        directory.path().join(MANIFEST),
        serde_json::to_vec(&manifest).unwrap(),
    )
    .unwrap();
    directory
}

#[test]
fn a_staged_model_is_read_and_verified() {
    let directory = staged(identity());
    Manifest::load(directory.path())
        .unwrap()
        .verify(directory.path())
        .unwrap();
}

#[test]
fn everything_that_changes_a_vector_changes_the_fingerprint() {
    let original = identity().fingerprint();
    let changes: [fn(&mut Identity); 14] = [
        |i| i.pooling = Pooling::Cls,
        |i| i.normalize = false,
        |i| i.prefixes.query = "query: ".to_owned(),
        |i| i.prefixes.document = "passage: ".to_owned(),
        |i| i.max_tokens = 128,
        |i| i.dimensions = 128,
        |i| i.dtype = Dtype::Fp16,
        |i| i.activation = Activation::Sigmoid,
        |i| i.labels = vec!["good".to_owned(), "bad".to_owned()],
        |i| i.files.get_mut("model.onnx").unwrap().sha256 = Digest::of(b"other"),
        |i| i.head.concatenated = vec![Pooling::Max],
        |i| i.head.exclude_prompt = true,
        |i| i.head.layers = vec![dense("2_Dense/model.safetensors")],
        |i| i.special_tokens = SpecialTokens::Text,
    ];
    for (n, change) in changes.iter().enumerate() {
        let mut changed = identity();
        change(&mut changed);
        assert_ne!(changed.fingerprint(), original, "change {n}");
    }
}

fn dense(weights: &str) -> Layer {
    Layer::Dense {
        weights: weights.to_owned(),
        curve: Curve::Tanh,
    }
}

/// As it was before manifests had a head: models that were staged then keep their fingerprints.
#[test]
fn what_says_nothing_is_left_out_of_the_fingerprint() {
    let digest = Digest::of(b"graph");
    let json = format!(
        r#"{{"task":"embed","onnx":"model.onnx","files":{{"model.onnx":{{"bytes":5,"sha256":"{digest}"}}}},"#
    ) + r#""pooling":"mean","normalize":true,"prefixes":{"query":"","document":""},"max_tokens":256,"#
        + r#""dimensions":384,"dtype":"fp32","activation":"raw"}"#;
    assert_eq!(serde_json::to_string(&identity()).unwrap(), json);
    assert_eq!(identity().fingerprint(), Digest::of(json.as_bytes()));
    assert_eq!(serde_json::from_str::<Identity>(&json).unwrap(), identity());
}

#[test]
fn the_weights_of_a_layer_lie_inside_the_directory() {
    let mut outside = identity();
    outside.head.layers = vec![dense("../../weights.safetensors")];
    let error = Manifest::load(staged(outside).path()).unwrap_err();
    assert!(matches!(error, ModelError::Escapes { .. }), "{error}");
}

#[test]
fn altered_weights_are_noticed() {
    let directory = staged(identity());
    std::fs::write(directory.path().join("model.onnx"), b"graXh").unwrap();
    let error = Manifest::load(directory.path())
        .unwrap()
        .verify(directory.path())
        .unwrap_err();
    assert!(matches!(error, ModelError::Altered { .. }), "{error}");
}

#[test]
fn missing_weights_are_named() {
    let directory = staged(identity());
    std::fs::remove_file(directory.path().join("model.onnx")).unwrap();
    let error = Manifest::load(directory.path())
        .unwrap()
        .verify(directory.path())
        .unwrap_err();
    assert!(error.to_string().contains("model.onnx"), "{error}");
}

#[test]
fn an_altered_manifest_is_noticed() {
    let directory = staged(identity());
    let path = directory.path().join(MANIFEST);
    let text = std::fs::read_to_string(&path)
        .unwrap()
        .replace("\"max_tokens\":256", "\"max_tokens\":512");
    std::fs::write(&path, text).unwrap();
    let error = Manifest::load(directory.path()).unwrap_err();
    assert!(matches!(error, ModelError::Fingerprint { .. }), "{error}");
}

#[test]
fn a_manifest_cannot_point_out_of_its_directory() {
    for path in ["../secret", "/etc/passwd", "a/../../b", ""] {
        let mut outside = identity();
        let file = outside.files.remove("model.onnx").unwrap();
        outside.files.insert(path.to_owned(), file);
        let error = Manifest::load(staged(outside).path()).unwrap_err();
        assert!(
            matches!(error, ModelError::Escapes { .. }),
            "{path}: {error}"
        );
    }
}
