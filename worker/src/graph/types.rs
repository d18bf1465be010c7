//! Types: the element types of the values of a graph, as far as conversions need them.

use std::collections::HashMap;

use super::proto::data_type::{BOOL, FLOAT, FLOAT16, INT64};
use super::proto::{GraphProto, NodeProto, ValueInfoProto};

/// Operators whose output is of truth values, whatever they take.
const TRUTHS: [&str; 11] = [
    "And",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "IsInf",
    "IsNaN",
    "Less",
    "LessOrEqual",
    "Not",
    "Or",
    "Xor",
];
/// Operators whose output is of 64-bit integers, whatever they take.
const INTEGERS: [&str; 5] = ["ArgMax", "ArgMin", "NonZero", "Shape", "Size"];

/// Element types by the name of a value.
#[derive(Clone, Debug, Default)]
pub(super) struct Types(HashMap<String, i32>);

impl Types {
    /// The types that a graph declares.
    pub(super) fn declared(graph: &GraphProto) -> Self {
        let constants = graph.initializer.iter();
        let constants = constants.map(|it| (it.name().to_owned(), it.data_type()));
        let named = graph.input.iter().chain(&graph.output);
        let named = named.chain(&graph.value_info).filter_map(declared);
        Self(named.chain(constants).collect())
    }

    pub(super) fn of(&self, value: &str) -> Option<i32> {
        self.0.get(value).copied()
    }

    pub(super) fn set(&mut self, value: &str, kind: i32) {
        self.0.insert(value.to_owned(), kind);
    }

    /// Infers the types of the outputs of a node whose floats are of type `float`.
    pub(super) fn infer(&mut self, node: &NodeProto, float: i32) {
        for (position, output) in node.output.iter().enumerate() {
            let was = self.of(output).or_else(|| self.guess(node, position));
            let fixed = node.is_one_of(&["Cast", "CastLike", "ConstantOfShape"]);
            let is = match was {
                Some(FLOAT | FLOAT16) if !fixed => Some(float),
                other => other,
            };
            if let Some(is) = is {
                self.set(output, is);
            }
        }
    }

    /// The output type of operators of this name.
    fn guess(&self, node: &NodeProto, position: usize) -> Option<i32> {
        let of = |input: usize| self.of(node.input.get(input)?);
        let second = node.is_one_of(&["CastLike", "Where"]);
        match (node.op_type(), position) {
            ("Cast", _) => i32::try_from(node.int("to")?).ok(),
            ("Constant", _) => constant(node),
            ("ConstantOfShape", _) => Some(node.find("value").map_or(FLOAT, |value| {
                value.t.as_ref().map_or(FLOAT, |tensor| tensor.data_type())
            })),
            ("TopK", 1) => Some(INT64),
            ("Dropout", 1) => Some(BOOL),
            ("OneHot", _) => of(2),
            (_, _) if second => of(1),
            (_, _) if node.is_one_of(&TRUTHS) => Some(BOOL),
            (_, _) if node.is_one_of(&INTEGERS) => Some(INT64),
            (_, _) => of(0),
        }
    }
}

fn declared(value: &ValueInfoProto) -> Option<(String, i32)> {
    let tensor = value.r#type.as_ref()?.tensor_type.as_ref()?;
    Some((value.name().to_owned(), tensor.elem_type()))
}

/// The type of a constant that is not a tensor.
fn constant(node: &NodeProto) -> Option<i32> {
    let has = |name: &str| node.find(name).is_some();
    if has("value_float") || has("value_floats") {
        return Some(FLOAT);
    }
    (has("value_int") || has("value_ints")).then_some(INT64)
}
