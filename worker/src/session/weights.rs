//! Shared weights: those of a graph, once in memory for all of its sessions.
//!
//! Otherwise each session of a graph keeps a copy of the weights, and another one in the layout that its kernels read. With
//! shared weights, both are in memory once: eight sessions of MiniLM-L6 take 350 MB instead of 626.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use half::f16;
use ort::session::Session;
use ort::session::builder::{PrepackedWeights, SessionBuilder};
use ort::value::{DynValue, IntoTensorElementType, PrimitiveTensorElementType, Tensor};

use crate::graph::Model;
use crate::graph::proto::{EXTERNAL, GraphProto, StringStringEntryProto, TensorProto, data_type};

/// A weight with fewer values is cheaper to copy than to look up.
const FEWEST_VALUES: usize = 1_024;
/// The location of shared weights in the graph; there is no such file.
const SHARED: &str = "lent";

/// The large weights of a graph.
#[derive(Debug)]
pub(super) struct Weights {
    /// The graph, which says that these weights are in a file.
    graph: Vec<u8>,
    values: Vec<(String, Arc<DynValue>)>,
    packed: PrepackedWeights,
}

impl Weights {
    /// Takes the weights out of a model that has all of them, of the file `graph`. Those that cannot be shared stay in it.
    pub(super) fn of(mut model: Model, graph: &Path) -> anyhow::Result<Self> {
        let shareable = shareable(model.graph());
        let mut values = Vec::new();
        for weight in &mut model.graph_mut().initializer {
            if !shareable.contains(weight.name()) {
                continue;
            }
            if let Some(value) = value(weight)? {
                values.push((weight.name().to_owned(), Arc::new(value)));
                take_out(weight);
            }
        }
        Ok(Self {
            graph: model.encode(graph)?,
            values,
            packed: PrepackedWeights::new(),
        })
    }

    /// Loads a session that uses them.
    pub(super) fn commit(&self, mut builder: SessionBuilder) -> ort::Result<Session> {
        for (name, value) in &self.values {
            builder = builder
                .with_external_initializer(name, value.clone())?
                .with_initializer(name, value.clone())?;
        }
        builder
            .with_prepacked_weights(&self.packed)?
            .commit_from_memory(&self.graph)
    }
}

/// Operators that take a weight in its own layout, and which of their inputs it is. The runtime looks up a weight by name,
/// and would not notice that its optimizer expects another layout, as it does for values that are added to transposed ones.
const TAKE_AS_IT_IS: [(&str, usize); 4] = [
    ("Gather", 0),
    ("MatMul", 1),
    ("Gemm", 1),
    ("MatMulInteger", 1),
];

/// Names of the weights that only such operators take. Weights that an inner graph takes, or that a caller may replace, are
/// left out.
fn shareable(graph: &GraphProto) -> HashSet<String> {
    let (mut taken, mut others) = (HashSet::new(), HashSet::new());
    for node in &graph.node {
        for (at, input) in node.input.iter().enumerate() {
            let as_it_is = TAKE_AS_IT_IS.contains(&(node.op_type(), at));
            let names = if as_it_is { &mut taken } else { &mut others };
            names.insert(input.clone());
        }
        others.extend(node.graphs().flat_map(names_within));
    }
    others.extend(graph.input.iter().map(|input| input.name().to_owned()));
    others.extend(graph.output.iter().map(|output| output.name().to_owned()));
    taken.difference(&others).cloned().collect()
}

fn names_within(graph: &GraphProto) -> Vec<String> {
    let nodes = graph.node.iter();
    let own = nodes.clone().flat_map(|node| node.input.clone());
    let deeper = nodes.flat_map(|node| node.graphs().flat_map(names_within).collect::<Vec<_>>());
    own.chain(deeper).collect()
}

/// Removes the values of a weight, and says that they are in a file.
fn take_out(weight: &mut TensorProto) {
    let values = weight.raw_data.take();
    let entry = |key: &str, value: String| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value),
    };
    let bytes = values.map_or(0, |values| values.len());
    weight.data_location = Some(EXTERNAL);
    weight.external_data = vec![
        entry("location", SHARED.to_owned()),
        entry("offset", "0".to_owned()),
        entry("length", bytes.to_string()),
    ];
}

fn value(weight: &TensorProto) -> ort::Result<Option<DynValue>> {
    if weight.elements() < FEWEST_VALUES || weight.raw_data.is_none() {
        return Ok(None);
    }
    let value = match weight.data_type() {
        data_type::FLOAT => tensor(weight, f32::from_le_bytes)?,
        data_type::FLOAT16 => tensor(weight, f16::from_le_bytes)?,
        data_type::INT8 => tensor(weight, i8::from_le_bytes)?,
        data_type::UINT8 => tensor(weight, u8::from_le_bytes)?,
        _ => return Ok(None),
    };
    Ok(Some(value))
}

fn tensor<T, const BYTES: usize>(
    weight: &TensorProto,
    read: impl Fn([u8; BYTES]) -> T,
) -> ort::Result<DynValue>
where
    T: IntoTensorElementType + PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    let (values, _) = weight.raw_data().as_chunks::<BYTES>();
    let values: Vec<T> = values.iter().map(|bytes| read(*bytes)).collect();
    Ok(Tensor::from_array((weight.dims.clone(), values))?.into_dyn())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::proto::{AttributeProto, NodeProto, ValueInfoProto};

    fn node(operator: &str, inputs: &[&str]) -> NodeProto {
        NodeProto {
            op_type: Some(operator.to_owned()),
            input: inputs.iter().map(|it| (*it).to_owned()).collect(),
            ..NodeProto::default()
        }
    }

    #[test]
    fn only_weights_that_are_taken_as_they_are_everywhere_are_shared() {
        let within = GraphProto {
            node: vec![node("Add", &["x", "inside"])],
            ..GraphProto::default()
        };
        let branch = AttributeProto {
            g: Some(within),
            ..AttributeProto::default()
        };
        let graph = GraphProto {
            node: vec![
                node("Gather", &["words", "ids"]),
                node("MatMul", &["x", "weight"]),
                node("MatMul", &["left", "x"]),
                node("MatMul", &["x", "moved"]),
                node("Transpose", &["moved"]),
                node("MatMul", &["x", "inside"]),
                node("MatMul", &["x", "given"]),
                NodeProto {
                    attribute: vec![branch],
                    ..node("If", &["x"])
                },
            ],
            input: vec![ValueInfoProto {
                name: Some("given".to_owned()),
                ..ValueInfoProto::default()
            }],
            ..GraphProto::default()
        };
        let shared = ["words", "weight"].map(str::to_owned);
        assert_eq!(shareable(&graph), HashSet::from(shared));
    }
}
