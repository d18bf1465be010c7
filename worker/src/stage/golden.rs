//! Golden texts: their results are recorded with a model, so that any worker can check that it computes the same.

use std::collections::BTreeSet;

use anyhow::Context as _;
use contract::embedding::Embedding;
use contract::model::{Golden, Identity, OutputKind, TOKENIZER};
use contract::tokenizer::Tokenizer;
use contract::topology::Task;

use super::StageConfig;
use crate::batch::{Reading, RowKey};
use crate::load::run_text;
use crate::memory;
use crate::plan::{Row, fill};
use crate::pool::{Recipe, is_sound};
use crate::session::{Engine, Session};

/// Texts whose vectors are recorded with a model. They differ in length and script, so that another tokenizer,
/// pooling or prefix shows.
pub(super) const GOLDEN_TEXTS: [&str; 5] = [
    "tide",
    "The backlog ebbs, and the machines go home.",
    "A job that is not acknowledged within its deadline is delivered again, perhaps to another worker.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. 潮が引く。 Отлив.",
    "fn main() { println!(\"{}\", 6 * 7); } // 42, 3.14, 1e-9, user@example.org, https://example.org/a?b=c",
];

/// The query for which a rescorer scores the golden texts, and that is recorded with a model that reads queries in another way.
pub(super) const GOLDEN_QUERY: &str = "When do the machines go home?";

pub(super) fn record(
    session: &mut Session,
    tokenizer: &Tokenizer,
    identity: &Identity,
) -> anyhow::Result<Vec<Golden>> {
    let query = (identity.task == Task::Rescore).then_some(GOLDEN_QUERY);
    let texts = GOLDEN_TEXTS.iter().map(|text| (query, *text));
    // A model of late interaction reads queries in another way.
    let asks = identity.output.kind() == OutputKind::Multi;
    let asked = asks.then_some((Some(GOLDEN_QUERY), ""));
    let run = |(query, text): (Option<&str>, &str)| {
        let vector = run_text(session, tokenizer, identity, query, text).with_context(|| {
            format!(
                "the golden text {text:?} cannot be embedded; do `{}` and `{TOKENIZER}` belong together?",
                identity.onnx
            )
        })?;
        Ok(Golden {
            query: query.map(str::to_owned),
            text: text.to_owned(),
            vector,
        })
    };
    texts.chain(asked).map(run).collect()
}

/// Checks that several scores have distinct labels, under whose names they are written.
pub(super) fn check_labels(identity: &Identity) -> anyhow::Result<()> {
    let (labels, scores) = (identity.labels.len(), identity.dimensions);
    let distinct: BTreeSet<_> = identity.labels.iter().collect();
    let one = scores == 1 && labels == 0;
    anyhow::ensure!(
        identity.task == Task::Embed || one || (labels == scores && distinct.len() == labels),
        "the graph gives {scores} scores, and `id2label` of config.json names {} different labels",
        distinct.len()
    );
    Ok(())
}

/// Checks that the graph takes a text of the stated length. Otherwise the first long text would fail in production. Returns the
/// memory that the process has taken since it had `before` bytes.
///
/// The row is of ordinary tokens: a model that counts places from its padding gives all padding the same one.
pub(super) fn run_longest(
    session: &mut Session,
    tokenizer: &Tokenizer,
    identity: &Identity,
    before: u64,
) -> anyhow::Result<u64> {
    let max_tokens = identity.max_tokens;
    let mut words = Vec::new();
    for text in GOLDEN_TEXTS {
        let ids = tokenizer.encode(text)?;
        words.extend(ids.into_iter().filter(|id| !tokenizer.is_special(*id)));
    }
    anyhow::ensure!(
        !words.is_empty(),
        "`{TOKENIZER}` has only special tokens for the golden texts; is it the tokenizer of this model?"
    );
    let row = Row {
        key: RowKey { job: 0, row: 0 },
        token_ids: words.into_iter().cycle().take(max_tokens).collect(),
        type_ids: Vec::new(),
        reading: Reading::default(),
    };
    let is_reset = memory::forget_peak();
    let run = session.run(&fill(&[row], tokenizer.padding_id()));
    run.with_context(|| {
        format!(
            "the graph `{}` does not take {max_tokens} tokens; give the right --max-tokens",
            identity.onnx
        )
    })?;
    // The peak of all that was done before would keep workers from containers that are large enough.
    let most = if is_reset {
        memory::peak()
    } else {
        memory::resident()
    };
    Ok(rounded(most.saturating_sub(before)))
}

/// Rounded up, so that measuring again mostly gives the same: the manifest is a part of images, which are known by digest.
fn rounded(bytes: u64) -> u64 {
    const SMALLEST: u64 = 1 << 20;
    let step = (bytes.next_power_of_two() / 16).max(SMALLEST);
    bytes.div_ceil(step) * step
}

/// Checks the recorded vectors, and returns their dimensions.
pub(super) fn check_golden(
    config: &StageConfig,
    golden: &[Golden],
    (recipe, terms): (Recipe, Option<usize>),
) -> anyhow::Result<usize> {
    let dimensions = match golden.first().map(|golden| &golden.vector) {
        Some(Embedding::Dense(values)) => values.len(),
        Some(Embedding::Multi { dim, .. }) => *dim,
        Some(Embedding::Sparse { .. }) | None => terms.unwrap_or_default(),
    };
    if let Some(wanted) = config.dimensions {
        anyhow::ensure!(
            wanted == dimensions,
            "--dimensions {wanted} is more than the {dimensions} that the model yields"
        );
    }
    let has_values = |golden: &Golden| !golden.vector.values().is_empty();
    anyhow::ensure!(
        recipe.kind != OutputKind::Sparse || golden.iter().any(has_values),
        "no golden text has a term above the threshold {}; is it a model that was trained for terms?",
        config.term_threshold.unwrap_or_default()
    );
    let recipe = Recipe {
        dimensions,
        ..recipe
    };
    for (index, golden) in golden.iter().enumerate() {
        anyhow::ensure!(
            is_sound(&golden.vector, recipe),
            "golden text {index} has a vector or score that is not finite or has no direction; is the graph `{}` whole?",
            config.onnx.as_deref().unwrap_or("onnx/model.onnx")
        );
    }
    Ok(dimensions)
}
