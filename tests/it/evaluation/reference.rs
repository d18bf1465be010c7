//! Reference: what exact search finds, computed from the vectors of all points.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use tests::{Bed, cosine, text, vector};

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
    let reply = format!(
        "reference-{}",
        contract::digest::Digest::of(texts.concat().as_bytes()).short()
    );
    let job = json!({ "version": "1.0", "kind": "embed", "queries": texts, "reply": reply });
    bed.publish_bytes(job.to_string()).await?;
    bed.drained().await?;
    let results = bed
        .jetstream()
        .get_stream(contract::topology::RESULTS)
        .await?;
    let answer = results
        .get_last_raw_message_by_subject(&format!("results.{reply}"))
        .await?;
    let answer: Value = serde_json::from_slice(&answer.payload)?;
    Ok(serde_json::from_value(answer["vectors"].clone())?)
}

/// Documents by what they score, best first.
type Ranking<'a> = Vec<(&'a str, f64)>;

/// Mean nDCG@10 of rankings.
pub(super) fn mean_ndcg(queries: &[Query], grades: &Grades, rankings: &[Ranking<'_>]) -> f64 {
    let discount = |rank: usize| ((rank + 2) as f64).log2();
    let mut sum = 0.0;
    for ((id, _), ranking) in queries.iter().zip(rankings) {
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
    sum / queries.len() as f64
}

/// The chunks of a collection: document and text, with the vector.
pub(super) struct Chunks {
    pub(super) ids: Vec<(String, String)>,
    vectors: Vec<Vec<f32>>,
}

impl Chunks {
    pub(super) async fn of(bed: &Bed) -> anyhow::Result<Self> {
        let (mut ids, mut vectors) = (Vec::new(), Vec::new());
        for ((document, _), point) in bed.points().await? {
            let (context, chunk) = (text(&point, "context"), text(&point, "text"));
            let whole = match context.is_empty() {
                true => chunk,
                false => format!("{context}\n{chunk}"),
            };
            ids.push((document, whole));
            vectors.push(vector(&point).expect("a chunk has a vector"));
        }
        Ok(Self { ids, vectors })
    }

    /// Scores of all chunks by their vectors.
    fn by_vector(&self, query: &[f32]) -> Vec<f64> {
        let chunks = self.vectors.iter();
        chunks.map(|vector| cosine(query, vector)).collect()
    }

    /// The best chunk of a document stands for it; chunks without a score are not found.
    pub(super) fn documents(&self, scores: &[f64]) -> Ranking<'_> {
        let mut best: BTreeMap<&str, f64> = BTreeMap::new();
        for ((document, _), score) in self.ids.iter().zip(scores) {
            if *score > f64::MIN {
                let best = best.entry(document).or_insert(f64::MIN);
                *best = best.max(*score);
            }
        }
        let mut ranking: Vec<_> = best.into_iter().collect();
        // As trec_eval does where scores are equal.
        ranking.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| b.0.cmp(a.0)));
        ranking
    }
}

/// BM25 as Lucene computes it, over words of letters and digits.
pub(super) struct Bm25 {
    chunks: Vec<BTreeMap<String, f64>>,
    containing: BTreeMap<String, f64>,
    mean_length: f64,
}

impl Bm25 {
    const K1: f64 = 1.2;
    const B: f64 = 0.75;

    pub(super) fn new(texts: &[(String, String)]) -> Self {
        let (mut chunks, mut containing, mut words) = (Vec::new(), BTreeMap::new(), 0.0);
        for (_, text) in texts {
            let mut counts: BTreeMap<String, f64> = BTreeMap::new();
            for word in self::words(text) {
                *counts.entry(word).or_default() += 1.0;
                words += 1.0;
            }
            for word in counts.keys() {
                *containing.entry(word.clone()).or_default() += 1.0;
            }
            chunks.push(counts);
        }
        let mean_length = words / (chunks.len() as f64).max(1.0);
        Self {
            chunks,
            containing,
            mean_length,
        }
    }

    /// Words of a chunk in the mean.
    pub(super) fn mean_length(&self) -> f64 {
        self.mean_length
    }

    /// Scores of all chunks; the smallest number for those with none of the words.
    pub(super) fn scores(&self, query: &str) -> Vec<f64> {
        let asked: std::collections::BTreeSet<_> = words(query).collect();
        let score = |counts: &BTreeMap<String, f64>| {
            let length: f64 = counts.values().sum();
            let found = asked.iter().filter_map(|word| {
                let count = counts.get(word)?;
                let norm = Self::K1 * (1.0 - Self::B + Self::B * length / self.mean_length);
                Some(self.idf(word) * count * (Self::K1 + 1.0) / (count + norm))
            });
            found.fold(None, |sum: Option<f64>, one| Some(sum.unwrap_or(0.0) + one))
        };
        let scores = self.chunks.iter().map(score);
        scores.map(|score| score.unwrap_or(f64::MIN)).collect()
    }

    fn idf(&self, word: &str) -> f64 {
        let containing = self.containing.get(word).copied().unwrap_or_default();
        let all = self.chunks.len() as f64;
        ((all - containing + 0.5) / (containing + 0.5) + 1.0).ln()
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|character: char| !character.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// Fusion of scores by ranks, each part 1 / (60 + rank) from 0; scores of the smallest number are not found.
pub(super) fn fused(parts: &[Vec<f64>]) -> Vec<f64> {
    let mut fused = vec![f64::MIN; parts.first().map_or(0, Vec::len)];
    for scores in parts {
        let mut order: Vec<_> = (0..scores.len())
            .filter(|chunk| scores[*chunk] > f64::MIN)
            .collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        for (rank, chunk) in order.into_iter().enumerate() {
            let gain = 1.0 / (60.0 + rank as f64);
            fused[chunk] = fused[chunk].max(0.0) + gain;
        }
    }
    fused
}

/// nDCG@10 of exact search by vectors, by words and by both.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) dense: f64,
    pub(super) sparse: f64,
    pub(super) hybrid: f64,
    /// Words of a chunk in the mean.
    pub(super) mean_length: f64,
}

pub(super) async fn expected(
    bed: &Bed,
    queries: &[Query],
    grades: &Grades,
) -> anyhow::Result<Expected> {
    let texts: Vec<_> = queries.iter().map(|(_, text)| text.clone()).collect();
    let mut vectors = Vec::new();
    for part in texts.chunks(50) {
        vectors.extend(embedded(bed, part).await?);
    }
    let chunks = Chunks::of(bed).await?;
    let bm25 = Bm25::new(&chunks.ids);
    let (mut dense, mut sparse, mut hybrid) = (Vec::new(), Vec::new(), Vec::new());
    for (text, vector) in texts.iter().zip(vectors) {
        let by_vector = chunks.by_vector(&vector);
        let by_words = bm25.scores(text);
        dense.push(chunks.documents(&by_vector));
        sparse.push(chunks.documents(&by_words));
        hybrid.push(chunks.documents(&fused(&[by_vector, by_words])));
    }
    Ok(Expected {
        dense: mean_ndcg(queries, grades, &dense),
        sparse: mean_ndcg(queries, grades, &sparse),
        hybrid: mean_ndcg(queries, grades, &hybrid),
        mean_length: bm25.mean_length(),
    })
}

/// nDCG@10 of exact search by the vectors of all points.
pub(super) async fn ndcg(bed: &Bed, queries: &[Query], grades: &Grades) -> anyhow::Result<f64> {
    Ok(expected(bed, queries, grades).await?.dense)
}
