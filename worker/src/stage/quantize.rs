//! Quantize: makes a smaller graph of one in 32-bit floats.

use std::path::Path;

use anyhow::Context as _;
use clap::ValueEnum;
use contract::model::{Dtype, TOKENIZER};

use super::bring::create_parent;
use crate::graph::{Model, fp16, int8};
use crate::layout::Layout;
use crate::staging_dir::write_durably;

/// How a graph is made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Quantization {
    /// Weights in bytes, activations in bytes when it runs: for CPUs
    Int8,
    /// Weights and matrix products in 16-bit floats: for GPUs
    Fp16,
}

impl Quantization {
    /// Element type of the weights that come out.
    fn dtype(self) -> Dtype {
        match self {
            Self::Int8 => Dtype::Int8,
            Self::Fp16 => Dtype::Fp16,
        }
    }
}

/// Writes the smaller graph to its place in the staged model, and says so in the layout. It holds all its weights.
pub(super) fn quantize(
    quantization: Quantization,
    layout: &mut Layout,
    staged: &Path,
) -> anyhow::Result<()> {
    let from = layout.directory.join(&layout.onnx);
    anyhow::ensure!(
        layout.dtype == Dtype::Fp32,
        "`{}` has weights of {:?}; only a graph in 32-bit floats can be quantized",
        from.display(),
        layout.dtype
    );
    let mut model = Model::read_whole(&from)?;
    model.edit("quantize", &from, |model| match quantization {
        Quantization::Int8 => int8::quantize(model),
        Quantization::Fp16 => fp16::halve(model),
    })?;
    let graph = model.encode(&from)?;
    let to = staged.join(&layout.onnx);
    create_parent(&to).with_context(|| format!("failed to create `{}`", to.display()))?;
    write_durably(&to, &graph)?;
    layout.dtype = quantization.dtype();
    layout.files = vec![TOKENIZER.to_owned(), layout.onnx.clone()];
    Ok(())
}
