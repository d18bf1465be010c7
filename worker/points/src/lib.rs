//! Points: what documents become in Qdrant, and the one protocol by which all programs of Ebb write and read them.
//!
//! | module | what it holds |
//! |---|---|
//! | [`connect`] | settings and the connection, and which servers are supported |
//! | [`client`] | the client, through which every request goes: what is asked again, and for how long |
//! | [`refusal`], [`status_code`] | why a request is refused, and whose turn it is |
//! | [`limits`] | the largest requests that a collection takes |
//! | [`collection`] | how a collection is made, and which model may write to it |
//! | [`vectors`] | which vectors a collection has, and what a writer adds for them |
//! | [`schema`] | what a writer must know of a collection, and whether its points have all vectors |
//! | [`point`] | ids and payload of the points of a document |
//! | [`payload`] | reading the payload and the vectors of a point |
//! | [`options`] | options of an alias: settings of its collections, kept from generation to generation |
//! | [`guard`] | heads, and the filters by which the newest version of a document wins |
//! | [`change`] | what a job does to a document |
//! | [`mod@write`] | the protocol: in which order points are written, checked and removed |
//! | [`additions`] | scores and attached vectors, written to points that are there |
//! | [`attachment`] | the requests that give a collection another vector, and take it away |
//! | [`replicas`] | what the protocol asks of the replicas of a collection, and why that is enough |
//! | [`pages`] | reading all points that a filter matches |
//! | [`reuse`] | attached vectors that were made of a text before |
//! | [`selection`] | which vectors are read with points, and how many points of one answer they leave room for |
//! | [`store`] | the requests to Qdrant, and what counts as done |

pub mod additions;
pub mod attachment;
pub mod change;
pub mod client;
pub mod collection;
pub mod connect;
pub mod guard;
pub mod limits;
pub mod options;
pub mod pages;
pub mod payload;
pub mod point;
pub mod refusal;
pub mod replicas;
pub mod reuse;
pub mod schema;
mod select;
pub mod selection;
pub mod status_code;
pub mod store;
pub mod vectors;
pub mod write;

pub use client::Qdrant;
pub use point::{head_id, point_id};

use contract::names::CollectionName;

/// The points of one collection, or of the collection behind an alias.
#[derive(Debug)]
pub struct Points<'a, S = Qdrant> {
    pub store: &'a S,
    pub collection: &'a CollectionName,
}

impl<'a, S> Points<'a, S> {
    /// The points of a collection or alias, by requests to this store.
    pub fn new(store: &'a S, collection: &'a CollectionName) -> Self {
        Self { store, collection }
    }
}

// Copied whatever the store is: it holds references alone.
impl<S> Clone for Points<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Points<'_, S> {}
