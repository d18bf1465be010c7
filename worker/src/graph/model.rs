//! Model: a graph in memory, which edits change and write.

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use prost::Message as _;

use super::proto::{GraphProto, IR_VERSION, ModelProto, TensorProto};
use super::{EditError, GraphError};
use super::{external_files, stays_beside};

/// Largest size of a protobuf message.
const MOST_BYTES: usize = i32::MAX as usize;

/// A model whose graph can be changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    proto: ModelProto,
    graph: GraphProto,
}

/// Reads the message of a graph file. Weights are not copied: they share the memory of the file.
pub(super) fn decode(path: &Path) -> Result<ModelProto, GraphError> {
    ModelProto::decode(read_file(path)?).map_err(|source| GraphError::Parse {
        path: path.to_owned(),
        source,
    })
}

fn read_file(path: &Path) -> Result<Bytes, GraphError> {
    let read = std::fs::read(path).map_err(|source| GraphError::Read {
        path: path.to_owned(),
        source,
    });
    read.map(Bytes::from)
}

impl Model {
    /// Reads a graph file. Weights in files beside it stay there.
    pub fn read(path: &Path) -> Result<Self, GraphError> {
        let mut proto = decode(path)?;
        let graph = proto.graph.take().ok_or_else(|| GraphError::Empty {
            path: path.to_owned(),
        })?;
        Ok(Self { proto, graph })
    }

    /// A model of a graph with operators of a version.
    #[cfg(test)]
    pub(super) fn of(graph: GraphProto, opset: i64) -> Self {
        let set = super::proto::OperatorSetIdProto {
            domain: None,
            version: Some(opset),
        };
        let proto = ModelProto {
            opset_import: vec![set],
            ..ModelProto::default()
        };
        Self { proto, graph }
    }

    /// Reads a graph file with all its weights, so that it needs no other file.
    pub fn read_whole(path: &Path) -> Result<Self, GraphError> {
        let mut model = Self::read(path)?;
        let mut files = HashMap::new();
        for location in external_files(&model.graph.tensors()) {
            if !stays_beside(&location) {
                let path = path.to_owned();
                return Err(GraphError::Escapes { path, location });
            }
            let file = read_file(&path.with_file_name(&location))?;
            files.insert(location, file);
        }
        let mut gather = |tensor: &mut TensorProto| {
            if tensor.is_external() {
                bring_in(tensor, &files)?;
            }
            Ok(())
        };
        let gathered = model.graph.change_tensors(&mut gather);
        gathered.map_err(|source| GraphError::Edit {
            edit: "gather the weights of",
            path: path.to_owned(),
            source,
        })?;
        Ok(model)
    }

    /// Applies an edit. Its error names the edit and the file.
    ///
    /// # Errors
    /// [`GraphError::Edit`].
    pub fn edit<T>(
        &mut self,
        wanted: &'static str,
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, EditError>,
    ) -> Result<T, GraphError> {
        change(self).map_err(|source| GraphError::Edit {
            edit: wanted,
            path: path.to_owned(),
            source,
        })
    }

    pub fn graph(&self) -> &GraphProto {
        &self.graph
    }

    pub fn graph_mut(&mut self) -> &mut GraphProto {
        &mut self.graph
    }

    /// Version of ONNX's own operators in it.
    pub fn opset(&self) -> i64 {
        let mut sets = self.proto.opset_import.iter();
        let own = sets.find(|set| matches!(set.domain(), "" | "ai.onnx"));
        own.map_or(1, |set| set.version())
    }

    /// Checks that nothing is lost when the model is written, and that operators of a version can be put into it.
    ///
    /// # Errors
    /// [`EditError::Format`], [`EditError::Opset`].
    pub fn check(&self, needed: i64) -> Result<(), EditError> {
        let (format, found) = (self.proto.ir_version(), self.opset());
        if format > IR_VERSION {
            return Err(EditError::Format { found: format });
        }
        if found < needed {
            return Err(EditError::Opset { found, needed });
        }
        Ok(())
    }

    /// The content of its file; `path` is where it came from.
    ///
    /// # Errors
    /// [`GraphError::Edit`] if that is more than one file holds.
    pub fn encode(mut self, path: &Path) -> Result<Vec<u8>, GraphError> {
        self.proto.graph = Some(self.graph);
        let bytes = self.proto.encoded_len();
        if bytes > MOST_BYTES {
            return Err(GraphError::Edit {
                edit: "write",
                path: path.to_owned(),
                source: EditError::TooLarge { bytes },
            });
        }
        Ok(self.proto.encode_to_vec())
    }
}

/// Takes the values of a tensor out of its file.
fn bring_in(tensor: &mut TensorProto, files: &HashMap<String, Bytes>) -> Result<(), EditError> {
    let number = |key, default| match tensor.external(key) {
        Some(text) => text.parse::<usize>().ok(),
        None => Some(default),
    };
    let file = tensor.external("location").and_then(|it| files.get(it));
    let range = file.and_then(|file| {
        let offset = number("offset", 0)?;
        let length = number("length", file.len().checked_sub(offset)?)?;
        let end = offset.checked_add(length)?;
        (end <= file.len()).then(|| file.slice(offset..end))
    });
    let Some(values) = range else {
        return Err(EditError::Weight {
            weight: tensor.name().to_owned(),
            problem: format!("is not where it says: {:?}", tensor.external_data),
        });
    };
    tensor.raw_data = Some(values);
    tensor.external_data.clear();
    tensor.data_location = None;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::proto::{EXTERNAL, StringStringEntryProto};

    fn fixture(name: &str) -> std::path::PathBuf {
        let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/models");
        Path::new(models).join(name).join("onnx/model.onnx")
    }

    #[test]
    fn a_model_that_is_read_and_written_has_the_same_bytes() {
        for name in ["tiny-embed", "tiny-rerank"] {
            let path = fixture(name);
            let written = Model::read(&path).unwrap().encode(&path).unwrap();
            let file = std::fs::read(path).unwrap();
            assert!(written == file, "{name} has lost something");
        }
    }

    fn entry(key: &str, value: &str) -> StringStringEntryProto {
        StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value.to_owned()),
        }
    }

    /// The tiny model with its first weight in a file beside it.
    fn external(folder: &Path, length: &str) -> std::path::PathBuf {
        let mut model = Model::read(&fixture("tiny-embed")).unwrap();
        let weight = &mut model.graph_mut().initializer[0];
        let values = weight.raw_data.take().unwrap();
        std::fs::write(folder.join("w.bin"), [&[7; 16], &values[..]].concat()).unwrap();
        weight.data_location = Some(EXTERNAL);
        weight.external_data = vec![
            entry("location", "w.bin"),
            entry("offset", "16"),
            entry("length", length),
        ];
        let path = folder.join("model.onnx");
        std::fs::write(&path, model.encode(&path).unwrap()).unwrap();
        path
    }

    #[test]
    fn weights_beside_the_graph_come_in() {
        let folder = tempfile::tempdir().unwrap();
        let inside = Model::read(&fixture("tiny-embed")).unwrap();
        let length = inside.graph().initializer[0].raw_data().len().to_string();
        let path = external(folder.path(), &length);
        assert!(Model::read(&path).unwrap() != inside);
        assert!(Model::read_whole(&path).unwrap() == inside);
    }

    #[test]
    fn weights_that_are_not_where_they_should_be_are_named() {
        let folder = tempfile::tempdir().unwrap();
        for length in ["1000000000", "18446744073709551615", "x"] {
            let path = external(folder.path(), length);
            let error = Model::read_whole(&path).unwrap_err();
            let error = format!("{:#}", anyhow::Error::from(error));
            assert!(error.contains("is not where it says"), "{error}");
        }
    }
}
