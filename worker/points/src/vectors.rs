//! Vectors: what a collection has beside its primary vector, and what a writer adds to each point for it.
//!
//! The primary vector is that of the model whose workers write the documents. The metadata of the collection list the
//! others: a name, a kind, and who makes it. Whoever writes points reads that list, so that it need not be told.
//!
//! A vector that another model makes is *attached*: it is computed by jobs of its own, when the point is there
//! (the module `additions`), and a point that is written anew has none until its job is done. Its name belongs to one model for
//! as long as the collection is there ([`CollectionVectors::owner`]): a worker that is late can then never write the vector
//! of another model by that name.

use std::collections::HashMap;

use contract::bm25::{self, Bm25Options};
use contract::digest::Digest;
use contract::field;
use contract::job::Chunk;
use contract::model::{Manifest, OutputKind};
use contract::names::{ModelName, VectorName};
use contract::topology::{Lane, Priority, Task};
use qdrant_client::qdrant::vectors::VectorsOptions;
use qdrant_client::qdrant::{
    CollectionInfo, Document, NamedVectors, PointStruct, Value, Vector, vectors_config::Config,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Key of the list of vectors in the collection's metadata.
pub const VECTORS: &str = "ebb_vectors";
/// Key of the list of vectors that are about to be attached, or were detached: their names stay those of their models.
pub const RESERVED: &str = "ebb_reserved_vectors";

/// A vector beside the primary one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OtherVector {
    /// Its name in the collection.
    pub name: String,
    /// Whether it is dense, sparse or a multivector.
    pub kind: OutputKind,
    pub maker: Maker,
}

/// The model, or the server, that makes a vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Maker {
    /// Qdrant, from the text, whenever a point is written.
    Bm25(Bm25Options),
    /// A model, by jobs of its own, after a point was written.
    Model(MakerModel),
}

/// The model that makes an attached vector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakerModel {
    /// Its name, and that of its lanes.
    pub name: ModelName,
    pub fingerprint: Digest,
    /// Length of a vector; 0 where it has none.
    pub dimensions: u64,
    /// Whether vectors have length 1.
    pub normalize: bool,
}

/// Why the vectors of a collection are not known.
#[derive(Debug, Error)]
#[error(
    "its metadata `{key}` cannot be read; a newer version of ebb may have written them, upgrade this program"
)]
pub struct UnknownVectors {
    key: &'static str,
    #[source]
    source: serde_json::Error,
}

/// The vectors of a collection, as its writers and its searchers have to know them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CollectionVectors {
    /// Names of all, in their order.
    names: Vec<String>,
    others: Vec<OtherVector>,
    /// Vectors that are not in service, and whose names are taken all the same.
    reserved: Vec<OtherVector>,
}

/// An attached vector with the model that makes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attached<'a> {
    /// Its name in the collection.
    pub name: &'a str,
    /// Whether it is dense, sparse or a multivector.
    pub kind: OutputKind,
    pub model: &'a MakerModel,
}

impl Attached<'_> {
    /// The lane of its jobs: they can be made anew, and yield to documents.
    #[must_use]
    pub fn lane(&self) -> Lane {
        Lane::new(Task::Embed, self.model.name.clone(), Priority::Bulk)
    }
}

impl OtherVector {
    /// The vector that a model makes.
    #[must_use]
    pub fn by_model(name: &VectorName, manifest: &Manifest) -> Self {
        Self {
            name: name.to_string(),
            kind: manifest.identity.output.kind(),
            maker: Maker::Model(MakerModel {
                name: manifest.name.clone(),
                fingerprint: manifest.fingerprint.clone(),
                dimensions: manifest.identity.dimensions as u64,
                normalize: manifest.identity.normalize,
            }),
        }
    }

    /// This vector as an attached one; `None` if no model makes it.
    #[must_use]
    pub fn attached(&self) -> Option<Attached<'_>> {
        let Maker::Model(model) = &self.maker else {
            return None;
        };
        Some(Attached {
            name: &self.name,
            kind: self.kind,
            model,
        })
    }

    /// The sparse vector of words.
    #[must_use]
    pub fn bm25(options: Bm25Options) -> Self {
        Self {
            name: bm25::VECTOR.to_owned(),
            kind: OutputKind::Sparse,
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
        let listed = |key| {
            let listed = metadata.and_then(|metadata| metadata.get(key));
            let listed = listed.map(|listed| serde_json::from_value(listed.clone().into()));
            let listed = listed.unwrap_or_else(|| Ok(Vec::new()));
            listed.map_err(|source| UnknownVectors { key, source })
        };
        Ok(Self {
            names: vector_names(info),
            others: listed(VECTORS)?,
            reserved: listed(RESERVED)?,
        })
    }

    /// Names of all vectors, the primary one included.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The vectors beside the primary one.
    #[must_use]
    pub fn others(&self) -> &[OtherVector] {
        &self.others
    }

    /// The vectors that are about to be attached, or were detached.
    #[must_use]
    pub fn reserved(&self) -> &[OtherVector] {
        &self.reserved
    }

    /// The options of BM25, if the collection has that vector.
    #[must_use]
    pub fn bm25(&self) -> Option<&Bm25Options> {
        self.others
            .iter()
            .find_map(|OtherVector { maker, .. }| match maker {
                Maker::Bm25(options) => Some(options),
                Maker::Model(_) => None,
            })
    }

    /// The attached vectors, in the order in which they were attached.
    pub fn attached(&self) -> impl Iterator<Item = Attached<'_>> {
        self.others.iter().filter_map(OtherVector::attached)
    }

    /// The attached vector of that name.
    #[must_use]
    pub fn attached_as(&self, name: &str) -> Option<Attached<'_>> {
        self.attached().find(|attached| attached.name == name)
    }

    /// The vector that this name is for, in service or not.
    #[must_use]
    pub fn owner(&self, name: &str) -> Option<&OtherVector> {
        let mut all = self.others.iter().chain(&self.reserved);
        all.find(|vector| vector.name == name)
    }

    /// Whether a model makes, or made, an attached vector of the collection.
    #[must_use]
    pub fn knows(&self, fingerprint: &Digest) -> bool {
        let all = self.others.iter().chain(&self.reserved);
        let mut attached = all.filter_map(OtherVector::attached);
        attached.any(|attached| attached.model.fingerprint == *fingerprint)
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
pub(crate) fn bytes_of_a_point(info: &CollectionInfo) -> u64 {
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
            reserved: Vec::new(),
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
    fn the_name_of_a_vector_stays_that_of_its_model_when_it_is_detached() {
        let of = |name: &str| OtherVector {
            name: name.to_owned(),
            kind: OutputKind::Dense,
            maker: Maker::Model(MakerModel {
                name: "second".parse().unwrap(),
                fingerprint: Digest::of(name.as_bytes()),
                dimensions: 2,
                normalize: true,
            }),
        };
        let metadata = [
            (VECTORS.to_owned(), json!([of("a")]).into()),
            (RESERVED.to_owned(), json!([of("b")]).into()),
        ];
        let info = CollectionInfo {
            config: Some(qdrant_client::qdrant::CollectionConfig {
                metadata: metadata.into(),
                ..Default::default()
            }),
            ..CollectionInfo::default()
        };
        let read = CollectionVectors::of(&info).unwrap();
        let in_service: Vec<_> = read.attached().map(|attached| attached.name).collect();
        assert_eq!(in_service, ["a"]);
        assert_eq!(read.owner("b"), Some(&of("b")));
        assert_eq!(read.owner("c"), None);
        assert!(read.knows(&Digest::of(b"a")) && read.knows(&Digest::of(b"b")));
        assert!(read.attached_as("b").is_none() && !read.knows(&Digest::of(b"c")));
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
        let newer = json!([{"name": "words", "kind": "sparse", "maker": {"words": {}}}]);
        let error = CollectionVectors::of(&info(newer)).unwrap_err();
        assert!(
            error.to_string().contains("upgrade this program"),
            "{error}"
        );
    }
}
