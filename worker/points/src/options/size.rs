//! How much memory and disk a collection takes on each node.
//!
//! With N points of D dimensions, R replicas of each of S shards and K nodes:
//!
//! - copies per node = N * R / K, spread as evenly as whole shards can be: ceil(S * R / K) / S * N;
//! - vectors = copies * D * bytes of a number (4, 2 or 1);
//! - quantized copy = copies * bytes of its kind (D + 4 for int8, D / 8 for one bit, D * 4 / ratio for product);
//! - graph = copies * (2 * m + 1) * 4: a point has at most 2 * m links on the lowest level, of four bytes each, and the
//!   levels above it have about one point in m, for which one more is counted;
//! - payload = copies * bytes of a chunk: its text and [`FIELDS_BYTES`] for the other fields;
//! - ids and versions = copies * [`ID_BYTES`], always in memory;
//! - indexes of payload fields = copies * [`INDEX_BYTES`] for each field.
//!
//! In memory is what is not on disk; on disk is everything. Both times [`SPARE`], because segments that are optimized are
//! there twice for a while. Qdrant's guide to capacity planning has the same rule for vectors and spare room; the numbers of
//! the graph are those of the paper on HNSW (2016, section 4.2.3): a server stores links compressed, so that its graph is
//! smaller. Bytes of int8 copies and indexes are as a server of 1.18 was seen to store them; those of ids are an estimate.
//! A vector of words is not counted: its size depends on how many different words a chunk has.

use schemars::JsonSchema;
use serde::Serialize;

use super::settings::DEFAULT_M;
use super::{Settings, quantization};

/// Payload of a chunk without its text: ids, digests, times.
const FIELDS_BYTES: u64 = 400;
/// Id, version and place of a point.
const ID_BYTES: u64 = 40;
/// Entry of a point in the index of a field: the mean of those that every collection has, on disk of a server of 1.18.
const INDEX_BYTES: u64 = 72;
/// Room for the segments that are being optimized.
const SPARE: (u64, u64) = (3, 2);

/// The numbers of points and texts that are to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Chunks, each a point.
    pub points: u64,
    /// Length of a vector.
    pub dimensions: u64,
    /// Bytes of all texts.
    pub text_bytes: u64,
    /// Nodes that the shards are spread over.
    pub nodes: u64,
}

/// The bytes that a collection takes on the node that has most of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NodeSize {
    /// Nodes that were counted with.
    pub nodes: u64,
    /// Points on the node, copies counted.
    pub points: u64,
    /// Vectors as they are.
    pub vectors_bytes: u64,
    /// Their quantized copies.
    pub quantized_bytes: u64,
    /// The graph.
    pub graph_bytes: u64,
    /// Payload with the texts.
    pub payload_bytes: u64,
    /// Ids, versions and indexes of payload fields.
    pub index_bytes: u64,
    /// All that is held in memory, with the spare room.
    pub memory_bytes: u64,
    /// All that is on disk, with the spare room.
    pub disk_bytes: u64,
}

impl Settings {
    /// What a collection of these settings takes on each node.
    #[must_use]
    pub fn size(&self, of: Sizes) -> NodeSize {
        let shards = u64::from(self.shards.unwrap_or(1)).max(1);
        let replicas = u64::from(self.replication.unwrap_or(1)).max(1);
        let nodes = of.nodes.max(1);
        let on_node = (shards * replicas.min(nodes)).div_ceil(nodes);
        let share = |total: u64| total.saturating_mul(on_node).div_ceil(shards);
        let points = share(of.points);
        let quantization = self.vector.quantization_config.as_ref();
        let quantization = quantization.or(self.quantization.as_ref());
        let quantized = points * quantization::bytes(quantization, of.dimensions);
        let own = self.vector.hnsw_config.and_then(|own| own.m);
        let links = own.or(self.hnsw.m).unwrap_or(DEFAULT_M);
        let indexes = self.indexes.len() as u64;
        let size = NodeSize {
            nodes,
            points,
            vectors_bytes: points * of.dimensions * self.number_bytes(),
            quantized_bytes: quantized,
            graph_bytes: points * (2 * links + 1) * 4,
            payload_bytes: share(of.text_bytes) + points * FIELDS_BYTES,
            index_bytes: points * (ID_BYTES + indexes * INDEX_BYTES),
            ..NodeSize::default()
        };
        let is = |name: &str, value: &str| self.get(name).as_deref() == Some(value);
        let copy_in_memory = quantization::is_in_memory(quantization);
        let held = [
            (size.vectors_bytes, !is("vectors", "disk")),
            (
                size.quantized_bytes,
                !is("vectors", "disk") || copy_in_memory,
            ),
            (size.graph_bytes, !is("hnsw.on_disk", "true")),
            (size.payload_bytes, is("payload", "memory")),
            (size.index_bytes, true),
        ];
        let memory = held.iter().filter(|(_, in_memory)| *in_memory);
        NodeSize {
            memory_bytes: with_spare(memory.map(|(bytes, _)| bytes).sum()),
            disk_bytes: with_spare(held.iter().map(|(bytes, _)| bytes).sum()),
            ..size
        }
    }

    /// Bytes of one number of a vector.
    fn number_bytes(&self) -> u64 {
        match self.get("datatype").as_deref() {
            Some("float16") => 2,
            Some("uint8") => 1,
            _ => 4,
        }
    }
}

fn with_spare(bytes: u64) -> u64 {
    bytes.saturating_mul(SPARE.0).div_ceil(SPARE.1)
}
