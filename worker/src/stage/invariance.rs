//! Invariance: how far the result of a text alone may be from that beside others.

use contract::model::{Identity, Invariance};
use contract::tokenizer::Tokenizer;
use contract::topology::Task;

use super::golden::{GOLDEN_QUERY, GOLDEN_TEXTS};
use crate::batch::RowKey;
use crate::load::row;
use crate::plan::{Row, fill};
use crate::session::{Engine as _, Session};

/// Texts beside which the golden ones are run: as many as share a tensor, of many lengths.
const NEIGHBOURS: usize = 24;
/// A cosine is rounded to 24 bits; no bound is tighter than its own error.
const LEAST: f32 = 1e-6;

/// Runs the golden texts alone and beside many others, and compares.
pub(super) fn invariance(
    session: &mut Session,
    tokenizer: &Tokenizer,
    identity: &Identity,
) -> anyhow::Result<Invariance> {
    let query = (identity.task == Task::Rescore).then_some(GOLDEN_QUERY);
    let neighbours = (0..NEIGHBOURS).map(neighbour);
    let texts = GOLDEN_TEXTS.iter().map(|text| (*text).to_owned());
    let rows = texts.chain(neighbours).enumerate().map(|(at, text)| {
        let key = RowKey { job: 0, row: at };
        row(tokenizer, identity, query, &text).map(|row| Row { key, ..row })
    });
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let padding = tokenizer.padding_id();
    let together = session.run(&fill(&rows, padding))?;
    let (mut least, mut largest) = (1.0_f32, 0.0_f32);
    for (row, beside) in rows.iter().zip(&together) {
        let alone = session.run(&fill(std::slice::from_ref(row), padding))?;
        let Some(alone) = alone.into_iter().next() else {
            continue;
        };
        let cosine = alone.cosine(beside);
        // A minimum would leave it out. Vectors without values are refused elsewhere.
        anyhow::ensure!(
            !cosine.is_nan() || alone.values().is_empty(),
            "graph `{}` gives values that are no numbers; is it whole?",
            identity.onnx
        );
        least = least.min(cosine);
        let differ = |(a, b): (&f32, &f32)| (a - b).abs() / a.abs().max(1.0);
        let differences = alone.values().iter().zip(beside.values()).map(differ);
        largest = differences.fold(largest, f32::max);
    }
    Ok(match identity.task {
        Task::Embed => Invariance::Cosine(least.min(1.0 - LEAST)),
        Task::Rescore => Invariance::Difference(largest.max(LEAST)),
    })
}

/// A text made of parts of the golden ones, each time of others and more of them.
fn neighbour(number: usize) -> String {
    let words: Vec<&str> = GOLDEN_TEXTS
        .iter()
        .flat_map(|text| text.split_whitespace())
        .collect();
    let length = 1 + number * 3;
    let word = |at: usize| words[(number * 7 + at * (number + 1)) % words.len()];
    (0..length).map(word).collect::<Vec<_>>().join(" ")
}
