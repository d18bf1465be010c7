//! What is wrong with a graph.

use std::path::PathBuf;

use thiserror::Error;

use super::proto::IR_VERSION;

#[derive(Debug, Error)]
pub enum GraphError {
    #[error("failed to read `{path}`")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{path}` is not an onnx graph")]
    Parse {
        path: PathBuf,
        #[source]
        source: prost::DecodeError,
    },
    #[error("`{path}` has no graph with weights; is the file whole?")]
    Empty { path: PathBuf },
    #[error("`{path}` keeps weights in `{location}`, which is not inside its folder")]
    Escapes { path: PathBuf, location: String },
    #[error("failed to {edit} `{path}`")]
    Edit {
        edit: &'static str,
        path: PathBuf,
        #[source]
        source: EditError,
    },
}

#[derive(Debug, Error)]
pub enum EditError {
    /// It may have parts that would be lost.
    #[error("its format has version {found}, this program knows versions up to {IR_VERSION}")]
    Format { found: i64 },
    /// The operators that are put into it are newer than those that it has.
    #[error("it has operators of opset {found}, at least {needed} is needed; export it again")]
    Opset {
        found: i64,
        /// The oldest that will do.
        needed: i64,
    },
    /// Nothing in it can be made smaller.
    #[error("it has no matrix product with constant weights in 32-bit floats")]
    NoWeights,
    /// A part of it cannot be converted.
    #[error("its node `{node}` is a `{operator}`, which cannot be converted")]
    Operator { node: String, operator: String },
    /// A weight is not whole.
    #[error("its weight `{weight}` {problem}")]
    Weight { weight: String, problem: String },
    #[error("it has no output with token vectors `[rows, tokens, hidden]`")]
    NoTokenVectors,
    /// One file cannot hold what comes out.
    #[error("it would have {bytes} bytes, one file holds less than 2 GiB")]
    TooLarge { bytes: usize },
}
