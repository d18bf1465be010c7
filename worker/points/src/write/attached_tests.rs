//! What is written anew has no vector of the text before.

use contract::digest::Digest;
use qdrant_client::Payload;
use qdrant_client::qdrant::points_update_operation::Operation;
use qdrant_client::qdrant::{CollectionConfig, CollectionInfo, NamedVectors, PointStruct};
use serde_json::json;

use super::strips;
use crate::guard::{Guard, of_version};
use crate::store::selector;
use crate::vectors::{CollectionVectors, VECTORS};

/// A collection with the vectors `a` and `b` of other models.
fn with_attached() -> CollectionVectors {
    let vector = |name: &str| {
        json!({ "name": name, "kind": "dense", "maker": { "model": {
            "name": name, "fingerprint": Digest::of(name.as_bytes()), "dimensions": 1, "normalize": true,
        } } })
    };
    let listed = json!([vector("a"), vector("b")]);
    let config = CollectionConfig {
        metadata: [(VECTORS.to_owned(), listed.into())].into(),
        ..CollectionConfig::default()
    };
    let info = CollectionInfo {
        config: Some(config),
        ..CollectionInfo::default()
    };
    CollectionVectors::of(&info).unwrap()
}

#[test]
fn a_point_that_is_written_loses_the_attached_vectors_that_it_does_not_bring() {
    let point = |id: u64, names: &[&str]| {
        let vectors = names.iter().fold(NamedVectors::default(), |it, name| {
            it.add_vector(*name, vec![1.0])
        });
        PointStruct::new(id, vectors, Payload::new())
    };
    let points = [
        point(1, &["m"]),
        point(2, &["m", "a"]),
        point(3, &["m", "a", "b"]),
    ];
    let write = Guard {
        version: 7,
        deletes: false,
    };
    let removed: Vec<_> = strips(&points, write, &with_attached())
        .into_iter()
        .filter_map(|operation| {
            let Operation::DeleteVectors(delete) = operation else {
                return None;
            };
            Some((delete.vectors?.names, delete.points_selector?))
        })
        .collect();
    let of = |names: &[&str], id: u64| {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        (names, selector(of_version(vec![id.into()], 7)))
    };
    assert_eq!(removed, [of(&["a", "b"], 1), of(&["b"], 2)]);
    let none = strips(&points, write, &CollectionVectors::default());
    assert!(none.is_empty(), "a collection without any costs nothing");
}
