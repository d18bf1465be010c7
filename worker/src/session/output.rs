//! The output of a graph: which one is read, and how its values become vectors.

use std::path::Path;

use contract::embedding::Embedding;
use contract::model::{OutputKind, Pooling};
use half::{bf16, f16};
use ndarray::{ArrayD, ArrayView2, ArrayView3, ArrayViewD, Ix2, Ix3};
use ort::session::{Session as OrtSession, SessionOutputs};
use ort::value::{Outlet, TensorElementType, ValueType};

use super::{SessionError, list, run_error};
use crate::batch::Tensor;
use crate::error::EmbedError;
use crate::pool::{Layers, Recipe, finish_rows, pool_tokens};

/// Outputs that are preferred where a graph has several, best first.
const PREFERRED: [&str; 5] = [
    "sentence_embedding",
    "last_hidden_state",
    "token_embeddings",
    "logits",
    "hidden_states",
];

/// The output that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Output {
    name: String,
    /// 3 for token vectors, 2 for row vectors.
    rank: usize,
    element: TensorElementType,
}

impl Output {
    /// Finds the output that suits the pooling: token vectors for the worker to pool or to keep, or rows that the graph has
    /// pooled.
    pub(super) fn read(
        graph: &Path,
        session: &OrtSession,
        (pooling, kind): (Pooling, OutputKind),
    ) -> Result<Self, SessionError> {
        let needed = match (kind, pooling) {
            (OutputKind::Multi, _) => 3,
            (OutputKind::Dense | OutputKind::Sparse, Pooling::Graph) => 2,
            (OutputKind::Dense | OutputKind::Sparse, _) => 3,
        };
        let usable: Vec<_> = session.outputs().iter().filter_map(usable_output).collect();
        let fitting: Vec<_> = usable
            .iter()
            .filter(|output| output.rank == needed)
            .collect();
        let named = |name: &&str| fitting.iter().find(|output| output.name == **name);
        match (
            PREFERRED.iter().find_map(named).or(fitting.first()),
            usable.first(),
        ) {
            (Some(output), _) => Ok((*output).clone()),
            (None, Some(other)) if kind == OutputKind::Multi => Err(SessionError::NoTokenVectors {
                graph: graph.to_owned(),
                output: other.name.clone(),
                rank: other.rank,
            }),
            (None, Some(other)) => Err(SessionError::Pooling {
                graph: graph.to_owned(),
                output: other.name.clone(),
                rank: other.rank,
                pooling,
                needed,
            }),
            (None, None) => Err(SessionError::NoOutput {
                graph: graph.to_owned(),
                found: list(session.outputs().iter().map(Outlet::name)),
            }),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Reads the vector of each row.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "`usable_output` has left one"
    )]
    pub(super) fn vectors(
        &self,
        outputs: &SessionOutputs<'_>,
        tensor: &Tensor,
        head: (Recipe, &Layers),
    ) -> Result<Vec<Embedding>, EmbedError> {
        let value = &outputs[self.name.as_str()];
        let failed = |source| run_error(tensor, source);
        let single: ArrayD<f32> = match self.element {
            TensorElementType::Float16 => {
                let half = value.try_extract_array::<f16>().map_err(failed)?;
                half.mapv(f16::to_f32)
            }
            TensorElementType::Bfloat16 => {
                let half = value.try_extract_array::<bf16>().map_err(failed)?;
                half.mapv(bf16::to_f32)
            }
            _ => {
                let single = value.try_extract_array::<f32>().map_err(failed)?;
                return pool_output(single, tensor, head);
            }
        };
        pool_output(single.view(), tensor, head)
    }
}

fn usable_output(outlet: &Outlet) -> Option<Output> {
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return None;
    };
    use TensorElementType::{Bfloat16, Float16, Float32};
    let float = matches!(ty, Float32 | Float16 | Bfloat16);
    let rank = shape.len();
    (float && (2..=3).contains(&rank)).then(|| Output {
        name: outlet.name().to_owned(),
        rank,
        element: *ty,
    })
}

fn pool_output(
    output: ArrayViewD<'_, f32>,
    tensor: &Tensor,
    head: (Recipe, &Layers),
) -> Result<Vec<Embedding>, EmbedError> {
    let found = format!("{:?}", output.shape());
    let (rows, tokens) = tensor.input_ids.dim();
    let expected = || EmbedError::Output {
        found,
        expected: format!("[{rows}, {tokens}, _] or [{rows}, _]"),
    };
    let right = output.shape().first() == Some(&rows);
    if let (true, Ok(hidden)) = (right, output.view().into_dimensionality::<Ix3>()) {
        let hidden: ArrayView3<'_, f32> = hidden;
        return Ok(pool_tokens(hidden, tensor, head));
    }
    match output.into_dimensionality::<Ix2>() {
        Ok(pooled) if right => {
            let pooled: ArrayView2<'_, f32> = pooled;
            Ok(finish_rows(pooled, head))
        }
        Ok(_) | Err(_) => Err(expected()),
    }
}
