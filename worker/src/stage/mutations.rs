//! Mutations: directories that are damaged or made to harm. Readers may refuse them, and never panic.
//!
//! A few hundred of each kind are an ordinary test. `EBB_MUTATIONS=10000` makes as many.

use std::fs;
use std::path::{Path, PathBuf};

use contract::model::{SpecialTokens, TOKENIZER};
use contract::tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::ends::with_ends;
use crate::graph::pooling::pool;
use crate::graph::pooling::project;
use crate::graph::terms::largest_logits;
use crate::graph::{Graph, Model, fp16, int8};
use crate::layout::{Layout, LayoutOptions, module_files};
use crate::pool::Layers;

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % end.max(1)
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }
}

fn mutations() -> usize {
    let count = std::env::var("EBB_MUTATIONS").ok();
    count.map_or(300, |count| count.parse().expect("a number"))
}

fn shape(name: &str) -> PathBuf {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/models/shapes");
    Path::new(models).join(name)
}

/// A value that a reader may not expect.
fn strange(numbers: &mut Numbers) -> Value {
    let texts = [
        "",
        "..",
        "/etc/passwd",
        "Transformer",
        "sentence_transformers.models.Dense",
        "\u{0}",
        "[CLS]",
    ];
    match numbers.below(8) {
        0 => Value::Null,
        1 => json!(numbers.pick(&[0, 1, 2, -1, i64::MIN, i64::MAX])),
        2 => json!(numbers.pick(&[0.5, -1e300, 1e300, f64::MAX])),
        3 => json!(numbers.pick(&texts)),
        4 => json!([]),
        5 => json!({}),
        6 => json!(numbers.below(2) == 0),
        _ => json!("x".repeat(1000)),
    }
}

/// Changes one value somewhere in a JSON document.
fn change(value: &mut Value, numbers: &mut Numbers) {
    let deeper = numbers.below(5) > 0;
    match value {
        Value::Object(fields) if deeper && !fields.is_empty() => {
            let keys: Vec<_> = fields.keys().cloned().collect();
            let key = numbers.pick(&keys);
            if numbers.below(8) == 0 {
                fields.remove(&key);
            } else {
                change(&mut fields[&key], numbers);
            }
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let at = numbers.below(items.len());
            match numbers.below(8) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                _ => change(&mut items[at], numbers),
            }
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => *value = strange(numbers),
    }
}

/// Changes a few bytes, or cuts the file off.
fn damage(bytes: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len());
        match (numbers.below(12), bytes.is_empty()) {
            (_, true) => {}
            (0, _) => bytes.truncate(at),
            (1, _) => bytes.insert(at, 0xff),
            (2, _) => drop(bytes.remove(at)),
            _ => bytes[at] = u8::try_from(numbers.below(256)).unwrap(),
        }
    }
    bytes
}

fn mutated(json: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    if numbers.below(4) == 0 {
        return damage(json, numbers);
    }
    let mut value: Value = serde_json::from_slice(json).unwrap();
    for _ in 0..=numbers.below(2) {
        change(&mut value, numbers);
    }
    value.to_string().into_bytes()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Mutates one of the files of a copy of a shape, has `read` look at it, and puts the file back.
fn each(name: &str, files: &[&str], mut read: impl FnMut(&Path, &mut Numbers)) {
    let directory = tempfile::tempdir().unwrap();
    copy(&shape(name), directory.path());
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for _ in 0..mutations() {
        let path = directory.path().join(numbers.pick(files));
        let whole = fs::read(&path).unwrap();
        let is_json = path.extension().is_some_and(|it| it == "json");
        let changed = if is_json {
            mutated(&whole, &mut numbers)
        } else {
            damage(&whole, &mut numbers)
        };
        fs::write(&path, changed).unwrap();
        read(directory.path(), &mut numbers);
        fs::write(&path, whole).unwrap();
    }
}

#[test]
fn no_description_of_a_model_makes_a_panic() {
    let files = [
        "config.json",
        "modules.json",
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "config_sentence_transformers.json",
    ];
    let mut taken = 0;
    each("gemma", &files, |directory, _| {
        let listed = module_files(directory);
        let layout = Layout::read(directory, LayoutOptions::default());
        if let Ok(layout) = &layout {
            assert!(listed.is_ok());
            assert!(layout.max_tokens >= 3 && layout.max_tokens <= 10_000_000);
            taken += usize::from(
                Layers::load(directory, &layout.head, &contract::model::Output::Dense).is_ok(),
            );
        }
    });
    assert!(taken > 0, "some changes do not matter");
}

#[test]
fn no_description_of_terms_or_tokens_makes_a_panic() {
    let splade = [
        "config.json",
        "modules.json",
        "1_SpladePooling/config.json",
        "tokenizer_config.json",
    ];
    let colbert = [
        "config.json",
        "modules.json",
        "1_Dense/config.json",
        "1_Dense/model.safetensors",
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
    ];
    for (name, files) in [("tiny-splade", &splade[..]), ("tiny-colbert", &colbert)] {
        let mut taken = 0;
        each(&format!("../{name}"), files, |directory, _| {
            module_files(directory).ok();
            let Ok(layout) = Layout::read(directory, LayoutOptions::default()) else {
                return;
            };
            assert!(layout.max_tokens >= 3 && layout.max_tokens <= 10_000_000);
            let dense = contract::model::Output::Dense;
            taken += usize::from(Layers::load(directory, &layout.head, &dense).is_ok());
        });
        assert!(taken > 0, "some changes do not matter");
    }
}

#[test]
fn no_graph_of_terms_or_tokens_makes_a_panic() {
    let graph = Path::new("onnx/model.onnx");
    let mut taken = 0;
    for name in ["../tiny-splade", "../tiny-colbert"] {
        each(name, &["onnx/model.onnx"], |directory, _| {
            let path = directory.join(graph);
            let Ok(model) = Model::read_whole(&path) else {
                return;
            };
            let edited = largest_logits(&mut model.clone(), 100);
            taken += usize::from(edited.is_ok());
            let matrix = ndarray::Array2::<f32>::zeros((32, 24));
            project(&mut model.clone(), matrix.view()).ok();
        });
    }
    assert!(taken > 0, "some changes do not matter");
}

#[test]
fn no_tokenizer_makes_a_panic() {
    for name in ["xlm", "roberta"] {
        let mut taken = 0;
        each(name, &[TOKENIZER], |directory, _| {
            let path = directory.join(TOKENIZER);
            for special in [SpecialTokens::Token, SpecialTokens::Text] {
                let Ok(tokenizer) = Tokenizer::load_with(&path, special) else {
                    continue;
                };
                let encoded = tokenizer.encode("The tide </s> goes out. 潮が引く。");
                taken += usize::from(encoded.is_ok());
                tokenizer.encode_pair("a", "b").ok();
                tokenizer.encode_pair_within("a b c d", "e f g h", 4).ok();
                tokenizer.prompt_tokens("query: ").ok();
            }
            fs::write(
                directory.join("tokenizer_config.json"),
                r#"{"tokenizer_class":"LlamaTokenizer","add_eos_token":true,"eos_token":"</s>"}"#,
            )
            .unwrap();
            with_ends(directory).ok();
        });
        assert!(taken > 0, "some changes do not matter");
    }
}

#[test]
fn no_graph_makes_a_panic() {
    let graph = Path::new("onnx/model_2.onnx");
    let mut taken = 0;
    each("external", &["onnx/model_2.onnx"], |directory, _| {
        let path = directory.join(graph);
        taken += usize::from(Graph::read_with_weights(&path).is_ok());
        let Ok(model) = Model::read_whole(&path) else {
            return;
        };
        int8::quantize(&mut model.clone()).ok();
        fp16::halve(&mut model.clone()).ok();
        let identity = Layout::read(&shape("roberta"), LayoutOptions::default()).unwrap();
        let recipe = crate::pool::Recipe {
            pooling: identity.pooling,
            dimensions: 8,
            normalize: true,
            activation: identity.activation,
            kind: contract::model::OutputKind::Dense,
        };
        pool(&mut model.clone(), recipe).ok();
        model.encode(&path).ok();
    });
    assert!(taken > 0, "some changes do not matter");
}
