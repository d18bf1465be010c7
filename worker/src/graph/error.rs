//! What is wrong with a graph.

use std::path::PathBuf;

use thiserror::Error;

use super::proto::IR_VERSION;

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
    /// It cannot be changed as wanted.
    #[error("failed to {edit} `{path}`")]
    Edit {
        /// What was wanted.
        edit: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: EditError,
    },
}

/// Why a graph cannot be changed.
#[derive(Debug, Error)]
pub enum EditError {
    /// It may have parts that would be lost.
    #[error("its format has version {found}, this program knows versions up to {IR_VERSION}")]
    Format {
        /// Its version.
        found: i64,
    },
    /// The operators that are put into it are newer than those that it has.
    #[error("it has operators of opset {found}, at least {needed} is needed; export it again")]
    Opset {
        /// The version of its operators.
        found: i64,
        /// The oldest that will do.
        needed: i64,
    },
    /// Nothing in it can be made smaller.
    #[error("it has no matrix product with constant weights in 32-bit floats")]
    NoWeights,
    /// A part of it cannot be converted.
    #[error("its node `{node}` is a `{operator}`, which cannot be converted")]
    Operator {
        /// Name of the node.
        node: String,
        /// Its operator.
        operator: String,
    },
    /// A weight is not whole.
    #[error("its weight `{weight}` {problem}")]
    Weight {
        /// Name of the weight.
        weight: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It has no token vectors to pool.
    #[error("it has no output with token vectors `[rows, tokens, hidden]`")]
    NoTokenVectors,
    /// One file cannot hold what comes out.
    #[error("it would have {bytes} bytes, one file holds less than 2 GiB")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}
