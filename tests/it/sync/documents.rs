//! Documents are compared and written as a whole.

use std::collections::{BTreeMap, BTreeSet};

use qdrant_client::qdrant::RetrievedPoint;
use tests::{Bed, integer, text, vector};

use super::{changes, command, counts, sync, versions};
use crate::rebuild::{Corpus, ended, now_micros};

/// Chunks of few tokens, so that documents have many of them.
const SHORT: [&str; 4] = ["--chunk-tokens", "40", "--job-tokens", "120"];

/// A text of many chunks; `last` is what the last sentence speaks of.
fn long(last: &str) -> String {
    let sentence =
        |n| format!("Sentence number {n} speaks of queues, vectors and points at length.");
    let sentences: Vec<_> = (0..30).map(sentence).collect();
    format!("{} The last one speaks of {last}.", sentences.join(" "))
}

fn corpus(last: &str) -> Corpus {
    let short = |n| (format!("d{n}"), format!("A short text with number {n}."));
    let mut corpus: Corpus = (0..5).map(short).collect();
    corpus.insert("long".to_owned(), long(last));
    corpus
}

#[tokio::test]
async fn a_document_with_one_changed_chunk_is_published_as_a_whole() -> anyhow::Result<()> {
    whole(&SHORT).await
}

#[tokio::test]
async fn a_document_that_is_too_large_to_hold_is_published_as_a_whole() -> anyhow::Result<()> {
    let [a, b, c, d] = SHORT;
    whole(&[a, b, c, d, "--hold-bytes", "0"]).await
}

async fn whole(arguments: &[&str]) -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let first = sync(&bed, &corpus("streams"), arguments).await?;
    assert_eq!(changes(&first)[..3], [0, 6, 0]);
    assert_eq!(
        changes(&sync(&bed, &corpus("streams"), arguments).await?),
        [6, 0, 0, 0]
    );
    let embedded = worker.metric("worker_chunks_total").await?;
    let second = sync(&bed, &corpus("aliases"), arguments).await?;
    assert_eq!(changes(&second)[..3], [5, 1, 0]);
    let [published, reused] = counts(&second.report, ["published_chunks", "reused_chunks"]);
    assert_eq!(published, 1, "only the last chunk has new text");
    assert!(reused > 9, "{reused}");
    assert_eq!(worker.metric("worker_chunks_total").await? - embedded, 1.0);
    let points = bed.points().await?;
    let long: Vec<_> = points.iter().filter(|((id, _), _)| id == "long").collect();
    assert!(long.len() > 10, "{} chunks", long.len());
    let versions: BTreeSet<_> = long
        .iter()
        .map(|(_, point)| integer(point, "version"))
        .collect();
    assert_eq!(versions.len(), 1, "chunks of one document have one version");
    let texts: String = long.iter().map(|(_, point)| text(point, "text")).collect();
    assert!(
        texts.contains("aliases") && !texts.contains("streams."),
        "{texts}"
    );
    assert_eq!(
        changes(&sync(&bed, &corpus("aliases"), arguments).await?),
        [6, 0, 0, 0]
    );
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_document_that_moved_keeps_its_vectors_and_has_those_of_its_texts() -> anyhow::Result<()>
{
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let mut corpus = corpus("streams");
    sync(&bed, &corpus, &SHORT).await?.done();
    let before = bed.points().await?;
    let embedded = worker.metric("worker_chunks_total").await?;
    let text = corpus.remove("long").expect("a long document");
    corpus.insert("moved".to_owned(), text);
    corpus.remove("d0");
    corpus.insert(
        "d1".to_owned(),
        "A text that nobody has written yet.".to_owned(),
    );
    let arguments = [&SHORT[..], &["--max-shrink", "50"]].concat();
    let ran = sync(&bed, &corpus, &arguments).await?;
    assert_eq!(changes(&ran)[..3], [3, 2, 2]);
    assert_eq!(worker.metric("worker_chunks_total").await? - embedded, 1.0);
    let after = bed.points().await?;
    let vectors = |points: &BTreeMap<(String, i64), RetrievedPoint>, id: &str| {
        let points = points.iter().filter(|((doc_id, _), _)| doc_id == id);
        points.map(|(_, point)| vector(point)).collect::<Vec<_>>()
    };
    let moved = vectors(&after, "moved");
    assert!(moved.len() > 10 && moved.iter().all(Option::is_some));
    assert_eq!(moved, vectors(&before, "long"));
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_document_with_chunks_of_two_versions_is_published_again() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    sync(&bed, &corpus("streams"), &SHORT).await?.done();
    // A job of another version that wrote a part and never came to the rest.
    let key = ("long".to_owned(), 3);
    let mut point = bed.points().await?.remove(&key).expect("a chunk");
    let older = integer(&point, "version") - 1;
    point.payload.insert("version".to_owned(), older.into());
    let payload = qdrant_client::Payload::from(point.payload);
    let id = point.id.expect("an id");
    let request =
        qdrant_client::qdrant::SetPayloadPointsBuilder::new(bed.stack.collection.as_str(), payload);
    let request = request
        .points_selector(qdrant_client::qdrant::PointsIdsList { ids: vec![id] })
        .wait(true);
    crate::rebuild::qdrant(&bed)?.set_payload(request).await?;
    let ran = sync(&bed, &corpus("streams"), &SHORT).await?;
    assert_eq!(changes(&ran)[..3], [5, 1, 0]);
    assert_eq!(
        changes(&sync(&bed, &corpus("streams"), &SHORT).await?),
        [6, 0, 0, 0]
    );
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn metadata_that_changed_is_published_and_a_path_that_changed_is_not() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let record = |lang: &str| {
        let record = serde_json::json!({
            "_id": "a", "text": "A text.", "lang": lang, "share": 0.1, "none": null,
        });
        record.to_string()
    };
    let other = bed.directory.path().join("elsewhere.jsonl");
    let source = bed.write("records.jsonl", record("en"))?;
    ended(command(&bed, &source, &[])).await?.done();
    std::fs::write(&other, record("en"))?;
    let moved = ended(command(&bed, &other, &[])).await?;
    assert_eq!(changes(&moved), [1, 0, 0, 0]);
    std::fs::write(&other, record("de"))?;
    let changed = ended(command(&bed, &other, &[])).await?;
    assert_eq!(changes(&changed), [0, 1, 0, 1]);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn documents_outside_of_the_filter_are_not_deleted() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let record = |id: &str, team: &str| {
        serde_json::json!({ "_id": id, "text": id, "team": team }).to_string()
    };
    let lines = |of: &[(&str, &str)]| {
        let lines: Vec<_> = of.iter().map(|(id, team)| record(id, team)).collect();
        lines.join("\n")
    };
    let all = [("a", "x"), ("b", "x"), ("c", "y")];
    let source = bed.write("records.jsonl", lines(&all))?;
    ended(command(&bed, &source, &[])).await?.done();
    let source = bed.write("records.jsonl", lines(&all[..1]))?;
    let filter = r#"{"must": [{"key": "meta.team", "match": {"value": "x"}}]}"#;
    let arguments = ["--filter", filter, "--max-shrink", "50"];
    let ran = ended(command(&bed, &source, &arguments)).await?;
    assert_eq!(changes(&ran), [1, 0, 1, 1]);
    let found: Vec<_> = crate::rebuild::found(&bed).await?.into_keys().collect();
    assert_eq!(found, ["a", "c"]);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn an_id_that_comes_twice_is_refused_and_its_first_document_kept() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let lines = [
        r#"{"_id": "a", "text": "The first."}"#,
        r#"{"_id": "a", "text": "The second."}"#,
        r#"{"_id": "b", "text": "Another."}"#,
    ];
    let source = bed.write("records.jsonl", lines.join("\n"))?;
    for _ in 0..2 {
        let ran = ended(command(&bed, &source, &[])).await?;
        assert!(
            ran.stopped_by("refused").contains("1 documents"),
            "{}",
            ran.log
        );
        let points = bed.points().await?;
        assert_eq!(text(&points[&("a".to_owned(), 0)], "text"), "The first.");
    }
    let before = versions(&bed).await?;
    let ran = ended(command(&bed, &source, &["--max-refused", "1"])).await?;
    assert_eq!(changes(&ran), [2, 0, 0, 0]);
    assert_eq!(versions(&bed).await?, before);
    assert!(
        before
            .iter()
            .all(|(_, version)| *version < i64::try_from(now_micros()).unwrap())
    );
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn what_is_attached_to_a_mail_is_known_when_documents_are_deleted() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let mail = "Subject: offer\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\
                Content-Type: text/plain\r\n\r\nThe offer is attached.\r\n--m\r\nContent-Type: text/plain\r\n\
                Content-Disposition: attachment; filename=prices.txt\r\n\r\nA queue costs nothing.\r\n--m--\r\n";
    let folder = bed.directory.path().join("mails");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("offer.eml"), mail)?;
    std::fs::write(folder.join("gone.txt"), "This file will be gone.")?;
    let arguments = ["--max-shrink", "50"];
    let first = ended(command(&bed, &folder, &arguments)).await?;
    assert_eq!(changes(&first)[..3], [0, 3, 0]);
    std::fs::remove_file(folder.join("gone.txt"))?;
    let second = ended(command(&bed, &folder, &arguments)).await?;
    assert_eq!(changes(&second)[..3], [2, 0, 1], "{}", second.log);
    worker.process.kill().await?;
    bed.end().await
}
