//! Attached vectors of every kind: terms with learned weights, and a vector for each token.

use std::collections::BTreeMap;

use fixtures::programs::workspace;
use qdrant_client::qdrant::{RetrievedPoint, vector_output, vectors_output};
use serde_json::json;

use super::setup::{Setup, stage_from};
use crate::rebuild::{corpus, rebuild};

/// The vector of that name, whatever its kind.
fn named(point: &RetrievedPoint, name: &str) -> Option<vector_output::Vector> {
    let vectors = point.vectors.as_ref()?.vectors_options.as_ref()?;
    let vectors_output::VectorsOptions::Vectors(named) = vectors else {
        return None;
    };
    Some(named.vectors.get(name)?.clone().into_vector())
}

/// Each point has terms, and vectors of its tokens.
fn assert_complete(points: &BTreeMap<(String, i64), RetrievedPoint>) -> anyhow::Result<()> {
    for (key, point) in points {
        let terms = named(point, "tiny-splade");
        let Some(vector_output::Vector::Sparse(terms)) = terms else {
            anyhow::bail!("{key:?} has no terms: {terms:?}");
        };
        assert_eq!(terms.indices.len(), terms.values.len());
        let tokens = named(point, "tiny-colbert");
        let Some(vector_output::Vector::MultiDense(tokens)) = tokens else {
            anyhow::bail!("{key:?} has no vectors of tokens: {tokens:?}");
        };
        assert!(tokens.vectors.len() > 1, "{key:?}");
    }
    Ok(())
}

impl Setup {
    /// Attaches a model of this project under its own name; gives its directory.
    async fn attach_tiny(&self, name: &str) -> anyhow::Result<String> {
        let source = workspace().join("fixtures/models").join(name);
        let model = stage_from(&source, name, &[]).await?;
        self.indexer(&["provision", "--lanes", "--model", &model])
            .await?;
        self.indexer(&["attach", "--model", &model]).await?;
        Ok(model)
    }
}

impl Setup {
    /// Terms take the place of the primary vector; vectors of tokens order what was found.
    async fn assert_searched(&self, [terms, tokens]: &[String; 2]) -> anyhow::Result<()> {
        let search = [
            "search",
            "Document number 1 speaks of queue 1 and vector 31.",
            "--json",
            "--explain",
            "--limit",
            "3",
            "--collection",
            self.bed.stack.collection.as_str(),
        ];
        let found = async |more: &[&str]| {
            let printed = self.indexer(&[&search, more].concat()).await?;
            anyhow::Ok(serde_json::from_str::<serde_json::Value>(&printed)?)
        };
        let by_terms = ["--vector", "tiny-splade", "--model", terms, "--mode"];
        for mode in ["dense", "hybrid"] {
            let found = found(&[&by_terms[..], &[mode]].concat()).await?;
            assert_eq!(found["hits"].as_array().map(Vec::len), Some(3), "{found}");
            let terms = found["request"].to_string();
            assert!(terms.contains(" terms\""), "{terms}");
        }
        let primary = self.bed.stack.model.display().to_string();
        let by_tokens = ["--vector", "tiny-colbert", "--model", tokens, "--mode"];
        let words = found(&[&by_tokens[..], &["sparse"]].concat()).await?;
        let with_primary = ["hybrid", "--first-model", &primary];
        let both = found(&[&by_tokens[..], &with_primary].concat()).await?;
        for (found, parts) in [(&words, 0), (&both, 2)] {
            let first = &found["request"]["prefetch"][0];
            let fused = first["prefetch"].as_array().map_or(0, Vec::len);
            assert_eq!(fused, parts, "{found}");
            assert_eq!(found["request"]["using"], "tiny-colbert");
        }
        // One score for each token of the query, the best of those of the text.
        let scores = both["hits"].as_array().into_iter().flatten();
        let scores: Vec<_> = scores.filter_map(|hit| hit["score"].as_f64()).collect();
        assert!(
            scores.len() == 3 && scores.is_sorted_by(|a, b| a >= b),
            "{both}"
        );
        assert!(both["hits"][0]["parts"]["dense"]["rank"].is_u64(), "{both}");
        let unknown = [&search[..], &by_tokens, &["hybrid"]].concat();
        let refused = self.refused(&unknown).await?;
        assert!(refused.contains("--first-model"), "{refused}");
        Ok(())
    }
}

#[tokio::test]
async fn terms_and_token_vectors_are_attached_handed_on_and_kept_by_a_rebuild() -> anyhow::Result<()>
{
    let setup = Setup::start().await?;
    setup.write_documents(2).await?;
    setup.bed.drain().await?;
    let models = [
        setup.attach_tiny("tiny-splade").await?,
        setup.attach_tiny("tiny-colbert").await?,
    ];
    setup.write_documents_at(3, 2).await?;
    setup.bed.drain().await?;
    for model in &models {
        setup.drain_model(model).await?;
    }
    let before = setup.bed.points().await?;
    assert_eq!(before.len(), 6);
    assert_complete(&before)?;
    assert!(setup.bed.dead_letters().await?.is_empty());

    let workers = [
        setup.bed.stack.worker("primary", &[]).await?,
        setup
            .bed
            .stack
            .worker("terms", &["--model", &models[0]])
            .await?,
        setup
            .bed
            .stack
            .worker("tokens", &["--model", &models[1]])
            .await?,
    ];
    let source = corpus(3);
    rebuild(&setup.bed, &source, &["--run-id", "first"])
        .await?
        .done();
    let first = setup.bed.points().await?;
    setup.assert_searched(&models).await?;
    for worker in workers {
        assert!(worker.process.terminate().await?.success());
    }
    // Nobody serves any model: all of it has to be known.
    let report = rebuild(&setup.bed, &source, &["--run-id", "second"]).await?;
    let copied = &report.done()["published"];
    assert_eq!(*copied, json!(0));
    for (key, point) in setup.bed.points().await? {
        for name in ["tiny-splade", "tiny-colbert"] {
            let kept = named(&point, name);
            assert!(
                kept.is_some() && kept == named(&first[&key], name),
                "{key:?} {name}"
            );
        }
    }
    setup.bed.end().await
}
