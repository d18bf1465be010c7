//! Evaluation: the figures are those of the vectors, the gates decide the exit code, and pages are safe to open.

mod modes;
mod reference;

use std::path::{Path, PathBuf};
use std::process::Output;

use fixtures::golden::corpus;
use fixtures::programs::workspace;
use serde_json::{Value, json};
use tests::Bed;

/// Runs `indexer eval` to its end, whatever that is.
async fn run(bed: &Bed, arguments: &[&str]) -> anyhow::Result<(Output, String)> {
    let mut command = bed.stack.program("indexer");
    let output = command.arg("eval").args(arguments).output().await?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output, log))
}

/// Runs an evaluation that must succeed, for its report.
async fn report(bed: &Bed, arguments: &[&str]) -> anyhow::Result<Value> {
    let (output, log) = run(bed, &[arguments, &["--json"]].concat()).await?;
    anyhow::ensure!(output.status.success(), "{log}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Three documents that are in the collection, and the files that ask for them.
struct Small {
    bed: Bed,
    queries: PathBuf,
    qrels: PathBuf,
}

const HOSTILE: &str = "roses </td><script src=\"//example.org\">alert('x')</script>";

impl Small {
    async fn start() -> anyhow::Result<Self> {
        let bed = Bed::start().await?;
        let texts = [
            ("queue", "jobs wait in a stream until a worker pulls them"),
            ("garden", "roses and tulips bloom behind the old house"),
            ("gone", "roses and tulips bloom behind the new house"),
        ];
        for (id, text) in texts {
            bed.publish_document(id, 1, &[text]).await?;
        }
        bed.publish_removal("gone", 2).await?;
        let queries = [
            json!({ "_id": "jobs", "text": "jobs wait in a stream until a worker pulls them" }),
            json!({ "_id": "roses", "text": HOSTILE }),
            json!({ "_id": "idle", "text": "nobody has judged this" }),
        ];
        let lines = queries.map(|query| query.to_string()).join("\n");
        let judgements = "query-id\tcorpus-id\tscore\njobs\tqueue\t1\n\
                          roses\tgarden\t1\nroses\tgone\t2\nroses\tnever\t0\n";
        let folder = bed.directory.path();
        let (queries, qrels) = (folder.join("queries.jsonl"), folder.join("test.tsv"));
        std::fs::write(&queries, lines)?;
        std::fs::write(&qrels, judgements)?;
        Ok(Self {
            bed,
            queries,
            qrels,
        })
    }

    fn files(&self) -> [String; 4] {
        let (queries, qrels) = (text(&self.queries), text(&self.qrels));
        ["--queries".to_owned(), queries, "--qrels".to_owned(), qrels]
    }
}

fn together<'a>(files: &'a [String; 4], more: &[&'a str]) -> Vec<&'a str> {
    let files = files.iter().map(String::as_str);
    files.chain(more.iter().copied()).collect()
}

#[tokio::test]
async fn the_ndcg_is_that_of_exact_search_by_the_vectors() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.stack.indexer(&["publish", &text(&corpus())]).await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    bed.drained().await?;
    let golden = workspace().join("fixtures/golden");
    let (queries, grades) = reference::files(&golden)?;
    let (asked, qrels) = (
        text(&golden.join("queries.jsonl")),
        text(&golden.join("qrels.tsv")),
    );
    let expected = reference::ndcg(&bed, &queries, &grades).await?;
    assert!((0.02..0.98).contains(&expected), "{expected} tells nothing");
    for mode in [&["--exact"][..], &[]] {
        let dense = [
            "--queries",
            &asked,
            "--qrels",
            &qrels,
            "-k",
            "10",
            "--modes",
            "dense",
        ];
        let arguments = [&dense[..], mode].concat();
        let report = report(&bed, &arguments).await?;
        let found = report["evaluation"]["means"][0]["ndcg"]
            .as_f64()
            .unwrap_or_default();
        assert!(
            (found - expected).abs() < 0.002,
            "{found}, expected {expected}"
        );
        let measured = report["evaluation"]["queries"].as_array().map(Vec::len);
        assert_eq!(measured, Some(queries.len()));
        assert_eq!(report["evaluation"]["missing_documents"], 0);
    }
    worker.process.terminate().await?;
    bed.end().await
}

#[tokio::test]
async fn what_is_not_judged_or_not_there_is_counted_and_deleted_documents_are_not_found()
-> anyhow::Result<()> {
    let small = Small::start().await?;
    let worker = small.bed.stack.worker("worker", &[]).await?;
    small.bed.drained().await?;
    let files = small.files();
    let found = report(&small.bed, &together(&files, &[])).await?;
    assert_eq!(found["left_out"]["unjudged"], 1, "{found}");
    assert_eq!(found["evaluation"]["missing_documents"], 2, "{found}");
    let queries = found["evaluation"]["queries"].as_array().unwrap();
    assert_eq!(queries.len(), 2);
    let hits = |query: &Value| -> Vec<String> {
        let hits = query["hits"].as_array().unwrap().iter();
        hits.map(|hit| hit["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(hits(&queries[0])[0], "queue");
    assert_eq!(queries[0]["measures"][0]["ndcg"], 1.0);
    for query in queries {
        let mut ids = hits(query);
        ids.sort_unstable();
        assert_eq!(ids, ["garden", "queue"]);
    }
    let (_, log) = run(&small.bed, &together(&files, &[])).await?;
    assert!(log.contains("2 judged documents are not in"), "{log}");
    worker.process.terminate().await?;
    small.bed.end().await
}

#[tokio::test]
async fn the_same_alias_as_baseline_differs_in_nothing_and_a_failed_gate_fails_the_program()
-> anyhow::Result<()> {
    let small = Small::start().await?;
    let worker = small.bed.stack.worker("worker", &[]).await?;
    small.bed.drained().await?;
    let files = small.files();
    let saved = text(&small.bed.directory.path().join("report.json"));
    let alias = small.bed.stack.collection.clone();
    let with_alias = [
        "--baseline",
        &alias,
        "--max-regression",
        "0",
        "--report",
        &saved,
    ];
    let by_alias = report(&small.bed, &together(&files, &with_alias)).await?;
    let with_report = ["--baseline-report", &saved, "--max-regression", "0"];
    let by_report = report(&small.bed, &together(&files, &with_report)).await?;
    for found in [by_alias, by_report] {
        let deltas = found["baseline"]["deltas"].as_array().unwrap();
        assert_eq!(deltas.len(), 2);
        assert!(deltas.iter().all(|one| one["delta"] == 0.0), "{deltas:?}");
        assert_eq!(found["baseline"]["ties"], 2);
        assert_eq!(found["gates"][0]["passed"], true);
    }
    // What is tried is compared with what is served.
    let tried = [&with_alias[..2], &["--rrf-k", "2"]].concat();
    let tried = report(&small.bed, &together(&files, &tried)).await?;
    let constant = |of: &Value| of["subject"]["search"]["rrf_k"].clone();
    assert_eq!(constant(&tried["evaluation"]), 2, "{tried:#}");
    assert_eq!(constant(&tried["baseline"]), 60, "{tried:#}");
    let (output, log) = run(&small.bed, &together(&files, &["--min-ndcg", "0.999"])).await?;
    assert_eq!(output.status.code(), Some(2), "{log}");
    assert!(
        log.contains("failed: --min-ndcg 0.999, mean nDCG@10 is 0."),
        "{log}"
    );
    let table = String::from_utf8(output.stdout)?;
    assert!(
        table.contains("nDCG") && table.contains("recall"),
        "{table}"
    );
    std::fs::write(&small.qrels, "roses\tgarden\t1\n")?;
    let (output, log) = run(&small.bed, &together(&files, &with_report)).await?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("other queries or judgements"), "{log}");
    worker.process.terminate().await?;
    small.bed.end().await
}

#[tokio::test]
async fn a_worse_alias_than_its_baseline_fails_the_gate() -> anyhow::Result<()> {
    let small = Small::start().await?;
    let bed = &small.bed;
    let worker = bed.stack.worker("worker", &[]).await?;
    bed.drained().await?;
    let files = small.files();
    let saved = text(&bed.directory.path().join("before.json"));
    let html = text(&bed.directory.path().join("after.html"));
    report(bed, &together(&files, &["--report", &saved])).await?;
    bed.publish_removal("queue", 3).await?;
    bed.drained().await?;
    let gate = [
        "--baseline-report",
        &saved,
        "--max-regression",
        "0.1",
        "--html",
        &html,
    ];
    let (output, log) = run(bed, &together(&files, &gate)).await?;
    assert_eq!(output.status.code(), Some(2), "{log}");
    assert!(
        log.contains("failed: --max-regression 0.1, mean nDCG@10 fell by 0.5"),
        "{log}"
    );
    let page = std::fs::read_to_string(&html)?;
    assert!(
        page.contains("roses &lt;/td&gt;&lt;script") || page.contains("jobs wait"),
        "{page}"
    );
    assert!(
        page.contains("<svg") && page.contains("Wins and losses"),
        "{page}"
    );
    worker.process.terminate().await?;
    small.bed.end().await
}

#[tokio::test]
async fn a_page_shows_a_hostile_query_and_refers_to_nothing_outside() -> anyhow::Result<()> {
    let small = Small::start().await?;
    let worker = small.bed.stack.worker("worker", &[]).await?;
    small.bed.drained().await?;
    let html = text(&small.bed.directory.path().join("page.html"));
    let files = small.files();
    report(&small.bed, &together(&files, &["--html", &html])).await?;
    let page = std::fs::read_to_string(&html)?;
    assert!(
        page.contains("roses &lt;/td&gt;&lt;script src=&quot;"),
        "{page}"
    );
    for outside in [
        "<script", " src=\"", " href=\"", "url(", "@import", "<link", "http:", "https:",
    ] {
        assert!(!page.contains(outside), "`{outside}` in {page}");
    }
    worker.process.terminate().await?;
    small.bed.end().await
}

#[tokio::test]
async fn files_that_do_not_belong_together_are_refused_before_anything_is_asked()
-> anyhow::Result<()> {
    let small = Small::start().await?;
    std::fs::write(&small.qrels, "other\tgarden\t1\n")?;
    let files = small.files();
    let (output, log) = run(&small.bed, &together(&files, &[])).await?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("do both belong together?"), "{log}");
    let (output, log) = run(&small.bed, &together(&files, &["--max-regression", "0.1"])).await?;
    assert_eq!(output.status.code(), Some(64), "{log}");
    assert!(log.contains("--max-regression: needs --baseline"), "{log}");
    small.bed.end().await
}
