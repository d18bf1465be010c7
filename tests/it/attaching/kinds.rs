//! Attached vectors of every kind: terms with learned weights, and a vector for each token.

use std::collections::BTreeMap;

use fixtures::programs::workspace;
use qdrant_client::qdrant::{RetrievedPoint, vector_output, vectors_output};
use serde_json::json;

use super::scene::{Scene, stage_from};
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

impl Scene {
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

#[tokio::test]
async fn terms_and_token_vectors_are_attached_handed_on_and_kept_by_a_rebuild() -> anyhow::Result<()>
{
    let scene = Scene::start().await?;
    scene.write_documents(2).await?;
    scene.bed.drain().await?;
    let models = [
        scene.attach_tiny("tiny-splade").await?,
        scene.attach_tiny("tiny-colbert").await?,
    ];
    scene.write_documents_at(3, 2).await?;
    scene.bed.drain().await?;
    for model in &models {
        scene.drain_model(model).await?;
    }
    let before = scene.bed.points().await?;
    assert_eq!(before.len(), 6);
    assert_complete(&before)?;
    assert!(scene.bed.dead_letters().await?.is_empty());

    let workers = [
        scene.bed.stack.worker("primary", &[]).await?,
        scene
            .bed
            .stack
            .worker("terms", &["--model", &models[0]])
            .await?,
        scene
            .bed
            .stack
            .worker("tokens", &["--model", &models[1]])
            .await?,
    ];
    let source = corpus(3);
    rebuild(&scene.bed, &source, &["--run-id", "first"])
        .await?
        .done();
    let first = scene.bed.points().await?;
    for worker in workers {
        assert!(worker.process.terminate().await?.success());
    }
    // Nobody serves any model: all of it has to be known.
    let report = rebuild(&scene.bed, &source, &["--run-id", "second"]).await?;
    let copied = &report.done()["published"];
    assert_eq!(*copied, json!(0));
    for (key, point) in scene.bed.points().await? {
        for name in ["tiny-splade", "tiny-colbert"] {
            let kept = named(&point, name);
            assert!(
                kept.is_some() && kept == named(&first[&key], name),
                "{key:?} {name}"
            );
        }
    }
    scene.bed.end().await
}
