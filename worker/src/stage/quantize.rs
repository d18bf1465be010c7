//! Quantize: makes a smaller graph of one in 32-bit floats, and measures what that costs.
//!
//! Cosines say how far vectors moved; nDCG@10 says whether users will see it: each question of a golden set ranks all
//! its documents, one vector each, by exact search. The built-in set has 37 questions, so that one document that falls
//! from the first to the second place costs 0.01 by itself; a set of one's own says more. The scores of a rescorer are
//! compared as they are.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use clap::ValueEnum;
use contract::model::{Dtype, Golden, Layer, Manifest, QueryWeights, TOKENIZER};
use contract::topology::Task;
use relevance::measure::CUTOFF;

use super::StageConfig;
use super::fetch::create_parent;
use super::golden::record;
use crate::graph::{Model, fp16, int8};
use crate::layout::Layout;
use crate::load::recipe;
use crate::pool::Layers;
use crate::quality::Subject;
use crate::quality::golden_set::GoldenSet;
use crate::session::Sessions;
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

/// Writes the smaller graph, with all its weights inside, to its place in the staged model, and updates the layout.
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
    // Its weights are within. Those of further layers stay as they are.
    let layers = layout.head.layers.iter().filter_map(Layer::weights);
    let own = [TOKENIZER, layout.onnx.as_str()].into_iter().chain(layers);
    layout.files = own.map(str::to_owned).collect();
    Ok(())
}

/// The results of a model for the golden texts, and for the golden set if it embeds.
struct Outcome {
    golden: Vec<Golden>,
    ndcg: Option<f64>,
}

/// Compares the staged graph with its origin, logs the differences, and fails if the loss is too large.
pub(super) fn check_quality(
    config: &StageConfig,
    origin: &Path,
    staged: &Path,
    manifest: &Manifest,
) -> anyhow::Result<()> {
    let tokenizer = manifest.tokenizer(staged)?;
    let query_weights = QueryWeights::load(manifest, staged, &tokenizer)?;
    let set = GoldenSet::of_task(manifest.identity.task, config.golden_set.as_deref())?;
    let outcome = |directory: &Path| -> anyhow::Result<Outcome> {
        let identity = &manifest.identity;
        let graph = directory.join(&identity.onnx);
        let layers = Arc::new(Layers::load(staged, &identity.head, &identity.output)?);
        let sessions = Sessions::of(&graph, &config.session.single(), recipe(identity))?;
        let mut session = sessions.with_layers(layers).load()?;
        let golden = record(&mut session, &tokenizer, identity)?;
        let mut subject = Subject {
            session: &mut session,
            provider: config.session.provider,
            tokenizer: &tokenizer,
            identity,
            query_weights: query_weights.as_ref(),
        };
        let ndcg = set.as_ref().map(|set| subject.ndcg(set)).transpose()?;
        Ok(Outcome { golden, ndcg })
    };
    let (before, after) = (outcome(origin)?, outcome(staged)?);
    log_golden(manifest.identity.task, &before.golden, &after.golden);
    match before.ndcg.zip(after.ndcg) {
        Some(ndcg) => check_ndcg(config, ndcg, set.map_or(0, |set| set.topics.len())),
        None => Ok(()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "there are five golden texts")]
fn log_golden(task: Task, before: &[Golden], after: &[Golden]) {
    let pairs = before.iter().zip(after);
    if task == Task::Rescore {
        let scores = pairs.flat_map(|(a, b)| a.vector.values().iter().zip(b.vector.values()));
        let largest = scores.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        tracing::info!(largest_difference = largest, "scores of the golden pairs");
        return;
    }
    let cosines: Vec<_> = pairs.map(|(a, b)| a.vector.cosine(&b.vector)).collect();
    let least = cosines.iter().copied().fold(1.0, f32::min);
    let mean = cosines.iter().sum::<f32>() / cosines.len() as f32;
    tracing::info!(least, mean, "cosines of the golden texts to their origin");
}

fn check_ndcg(
    config: &StageConfig,
    (before, after): (f64, f64),
    queries: usize,
) -> anyhow::Result<()> {
    let (loss, most) = (before - after, config.max_ndcg_loss);
    tracing::info!(
        before,
        after,
        loss,
        queries,
        "nDCG@{CUTOFF} on the golden set"
    );
    anyhow::ensure!(
        loss <= most,
        "the quantized graph loses {loss:.4} of nDCG@{CUTOFF}, from {before:.4} to {after:.4} on {queries} queries, \
         more than --max-ndcg-loss {most}; nothing was staged"
    );
    Ok(())
}
