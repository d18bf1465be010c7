//! Describe: makes the manifest of a model. For that the model is run: its output decides the dimensions, golden vectors are
//! recorded, and what it takes is measured.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use contract::model::{
    Golden, Identity, Layer, Manifest, Measured, Output, SpecialTokens, StagedFile, TOKENIZER,
};
use contract::tokenizer::Tokenizer;
use contract::topology::Task;

use super::StageConfig;
use super::advise::{check_letters, check_places, check_prompt, warn_of_unknown_tokens};
use super::golden::{check_golden, check_labels, record, run_longest};
use super::invariance::invariance;
use super::output::{check_mask, check_size, output};
use crate::config::SessionConfig;
use crate::layout::Layout;
use crate::load::recipe;
use crate::memory;
use crate::pool::{Layers, Recipe};
use crate::session::Sessions;

/// Makes the manifest of the model whose files are in `directory`.
pub(super) fn describe(
    config: &StageConfig,
    layout: &mut Layout,
    files: BTreeMap<String, StagedFile>,
    directory: &Path,
) -> anyhow::Result<Manifest> {
    let mut identity = identity(config, layout, files);
    let path = directory.join(TOKENIZER);
    let tokenizer = Tokenizer::load_with(&path, identity.special_tokens)?;
    check_letters(layout, &tokenizer)?;
    check_prompt(&identity)?;
    warn_of_unknown_tokens(layout, &tokenizer);
    identity.output = output(config, layout, &tokenizer)?;
    let recipe = Recipe {
        dimensions: config.dimensions.unwrap_or(usize::MAX),
        ..recipe(&identity)
    };
    let RunResults {
        golden,
        measured,
        terms,
    } = run(config, layout, &identity, (directory, &tokenizer, recipe))?;
    if let Some(file) = identity.head.layers.iter().find_map(Layer::weights) {
        let fits = golden
            .iter()
            .all(|golden| !golden.vector.values().is_empty());
        anyhow::ensure!(
            fits,
            "`{file}` takes vectors of another width than those that graph `{}` gives after pooling; are both of one model?",
            layout.onnx
        );
    }
    identity.dimensions = check_golden(config, &golden, (recipe, terms))?;
    check_labels(&identity)?;
    check_size(&identity)?;
    let mut manifest = Manifest::new(config.name.clone(), identity, golden);
    manifest.measured = Some(measured);
    Ok(manifest)
}

/// The identity of the model: everything that changes a vector, but for the dimensions.
fn identity(
    config: &StageConfig,
    layout: &Layout,
    files: BTreeMap<String, StagedFile>,
) -> Identity {
    let mut prefixes = layout.prefixes.clone();
    prefixes.query = config.query_prompt.clone().unwrap_or(prefixes.query);
    prefixes.document = config.document_prompt.clone().unwrap_or(prefixes.document);
    let special_tokens = config.special_tokens.unwrap_or(match layout.task {
        Task::Embed => SpecialTokens::Token,
        // A text that holds a separator would pretend to be a pair of its own.
        Task::Rescore => SpecialTokens::Text,
    });
    Identity {
        task: layout.task,
        onnx: layout.onnx.clone(),
        files,
        pooling: layout.pooling,
        normalize: config.normalize.unwrap_or(layout.normalize),
        prefixes,
        max_tokens: layout.max_tokens,
        dimensions: 0,
        dtype: layout.dtype,
        activation: config.activation.unwrap_or(layout.activation),
        labels: layout.labels.clone(),
        head: layout.head.clone(),
        special_tokens,
        output: Output::Dense,
    }
}

/// Results of running the model.
struct RunResults {
    golden: Vec<Golden>,
    measured: Measured,
    /// How many terms there are, where it makes terms.
    terms: Option<usize>,
}

/// Runs the model: on the golden texts, on a row of full length, and on texts beside each other.
fn run(
    config: &StageConfig,
    layout: &Layout,
    identity: &Identity,
    (directory, tokenizer, recipe): (&Path, &Tokenizer, Recipe),
) -> anyhow::Result<RunResults> {
    let layers = Arc::new(Layers::load(directory, &identity.head, &identity.output)?);
    let before = memory::resident();
    let graph = directory.join(&layout.onnx);
    // What every other precision is compared with.
    let device = SessionConfig {
        precision: None,
        ..config.session.single()
    };
    let sessions = Sessions::of(&graph, &device, recipe)?;
    let mut session = sessions.with_layers(layers).load()?;
    check_places(layout, &session)?;
    check_mask(identity, &session)?;
    let golden = record(&mut session, tokenizer, identity)?;
    let memory_bytes = run_longest(&mut session, tokenizer, identity, before)?;
    let invariance = invariance(&mut session, tokenizer, identity)?;
    tracing::info!(
        target: "worker",
        tokens = layout.max_tokens,
        stated_by = layout.limit_stated_by,
        mebibytes = memory_bytes >> 20,
        neighbours = %invariance,
        "measured: memory of one row of full length, and how much neighbours change a result"
    );
    let measured = Measured {
        provider: config.session.provider.as_str().to_owned(),
        memory_bytes,
        invariance,
        vocabulary: layout.vocabulary,
    };
    Ok(RunResults {
        golden,
        measured,
        terms: session.terms(),
    })
}
