//! Projection: puts the matrix that token vectors are multiplied with behind them into the graph, so that a device with a memory
//! of its own multiplies them, and fewer numbers leave it.

use ndarray::ArrayView2;

use super::EditError;
use super::model::Model;
use super::node::{cast, node, value};
use super::pooling::find_hidden;
use super::proto::DimensionProto;
use super::proto::data_type::FLOAT;
use super::tensor::floats;

/// Name of the output, `[rows, tokens, dimensions]` in 32-bit floats.
pub const PROJECTED: &str = "ebb.token_vectors";
const OPSET: i64 = 9;

/// Makes the projected token vectors the only output of a model. The matrix is `[hidden, dimensions]`.
///
/// # Errors
/// [`EditError`], above all [`EditError::NoTokenVectors`].
pub fn project(model: &mut Model, matrix: ArrayView2<'_, f32>) -> Result<(), EditError> {
    model.check(OPSET)?;
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
