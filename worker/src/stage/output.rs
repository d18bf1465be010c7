//! Output: which kind of vectors a model makes, with the ids of tokens that this needs, and which options do not fit it.

use anyhow::Context as _;
use clap::ValueEnum;
use contract::model::{Identity, Output, OutputKind, Terms, TokenVectors, read_query_weights};
use contract::tokenizer::Tokenizer;

use super::StageConfig;
use crate::layout::{Layout, StatedKind, StatedTerms, StatedTokens};
use crate::session::Session;

/// Most terms of a text, where nobody says: few texts have more, and each takes eight bytes in a point.
const MOST_TERMS: usize = 1_024;
/// Values of all vectors of a point that Qdrant takes, and one more.
const MULTIVECTOR_VALUES: usize = 1 << 20;
/// How the token is called that queries are filled up with.
const MASKS: [&str; 2] = ["[MASK]", "<mask>"];

/// The source of the terms of queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum QueryTerms {
    /// The model, as those of documents
    Model,
    /// The table `idf.json`: no model runs for a query
    Table,
}

/// Refuses options that say nothing about models of this kind.
pub(super) fn check_options(config: &StageConfig, layout: &Layout) -> anyhow::Result<()> {
    let kind = layout.stated.kind();
    let (dense, sparse, multi) = (OutputKind::Dense, OutputKind::Sparse, OutputKind::Multi);
    let options = [
        ("--pooling", config.pooling.is_some(), &[dense][..]),
        ("--normalize", config.normalize.is_some(), &[dense]),
        ("--dimensions", config.dimensions.is_some(), &[dense, multi]),
        (
            "--term-threshold",
            config.term_threshold.is_some(),
            &[sparse],
        ),
        ("--max-terms", config.max_terms.is_some(), &[sparse]),
        ("--query-terms", config.query_terms.is_some(), &[sparse]),
        ("--query-tokens", config.query_tokens.is_some(), &[multi]),
    ];
    let wrong = options
        .into_iter()
        .filter(|(_, given, kinds)| *given && !kinds.contains(&kind));
    let wrong: Vec<_> = wrong.map(|(option, ..)| option).collect();
    anyhow::ensure!(
        wrong.is_empty(),
        "{} does not fit `{}`, whose model makes {kind} vectors; leave it out",
        wrong.join(", "),
        layout.directory.display()
    );
    Ok(())
}

/// Which kind of vectors the model makes, and how.
pub(super) fn output(
    config: &StageConfig,
    layout: &mut Layout,
    tokenizer: &Tokenizer,
) -> anyhow::Result<Output> {
    match &mut layout.stated {
        StatedKind::Dense => Ok(Output::Dense),
        StatedKind::Sparse(stated) => {
            let terms = terms(config, stated, tokenizer)?;
            if let Some(file) = &terms.query_weights {
                read_query_weights(&layout.directory.join(file), tokenizer)?;
            }
            Ok(Output::Sparse(terms))
        }
        StatedKind::Multi(stated) => {
            let vectors = token_vectors(config, stated, (tokenizer, layout.max_tokens));
            let vectors = vectors.with_context(|| {
                format!(
                    "`{}` is no model of late interaction",
                    layout.directory.display()
                )
            })?;
            Ok(Output::Multi(vectors))
        }
    }
}

fn terms(
    config: &StageConfig,
    stated: &StatedTerms,
    tokenizer: &Tokenizer,
) -> anyhow::Result<Terms> {
    let query_weights = match (config.query_terms, &stated.query_weights) {
        (Some(QueryTerms::Table), None) => {
            anyhow::bail!("--query-terms table needs `idf.json` in the model directory")
        }
        (Some(QueryTerms::Model), _) => None,
        (Some(QueryTerms::Table) | None, table) => table.clone(),
    };
    Ok(Terms {
        weight: stated.weight,
        threshold: config.term_threshold.unwrap_or(0.0),
        most: config.max_terms.unwrap_or(MOST_TERMS),
        excluded: tokenizer.special_ids(),
        query_weights,
    })
}

fn token_vectors(
    config: &StageConfig,
    stated: &StatedTokens,
    (tokenizer, max_tokens): (&Tokenizer, usize),
) -> anyhow::Result<TokenVectors> {
    let marker = |text: &Option<String>| {
        let id = |text: &String| {
            let id = tokenizer
                .id_of(text)
                .or_else(|| tokenizer.id_of(text.trim()));
            id.with_context(|| {
                format!("the tokenizer has no token `{text}`, which marks its texts")
            })
        };
        text.as_ref().map(id).transpose()
    };
    let expansion = || {
        let mask = MASKS.iter().find_map(|name| tokenizer.id_of(name));
        mask.context("the tokenizer has no token [MASK], with which queries are filled up")
    };
    let query_tokens = config.query_tokens.unwrap_or(stated.query_tokens);
    let (query_marker, document_marker) = (
        marker(&stated.query_marker)?,
        marker(&stated.document_marker)?,
    );
    let least = tokenizer.special_tokens() + usize::from(query_marker.is_some()) + 1;
    anyhow::ensure!(
        (least..=max_tokens).contains(&query_tokens),
        "a query of {query_tokens} tokens (--query-tokens) is not between {least} tokens and the {max_tokens} of a document"
    );
    let mut skipped: Vec<_> = stated
        .skipped
        .iter()
        .filter_map(|it| tokenizer.id_of(it))
        .collect();
    skipped.sort_unstable();
    skipped.dedup();
    Ok(TokenVectors {
        query_marker,
        document_marker,
        query_tokens,
        expansion: stated.expands.then(expansion).transpose()?,
        attend_to_expansion: stated.attends,
        skipped,
    })
}

/// Refuses a graph in which all tokens would attend to those that queries are filled up with, where the model does not want that.
pub(super) fn check_mask(identity: &Identity, session: &Session) -> anyhow::Result<()> {
    let late = identity.output.token_vectors();
    let hides = late.is_some_and(|it| it.expansion.is_some() && !it.attend_to_expansion);
    anyhow::ensure!(
        !hides || session.takes_mask(),
        "graph `{}` has no input `attention_mask`, and queries are filled up with tokens that no other attends to; export it \
         with that input",
        identity.onnx
    );
    Ok(())
}

/// Refuses a model whose longest text would give a point that Qdrant does not take.
pub(super) fn check_size(identity: &Identity) -> anyhow::Result<()> {
    let (tokens, dimensions) = (identity.max_tokens, identity.dimensions);
    let values = tokens.saturating_mul(dimensions);
    anyhow::ensure!(
        identity.output.kind() != OutputKind::Multi || values < MULTIVECTOR_VALUES,
        "a document of {tokens} tokens would have {values} values, and Qdrant takes fewer than {MULTIVECTOR_VALUES} in a point; \
         give --max-tokens {} or less",
        (MULTIVECTOR_VALUES - 1) / dimensions.max(1)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_model_whose_points_qdrant_would_not_take_is_refused_with_the_length_that_it_takes() {
        let identity = |kind: serde_json::Value, max_tokens: usize| -> Identity {
            let identity = json!({
                "task": "embed", "onnx": "model.onnx", "files": {}, "pooling": "graph", "normalize": true,
                "prefixes": { "query": "", "document": "" }, "max_tokens": max_tokens, "dimensions": 128,
                "dtype": "fp32", "output": kind,
            });
            serde_json::from_value(identity).unwrap()
        };
        let late = json!({
            "kind": "multi", "query_marker": null, "document_marker": null, "query_tokens": 32, "expansion": null,
            "attend_to_expansion": false, "skipped": [],
        });
        assert!(check_size(&identity(late.clone(), 8_191)).is_ok());
        let refused = check_size(&identity(late, 10_000)).unwrap_err().to_string();
        assert!(refused.contains("--max-tokens 8191"), "{refused}");
        assert!(check_size(&identity(json!({ "kind": "dense" }), 10_000)).is_ok());
    }
}
