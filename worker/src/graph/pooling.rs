//! Pooling: puts the pooling of token vectors, their truncation and normalization into the graph, so that only final
//! vectors leave the device.
//!
//! All of it is in 32-bit floats. The mean is a matrix product of the attention mask with the token vectors, which
//! needs no copy of them. The values are those of [`crate::pool`], except that sums are in another order.
//!
//! Where token vectors are kept one by one, the matrix that they are multiplied with is put behind them in the same way: a
//! device with a memory of its own multiplies them, and fewer numbers leave it.

use contract::model::Pooling;
use ndarray::ArrayView2;

use super::model::Model;
use super::node::{cast, node, value};
use super::proto::data_type::{FLOAT, FLOAT16, INT64};
use super::proto::{DimensionProto, GraphProto, NodeProto, TensorProto, ValueInfoProto};
use super::tensor::{floats, integers};
use super::{AXES_ARE_INPUT, EditError, MASK};
use crate::pool::Recipe;

/// Name of the output of [`pool`], `[rows, dimensions]` in 32-bit floats.
pub const POOLED: &str = "ebb.sentence_embedding";
/// Name of the output of [`project`], `[rows, tokens, dimensions]` in 32-bit floats.
pub const PROJECTED: &str = "ebb.token_vectors";
/// Outputs with token vectors, best first.
const TOKEN_VECTORS: [&str; 3] = ["last_hidden_state", "token_embeddings", "hidden_states"];
/// First opset whose `GatherND` takes a row at a time.
const OPSET: i64 = 12;
/// First opset that has all operators of a projection in the form in which they are used here.
const PROJECTION_OPSET: i64 = 9;

/// Nodes that are added to a graph, each with the value before it as its input.
struct AddedNodes {
    opset: i64,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    /// Name of the last value.
    value: String,
}

/// Makes the pooled vectors the only output of a model.
///
/// # Errors
/// [`EditError`], above all [`EditError::NoTokenVectors`] for a graph that pools by itself.
pub fn pool(model: &mut Model, recipe: Recipe) -> Result<(), EditError> {
    model.check(OPSET)?;
    let opset = model.opset();
    let graph = model.graph_mut();
    let hidden = find_hidden(graph)?;
    let mut tail = AddedNodes::after(&hidden, opset);
    match recipe.pooling {
        Pooling::Mean => tail.mean(),
        Pooling::LastToken => tail.last_token(),
        Pooling::Cls => tail.first_token(),
        Pooling::Graph | Pooling::Max | Pooling::MeanSqrtLen | Pooling::WeightedMean => {
            return Err(EditError::NoTokenVectors);
        }
    }
    let width = hidden.dims.last().and_then(|dim| dim.dim_value);
    let kept = i64::try_from(recipe.dimensions).ok();
    if kept.is_some() && kept != width {
        tail.truncate(kept.unwrap_or(i64::MAX));
    }
    if recipe.normalize {
        tail.normalize();
    }
    tail.finish(graph, &hidden);
    Ok(())
}

/// Makes the projected token vectors the only output of a model. The matrix is `[hidden, dimensions]`.
///
/// # Errors
/// [`EditError`], above all [`EditError::NoTokenVectors`].
pub fn project(model: &mut Model, matrix: ArrayView2<'_, f32>) -> Result<(), EditError> {
    model.check(PROJECTION_OPSET)?;
    let graph = model.graph_mut();
    let hidden = find_hidden(graph)?;
    let dims = [matrix.nrows(), matrix.ncols()].map(|size| i64::try_from(size).unwrap_or(i64::MAX));
    let values: Vec<f32> = matrix.iter().copied().collect();
    graph
        .initializer
        .push(floats("ebb.projection", &dims, &values));
    graph.node.extend([
        cast(&hidden.name, "ebb.hidden", FLOAT),
        node("MatMul", &["ebb.hidden", "ebb.projection"], PROJECTED),
    ]);
    let width = DimensionProto {
        dim_value: Some(dims[1]),
        ..DimensionProto::default()
    };
    let dims = [hidden.dims[0].clone(), hidden.dims[1].clone(), width];
    graph.output = vec![value(PROJECTED, FLOAT, &dims)];
    graph.drop_unused();
    Ok(())
}

/// An output with token vectors.
pub(super) struct Hidden {
    pub(super) name: String,
    element: i32,
    pub(super) dims: Vec<DimensionProto>,
}

pub(super) fn find_hidden(graph: &GraphProto) -> Result<Hidden, EditError> {
    let outputs: Vec<_> = graph.output.iter().filter_map(token_vectors).collect();
    let named = |name: &&str| outputs.iter().position(|output| output.name == **name);
    let best = TOKEN_VECTORS.iter().find_map(named).unwrap_or(0);
    outputs
        .into_iter()
        .nth(best)
        .ok_or(EditError::NoTokenVectors)
}

fn token_vectors(output: &ValueInfoProto) -> Option<Hidden> {
    let tensor = output.r#type.as_ref()?.tensor_type.as_ref()?;
    let dims = &tensor.shape.as_ref()?.dim;
    let fits = dims.len() == 3 && matches!(tensor.elem_type(), FLOAT | FLOAT16);
    fits.then(|| Hidden {
        name: output.name().to_owned(),
        element: tensor.elem_type(),
        dims: dims.clone(),
    })
}

impl AddedNodes {
    fn after(hidden: &Hidden, opset: i64) -> Self {
        let mut tail = Self {
            opset,
            nodes: Vec::new(),
            constants: Vec::new(),
            value: hidden.name.clone(),
        };
        if hidden.element != FLOAT {
            tail.nodes.push(cast(&hidden.name, "ebb.tokens", FLOAT));
            "ebb.tokens".clone_into(&mut tail.value);
        }
        tail
    }

    /// Divides the sum over the tokens that are not padding by their number.
    fn mean(&mut self) {
        self.count();
        self.integers("ebb.mask.shape", &[0, 1, -1]);
        self.integers("ebb.sum.shape", &[0, -1]);
        let tokens = self.value.clone();
        self.nodes.extend([
            node("Reshape", &["ebb.mask", "ebb.mask.shape"], "ebb.mask.row"),
            node("MatMul", &["ebb.mask.row", &tokens], "ebb.sum.row"),
            node("Reshape", &["ebb.sum.row", "ebb.sum.shape"], "ebb.sum"),
        ]);
        self.add(node("Div", &["ebb.sum", "ebb.count"], "ebb.pooled"));
    }

    /// Takes the token before the padding.
    fn last_token(&mut self) {
        self.count();
        self.constants.push(floats("ebb.one", &[], &[1.0]));
        self.nodes.extend([
            node("Sub", &["ebb.count", "ebb.one"], "ebb.last"),
            cast("ebb.last", "ebb.last.index", INT64),
        ]);
        let inputs = [&self.value, "ebb.last.index"];
        let last = node("GatherND", &inputs, "ebb.pooled").with_int("batch_dims", 1);
        self.add(last);
    }

    fn first_token(&mut self) {
        self.constants.push(integers("ebb.first", &[], &[0]));
        let first = node("Gather", &[&self.value, "ebb.first"], "ebb.pooled");
        self.add(first.with_int("axis", 1));
    }

    /// Adds `ebb.mask` in floats, and `ebb.count`, the tokens of each row, `[rows, 1]`.
    fn count(&mut self) {
        self.nodes.push(cast(MASK, "ebb.mask", FLOAT));
        // No element is negative, so that its absolute sum is its sum; and both norms changed in the same opset.
        let count = self.norm("ReduceL1", "ebb.mask", "ebb.count");
        self.nodes.push(count);
    }

    /// Keeps the leading dimensions.
    fn truncate(&mut self, dimensions: i64) {
        self.integers("ebb.begin", &[0]);
        self.integers("ebb.end", &[dimensions]);
        self.integers("ebb.columns", &[1]);
        let inputs = [&self.value, "ebb.begin", "ebb.end", "ebb.columns"];
        self.add(node("Slice", &inputs, "ebb.truncated"));
    }

    /// Scales to length 1. The zero vector stays as it is.
    fn normalize(&mut self) {
        let length = self.norm("ReduceL2", &self.value.clone(), "ebb.length");
        self.constants
            .push(floats("ebb.least", &[], &[f32::MIN_POSITIVE]));
        let divisor = node("Max", &["ebb.length", "ebb.least"], "ebb.divisor");
        self.nodes.extend([length, divisor]);
        let inputs = [&self.value, "ebb.divisor"];
        self.add(node("Div", &inputs, "ebb.normalized"));
    }

    /// A norm of each row.
    fn norm(&mut self, operator: &str, input: &str, output: &str) -> NodeProto {
        if self.opset < AXES_ARE_INPUT {
            let norm = node(operator, &[input], output);
            return norm.with_ints("axes", &[1]).with_int("keepdims", 1);
        }
        let axes = format!("{output}.axes");
        self.integers(&axes, &[1]);
        node(operator, &[input, &axes], output).with_int("keepdims", 1)
    }

    fn integers(&mut self, name: &str, values: &[i64]) {
        let length = i64::try_from(values.len()).unwrap_or_default();
        self.constants.push(integers(name, &[length], values));
    }

    fn add(&mut self, node: NodeProto) {
        self.value.clone_from(&node.output[0]);
        self.nodes.push(node);
    }

    fn finish(mut self, graph: &mut GraphProto, hidden: &Hidden) {
        self.add(node("Identity", &[&self.value], POOLED));
        let takes_mask = self
            .nodes
            .iter()
            .any(|it| it.input.iter().any(|it| it == MASK));
        if takes_mask && !graph.input.iter().any(|input| input.name() == MASK) {
            graph.input.push(value(MASK, INT64, &hidden.dims[..2]));
        }
        let unknown = DimensionProto::default();
        let dims = [hidden.dims[0].clone(), unknown];
        graph.node.append(&mut self.nodes);
        graph.initializer.append(&mut self.constants);
        graph.output = vec![value(POOLED, FLOAT, &dims)];
    }
}
