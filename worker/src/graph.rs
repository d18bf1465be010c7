//! The graph file: the little of an ONNX model that staging must know without a runtime, namely the element type of its
//! weights, and the files beside it that hold them. Numbers of fields and types are those of onnx.proto3.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use contract::model::Dtype;
use prost::Message;
use thiserror::Error;

/// `TensorProto.DataType.FLOAT16`.
const FLOAT16: i32 = 10;
/// `TensorProto.DataType.FLOAT`.
const FLOAT: i32 = 1;

/// Why a graph file cannot be staged.
#[derive(Debug, Error)]
pub enum GraphError {
    /// It cannot be read.
    #[error("failed to read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is not an ONNX model.
    #[error("`{path}` is not an onnx graph")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        #[source]
        source: prost::DecodeError,
    },
    /// It has no weights.
    #[error("`{path}` has no graph with weights; is the file whole?")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It names a file outside of its folder.
    #[error("`{path}` keeps weights in `{location}`, which is not inside its folder")]
    Escapes {
        /// The file.
        path: PathBuf,
        /// What it names.
        location: String,
    },
}

/// What staging must know of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// Element type of most weights.
    pub dtype: Dtype,
    /// Files that hold weights, relative to the folder of the graph.
    pub external: BTreeSet<String>,
}

#[derive(Message)]
struct ModelProto {
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
}

#[derive(Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
}

#[derive(Message)]
struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(message, repeated, tag = "13")]
    external_data: Vec<Entry>,
}

#[derive(Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

impl Graph {
    /// Reads a graph file.
    ///
    /// # Errors
    /// [`GraphError`].
    pub fn read(path: &Path) -> Result<Self, GraphError> {
        let bytes = std::fs::read(path).map_err(|source| GraphError::Read {
            path: path.to_owned(),
            source,
        })?;
        let model = ModelProto::decode(bytes.as_slice()).map_err(|source| GraphError::Parse {
            path: path.to_owned(),
            source,
        })?;
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
    let entries = weights.iter().flat_map(|tensor| &tensor.external_data);
    entries
        .filter(|entry| entry.key == "location")
        .map(|entry| entry.value.clone())
        .collect()
}

fn stays_beside(location: &str) -> bool {
    let normal = |part| matches!(part, Component::Normal(_));
    !location.is_empty() && Path::new(location).components().all(normal)
}

/// By number of elements: models in 16 bits keep some weights in 32.
fn dtype(weights: &[TensorProto]) -> Dtype {
    let mut elements: BTreeMap<i32, i64> = BTreeMap::new();
    for tensor in weights {
        *elements.entry(tensor.data_type).or_default() += tensor.dims.iter().product::<i64>();
    }
    let of = |kind| elements.get(&kind).copied().unwrap_or(0);
    if of(FLOAT16) > of(FLOAT) {
        Dtype::Fp16
    } else {
        Dtype::Fp32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dims: &[i64], data_type: i32, location: Option<&str>) -> TensorProto {
        let entry = |value: &str| Entry {
            key: "location".to_owned(),
            value: value.to_owned(),
        };
        TensorProto {
            dims: dims.to_vec(),
            data_type,
            external_data: location.map(entry).into_iter().collect(),
        }
    }

    fn read(weights: Vec<TensorProto>) -> Result<Graph, GraphError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.onnx");
        let model = ModelProto {
            graph: Some(GraphProto {
                initializer: weights,
            }),
        };
        std::fs::write(&path, model.encode_to_vec()).unwrap();
        Graph::read(&path)
    }

    #[test]
    fn the_type_of_most_elements_is_the_type_of_the_graph() {
        let graph = read(vec![
            tensor(&[100, 10], FLOAT16, None),
            tensor(&[10], FLOAT, None),
        ]);
        assert_eq!(graph.unwrap().dtype, Dtype::Fp16);
        let graph = read(vec![
            tensor(&[5], FLOAT16, None),
            tensor(&[10], FLOAT, None),
        ]);
        assert_eq!(graph.unwrap().dtype, Dtype::Fp32);
    }

    #[test]
    fn files_with_weights_are_found_and_may_not_lie_elsewhere() {
        let graph = read(vec![tensor(&[1], FLOAT, Some("weights.bin"))]).unwrap();
        assert_eq!(graph.external, BTreeSet::from(["weights.bin".to_owned()]));
        for outside in ["../weights.bin", "/etc/passwd", ""] {
            let refused = read(vec![tensor(&[1], FLOAT, Some(outside))]);
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
