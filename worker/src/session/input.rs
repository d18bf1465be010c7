//! The inputs of a graph: which of the known ones it has, and how they are filled.

use std::path::Path;

use half::{bf16, f16};
use ndarray::Array2;
use ort::memory::Allocator;
use ort::session::Session as OrtSession;
use ort::value::{DynValue, Outlet, Tensor as OrtTensor, TensorElementType, ValueType};

use super::{SessionError, list};
use crate::batch::Tensor;
use crate::graph::MASK;

/// Prefixes of the names of inputs in which a decoder takes what it has seen before.
const PAST: [&str; 3] = ["past_key_values.", "past_key_", "past."];

/// An input of the graph that can be filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Input {
    name: String,
    content: Content,
    element: TensorElementType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Ids,
    AttentionMask,
    TokenTypeIds,
    PositionIds,
    /// What a decoder has seen before, which is nothing: heads, and values of each.
    Past {
        heads: usize,
        width: usize,
    },
    /// Whether a decoder that may have seen something before has done so.
    UsesPast,
}

impl Input {
    fn of(outlet: &Outlet) -> Option<Self> {
        let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
            return None;
        };
        let content = match (outlet.name(), shape.len()) {
            ("input_ids", 2) => Content::Ids,
            (MASK, 2) => Content::AttentionMask,
            ("token_type_ids", 2) => Content::TokenTypeIds,
            ("position_ids", 2) => Content::PositionIds,
            ("use_cache_branch", 1) => Content::UsesPast,
            (name, 4) if PAST.iter().any(|past| name.starts_with(past)) => Content::Past {
                heads: usize::try_from(shape[1]).ok()?,
                width: usize::try_from(shape[3]).ok()?,
            },
            _ => return None,
        };
        let input = Self {
            name: outlet.name().to_owned(),
            content,
            element: *ty,
        };
        input.can_be_filled().then_some(input)
    }

    fn can_be_filled(&self) -> bool {
        use TensorElementType::{Bfloat16, Bool, Float16, Float32, Int32, Int64};
        match self.content {
            Content::AttentionMask => {
                matches!(self.element, Int64 | Int32 | Bool | Float32 | Float16)
            }
            Content::Ids | Content::TokenTypeIds | Content::PositionIds => {
                matches!(self.element, Int64 | Int32)
            }
            Content::Past { .. } => matches!(self.element, Float32 | Float16 | Bfloat16),
            Content::UsesPast => self.element == Bool,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The value of the input for a tensor, in memory that the device reaches.
    pub(super) fn value(&self, tensor: &Tensor, memory: &Allocator) -> ort::Result<DynValue> {
        match self.content {
            Content::Past { heads, width } => self.nothing([tensor.rows(), heads, 0, width]),
            Content::UsesPast => {
                let value = OrtTensor::from_array((vec![1_i64], vec![false]))?;
                Ok(value.into_dyn())
            }
            Content::Ids
            | Content::AttentionMask
            | Content::TokenTypeIds
            | Content::PositionIds => self.matrix(tensor, memory),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "`can_be_filled` has left one"
    )]
    fn nothing(&self, shape: [usize; 4]) -> ort::Result<DynValue> {
        // Memory of this process will do for no bytes.
        let memory = Allocator::default();
        Ok(match self.element {
            TensorElementType::Float16 => OrtTensor::<f16>::new(&memory, shape)?.into_dyn(),
            TensorElementType::Bfloat16 => OrtTensor::<bf16>::new(&memory, shape)?.into_dyn(),
            _ => OrtTensor::<f32>::new(&memory, shape)?.into_dyn(),
        })
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "`can_be_filled` has left one"
    )]
    fn matrix(&self, tensor: &Tensor, memory: &Allocator) -> ort::Result<DynValue> {
        let values = self.numbers(tensor);
        match self.element {
            TensorElementType::Int32 => {
                // Ids and places are far below 2^31.
                filled(&values, memory, |it| i32::try_from(it).unwrap_or(i32::MAX))
            }
            TensorElementType::Bool => filled(&values, memory, |it| it != 0),
            TensorElementType::Float32 => filled(&values, memory, |it| f32::from(it != 0)),
            TensorElementType::Float16 => {
                filled(&values, memory, |it| f16::from_f32(f32::from(it != 0)))
            }
            _ => filled(&values, memory, |it| it),
        }
    }

    fn numbers(&self, tensor: &Tensor) -> Array2<i64> {
        let shape = tensor.input_ids.raw_dim();
        match self.content {
            Content::AttentionMask => {
                Array2::from_shape_fn(shape, |(row, at)| i64::from(at < tensor.attended(row)))
            }
            Content::TokenTypeIds => tensor
                .type_ids
                .clone()
                .unwrap_or_else(|| Array2::zeros(shape)),
            Content::PositionIds => Array2::from_shape_fn(shape, |(_, at)| {
                i64::try_from(at).expect("a row has far fewer than 2^63 tokens")
            }),
            Content::Ids | Content::Past { .. } | Content::UsesPast => tensor.input_ids.clone(),
        }
    }
}

fn filled<T>(
    values: &Array2<i64>,
    memory: &Allocator,
    convert: impl Fn(i64) -> T,
) -> ort::Result<DynValue>
where
    T: ort::value::IntoTensorElementType
        + ort::value::PrimitiveTensorElementType
        + Clone
        + std::fmt::Debug
        + 'static,
{
    let (rows, tokens) = values.dim();
    let mut tensor = OrtTensor::<T>::new(memory, [rows, tokens])?;
    let mut places = tensor.extract_array_mut();
    for (place, value) in places.iter_mut().zip(values) {
        *place = convert(*value);
    }
    Ok(tensor.into_dyn())
}

/// Reads the inputs of a graph; all of them must be known.
pub(super) fn read_inputs(graph: &Path, session: &OrtSession) -> Result<Vec<Input>, SessionError> {
    let mut inputs = Vec::new();
    for outlet in session.inputs() {
        let input = Input::of(outlet).ok_or_else(|| SessionError::UnknownInput {
            graph: graph.to_owned(),
            input: outlet.name().to_owned(),
            kind: outlet.dtype().to_string(),
        })?;
        inputs.push(input);
    }
    if inputs.iter().any(|input| input.content == Content::Ids) {
        return Ok(inputs);
    }
    let found = list(session.inputs().iter().map(Outlet::name));
    Err(SessionError::NoTokens {
        graph: graph.to_owned(),
        found,
    })
}

/// Whether a graph is told which tokens others attend to.
pub(super) fn takes_mask(inputs: &[Input]) -> bool {
    inputs
        .iter()
        .any(|input| input.content == Content::AttentionMask)
}

/// Whether a graph is given the places of tokens, and does not count them by itself.
pub(super) fn takes_places(inputs: &[Input]) -> bool {
    inputs
        .iter()
        .any(|input| input.content == Content::PositionIds)
}
