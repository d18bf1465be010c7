//! The graph file: what staging must know of an ONNX model without a runtime, and what it changes in one.
//!
//! [`proto`] has the messages of the file. An edit takes a [`Model`] to a [`Model`]: [`int8`] and [`fp16`] make another
//! model of it when it is staged, [`pooling`] moves the end of the work onto the device when it is loaded. [`products`]
//! counts what a graph multiplies.

pub mod error;
pub mod fp16;
pub mod int8;
pub mod model;
mod node;
pub mod pooling;
pub mod products;
pub mod proto;
mod tensor;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use contract::model::Dtype;

pub use error::{EditError, GraphError};
pub use model::Model;
use model::decode;
use proto::{TensorProto, data_type};

/// What staging must know of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// Element type of most weights.
    pub dtype: Dtype,
    /// Files that hold weights, relative to the folder of the graph.
    pub external: BTreeSet<String>,
}

impl Graph {
    /// Reads a graph file.
    ///
    /// # Errors
    /// [`GraphError`].
    pub fn read(path: &Path) -> Result<Self, GraphError> {
        let model = decode(path)?;
        let weights = model
            .graph
            .map(|graph| graph.initializer)
            .unwrap_or_default();
        if weights.is_empty() {
            return Err(GraphError::Empty {
                path: path.to_owned(),
            });
        }
        let external = external_files(&weights);
        match external.iter().find(|location| !stays_beside(location)) {
            Some(location) => Err(GraphError::Escapes {
                path: path.to_owned(),
                location: location.clone(),
            }),
            None => Ok(Self {
                dtype: dtype(&weights),
                external,
            }),
        }
    }
}

fn external_files(weights: &[TensorProto]) -> BTreeSet<String> {
    let locations = weights.iter().filter_map(|it| it.external("location"));
    locations.map(str::to_owned).collect()
}

fn stays_beside(location: &str) -> bool {
    let normal = |part| matches!(part, Component::Normal(_));
    !location.is_empty() && Path::new(location).components().all(normal)
}

/// By number of elements: models in 16 bits keep some weights in 32, and quantized ones have scales.
fn dtype(weights: &[TensorProto]) -> Dtype {
    let mut elements: BTreeMap<i32, usize> = BTreeMap::new();
    for tensor in weights {
        *elements.entry(tensor.data_type()).or_default() += tensor.elements();
    }
    let of = |kind| elements.get(&kind).copied().unwrap_or(0);
    let bytes = of(data_type::INT8) + of(data_type::UINT8);
    let (half, single) = (of(data_type::FLOAT16), of(data_type::FLOAT));
    if bytes > half.max(single) {
        Dtype::Int8
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
    use crate::graph::proto::{GraphProto, ModelProto, StringStringEntryProto};

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
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.onnx");
        let model = ModelProto {
            graph: Some(GraphProto {
                initializer: weights,
                ..GraphProto::default()
            }),
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

    #[test]
    fn what_is_no_graph_is_refused() {
        assert!(matches!(read(Vec::new()), Err(GraphError::Empty { .. })));
    }
}
