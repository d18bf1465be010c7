//! Fp16: converts a graph to 16-bit floats where that is safe, by the rules of automatic mixed precision.
//!
//! Matrix products and their weights, embedding tables and what only moves or scales values become 16-bit. Layer
//! normalization, softmax, powers, roots, sums and everything that is not known to be safe stay in 32 bits: squares and
//! exponentials leave the range of 16 bits (65,504), and an epsilon of 1e-12 is zero there. Where both meet in one
//! operator, it runs in 32 bits; so does an operator with a constant that 16 bits cannot hold, such as the -3.4e38 of
//! many attention masks. Outputs keep their type.

use std::collections::{HashMap, HashSet};

use super::EditError;
use super::model::Model;
use super::node::cast;
use super::proto::data_type::{FLOAT, FLOAT16};
use super::proto::{GraphProto, NodeProto, TensorProto};
use super::tensor::halves;
use super::types::Types;

/// First opset of which all operators below take 16-bit floats.
const OPSET: i64 = 11;
/// Largest finite 16-bit float.
const LARGEST: f32 = 65_504.0;

/// Operators that gain most and lose least: they run in 16 bits even if an input is in 32.
const NARROW: [&str; 3] = ["Conv", "Gemm", "MatMul"];
/// Operators that are safe in 16 bits, and run in 32 if an input is.
const EITHER: [&str; 38] = [
    "Abs",
    "Add",
    "Clip",
    "Concat",
    "Div",
    "Equal",
    "Erf",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gelu",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Max",
    "Min",
    "Mul",
    "Neg",
    "Pad",
    "PRelu",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Slice",
    "Split",
    "Squeeze",
    "Sub",
    "Tanh",
    "Tile",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Where",
];
/// Operators that take any type and say nothing about it in their output.
const INDIFFERENT: [&str; 3] = ["Cast", "Shape", "Size"];

/// A graph that is being converted to 16 bits.
struct Conversion<'a> {
    constants: HashMap<&'a str, &'a TensorProto>,
    /// Types of the values after the nodes so far were converted.
    types: Types,
    /// Names of values that were converted, by the old name and the new type.
    converted: HashMap<(String, i32), String>,
    nodes: Vec<NodeProto>,
    halved: Vec<TensorProto>,
}

/// Converts a model whose weights are all in memory.
///
/// # Errors
/// [`EditError`], above all [`EditError::NoWeights`] if no matrix product can be converted.
pub fn halve(model: &mut Model) -> Result<(), EditError> {
    model.check(OPSET)?;
    let graph = model.graph_mut();
    hoist_constants(graph);
    refuse_inner_graphs(graph)?;
    let old = graph.clone();
    let mut conversion = Conversion::start(&old);
    for node in std::mem::take(&mut graph.node) {
        conversion.convert(node)?;
    }
    if conversion.halved.is_empty() {
        return Err(EditError::NoWeights);
    }
    conversion.restore_outputs(graph);
    graph.node = conversion.nodes;
    graph.initializer.extend(conversion.halved);
    graph.value_info.clear();
    drop_unused(graph);
    Ok(())
}

/// Makes initializers of constant nodes, because only initializers are converted.
fn hoist_constants(graph: &mut GraphProto) {
    let constant = |node: &NodeProto| {
        let value = node.find("value").filter(|_| node.is_one_of(&["Constant"]));
        let name = node.output.first()?.clone();
        let tensor = value?.t.clone()?;
        Some(TensorProto {
            name: Some(name),
            ..tensor
        })
    };
    let hoisted: Vec<_> = graph.node.iter().filter_map(constant).collect();
    graph.node.retain(|node| constant(node).is_none());
    graph.initializer.extend(hoisted);
}

/// Refuses inner graphs: what they take from the graph around them is not converted.
fn refuse_inner_graphs(graph: &GraphProto) -> Result<(), EditError> {
    let mut nodes = graph.node.iter();
    match nodes.find(|node| node.graphs().next().is_some()) {
        Some(node) => Err(EditError::Operator {
            node: node.name().to_owned(),
            operator: node.op_type().to_owned(),
        }),
        None => Ok(()),
    }
}

impl<'a> Conversion<'a> {
    fn start(graph: &'a GraphProto) -> Self {
        let constants = graph.initializer.iter();
        Self {
            constants: constants.map(|tensor| (tensor.name(), tensor)).collect(),
            types: Types::declared(graph),
            converted: HashMap::new(),
            nodes: Vec::new(),
            halved: Vec::new(),
        }
    }

    fn convert(&mut self, mut node: NodeProto) -> Result<(), EditError> {
        let wanted = self.wanted(&node)?;
        let widened = wanted == FLOAT16 && self.looks_up(&node);
        let types: Vec<_> = node.input.iter().map(|it| self.types.of(it)).collect();
        if !node.is_one_of(&INDIFFERENT) {
            for (input, found) in node.input.iter_mut().zip(types) {
                if matches!(found, Some(FLOAT | FLOAT16)) && found != Some(wanted) {
                    *input = self.as_type(input, wanted)?;
                }
            }
        }
        self.types.infer(&node, wanted);
        if widened {
            self.widen(node);
        } else {
            self.nodes.push(node);
        }
        Ok(())
    }

    /// Whether a node takes rows of a table of weights.
    fn looks_up(&self, node: &NodeProto) -> bool {
        let table = node.input.first().filter(|table| self.is_constant(table));
        let is_float = table.is_some_and(|table| self.types.of(table) == Some(FLOAT));
        is_float && node.is_one_of(&["Gather"])
    }

    /// Casts the rows that a node takes from a table to 32 bits: only the table must be small. A sum and a normalization
    /// follow, which the runtime fuses wrongly if the normalization is in 32 bits and its input in 16.
    fn widen(&mut self, mut node: NodeProto) {
        let rows = node.output[0].clone();
        let half = format!("ebb.{rows}.half");
        node.output[0].clone_from(&half);
        self.nodes.extend([node, cast(&half, &rows, FLOAT)]);
        self.types.set(&half, FLOAT16);
        self.types.set(&rows, FLOAT);
        self.converted.insert((rows, FLOAT16), half);
    }

    /// The type in which the floats of a node are.
    fn wanted(&self, node: &NodeProto) -> Result<i32, EditError> {
        let activations = node.input.iter().filter(|it| !self.is_constant(it));
        let types: Vec<_> = activations.filter_map(|it| self.types.of(it)).collect();
        let safe = types.contains(&FLOAT16) && !types.contains(&FLOAT);
        let narrow =
            node.is_one_of(&NARROW) || self.looks_up(node) || (safe && node.is_one_of(&EITHER));
        for input in &node.input {
            if narrow && self.types.of(input) == Some(FLOAT) && !self.fits(input)? {
                return Ok(FLOAT);
            }
        }
        Ok(if narrow { FLOAT16 } else { FLOAT })
    }

    fn is_constant(&self, value: &str) -> bool {
        self.constants.contains_key(value)
    }

    /// Whether 16 bits hold the values of a constant. Activations are assumed to fit, as they do in mixed-precision training.
    fn fits(&self, value: &str) -> Result<bool, EditError> {
        let Some(constant) = self.constants.get(value) else {
            return Ok(true);
        };
        Ok(constant
            .floats()?
            .iter()
            .all(|value| value.abs() <= LARGEST))
    }

    /// Name of a value in another type. A value is converted only once.
    fn as_type(&mut self, value: &str, wanted: i32) -> Result<String, EditError> {
        let key = (value.to_owned(), wanted);
        if let Some(name) = self.converted.get(&key) {
            return Ok(name.clone());
        }
        let part = if wanted == FLOAT16 { "half" } else { "float" };
        let name = format!("ebb.{value}.{part}");
        match self.constants.get(value) {
            Some(tensor) if wanted == FLOAT16 => {
                self.halved
                    .push(halves(&name, &tensor.dims, &tensor.floats()?));
            }
            Some(_) | None => self.nodes.push(cast(value, &name, wanted)),
        }
        self.types.set(&name, wanted);
        self.converted.insert(key, name.clone());
        Ok(name)
    }

    /// Casts the outputs of the graph to the types that they had.
    fn restore_outputs(&mut self, graph: &GraphProto) {
        for output in &graph.output {
            let name = output.name();
            let declared = output
                .r#type
                .as_ref()
                .and_then(|it| it.tensor_type.as_ref());
            let declared = declared.map(|it| it.elem_type());
            if self.types.of(name) != Some(FLOAT16) || declared != Some(FLOAT) {
                continue;
            }
            let half = format!("ebb.{name}.half");
            let nodes = self.nodes.iter_mut();
            let values = nodes.flat_map(|node| node.input.iter_mut().chain(&mut node.output));
            values
                .filter(|it| *it == name)
                .for_each(|it| it.clone_from(&half));
            self.nodes.push(cast(&half, name, FLOAT));
        }
    }
}

/// Removes the weights that no node takes any more.
fn drop_unused(graph: &mut GraphProto) {
    let outputs = graph.output.iter().map(|output| output.name());
    let inputs = graph.node.iter().flat_map(|node| &node.input);
    let used: HashSet<_> = inputs
        .map(String::as_str)
        .chain(outputs)
        .map(str::to_owned)
        .collect();
    let weights: HashSet<_> = graph
        .initializer
        .iter()
        .map(|it| it.name().to_owned())
        .collect();
    graph
        .initializer
        .retain(|tensor| used.contains(tensor.name()));
    graph
        .input
        .retain(|input| used.contains(input.name()) || !weights.contains(input.name()));
}

#[cfg(test)]
mod tests;
