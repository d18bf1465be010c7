//! What is written anew has no vector of the text before.

use contract::digest::Digest;
use contract::embedding::Embedding;
use contract::field;
use contract::job::{Chunk, Document};
use futures::FutureExt as _;
use qdrant_client::Payload;
use qdrant_client::qdrant::points_update_operation::Operation;
use qdrant_client::qdrant::{
    CollectionConfig, CollectionInfo, NamedVectors, PointStruct, RetrievedPoint,
};
use serde_json::json;

use super::recorded::{ATTACHED, MODEL, Recorded, Stored, schema};
use super::strips;
use crate::additions::{Addition, AdditionValue};
use crate::change::{Change, Kind};
use crate::guard::{Guard, of_version};
use crate::payload::{is_made_of_text, text};
use crate::point::{WriteStamp, point_id};
use crate::replicas::Replicas;
use crate::schema::Schema;
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

/// A text, and the number that the attached model makes of it.
type Text = (&'static str, f32);

const TEXTS: [Text; 3] = [("one", 1.0), ("two", 2.0), ("three", 3.0)];

/// Writes a version of the document, of one chunk.
fn write(store: &Recorded, version: u64, (text, _): Text) {
    let chunk = Chunk {
        index: Some(0),
        text: text.to_owned(),
        ..Chunk::default()
    };
    let document = Document {
        id: "d".to_owned(),
        total: Some(1),
        chunks: vec![chunk],
        ..Document::default()
    };
    let vectors = [Embedding::Dense(vec![0.6, 0.8])];
    let change = Change {
        doc_id: "d",
        version,
        run: None,
        kind: Kind::Write {
            document: &document,
            vectors: &vectors,
        },
    };
    let stamp = WriteStamp {
        model: MODEL.parse().unwrap(),
        fingerprint: Digest::of(b"model"),
        indexed_at: "2026-01-01T00:00:00Z".to_owned(),
        run: None,
    };
    let schema = Schema {
        vectors: with_attached(),
        ..schema()
    };
    let applied = store.points().apply(vec![change], &stamp, &schema);
    drop(applied.now_or_never().unwrap());
}

/// What a worker of the attached model does about that version.
fn attach(store: &Recorded, version: u64, (text, number): Text) {
    let digest = Digest::of(text.as_bytes());
    add(store, Some(version), Some(digest), number);
}

fn add(store: &Recorded, version: Option<u64>, digest: Option<Digest>, number: f32) {
    let point = point_id("d", 0).to_string();
    let addition = Addition {
        point: &point,
        version,
        digest,
        head: None,
        made: AdditionValue::Vector {
            name: ATTACHED.to_owned(),
            vector: vec![number].into(),
        },
    };
    let additions = [addition];
    let added = store.points().add(&additions, Replicas::ONE);
    drop(added.now_or_never().unwrap());
}

/// What whoever takes over vectors sees at this moment: whether the attached one is of the text of its point, and whether the
/// point says so. `None` where it has none.
fn seen(stored: &Stored) -> Option<(bool, bool)> {
    let point = RetrievedPoint {
        payload: stored.payload.clone(),
        ..RetrievedPoint::default()
    };
    let digest = text(&point, field::DIGEST)?;
    let of_text = TEXTS
        .iter()
        .find(|it| Digest::of(it.0.as_bytes()).as_str() == digest)?;
    let is_of_text = (stored.attached? - of_text.1).abs() < 1e-6;
    Some((is_of_text, is_made_of_text(&point, ATTACHED)))
}

/// Everything that is seen of the document before each step of a piece of work, with somebody else at work in between at each
/// step in turn.
fn all_seen(merges: bool, work: fn(&Recorded), between: fn(&Recorded)) -> Vec<(bool, bool)> {
    let start = Recorded::new(merges);
    write(&start, 1, TEXTS[0]);
    attach(&start, 1, TEXTS[0]);
    let start = start.content();
    let mut all = Vec::new();
    for rival in 0..24 {
        for step in 0..24 {
            let store = Recorded::new(merges).with_points(start.clone());
            // The work ends when the look is due; whatever the rival asks counts as well.
            let store = store.interrupted_after(rival, between).dying_after(step);
            work(&store);
            all.extend(store.content().values().filter_map(seen));
        }
    }
    all
}

#[test]
fn a_vector_of_which_its_point_says_so_is_of_its_text_whenever_it_is_read() {
    fn work(store: &Recorded) {
        write(store, 2, TEXTS[1]);
        attach(store, 2, TEXTS[1]);
        write(store, 2, TEXTS[2]);
        attach(store, 2, TEXTS[2]);
    }
    fn late(store: &Recorded) {
        attach(store, 1, TEXTS[0]);
    }
    fn rewritten(store: &Recorded) {
        write(store, 2, TEXTS[2]);
    }
    fn overtaken(store: &Recorded) {
        write(store, 3, TEXTS[2]);
        attach(store, 3, TEXTS[2]);
    }
    for merges in [false, true] {
        for between in [late, rewritten, overtaken] {
            let all = all_seen(merges, work, between);
            assert!(all.contains(&(true, true)), "nothing may be taken over");
            assert!(!all.contains(&(false, true)), "merges: {merges}");
            // A server that merges shows the vector of another text for a moment.
            assert_eq!(all.contains(&(false, false)), merges);
        }
    }
}

#[test]
fn a_vector_of_a_text_that_is_not_named_is_not_said_to_be_of_the_text_of_its_point() {
    fn work(store: &Recorded) {
        add(store, None, None, 9.0);
    }
    fn nobody(_: &Recorded) {}
    for merges in [false, true] {
        let all = all_seen(merges, work, nobody);
        assert!(all.contains(&(false, false)), "the vector is another one");
        assert!(!all.contains(&(false, true)), "merges: {merges}");
    }
}
