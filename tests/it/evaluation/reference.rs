//! Reference: what exact search finds, computed from the vectors of all points.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use tests::{Bed, cosine, vector};

/// Id and text.
type Query = (String, String);
/// Grades by document, by query.
type Grades = BTreeMap<String, BTreeMap<String, f64>>;

/// The golden queries and judgements of a folder.
pub(super) fn files(golden: &Path) -> anyhow::Result<(Vec<Query>, Grades)> {
    let mut grades: Grades = Grades::new();
    for line in std::fs::read_to_string(golden.join("qrels.tsv"))?
        .lines()
        .skip(1)
    {
        let fields: Vec<_> = line.split('\t').collect();
        let of_query = grades.entry(fields[0].to_owned()).or_default();
        of_query.insert(fields[1].to_owned(), fields[2].trim().parse()?);
    }
    let mut queries = Vec::new();
    for line in std::fs::read_to_string(golden.join("queries.jsonl"))?.lines() {
        let query: Value = serde_json::from_str(line)?;
        let of = |name: &str| query[name].as_str().unwrap_or_default().to_owned();
        queries.push((of("_id"), of("text")));
    }
    Ok((queries, grades))
}

/// The vectors of queries, asked for as any client of NATS can.
async fn embedded(bed: &Bed, texts: &[String]) -> anyhow::Result<Vec<Vec<f32>>> {
    let job = json!({ "version": "1.0", "kind": "embed", "queries": texts, "reply": "reference" });
    bed.publish_bytes(job.to_string()).await?;
    bed.drained().await?;
    let results = bed
        .jetstream()
        .get_stream(contract::topology::RESULTS)
        .await?;
    let answer = results
        .get_last_raw_message_by_subject("results.reference")
        .await?;
    let answer: Value = serde_json::from_slice(&answer.payload)?;
    Ok(serde_json::from_value(answer["vectors"].clone())?)
}

/// nDCG@10 of exact search by the vectors of all points.
pub(super) async fn ndcg(bed: &Bed, queries: &[Query], grades: &Grades) -> anyhow::Result<f64> {
    let texts: Vec<_> = queries.iter().map(|(_, text)| text.clone()).collect();
    let vectors = embedded(bed, &texts).await?;
    let points = bed.points().await?;
    let discount = |rank: usize| ((rank + 2) as f64).log2();
    let mut sum = 0.0;
    for ((id, _), query) in queries.iter().zip(vectors) {
        let mut best: BTreeMap<&str, f64> = BTreeMap::new();
        for ((document, _), point) in &points {
            let score = cosine(&query, &vector(point).expect("a chunk has a vector"));
            let best = best.entry(document).or_insert(f64::MIN);
            *best = best.max(score);
        }
        let mut ranking: Vec<_> = best.into_iter().collect();
        ranking.sort_by(|a, b| b.1.total_cmp(&a.1));
        let grade = |document: &str| grades[id].get(document).copied().unwrap_or_default();
        let found = ranking.iter().take(10).enumerate();
        let gain: f64 = found
            .map(|(rank, (document, _))| grade(document) / discount(rank))
            .sum();
        let mut ideal: Vec<_> = grades[id].values().copied().collect();
        ideal.sort_by(|a, b| b.total_cmp(a));
        let ideal = ideal.iter().take(10).enumerate();
        sum += gain
            / ideal
                .map(|(rank, grade)| grade / discount(rank))
                .sum::<f64>();
    }
    Ok(sum / queries.len() as f64)
}
