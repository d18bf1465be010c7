//! Int8: dynamic quantization, as `quantize_dynamic` of ONNX Runtime does it.
//!
//! Weights of matrix products become signed bytes with a scale per column; activations become unsigned bytes when the
//! graph runs, with a scale and a zero point taken from the tensor (`DynamicQuantizeLinear`, once per activation). The
//! product is `MatMulInteger`, its 32-bit sums are scaled back. ONNX Runtime fuses the chain into one operator. Large
//! embedding tables become signed bytes with a scale per row and are looked up as such: half of a small model is its
//! word table.
//!
//! **Seven bits.** On x86 without VNNI, ONNX Runtime multiplies unsigned by signed bytes with VPMADDUBSW, which adds two
//! products in 16 bits and saturates: 2 * 255 * 127 does not fit, 2 * 255 * 64 does. Its default is eight bits all the
//! same (`reduce_range=False`). Here weights stay within -64 to 64, so that a fingerprint has the same vectors on each
//! CPU. Measured with MiniLM-L6 on 48 documents and 37 queries (Zen 5, which has VNNI, against fp32):
//!
//! | weights | mean cosine | least cosine | time of fp32 |
//! |---|---|---|---|
//! | signed, per tensor, 8 bits (the default of `quantize_dynamic`) | 0.951 | 0.889 | 0.42 |
//! | signed, per column, 8 bits | 0.994 | 0.989 | 0.47 |
//! | **signed, per column, 7 bits** | 0.993 | 0.987 | 0.46 |
//! | unsigned, per column, 8 bits: never saturates | 0.994 | 0.987 | 0.72 |
//! | `MatMulNBits`, 8 bits in blocks of 128 | 0.999 | 0.999 | 0.86 |
//!
//! Since all rows of a tensor share one scale, the vector of a text depends slightly on the other texts in the tensor: the
//! cosine between a query alone and among 15 others is 0.992 on average. Texts of one or two tokens differ most (0.96 for
//! `?!`). Most of the error is
//! that of activations before and after the Gelu; dividing them by the scales of layer normalization first, as
//! SmoothQuant does, gained 0.001.

use std::collections::{HashMap, HashSet};

use super::EditError;
use super::model::Model;
use super::node::{cast, node};
use super::proto::{GraphProto, NodeProto, TensorProto, data_type};
use super::tensor::{floats, signed_bytes};

/// First opset with `DynamicQuantizeLinear`.
const OPSET: i64 = 11;
/// Largest byte of a weight in a product, in seven bits: see the module's comment.
const PRODUCT_RANGE: f32 = 64.0;
/// Largest byte of an entry in a table. Rows of a table are not multiplied, so that eight bits are safe.
const TABLE_RANGE: f32 = 127.0;
/// Smaller tables, such as that of token types, save less than 64 KiB.
const TABLE_ELEMENTS: usize = 1 << 14;
/// Operators of a graph that is quantized already.
const QUANTIZED: [&str; 5] = [
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QLinearMatMul",
    "QuantizeLinear",
];

/// How a weight is used, which decides how it is quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Right side of matrix products, `[in, out]`: a scale per column.
    Product,
    /// Table that rows are taken from: a scale per row.
    Table,
}

/// Quantizes the weights of a model whose weights are all in memory.
///
/// # Errors
/// [`EditError`], above all [`EditError::NoWeights`] if nothing can be quantized.
pub fn quantize(model: &mut Model) -> Result<(), EditError> {
    model.check(OPSET)?;
    let graph = model.graph_mut();
    refuse_quantized(graph)?;
    let roles = roles(graph);
    if !roles.values().any(|role| *role == Role::Product) {
        return Err(EditError::NoWeights);
    }
    let mut activations = HashSet::new();
    let nodes = std::mem::take(&mut graph.node).into_iter();
    let nodes = nodes.flat_map(|node| replace(node, &roles, &mut activations));
    graph.node = nodes.collect();
    replace_weights(graph, &roles)
}

fn refuse_quantized(graph: &GraphProto) -> Result<(), EditError> {
    let mut nodes = graph.node.iter();
    match nodes.find(|node| node.is_one_of(&QUANTIZED)) {
        Some(node) => Err(EditError::Operator {
            node: node.name().to_owned(),
            operator: node.op_type().to_owned(),
        }),
        None => Ok(()),
    }
}

/// The weights that can be quantized: those that are used in only one of the two ways.
fn roles(graph: &GraphProto) -> HashMap<String, Role> {
    let mut uses: HashMap<&str, Vec<Option<Role>>> = HashMap::new();
    count_uses(graph, true, &mut uses);
    let role = |tensor: &TensorProto| {
        tensor.matrix()?;
        let (first, rest) = uses.get(tensor.name())?.split_first()?;
        let role = (*first)?;
        let large = role == Role::Product || tensor.elements() >= TABLE_ELEMENTS;
        (large && rest.iter().all(|other| other == first)).then_some(role)
    };
    let weights = graph.initializer.iter();
    let roles = weights.filter_map(|tensor| Some((tensor.name().to_owned(), role(tensor)?)));
    roles.collect()
}

/// Finds for each value how it is used. Inner graphs are not changed, so what they use counts as used in another way.
fn count_uses<'a>(
    graph: &'a GraphProto,
    outermost: bool,
    uses: &mut HashMap<&'a str, Vec<Option<Role>>>,
) {
    for node in &graph.node {
        for (position, input) in node.input.iter().enumerate() {
            let role = role_of_input(node, position).filter(|_| outermost);
            uses.entry(input).or_default().push(role);
        }
        node.graphs()
            .for_each(|inner| count_uses(inner, false, uses));
    }
    for output in &graph.output {
        uses.entry(output.name()).or_default().push(None);
    }
}

fn role_of_input(node: &NodeProto, position: usize) -> Option<Role> {
    let by_rows = node.int("axis").unwrap_or(0) == 0;
    match position {
        1 if node.is_one_of(&["MatMul"]) => Some(Role::Product),
        0 if node.is_one_of(&["Gather"]) && by_rows => Some(Role::Table),
        _ => None,
    }
}

fn replace(
    node: NodeProto,
    roles: &HashMap<String, Role>,
    activations: &mut HashSet<String>,
) -> Vec<NodeProto> {
    let role = |position: usize| roles.get(node.input.get(position)?);
    match (role(0), role(1)) {
        (_, Some(Role::Product)) => product(&node, activations),
        (Some(Role::Table), _) => look_up(&node),
        (_, _) => vec![node],
    }
}

/// `y = x @ w` as `cast(quantized(x) @ int8(w)) * (scale(x) * scale(w))`.
fn product(old: &NodeProto, activations: &mut HashSet<String>) -> Vec<NodeProto> {
    let (x, w, y) = (&old.input[0], &old.input[1], &old.output[0]);
    let of = |value: &str, part: &str| format!("ebb.{value}.{part}");
    let (quantized, scale, zero) = (of(x, "int8"), of(x, "scale"), of(x, "zero"));
    let (sums, wide, scales) = (of(y, "sums"), of(y, "wide"), of(y, "scales"));
    let mut nodes = Vec::new();
    if activations.insert(x.clone()) {
        let mut dynamic = node("DynamicQuantizeLinear", &[x], &quantized);
        dynamic.output.extend([scale.clone(), zero.clone()]);
        nodes.push(dynamic);
    }
    nodes.extend([
        node("MatMulInteger", &[&quantized, &of(w, "int8"), &zero], &sums),
        cast(&sums, &wide, data_type::FLOAT),
        node("Mul", &[&scale, &of(w, "scale")], &scales),
        node("Mul", &[&wide, &scales], y),
    ]);
    nodes
}

/// `y = table[i]` as `cast(int8(table)[i]) * scale(table)[i]`.
fn look_up(old: &NodeProto) -> Vec<NodeProto> {
    let (table, rows, y) = (&old.input[0], &old.input[1], &old.output[0]);
    let of = |value: &str, part: &str| format!("ebb.{value}.{part}");
    let (bytes, wide, scales) = (of(y, "int8"), of(y, "wide"), of(y, "scales"));
    vec![
        node("Gather", &[&of(table, "int8"), rows], &bytes).with_int("axis", 0),
        cast(&bytes, &wide, data_type::FLOAT),
        node("Gather", &[&of(table, "scale"), rows], &scales).with_int("axis", 0),
        node("Mul", &[&wide, &scales], y),
    ]
}

fn replace_weights(graph: &mut GraphProto, roles: &HashMap<String, Role>) -> Result<(), EditError> {
    let mut weights = Vec::new();
    for tensor in std::mem::take(&mut graph.initializer) {
        match roles.get(tensor.name()) {
            Some(role) => weights.extend(bytes_and_scales(&tensor, *role)?),
            None => weights.push(tensor),
        }
    }
    graph.initializer = weights;
    // Old formats list weights among the inputs, too.
    let is_there = |name: &str| !roles.contains_key(name);
    graph.input.retain(|input| is_there(input.name()));
    graph.value_info.retain(|value| is_there(value.name()));
    Ok(())
}

/// The bytes of a weight, and a scale for each of its columns or rows.
fn bytes_and_scales(tensor: &TensorProto, role: Role) -> Result<[TensorProto; 2], EditError> {
    let (rows, columns) = tensor.matrix().unwrap_or_default();
    let values = tensor.floats()?;
    let (groups, dims) = match role {
        Role::Product => (columns, vec![tensor.dims[1]]),
        Role::Table => (rows, vec![tensor.dims[0], 1]),
    };
    let group = |at: usize| role.group(at, columns);
    let mut scales = vec![0.0_f32; groups];
    for (at, value) in values.iter().enumerate() {
        let scale = &mut scales[group(at)];
        *scale = scale.max(value.abs() / role.range());
    }
    let byte = |(at, value): (usize, &f32)| to_byte(*value, scales[group(at)]);
    let bytes: Vec<i8> = values.iter().enumerate().map(byte).collect();
    let name = |part: &str| format!("ebb.{}.{part}", tensor.name());
    Ok([
        signed_bytes(&name("int8"), &tensor.dims, &bytes),
        floats(&name("scale"), &dims, &scales),
    ])
}

impl Role {
    /// Index of the scale of the value at a position of a matrix.
    fn group(self, at: usize, columns: usize) -> usize {
        match self {
            Self::Product => at % columns,
            Self::Table => at / columns,
        }
    }

    /// Largest byte of a value.
    fn range(self) -> f32 {
        match self {
            Self::Product => PRODUCT_RANGE,
            Self::Table => TABLE_RANGE,
        }
    }
}

/// Rounds to the nearest step, and to the even one of two. A group of zeros has the scale 0.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the scale was made so that it fits"
)]
fn to_byte(value: f32, scale: f32) -> i8 {
    if scale > 0.0 {
        (value / scale).round_ties_even() as i8
    } else {
        0
    }
}

#[cfg(test)]
mod tests;
