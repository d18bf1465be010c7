//! Pooling in the graph gives what pooling in Rust gives.

use contract::model::{Activation, OutputKind, Pooling};
use tests::tiny_embed;
use worker::pool::Recipe;
use worker::session::{PoolOn, Sessions};

use super::*;

/// Vectors of the golden texts, pooled in one of the two places.
async fn vectors(
    directory: &Path,
    recipe: Recipe,
    pool_on: PoolOn,
) -> anyhow::Result<Vec<Vec<f32>>> {
    let graph = directory.join(GRAPH);
    let mut session = Sessions::of(&graph, &device().await?, recipe)?.load_pooling(pool_on)?;
    let tokenizer = Tokenizer::load(&directory.join(TOKENIZER))?;
    run(&mut session, &tensors(&tokenizer, &texts()?, 64)?)
}

/// Relative to the larger one of each vector.
fn largest_difference(one: &[Vec<f32>], other: &[Vec<f32>]) -> f32 {
    let difference = |(a, b): (&Vec<f32>, &Vec<f32>)| {
        assert_eq!(a.len(), b.len());
        let size = a.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs() / size);
        differences.fold(0.0, f32::max)
    };
    one.iter().zip(other).map(difference).fold(0.0, f32::max)
}

async fn agree(directory: &Path, recipe: Recipe) -> anyhow::Result<()> {
    let host = vectors(directory, recipe, PoolOn::Host).await?;
    let device = vectors(directory, recipe, PoolOn::Device).await?;
    let (least, _) = cosines(&host, &device);
    assert!(least >= 0.99999, "{recipe:?}: cosine {least}");
    let difference = largest_difference(&host, &device);
    assert!(difference < 1e-4, "{recipe:?}: {difference}");
    Ok(())
}

fn recipes() -> impl Iterator<Item = Recipe> {
    let poolings = [Pooling::Mean, Pooling::Cls, Pooling::LastToken].into_iter();
    let ways = [
        (usize::MAX, true),
        (usize::MAX, false),
        (16, true),
        (32, true),
    ];
    poolings.flat_map(move |pooling| {
        ways.map(|(dimensions, normalize)| Recipe {
            pooling,
            dimensions,
            normalize,
            activation: Activation::Raw,
            kind: OutputKind::Dense,
        })
    })
}

#[tokio::test]
async fn each_pooling_in_the_graph_equals_the_one_in_rust() -> anyhow::Result<()> {
    for recipe in recipes() {
        agree(&tiny_embed(), recipe).await?;
    }
    for recipe in recipes().filter(|recipe| recipe.normalize) {
        agree(&minilm().await?, recipe).await?;
    }
    Ok(())
}

#[tokio::test]
async fn graphs_that_were_quantized_or_have_weights_beside_them_pool_as_well() -> anyhow::Result<()>
{
    let directory = tempfile::tempdir()?;
    let (beside, models) = (
        directory.path().join("beside"),
        directory.path().join("models"),
    );
    with_weights_beside(&tiny_embed(), &beside)?;
    let mut graphs = vec![beside];
    for option in ["int8", "fp16"] {
        let options = ["--quantize", option, "--max-ndcg-loss", "1"];
        graphs.push(staged(&tiny_embed(), &models, &options).await?.0);
    }
    for graph in graphs {
        for recipe in recipes().filter(|recipe| recipe.dimensions == 16) {
            agree(&graph, recipe).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn only_pooled_vectors_leave_the_graph() -> anyhow::Result<()> {
    let recipe = recipes().next().expect("there are several");
    let graph = tiny_embed().join(GRAPH);
    let config = device().await?;
    let mut session = Sessions::of(&graph, &config, recipe)?.load_pooling(PoolOn::Device)?;
    let tokenizer = Tokenizer::load(&tiny_embed().join(TOKENIZER))?;
    for tensor in tensors(&tokenizer, &texts()?, 64)? {
        let rows = tensor.lengths.len();
        let outputs = session.forward(&tensor)?;
        let shapes: Vec<_> = outputs.iter().map(|(_, it)| it.shape().to_vec()).collect();
        assert_eq!(shapes, [vec![rows as i64, 32]]);
    }
    Ok(())
}
