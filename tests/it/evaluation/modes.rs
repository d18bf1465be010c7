//! Modes: the figures of each are those of a search that is computed here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fixtures::golden::corpus;
use fixtures::programs::workspace;
use serde_json::{Value, json};
use tests::{Bed, tiny_embed};

use super::reference::{self, Expected};
use super::{report, run, text};

/// Words as they are, so that what is computed here needs no stemmer.
const PLAIN: &str = r#"{"language": "none"}"#;
/// The same, with the mean of a corpus of short chunks.
const SHORT: &str = r#"{"language": "none", "avg_len": 16}"#;

async fn bed_with(options: &str) -> anyhow::Result<Bed> {
    let bed = Bed::unprovisioned(&tiny_embed(), "tiny").await?;
    let arguments = ["provision", "--bm25-options", options];
    bed.stack.indexer(&arguments).await?;
    Ok(bed)
}

/// nDCG@10 by mode, as the program measures it.
async fn measured(bed: &Bed, queries: &str, qrels: &str) -> anyhow::Result<BTreeMap<String, f64>> {
    let arguments = ["--queries", queries, "--qrels", qrels, "-k", "10"];
    let report = report(bed, &arguments).await?;
    let all = report["modes"].as_array().cloned().unwrap_or_default();
    let mode = |evaluation: &Value| {
        let mode = evaluation["subject"]["search"]["mode"].as_str();
        let ndcg = evaluation["means"][0]["ndcg"].as_f64();
        (
            mode.unwrap_or_default().to_owned(),
            ndcg.unwrap_or_default(),
        )
    };
    Ok(all
        .iter()
        .chain([&report["evaluation"]])
        .map(mode)
        .collect())
}

/// The figures, for whoever looks at the output of the test.
fn tell(corpus: &str, found: &BTreeMap<String, f64>, expected: &Expected) {
    let words = expected.mean_length;
    eprintln!("{corpus}: {found:?}, expected {expected:?}, {words:.1} words of a chunk");
}

fn compare(found: &BTreeMap<String, f64>, expected: &Expected) {
    for (mode, expected, tolerance) in [
        ("dense", expected.dense, 0.002),
        ("sparse", expected.sparse, 0.01),
        ("hybrid", expected.hybrid, 0.01),
    ] {
        assert!(
            (0.02..0.995).contains(&expected),
            "{mode}: {expected} tells nothing"
        );
        let found = found[mode];
        assert!(
            (found - expected).abs() < tolerance,
            "{mode}: {found}, expected {expected}"
        );
    }
}

#[tokio::test]
async fn each_mode_finds_what_the_same_search_finds_over_the_golden_set() -> anyhow::Result<()> {
    let bed = bed_with(PLAIN).await?;
    bed.stack.indexer(&["publish", &text(&corpus())]).await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    bed.drained().await?;
    let golden = workspace().join("fixtures/golden");
    let (queries, grades) = reference::files(&golden)?;
    let (asked, qrels) = (
        text(&golden.join("queries.jsonl")),
        text(&golden.join("qrels.tsv")),
    );
    let expected = reference::expected(&bed, &queries, &grades).await?;
    let found = measured(&bed, &asked, &qrels).await?;
    tell("golden", &found, &expected);
    compare(&found, &expected);
    worker.process.terminate().await?;
    bed.end().await
}

/// A corpus with words of all frequencies, and queries of a few words of one of its documents.
struct Synthetic {
    folder: PathBuf,
    records: PathBuf,
}

impl Synthetic {
    const DOCUMENTS: usize = 600;
    const QUERIES: usize = 100;

    fn write(bed: &Bed) -> anyhow::Result<Self> {
        let mut random = fastrand::Rng::with_seed(15);
        // Few words are frequent, and most are rare.
        let mut word = || {
            let most = random.usize(1..=1500);
            let rank = random.usize(0..most);
            format!("{}{}", ["ka", "lo", "mi", "nu", "pe", "ra"][rank % 6], rank)
        };
        let texts: Vec<Vec<String>> = (0..Self::DOCUMENTS)
            .map(|n| (0..8 + (n * 7) % 90).map(|_| word()).collect())
            .collect();
        let records: Vec<_> = (0..)
            .zip(&texts)
            .map(|(n, words)| {
                json!({ "_id": format!("s{n}"), "text": words.join(" ") }).to_string()
            })
            .collect();
        let mut random = fastrand::Rng::with_seed(16);
        let mut queries = Vec::new();
        let mut qrels = "query-id\tcorpus-id\tscore\n".to_owned();
        for query in 0..Self::QUERIES {
            let document = random.usize(0..Self::DOCUMENTS);
            let words: Vec<_> = (0..4)
                .map(|_| texts[document][random.usize(0..texts[document].len())].clone())
                .collect();
            queries
                .push(json!({ "_id": format!("q{query}"), "text": words.join(" ") }).to_string());
            qrels.push_str(&format!("q{query}\ts{document}\t2\n"));
            // Those that have most of the words, too.
            for (other, text) in texts
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != document)
            {
                if words.iter().filter(|word| text.contains(word)).count() >= 3 {
                    qrels.push_str(&format!("q{query}\ts{other}\t1\n"));
                }
            }
        }
        let folder = bed.directory.path().to_owned();
        std::fs::write(folder.join("queries.jsonl"), queries.join("\n"))?;
        std::fs::write(folder.join("qrels.tsv"), qrels)?;
        let records = bed.write("records.jsonl", records.join("\n"))?;
        Ok(Self { folder, records })
    }
}

#[tokio::test]
async fn each_mode_finds_what_the_same_search_finds_over_many_documents() -> anyhow::Result<()> {
    let bed = bed_with(SHORT).await?;
    let corpus = Synthetic::write(&bed)?;
    bed.stack
        .indexer(&["publish", &text(&corpus.records)])
        .await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    bed.drained().await?;
    let (queries, grades) = reference::files(&corpus.folder)?;
    let asked = text(&corpus.folder.join("queries.jsonl"));
    let qrels = text(&corpus.folder.join("qrels.tsv"));
    let expected = reference::expected(&bed, &queries, &grades).await?;
    let found = measured(&bed, &asked, &qrels).await?;
    tell("synthetic", &found, &expected);
    compare(&found, &expected);
    worker.process.terminate().await?;
    bed.end().await
}

#[tokio::test]
async fn modes_are_compared_and_long_queries_are_cut_and_counted() -> anyhow::Result<()> {
    let small = super::Small::start().await?;
    let bed = &small.bed;
    let worker = bed.stack.worker("worker", &[]).await?;
    bed.drained().await?;
    let long = json!({ "_id": "long", "text": "roses and tulips ".repeat(2_000) });
    let queries = std::fs::read_to_string(&small.queries)?;
    std::fs::write(&small.queries, format!("{queries}\n{long}"))?;
    let judged = std::fs::read_to_string(&small.qrels)?;
    std::fs::write(&small.qrels, format!("{judged}long\tgarden\t1\n"))?;
    let files = small.files();
    let html = text(&bed.directory.path().join("modes.html"));
    let found = report(bed, &super::together(&files, &["--html", &html])).await?;
    assert_eq!(found["evaluation"]["subject"]["search"]["mode"], "hybrid");
    assert_eq!(found["evaluation"]["truncated_queries"], 1, "{found}");
    assert_eq!(
        found["evaluation"]["queries"].as_array().map(Vec::len),
        Some(3)
    );
    let between: Vec<_> = found["between"].as_array().unwrap().iter().collect();
    let pairs: Vec<_> = between
        .iter()
        .map(|it| {
            (
                it["mode"].as_str().unwrap(),
                it["against"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        pairs,
        [
            ("sparse", "dense"),
            ("hybrid", "dense"),
            ("hybrid", "sparse")
        ]
    );
    assert!(
        between
            .iter()
            .all(|it| it["comparison"]["deltas"].as_array().map(Vec::len) == Some(3))
    );
    let page = std::fs::read_to_string(&html)?;
    assert!(
        page.contains("Modes") && page.contains("hybrid against dense"),
        "{page}"
    );
    let (output, log) = run(bed, &super::together(&files, &[])).await?;
    let table = String::from_utf8(output.stdout)?;
    assert!(
        table.contains("hybrid (rrf, k 60)") && table.contains("sparse against dense"),
        "{table}{log}"
    );
    assert!(
        table.contains("1 queries are longer than the model takes"),
        "{table}"
    );

    assert!(bed.dead_letters().await?.is_empty());
    worker.process.terminate().await?;
    small.bed.end().await
}

#[tokio::test]
async fn gates_are_measured_in_the_mode_that_the_alias_serves() -> anyhow::Result<()> {
    let small = super::Small::start().await?;
    let bed = &small.bed;
    let worker = bed.stack.worker("worker", &[]).await?;
    bed.drained().await?;
    let files = small.files();
    bed.stack
        .indexer(&["provision", "--search-mode", "sparse"])
        .await?;
    let gated = report(
        bed,
        &super::together(&files, &["--modes", "dense", "--min-ndcg", "0"]),
    )
    .await?;
    assert_eq!(gated["evaluation"]["subject"]["search"]["mode"], "sparse");
    assert_eq!(gated["modes"][0]["subject"]["search"]["mode"], "dense");
    worker.process.terminate().await?;
    small.bed.end().await
}
