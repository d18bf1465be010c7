//! The inputs of a graph: which of the known ones it has, and how they are filled.

use std::path::Path;

use ndarray::Array2;
use ort::session::Session as OrtSession;
use ort::value::{TensorElementType, ValueType};

use super::{SessionError, list};
use crate::batch::Tensor;

/// An input of the graph that can be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Ids,
    AttentionMask,
    TokenTypeIds,
    PositionIds,
}

impl Input {
    const ALL: [Self; 4] = [
        Self::Ids,
        Self::AttentionMask,
        Self::TokenTypeIds,
        Self::PositionIds,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ids => "input_ids",
            Self::AttentionMask => "attention_mask",
            Self::TokenTypeIds => "token_type_ids",
            Self::PositionIds => "position_ids",
        }
    }

    pub(super) fn fill(self, tensor: &Tensor) -> Array2<i64> {
        let shape = tensor.input_ids.raw_dim();
        match self {
            Self::Ids => tensor.input_ids.clone(),
            Self::AttentionMask => {
                Array2::from_shape_fn(shape, |(row, at)| i64::from(at < tensor.lengths[row]))
            }
            Self::TokenTypeIds => tensor
                .type_ids
                .clone()
                .unwrap_or_else(|| Array2::zeros(shape)),
            Self::PositionIds => Array2::from_shape_fn(shape, |(_, at)| {
                i64::try_from(at).expect("a row has far fewer than 2^63 tokens")
            }),
        }
    }
}

/// Reads the inputs of a graph; all of them must be known.
pub(super) fn read_inputs(graph: &Path, session: &OrtSession) -> Result<Vec<Input>, SessionError> {
    let mut inputs = Vec::new();
    for outlet in session.inputs() {
        let known = Input::ALL
            .into_iter()
            .find(|input| input.name() == outlet.name());
        match (known, outlet.dtype()) {
            (
                Some(input),
                ValueType::Tensor {
                    ty: TensorElementType::Int64,
                    shape,
                    ..
                },
            ) if shape.len() == 2 => {
                inputs.push(input);
            }
            (_, kind) => {
                return Err(SessionError::UnknownInput {
                    graph: graph.to_owned(),
                    input: outlet.name().to_owned(),
                    kind: kind.to_string(),
                });
            }
        }
    }
    if inputs.contains(&Input::Ids) {
        return Ok(inputs);
    }
    let found = list(session.inputs().iter().map(ort::value::Outlet::name));
    Err(SessionError::NoTokens {
        graph: graph.to_owned(),
        found,
    })
}
