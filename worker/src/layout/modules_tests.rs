use serde_json::json;

use super::super::tests::directory;
use super::*;

fn pooling(config: Value) -> Result<Modules, LayoutError> {
    modules(directory(&[("1_Pooling/config.json", config)]).path(), None)
}

/// A list of modules of the package, each in a folder of its number and kind.
fn list(kinds: &[&str]) -> Value {
    let module = |(at, kind): (usize, &&str)| {
        let path = if at == 0 {
            String::new()
        } else {
            format!("{at}_{kind}")
        };
        json!({ "idx": at, "path": path, "type": format!("sentence_transformers.models.{kind}") })
    };
    kinds.iter().enumerate().map(module).collect()
}

fn listed(kinds: &[&str], more: &[(&str, Value)]) -> Result<Modules, LayoutError> {
    let mean = json!({ "pooling_mode_mean_tokens": true });
    let own = [
        ("modules.json", list(kinds)),
        ("1_Pooling/config.json", mean),
    ];
    modules(directory(&[&own, more].concat()).path(), None)
}

#[test]
fn the_poolings_are_those_that_are_on_in_the_order_of_the_library() {
    let first = |config: Value| pooling(config).map(|it| (it.pooling, it.head.concatenated));
    let cases = [
        (json!({ "pooling_mode_cls_token": true }), Pooling::Cls),
        (json!({ "pooling_mode_mean_tokens": true }), Pooling::Mean),
        (
            json!({ "pooling_mode_lasttoken": true, "pooling_mode_mean_tokens": false }),
            Pooling::LastToken,
        ),
        (json!({ "pooling_mode": "mean" }), Pooling::Mean),
        (json!({ "pooling_mode": "max" }), Pooling::Max),
        (json!({ "pooling_mode": ["cls"] }), Pooling::Cls),
        (
            json!({ "pooling_mode_mean_sqrt_len_tokens": true }),
            Pooling::MeanSqrtLen,
        ),
        (
            json!({ "pooling_mode_weightedmean_tokens": true }),
            Pooling::WeightedMean,
        ),
    ];
    for (config, expected) in cases {
        assert_eq!(
            first(config.clone()).unwrap(),
            (expected, vec![]),
            "{config}"
        );
    }
    let several = json!({
        "pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true, "pooling_mode_cls_token": true
    });
    let (one, others) = first(several).unwrap();
    assert_eq!(one, Pooling::Cls);
    assert_eq!(others, [Pooling::Max, Pooling::Mean]);
    // A list has an order of its own.
    let (one, others) = first(json!({ "pooling_mode": ["mean", "cls", "max"] })).unwrap();
    assert_eq!(one, Pooling::Mean);
    assert_eq!(others, [Pooling::Cls, Pooling::Max]);
}

#[test]
fn a_pooling_that_is_not_known_is_refused() {
    for config in [
        json!({}),
        json!({ "pooling_mode_median_tokens": true, "pooling_mode_mean_tokens": true }),
        json!({ "pooling_mode_mean_tokens": "yes" }),
        json!({ "pooling_mode": "median" }),
        json!({ "pooling_mode": ["cls", "median"] }),
        json!({ "pooling_mode": ["cls", "mean", "cls"] }),
        json!({ "pooling_mode": [] }),
        json!({ "pooling_mode": 3 }),
    ] {
        let refused = pooling(config.clone());
        assert!(
            matches!(refused, Err(LayoutError::Pooling { .. })),
            "{config}"
        );
    }
    let missing = modules(directory(&[]).path(), None)
        .unwrap_err()
        .to_string();
    assert!(missing.contains("give --pooling"), "{missing}");
    assert!(modules(directory(&[]).path(), Some(Pooling::Cls)).is_ok());
}

#[test]
fn a_pooling_that_is_given_stands_in_for_a_module_that_is_missing() {
    let directory = directory(&[("modules.json", list(&["Transformer", "Normalize"]))]);
    let found = modules(directory.path(), Some(Pooling::Cls)).unwrap();
    assert_eq!((found.pooling, found.normalize), (Pooling::Cls, true));
}

#[test]
fn modules_are_followed_in_their_order() {
    let weights = ("2_Dense/model.safetensors", json!(0));
    let tanh = (
        "2_Dense/config.json",
        json!({ "activation_function": "torch.nn.modules.activation.Tanh" }),
    );
    let found = listed(
        &["Transformer", "Pooling", "Dense", "Normalize"],
        &[weights.clone(), tanh.clone()],
    )
    .unwrap();
    let dense = Layer::Dense {
        weights: "2_Dense/model.safetensors".to_owned(),
        curve: Curve::Tanh,
    };
    assert!(found.normalize);
    assert_eq!(found.head.layers, std::slice::from_ref(&dense));
    let shifted = [
        ("3_Dense/model.safetensors", json!(0)),
        ("3_Dense/config.json", json!({})),
    ];
    let kinds = ["Transformer", "Pooling", "Normalize", "Dense"];
    let found = listed(&kinds, &shifted).unwrap();
    assert!(!found.normalize);
    assert_eq!(found.head.layers[0], Layer::Normalize);
    assert!(
        listed(&["Transformer", "Pooling", "Normalize"], &[])
            .unwrap()
            .normalize
    );
    assert!(!listed(&["Transformer", "Pooling"], &[]).unwrap().normalize);
}

#[test]
fn what_would_change_vectors_unseen_is_refused_by_name() {
    let strange = (
        "2_Dense/config.json",
        json!({ "activation_function": "torch.nn.Hardswish" }),
    );
    let other_input = (
        "2_Dense/config.json",
        json!({ "module_input_name": "token_embeddings" }),
    );
    let same_name = (
        "2_Dense/config.json",
        json!({ "activation_function": "my_package.activations.Identity" }),
    );
    let tokens = (
        "2_Normalize/config.json",
        json!({ "module_input_name": "token_embeddings" }),
    );
    let weights = ("2_Dense/model.safetensors", json!(0));
    let old = ("2_Dense/pytorch_model.bin", json!(0));
    let plain = ("2_Dense/config.json", json!({}));
    let dense = &["Transformer", "Pooling", "Dense"][..];
    type Files<'a> = &'a [(&'a str, Value)];
    let cases: [(&[&str], Files<'_>, &str); 10] = [
        (&["Transformer", "Pooling", "CNN"], &[], "CNN"),
        (
            &["Transformer", "Normalize", "Pooling"],
            &[],
            "Normalize at place 1",
        ),
        (
            &["Transformer", "Pooling", "Pooling"],
            &[],
            "Pooling at place 2",
        ),
        (&["Transformer"], &[], "module Pooling"),
        (dense, &[weights.clone(), strange], "Hardswish"),
        (dense, &[weights.clone(), same_name], "my_package"),
        (dense, &[weights, other_input], "token_embeddings"),
        (
            &["Transformer", "Pooling", "Normalize"],
            &[tokens],
            "token_embeddings",
        ),
        (dense, &[old, plain.clone()], "pytorch_model.bin"),
        (dense, &[plain], "2_Dense/model.safetensors"),
    ];
    for (kinds, files, word) in cases {
        let refused = listed(kinds, files).unwrap_err().to_string();
        assert!(refused.contains(word), "{kinds:?}: {refused}");
    }
}

#[test]
fn classes_of_other_packages_and_folders_elsewhere_are_refused() {
    let module = |class: &str, path: &str| json!([{ "type": class, "path": path }]);
    for (list, word) in [
        (module("custom_st.Transformer", ""), "custom_st.Transformer"),
        (
            module("sentence_transformers.models.Transformer", "../x"),
            "../x",
        ),
        (
            module("sentence_transformers.models.Transformer", "/etc"),
            "/etc",
        ),
        (json!({ "0": "Transformer" }), "Transformer"),
        (json!([7]), "null"),
    ] {
        let directory = directory(&[("modules.json", list)]);
        let refused = modules(directory.path(), None).unwrap_err().to_string();
        assert!(
            refused.contains(word) && refused.contains("supported are"),
            "{refused}"
        );
        assert!(module_files(directory.path()).is_err());
    }
}

#[test]
fn a_prompt_may_be_left_out_of_the_pooling() {
    let config = json!({ "pooling_mode_mean_tokens": true, "include_prompt": false });
    assert!(pooling(config).unwrap().head.exclude_prompt);
    let config = json!({ "pooling_mode_mean_tokens": true, "include_prompt": true });
    assert!(pooling(config).unwrap().head.is_plain());
}
