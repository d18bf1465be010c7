//! Scores: what the configuration of a rescorer says about its labels and its activation.

use contract::model::Activation;
use contract::topology::Task;
use serde_json::Value;

/// Names of the labels, if there are several, by their numbers.
pub(super) fn labels(config: &Value, task: Task) -> Vec<String> {
    let named = config["id2label"].as_object();
    let mut labels: Vec<(u64, &str)> = named
        .into_iter()
        .flatten()
        .filter_map(|(id, label)| Some((id.parse().ok()?, label.as_str()?)))
        .collect();
    labels.sort_unstable();
    if task == Task::Embed || labels.len() < 2 {
        return Vec::new();
    }
    let name = |(_, label): (u64, &str)| label.to_owned();
    labels.into_iter().map(name).collect()
}

/// The score of a single label is between 0 and 1 unless the model says otherwise. Several labels exclude each other.
pub(super) fn activation(config: &Value, task: Task) -> Activation {
    if task == Task::Embed {
        return Activation::Raw;
    }
    let stated = [
        &config["sentence_transformers"]["activation_fn"],
        &config["sbert_ce_default_activation_function"],
        &config["problem_type"],
    ];
    let says = |word: &str| {
        stated
            .iter()
            .any(|value| value.as_str().is_some_and(|v| v.contains(word)))
    };
    match labels(config, task).as_slice() {
        _ if says("Identity") || says("regression") => Activation::Raw,
        _ if says("Softmax") => Activation::Softmax,
        _ if says("Sigmoid") || says("multi_label") => Activation::Sigmoid,
        [] => Activation::Sigmoid,
        [_, ..] => Activation::Softmax,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_activation_is_what_the_model_says() {
        let several = json!({ "0": "a", "1": "b" });
        let cases = [
            (json!({}), Activation::Sigmoid),
            (json!({ "id2label": several }), Activation::Softmax),
            (json!({ "problem_type": "regression" }), Activation::Raw),
            (
                json!({ "id2label": several, "problem_type": "multi_label_classification" }),
                Activation::Sigmoid,
            ),
            (
                json!({ "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity" }),
                Activation::Raw,
            ),
            (
                json!({ "sentence_transformers": { "activation_fn": "torch.nn.modules.activation.Sigmoid" },
                        "id2label": several }),
                Activation::Sigmoid,
            ),
        ];
        for (config, expected) in cases {
            assert_eq!(activation(&config, Task::Rescore), expected, "{config}");
            assert_eq!(activation(&config, Task::Embed), Activation::Raw);
        }
    }

    #[test]
    fn labels_are_in_the_order_of_their_numbers_and_one_needs_no_name() {
        let many: serde_json::Map<_, _> = (0..12)
            .map(|n| (n.to_string(), json!(format!("l{n}"))))
            .collect();
        let found = labels(&json!({ "id2label": many }), Task::Rescore);
        assert_eq!(found[2], "l2");
        assert_eq!(found[11], "l11");
        let one = json!({ "id2label": { "0": "LABEL_0" } });
        assert!(labels(&one, Task::Rescore).is_empty());
    }
}
