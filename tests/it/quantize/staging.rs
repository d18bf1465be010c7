//! Staging of smaller graphs.

use std::collections::BTreeSet;

use contract::model::{Dtype, Golden};
use fixtures::golden::{corpus, queries};
use tests::tiny_embed;

use super::*;

/// For each of the first vectors, which of the others is nearest.
fn nearest(queries: &[Vec<f32>], documents: &[Vec<f32>]) -> Vec<usize> {
    let best = |query: &Vec<f32>| {
        let score = |at: &usize| tests::cosine(query, &documents[*at]);
        (0..documents.len()).max_by(|a, b| score(a).total_cmp(&score(b)))
    };
    queries.iter().filter_map(best).collect()
}

/// The golden questions, and the documents that answer them.
fn search() -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let queries = queries()?;
    let paths: BTreeSet<_> = queries
        .iter()
        .map(|it| corpus().join(&it.expected))
        .collect();
    let paths = paths.into_iter().filter(|path| path.is_file());
    let documents = paths
        .map(std::fs::read_to_string)
        .collect::<Result<_, _>>()?;
    Ok((queries.into_iter().map(|it| it.text).collect(), documents))
}

/// What a quantized MiniLM must be, against the one in 32 bits.
struct Bar {
    option: &'static str,
    dtype: Dtype,
    /// Most bytes, in hundredths of those of the original.
    percent: u64,
    /// Least cosine of a document.
    cosine: f64,
    /// Most questions that may have another best document.
    other_hits: usize,
}

async fn holds(bar: Bar) -> anyhow::Result<()> {
    let (source, models) = (minilm().await?, tempfile::tempdir()?);
    let (single, _) = staged(&source, models.path(), &[]).await?;
    let options = ["--quantize", bar.option];
    let (smaller, log) = staged(&source, models.path(), &options).await?;
    let said = log.contains("cosines of the golden texts") && log.contains("nDCG@10");
    assert!(said, "{log}");
    let (before, after) = (Manifest::load(&single)?, Manifest::load(&smaller)?);
    assert_eq!(after.identity.dtype, bar.dtype);
    assert_eq!(after.name, before.name);
    assert_ne!(after.fingerprint, before.fingerprint);
    let bytes = |manifest: &Manifest| manifest.identity.files[GRAPH].bytes;
    let percent = bytes(&after) * 100 / bytes(&before);
    assert!(
        percent <= bar.percent,
        "{percent} % of {} bytes",
        bytes(&before)
    );
    let (queries, documents) = search()?;
    let (mut hits, mut vectors) = (Vec::new(), Vec::new());
    for model in [&single, &smaller] {
        let queries = embed(model, &queries).await?;
        let documents = embed(model, &documents).await?;
        hits.push(nearest(&queries, &documents));
        vectors.push(documents);
    }
    let (least, mean) = cosines(&vectors[0], &vectors[1]);
    assert!(least >= bar.cosine, "least cosine {least}, mean {mean}");
    let differ = hits[0].iter().zip(&hits[1]).filter(|(a, b)| a != b).count();
    assert!(differ <= bar.other_hits, "{differ} of {}", queries.len());
    Ok(())
}

#[tokio::test]
async fn bytes_take_a_quarter_and_find_the_same_documents() -> anyhow::Result<()> {
    holds(Bar {
        option: "int8",
        dtype: Dtype::Int8,
        percent: 27,
        cosine: 0.98,
        other_hits: 2,
    })
    .await
}

#[tokio::test]
async fn floats_of_16_bits_take_half_and_find_the_same_documents() -> anyhow::Result<()> {
    holds(Bar {
        option: "fp16",
        dtype: Dtype::Fp16,
        percent: 52,
        cosine: 0.9999,
        other_hits: 0,
    })
    .await
}

#[tokio::test]
async fn weights_beside_the_graph_give_the_same_quantized_model() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (beside, models) = (
        directory.path().join("beside"),
        directory.path().join("models"),
    );
    with_weights_beside(&tiny_embed(), &beside)?;
    let options = ["--quantize", "fp16"];
    let (one, _) = staged(&tiny_embed(), &models, &options).await?;
    let (other, _) = staged(&beside, &models, &options).await?;
    assert_eq!(one, other);
    assert_eq!(std::fs::read_dir(other.join("onnx"))?.count(), 1);
    Ok(())
}

#[tokio::test]
async fn only_a_graph_in_32_bits_is_quantized() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (source, models) = (
        directory.path().join("source"),
        directory.path().join("models"),
    );
    let most = ["--quantize", "int8", "--max-ndcg-loss", "1"];
    let (smaller, _) = staged(&tiny_embed(), &models, &most).await?;
    with_graph(&tiny_embed(), &source, &std::fs::read(smaller.join(GRAPH))?)?;
    for option in ["int8", "fp16"] {
        let (output, log) = stage(&source, &models, &["--quantize", option]).await?;
        assert_eq!(output.status.code(), Some(1), "{log}");
        let named = log.contains("Int8") && log.contains("only a graph in 32-bit floats");
        assert!(named, "{log}");
    }
    assert_eq!(Graph::read(&source.join(GRAPH))?.dtype, Dtype::Int8);
    Ok(())
}

/// A graph that bytes cannot hold: a dimension that is always zero has weights so large that all others of their
/// columns round to nothing. In floats they change nothing.
fn with_outliers(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut model = Model::read(path)?;
    for tensor in &mut model.graph_mut().initializer {
        let name = tensor.name().to_owned();
        let columns = usize::try_from(tensor.dims.last().copied().unwrap_or(0))?;
        let is = |parts: &[&str]| parts.iter().any(|part| name.ends_with(part));
        let (values, value) = if is(&["LayerNorm.weight", "LayerNorm.bias"]) {
            (1, 0.0_f32)
        } else if is(&[
            "query.weight",
            "key.weight",
            "value.weight",
            "intermediate.dense.weight",
        ]) {
            (columns, 1e6)
        } else {
            continue;
        };
        let mut bytes = tensor.raw_data().to_vec();
        for old in bytes.chunks_exact_mut(4).take(values) {
            old.copy_from_slice(&value.to_le_bytes());
        }
        tensor.raw_data = Some(bytes.into());
    }
    Ok(model.encode(path)?)
}

#[tokio::test]
async fn a_loss_beyond_the_limit_stages_nothing() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (source, models) = (
        directory.path().join("source"),
        directory.path().join("models"),
    );
    let minilm = minilm().await?;
    with_graph(&minilm, &source, &with_outliers(&minilm.join(GRAPH))?)?;
    let (output, log) = stage(&source, &models, &["--quantize", "int8"]).await?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(
        log.contains("more than --max-ndcg-loss 0.01; nothing was staged"),
        "{log}"
    );
    assert_eq!(std::fs::read_dir(&models)?.count(), 0);
    let permitted = ["--quantize", "int8", "--max-ndcg-loss", "1"];
    staged(&source, &models, &permitted).await?;
    Ok(())
}

#[tokio::test]
async fn a_golden_set_in_the_shape_of_beir_is_what_is_measured_with() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (set, models) = (
        directory.path().join("set"),
        directory.path().join("models"),
    );
    std::fs::create_dir_all(set.join("qrels"))?;
    let corpus = "{\"_id\": \"a\", \"text\": \"the tide goes out\"}\n\
                  {\"_id\": \"b\", \"title\": \"Roses\", \"text\": \"bloom in the garden\"}";
    std::fs::write(set.join("corpus.jsonl"), corpus)?;
    let queries = "{\"_id\": \"q\", \"text\": \"roses in the garden\"}";
    std::fs::write(set.join("queries.jsonl"), queries)?;
    std::fs::write(set.join("qrels/test.tsv"), "q\tb\t1\n")?;
    let path = set.display().to_string();
    let options = ["--quantize", "fp16", "--golden-set", &path];
    let (_, log) = staged(&tiny_embed(), &models, &options).await?;
    assert!(log.contains("queries=1"), "{log}");
    std::fs::write(set.join("qrels/test.tsv"), "q\tother\t1\n")?;
    let (output, log) = stage(&minilm().await?, &models, &options).await?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("do both belong together?"), "{log}");
    Ok(())
}

#[tokio::test]
async fn options_of_quantization_are_checked_before_anything_is_read() -> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let cases: [(&[&str], &str); 3] = [
        (
            &["--quantize", "int8", "--golden-set", "/no/such"],
            "--golden-set",
        ),
        (
            &["--quantize", "int8", "--max-ndcg-loss", "2"],
            "--max-ndcg-loss",
        ),
        (&["--golden-set", "/tmp"], "--quantize"),
    ];
    for (options, named) in cases {
        let (output, log) = stage(&tiny_embed(), models.path(), options).await?;
        assert_eq!(output.status.code(), Some(64), "{log}");
        assert!(log.contains(named), "{log}");
    }
    Ok(())
}

#[tokio::test]
async fn a_rescorer_keeps_its_scores() -> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let source = fixtures::programs::workspace().join("fixtures/models/tiny-rerank");
    let (single, _) = staged(&source, models.path(), &[]).await?;
    for (option, most) in [("int8", 0.1), ("fp16", 0.01)] {
        let (smaller, log) = staged(&source, models.path(), &["--quantize", option]).await?;
        assert!(log.contains("largest_difference"), "{log}");
        let golden = |model: &Path| Manifest::load(model).map(|it| it.golden);
        let scores = |golden: Vec<Golden>| {
            golden
                .into_iter()
                .flat_map(|it| it.vector.values().to_vec())
        };
        let (one, other) = (scores(golden(&single)?), scores(golden(&smaller)?));
        let largest = one
            .zip(other)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(largest <= most, "{option}: {largest}");
    }
    let set = ["--quantize", "int8", "--golden-set", "/tmp"];
    let (output, log) = stage(&source, models.path(), &set).await?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("this model is a rescorer"), "{log}");
    Ok(())
}
