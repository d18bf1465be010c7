//! Products: counts the matrix products of a graph, and makes a graph of nothing but products for benchmarks.
//!
//! Almost everything that an encoder computes is a product of matrices, so that no model is faster on a device than the
//! device multiplies matrices.

use std::collections::HashMap;

use contract::model::Dtype;
use prost::Message as _;

use super::model::Model;
use super::node::{cast, node, value};
use super::proto::{
    DimensionProto, GraphProto, ModelProto, OperatorSetIdProto, TensorProto, data_type,
};
use super::tensor::{floats, halves};

/// Products of a [`chain`].
pub const DEPTH: usize = 16;
/// Version of ONNX's format in which a [`chain`] is written, and of its operators.
const VERSIONS: (i64, i64) = (8, 17);

/// The products of a graph that embeds texts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Products {
    /// Floating-point operations for each token: two for each weight that it is multiplied with.
    pub token: f64,
    /// Floating-point operations for each pair of tokens of a text: what attention multiplies.
    pub pair: f64,
}

impl Products {
    /// Counts the products of a model. `None` if no weight in a product is a matrix of floats.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn of(model: &Model) -> Option<Self> {
        let weights = model.graph().initializer.iter();
        let weights: HashMap<&str, &[i64]> = weights.map(|it| (it.name(), &it.dims[..])).collect();
        let nodes = model.graph().node.iter();
        let (mut token, mut hidden, mut between) = (0.0, 0.0_f64, 0.0);
        for product in nodes.filter(|it| it.is_one_of(&["MatMul", "Gemm"])) {
            let weight = product.input.get(1).and_then(|it| weights.get(it.as_str()));
            match weight.copied() {
                Some([rows, columns]) => {
                    token += 2.0 * *rows as f64 * *columns as f64;
                    hidden = if hidden > 0.0 { hidden } else { *rows as f64 };
                }
                Some(_) => return None,
                None => between += 1.0,
            }
        }
        // The heads of an attention are together as wide as the vector of a token.
        let pair = 2.0 * hidden * between;
        (token > 0.0).then_some(Self { token, pair })
    }

    /// Floating-point operations for a text of so many tokens.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn of_text(self, tokens: usize) -> f64 {
        let tokens = tokens as f64;
        self.token * tokens + self.pair * tokens * tokens
    }
}

/// A graph that multiplies a matrix of as many rows as `input_ids` has, and of so many columns, with a square one, again
/// and again: `mean(input_ids * ones * w * w * ...)`. Each weight is the reciprocal of the number of columns, so that all values
/// stay the same.
#[expect(clippy::cast_precision_loss, reason = "a few thousand columns")]
pub fn chain(columns: usize, dtype: Dtype) -> Vec<u8> {
    let kind = match dtype {
        Dtype::Fp16 => data_type::FLOAT16,
        Dtype::Fp32 | Dtype::Bf16 | Dtype::Int8 | Dtype::Int4 => data_type::FLOAT,
    };
    let name = |n: usize| format!("x{n}");
    let mut nodes = vec![
        cast("input_ids", "ids", kind),
        node("MatMul", &["ids", "ones"], &name(0)),
    ];
    nodes.extend((0..DEPTH).map(|n| node("MatMul", &[&name(n), "w"], &name(n + 1))));
    nodes.push(node("ReduceMean", &[&name(DEPTH)], "mean").with_ints("axes", &[1]));
    nodes.push(cast("mean", "logits", data_type::FLOAT));
    let weights = vec![
        filled("ones", (1, columns), 1.0, kind),
        filled("w", (columns, columns), 1.0 / columns as f32, kind),
    ];
    let unknown = [DimensionProto::default(), DimensionProto::default()];
    written(GraphProto {
        node: nodes,
        name: Some("products".to_owned()),
        initializer: weights,
        input: vec![value("input_ids", data_type::INT64, &unknown)],
        output: vec![value("logits", data_type::FLOAT, &unknown)],
        ..GraphProto::default()
    })
}

fn filled(name: &str, (rows, columns): (usize, usize), value: f32, kind: i32) -> TensorProto {
    let dims = [rows, columns].map(|size| i64::try_from(size).unwrap_or(i64::MAX));
    let values = vec![value; rows * columns];
    if kind == data_type::FLOAT16 {
        halves(name, &dims, &values)
    } else {
        floats(name, &dims, &values)
    }
}

fn written(graph: GraphProto) -> Vec<u8> {
    let operators = OperatorSetIdProto {
        domain: None,
        version: Some(VERSIONS.1),
    };
    let model = ModelProto {
        ir_version: Some(VERSIONS.0),
        graph: Some(graph),
        opset_import: vec![operators],
        ..ModelProto::default()
    };
    model.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_count_for_each_token_and_attention_for_each_pair() {
        let weight = |name: &str, dims: [i64; 2]| floats(name, &dims, &[0.0; 24]);
        let graph = GraphProto {
            node: vec![
                node("MatMul", &["x", "a"], "q"),
                node("MatMul", &["q", "q"], "scores"),
                node("MatMul", &["scores", "q"], "context"),
                node("Gemm", &["context", "b"], "y"),
            ],
            initializer: vec![weight("a", [4, 6]), weight("b", [6, 4])],
            ..GraphProto::default()
        };
        let products = Products::of(&Model::of(graph, 17)).unwrap();
        assert_eq!(
            products,
            Products {
                token: 96.0,
                pair: 16.0
            }
        );
        assert_eq!(products.of_text(10).to_bits(), 2560.0_f64.to_bits());
        assert!(Products::of(&Model::of(GraphProto::default(), 17)).is_none());
    }
}
