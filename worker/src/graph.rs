//! The graph: reads and edits ONNX files without a runtime.
//!
//! [`proto`] has the messages of the file. [`int8`] and [`fp16`] quantize a [`Model`] when it is staged; [`pooling`] puts
//! the pooling into it when it is loaded onto a GPU, and [`terms`] the maximum over the logits of a masked language model on any
//! device. [`products`] counts its matrix products.

mod decoder;
pub mod fp16;
pub mod int8;
pub mod model;
mod node;
pub mod pooling;
pub mod products;
pub mod proto;
mod tensor;
pub mod terms;
mod types;
mod uses;
mod vocabulary;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use contract::model::Dtype;
use thiserror::Error;

pub use model::Model;
use model::decode;
use proto::{GraphProto, IR_VERSION, TensorProto, data_type};

/// The product of quantized blocks, one of the runtime's own operators.
const BLOCKS: &str = "MatMulNBits";

/// Name of the input that is 1 where a row has a token, and 0 where it is padded.
pub(crate) const MASK: &str = "attention_mask";
/// First opset whose reductions take their axes as an input. `ReduceSum` alone has done so since 13.
const AXES_ARE_INPUT: i64 = 18;

/// The facts about a graph that staging needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// Element type of most weights.
    pub dtype: Dtype,
    /// Files that hold weights, relative to the folder of the graph.
    pub external: BTreeSet<String>,
    /// How many token ids it has rows for, if it takes them out of a constant table.
    pub vocabulary: Option<usize>,
}

#[derive(Debug, Error)]
pub enum GraphError {
    #[error("failed to read `{path}`")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{path}` is not an onnx graph")]
    Parse {
        path: PathBuf,
        #[source]
        source: prost::DecodeError,
    },
    #[error("`{path}` has no graph with weights; is the file whole?")]
    Empty { path: PathBuf },
    #[error("`{path}` keeps weights in `{location}`, which is not inside its folder")]
    Escapes { path: PathBuf, location: String },
    #[error(
        "`{path}` has a value that is no number in its weight `{weight}`; is the file whole? Take it from its origin again"
    )]
    NotANumber { path: PathBuf, weight: String },
    #[error("failed to read the weight `{weight}` of `{path}`")]
    ReadWeight {
        path: PathBuf,
        weight: String,
        #[source]
        source: std::io::Error,
    },
    #[error("failed to {edit} `{path}`")]
    Edit {
        edit: &'static str,
        path: PathBuf,
        #[source]
        source: EditError,
    },
}

#[derive(Debug, Error)]
pub enum EditError {
    /// Parts of a newer format would be lost.
    #[error("its format has version {found}, this program knows versions up to {IR_VERSION}")]
    Format { found: i64 },
    /// The operators that an edit puts into it are newer than those that it has.
    #[error("it has operators of opset {found}, at least {needed} is needed; export it again")]
    Opset { found: i64, needed: i64 },
    #[error("it has no matrix product with constant weights in 32-bit floats")]
    NoWeights,
    #[error("its node `{node}` is a `{operator}`, which cannot be converted")]
    Operator { node: String, operator: String },
    #[error("its weight `{weight}` {problem}")]
    Weight { weight: String, problem: String },
    #[error("it has no output with token vectors `[rows, tokens, hidden]`")]
    NoTokenVectors,
    #[error(
        "it has no output `logits` `[rows, tokens, vocabulary]`; export it for the task fill-mask"
    )]
    NoLogits,
    #[error("it would have {bytes} bytes, one file holds less than 2 GiB")]
    TooLarge { bytes: usize },
}

impl Graph {
    /// Reads a graph file. The files that hold its weights need not be there.
    pub fn read(path: &Path) -> Result<Self, GraphError> {
        Self::of(path, &decode(path)?.graph.unwrap_or_default())
    }

    /// The same, with a look at every weight: none may have a value that is no number.
    pub fn read_with_weights(path: &Path) -> Result<Self, GraphError> {
        let graph = decode(path)?.graph.unwrap_or_default();
        let read = Self::of(path, &graph)?;
        check_numbers(path, &graph.tensors())?;
        Ok(read)
    }

    fn of(path: &Path, graph: &GraphProto) -> Result<Self, GraphError> {
        let weights = graph.tensors();
        if weights.is_empty() {
            return Err(GraphError::Empty {
                path: path.to_owned(),
            });
        }
        let external = external_files(&weights);
        if let Some(location) = external.iter().find(|location| !stays_beside(location)) {
            return Err(GraphError::Escapes {
                path: path.to_owned(),
                location: location.clone(),
            });
        }
        Ok(Self {
            dtype: dtype(graph, &weights),
            external,
            vocabulary: graph.vocabulary(),
        })
    }
}

/// A row of a table that no golden text takes would otherwise be found by the first user whose text does. A single value may be
/// one that others are compared with.
fn check_numbers(path: &Path, weights: &[&TensorProto]) -> Result<(), GraphError> {
    let folder = path.parent().unwrap_or(path);
    for weight in weights.iter().filter(|weight| weight.elements() > 1) {
        let (path, name) = (path.to_owned(), weight.name().to_owned());
        match weight.has_nan(folder) {
            Ok(false) => {}
            Ok(true) => return Err(GraphError::NotANumber { path, weight: name }),
            Err(source) => {
                return Err(GraphError::ReadWeight {
                    path,
                    weight: name,
                    source,
                });
            }
        }
    }
    Ok(())
}

fn external_files(weights: &[&TensorProto]) -> BTreeSet<String> {
    let external = weights.iter().filter(|it| !it.external_data.is_empty());
    let locations = external.map(|it| it.external("location").unwrap_or_default());
    locations.map(str::to_owned).collect()
}

fn stays_beside(location: &str) -> bool {
    let normal = |part| matches!(part, Component::Normal(_));
    !location.is_empty() && Path::new(location).components().all(normal)
}

/// The type of most elements: models in 16 bits keep some weights in 32, and quantized ones have scales. Products with blocks
/// of 4 bits keep two elements in a byte.
fn dtype(graph: &GraphProto, weights: &[&TensorProto]) -> Dtype {
    let mut elements: BTreeMap<i32, usize> = BTreeMap::new();
    for tensor in weights {
        let all = elements.entry(tensor.data_type()).or_default();
        *all = all.saturating_add(tensor.elements());
    }
    let of = |kind| elements.get(&kind).copied().unwrap_or(0);
    let bytes = of(data_type::INT8).saturating_add(of(data_type::UINT8));
    let nibbles = of(data_type::INT4).saturating_add(of(data_type::UINT4));
    let (half, single) = (of(data_type::FLOAT16), of(data_type::FLOAT));
    let wide = of(data_type::BFLOAT16);
    let blocks = graph.node.iter().filter(|it| it.op_type() == BLOCKS);
    let in_nibbles = blocks.filter(|it| it.int("bits").unwrap_or(4) == 4).count();
    // A table of words may be larger than all products, and is kept in floats by many tools.
    if nibbles > half.max(single).max(bytes) || in_nibbles > 0 {
        Dtype::Int4
    } else if bytes > half.max(single).max(wide) {
        Dtype::Int8
    } else if wide > half.max(single) {
        Dtype::Bf16
    } else if half > single {
        Dtype::Fp16
    } else {
        Dtype::Fp32
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::graph::proto::{AttributeProto, ModelProto, NodeProto, StringStringEntryProto};

    fn tensor(dims: &[i64], data_type: i32, location: Option<&str>) -> TensorProto {
        let entry = |value: &str| StringStringEntryProto {
            key: Some("location".to_owned()),
            value: Some(value.to_owned()),
        };
        TensorProto {
            dims: dims.to_vec(),
            data_type: Some(data_type),
            external_data: location.map(entry).into_iter().collect(),
            ..TensorProto::default()
        }
    }

    fn read(weights: Vec<TensorProto>) -> Result<Graph, GraphError> {
        read_graph(GraphProto {
            initializer: weights,
            ..GraphProto::default()
        })
    }

    /// A node with tensors in its attributes, and such a node in a graph within.
    fn read_graph(graph: GraphProto) -> Result<Graph, GraphError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.onnx");
        let model = ModelProto {
            graph: Some(graph),
            ..ModelProto::default()
        };
        std::fs::write(&path, model.encode_to_vec()).unwrap();
        Graph::read(&path)
    }

    #[test]
    fn the_type_of_most_elements_is_the_type_of_the_graph() {
        let graph = read(vec![
            tensor(&[100, 10], data_type::FLOAT16, None),
            tensor(&[10], data_type::FLOAT, None),
        ]);
        assert_eq!(graph.unwrap().dtype, Dtype::Fp16);
        let graph = read(vec![
            tensor(&[100, 10], data_type::INT8, None),
            tensor(&[10], data_type::FLOAT, None),
        ]);
        assert_eq!(graph.unwrap().dtype, Dtype::Int8);
        let graph = read(vec![
            tensor(&[5], data_type::FLOAT16, None),
            tensor(&[10], data_type::FLOAT, None),
        ]);
        assert_eq!(graph.unwrap().dtype, Dtype::Fp32);
    }

    #[test]
    fn files_with_weights_are_found_and_may_not_lie_elsewhere() {
        let graph = read(vec![tensor(&[1], data_type::FLOAT, Some("weights.bin"))]).unwrap();
        assert_eq!(graph.external, BTreeSet::from(["weights.bin".to_owned()]));
        for outside in ["../weights.bin", "/etc/passwd", ""] {
            let refused = read(vec![tensor(&[1], data_type::FLOAT, Some(outside))]);
            assert!(
                matches!(refused, Err(GraphError::Escapes { .. })),
                "{outside}"
            );
        }
    }

    fn constant(tensor: TensorProto) -> NodeProto {
        NodeProto {
            op_type: Some("Constant".to_owned()),
            attribute: vec![AttributeProto {
                t: Some(tensor),
                ..AttributeProto::default()
            }],
            ..NodeProto::default()
        }
    }

    #[test]
    fn weights_in_nodes_and_in_graphs_within_are_weights() {
        let within = GraphProto {
            node: vec![constant(tensor(&[9], data_type::FLOAT16, Some("b.bin")))],
            ..GraphProto::default()
        };
        let branch = NodeProto {
            attribute: vec![AttributeProto {
                g: Some(within),
                ..AttributeProto::default()
            }],
            ..NodeProto::default()
        };
        let first = constant(tensor(&[1], data_type::FLOAT, Some("a.data")));
        let graph = read_graph(GraphProto {
            node: vec![first, branch],
            ..GraphProto::default()
        });
        let graph = graph.unwrap();
        assert_eq!(graph.dtype, Dtype::Fp16);
        let files = ["a.data", "b.bin"].map(str::to_owned);
        assert_eq!(graph.external, BTreeSet::from(files));
        let outside = constant(tensor(&[1], data_type::FLOAT, Some("../../etc/passwd")));
        let refused = read_graph(GraphProto {
            node: vec![outside],
            ..GraphProto::default()
        });
        assert!(matches!(refused, Err(GraphError::Escapes { .. })));
    }

    #[test]
    fn other_types_of_weights_are_known() {
        let of = |kind| read(vec![tensor(&[10], kind, None)]).unwrap().dtype;
        assert_eq!(of(data_type::BFLOAT16), Dtype::Bf16);
        assert_eq!(of(data_type::UINT4), Dtype::Int4);
        assert_eq!(of(data_type::UINT8), Dtype::Int8);
        let blocks = NodeProto {
            op_type: Some(BLOCKS.to_owned()),
            ..NodeProto::default()
        };
        let graph = read_graph(GraphProto {
            node: vec![blocks],
            initializer: vec![tensor(&[100], data_type::FLOAT, None)],
            ..GraphProto::default()
        });
        assert_eq!(graph.unwrap().dtype, Dtype::Int4);
    }

    #[test]
    fn what_is_no_graph_is_refused() {
        assert!(matches!(read(Vec::new()), Err(GraphError::Empty { .. })));
    }
}
