//! Vectors: what a collection has beside its primary vector, and what a writer adds to each point for it.
//!
//! The primary vector is that of the model whose workers write the documents. The metadata of the collection list the
//! others: a name, a kind, and who makes it. Whoever writes points reads that list, so that it need not be told.

use std::collections::HashMap;

use contract::bm25::{self, Bm25Options};
use contract::field;
use contract::job::Chunk;
use qdrant_client::qdrant::vectors::VectorsOptions;
use qdrant_client::qdrant::{
    CollectionInfo, Document, NamedVectors, PointStruct, Value, Vector, vectors_config::Config,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Key of the list of vectors in the collection's metadata.
pub const VECTORS: &str = "ebb_vectors";

/// A vector beside the primary one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OtherVector {
    /// Its name in the collection.
    pub name: String,
    /// What it looks like.
    pub kind: Kind,
    /// Who makes it.
    pub maker: Maker,
}

/// What a vector looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Weights of terms.
    Sparse,
}

/// Who makes a vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Maker {
    /// Qdrant, from the text, whenever a point is written.
    Bm25(Bm25Options),
}

/// Why the vectors of a collection are not known.
#[derive(Debug, Error)]
#[error(
    "its metadata `{VECTORS}` cannot be read; a newer version of ebb may have written them, upgrade this program"
)]
pub struct UnknownVectors(#[source] serde_json::Error);

/// The vectors of a collection, as its writers and its searchers have to know them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CollectionVectors {
    /// Names of all, in their order.
    names: Vec<String>,
    others: Vec<OtherVector>,
}

impl OtherVector {
    /// The sparse vector of words.
    #[must_use]
    pub fn bm25(options: Bm25Options) -> Self {
        Self {
            name: bm25::VECTOR.to_owned(),
            kind: Kind::Sparse,
            maker: Maker::Bm25(options),
        }
    }
}

impl CollectionVectors {
    /// What a collection says of itself.
    ///
    /// # Errors
    /// [`UnknownVectors`].
    pub fn of(info: &CollectionInfo) -> Result<Self, UnknownVectors> {
        let metadata = info.config.as_ref().map(|config| &config.metadata);
        let listed = metadata.and_then(|metadata| metadata.get(VECTORS));
        let others = match listed {
            Some(listed) => serde_json::from_value(listed.clone().into()),
            None => Ok(Vec::new()),
        };
        Ok(Self {
            names: vector_names(info),
            others: others.map_err(UnknownVectors)?,
        })
    }

    /// Names of all vectors, the primary one included.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The options of BM25, if the collection has that vector.
    #[must_use]
    pub fn bm25(&self) -> Option<&Bm25Options> {
        self.others
            .iter()
            .map(|OtherVector { maker, .. }| match maker {
                Maker::Bm25(options) => options,
            })
            .next()
    }

    /// Adds to a point what its writer does not make itself. A tombstone gets nothing.
    pub(crate) fn complete(&self, point: &mut PointStruct) {
        if let Some(options) = self.bm25()
            && let Some(text) = text(&point.payload)
            && let Some(vectors) = &mut point.vectors
            && let Some(VectorsOptions::Vectors(NamedVectors { vectors })) =
                &mut vectors.vectors_options
        {
            let vector = Vector::from(document(text, options));
            vectors.insert(bm25::VECTOR.to_owned(), vector);
        }
    }
}

/// Name and length of each named vector.
pub(crate) fn named_vectors(info: &CollectionInfo) -> Vec<(String, u64)> {
    let params = info
        .config
        .as_ref()
        .and_then(|config| config.params.as_ref());
    let vectors = params
        .and_then(|p| p.vectors_config.as_ref())
        .and_then(|v| v.config.as_ref());
    match vectors {
        Some(Config::ParamsMap(map)) => map
            .map
            .iter()
            .map(|(name, params)| (name.clone(), params.size))
            .collect(),
        Some(Config::Params(params)) => vec![(String::new(), params.size)],
        None => Vec::new(),
    }
}

/// Bytes of the vectors of a point that has all of them.
pub(crate) fn vector_bytes(info: &CollectionInfo) -> u64 {
    let lengths = named_vectors(info).into_iter().map(|(_, length)| length);
    lengths.sum::<u64>() * size_of::<f32>() as u64
}

/// Names of all vectors that the points of a collection may have, dense and sparse, in the order of the names.
#[must_use]
pub fn vector_names(info: &CollectionInfo) -> Vec<String> {
    let mut names: Vec<_> = named_vectors(info)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let params = info
        .config
        .as_ref()
        .and_then(|config| config.params.as_ref());
    let sparse = params.and_then(|params| params.sparse_vectors_config.as_ref());
    names.extend(
        sparse
            .into_iter()
            .flat_map(|sparse| sparse.map.keys().cloned()),
    );
    names.sort_unstable();
    names
}

/// The text of a point as its model reads it, without the prefix that is the model's own.
fn text(payload: &HashMap<String, Value>) -> Option<String> {
    let field = |name| payload.get(name).and_then(Value::as_str);
    let text = field(field::TEXT)?;
    let context = field(field::CONTEXT).map(String::as_str);
    Some(Chunk::model_input("", context, text))
}

/// A text for Qdrant to make a vector of, when it is written and when it is searched.
#[must_use]
pub fn document(text: String, options: &Bm25Options) -> Document {
    let serde_json::Value::Object(options) = options.to_json() else {
        return Document::new(text, bm25::MODEL);
    };
    Document {
        text,
        model: bm25::MODEL.to_owned(),
        options: options
            .into_iter()
            .map(|(key, value)| (key, value.into()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use qdrant_client::qdrant::vector;
    use serde_json::json;

    use super::*;

    fn collection(options: &Bm25Options) -> CollectionVectors {
        CollectionVectors {
            names: vec!["bm25".to_owned(), "m".to_owned()],
            others: vec![OtherVector::bm25(options.clone())],
        }
    }

    fn point(payload: serde_json::Value) -> PointStruct {
        let dense = NamedVectors::default().add_vector("m", vec![0.6, 0.8]);
        let payload = qdrant_client::Payload::try_from(payload).unwrap();
        PointStruct::new(1, dense, payload)
    }

    fn vectors(point: &PointStruct) -> &HashMap<String, Vector> {
        match &point.vectors.as_ref().unwrap().vectors_options {
            Some(VectorsOptions::Vectors(named)) => &named.vectors,
            Some(VectorsOptions::Vector(_)) | None => panic!("no named vectors"),
        }
    }

    #[test]
    fn a_point_gets_the_words_of_its_context_and_text_and_a_tombstone_gets_none() {
        let vectors_of = collection(&Bm25Options::of_language("german"));
        let mut written = point(json!({"text": "Rosen", "context": "Garten", "deleted": false}));
        vectors_of.complete(&mut written);
        let Some(vector::Vector::Document(document)) = &vectors(&written)["bm25"].vector else {
            panic!("{written:?}");
        };
        assert_eq!(document.text, "Garten\nRosen");
        assert_eq!(document.model, "qdrant/bm25");
        assert_eq!(
            document.options["language"].as_str(),
            Some(&"german".to_owned())
        );
        assert!(vectors(&written).contains_key("m"));

        let mut tombstone = point(json!({"deleted": true}));
        vectors_of.complete(&mut tombstone);
        assert!(!vectors(&tombstone).contains_key("bm25"));
        let mut dense = point(json!({"text": "Rosen"}));
        CollectionVectors::default().complete(&mut dense);
        assert!(!vectors(&dense).contains_key("bm25"));
    }

    #[test]
    fn a_collection_that_lists_what_is_not_known_is_not_written_to() {
        let info = |listed: serde_json::Value| CollectionInfo {
            config: Some(qdrant_client::qdrant::CollectionConfig {
                metadata: [(VECTORS.to_owned(), listed.into())].into(),
                ..Default::default()
            }),
            ..CollectionInfo::default()
        };
        let options = Bm25Options::of_language("german");
        let known = json!([OtherVector::bm25(options.clone())]);
        let read = CollectionVectors::of(&info(known)).unwrap();
        assert_eq!(read.bm25(), Some(&options));
        let newer = json!([{"name": "splade", "kind": "sparse", "maker": {"model": {}}}]);
        let error = CollectionVectors::of(&info(newer)).unwrap_err();
        assert!(
            error.to_string().contains("upgrade this program"),
            "{error}"
        );
    }
}
