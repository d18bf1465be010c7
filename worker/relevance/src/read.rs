//! Read: queries and judgements in the shape of BEIR; judgements in that of TREC as well.

use std::collections::{HashMap, HashSet};
use std::io::BufRead;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RelevanceError;
use super::lines::{Lines, record};
use contract::digest::Digest;

/// Longest text of a query: several must fit one job.
const MAX_QUERY_BYTES: usize = 64 * 1024;
/// First line of judgements.
const HEADER: [&str; 3] = ["query-id", "corpus-id", "score"];

/// Grades by document, by query.
type Judgements = HashMap<String, HashMap<String, i64>>;

/// A query with at least one relevant document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Id of the query.
    pub id: String,
    pub text: String,
    /// Grades of the judged documents; those above zero are relevant.
    pub grades: HashMap<String, i64>,
    /// Grades of the relevant documents, highest first.
    pub ideal: Vec<i64>,
}

/// Counts of what is left out of the measures, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// Queries without judgements.
    pub unjudged: usize,
    /// Queries of which no judged document is relevant.
    pub without_relevant: usize,
    /// Query ids that have judgements and no text.
    pub unknown: usize,
}

#[derive(Clone, Debug)]
pub struct Topics {
    /// The queries in the order of their file.
    pub topics: Vec<Topic>,
    /// What was left out.
    pub left_out: LeftOut,
    /// Digest of queries and judgements, whatever their order: only runs of the same ones can be compared.
    pub digest: Digest,
}

/// Reads queries and judgements.
///
/// # Errors
/// A line that is not in its shape, a query or a judgement that is there twice, or queries of which none is judged.
pub fn read(queries: &Path, qrels: &[PathBuf]) -> Result<Topics, RelevanceError> {
    let texts = read_queries(Lines::open(queries)?)?;
    let mut judgements = Judgements::new();
    for path in qrels {
        read_qrels(Lines::open(&qrels_file(path)?)?, &mut judgements)?;
    }
    some(join(texts, judgements), queries)
}

/// The queries and judgements of two texts; `name` stands for their files in errors.
///
/// # Errors
/// As of [`read`].
pub fn parse(name: &str, queries: &str, qrels: &str) -> Result<Topics, RelevanceError> {
    let mut judgements = Judgements::new();
    let texts = read_queries(Lines::of(name, queries))?;
    read_qrels(Lines::of(name, qrels), &mut judgements)?;
    some(join(texts, judgements), Path::new(name))
}

fn some(topics: Topics, queries: &Path) -> Result<Topics, RelevanceError> {
    let left_out = topics.left_out;
    if topics.topics.is_empty() {
        return Err(RelevanceError::NothingRelevant {
            queries: queries.to_owned(),
            unjudged: left_out.unjudged,
            without_relevant: left_out.without_relevant,
            unknown: left_out.unknown,
        });
    }
    Ok(topics)
}

fn join(texts: Vec<(String, String)>, mut judgements: Judgements) -> Topics {
    let mut left_out = LeftOut::default();
    let mut topics = Vec::new();
    for (id, text) in texts {
        let Some(grades) = judgements.remove(&id) else {
            left_out.unjudged += 1;
            continue;
        };
        let mut ideal: Vec<_> = grades.values().copied().filter(|g| *g > 0).collect();
        ideal.sort_unstable_by(|a, b| b.cmp(a));
        if ideal.is_empty() {
            left_out.without_relevant += 1;
            continue;
        }
        topics.push(Topic {
            id,
            text,
            grades,
            ideal,
        });
    }
    left_out.unknown = judgements.len();
    let digest = digest(&topics);
    Topics {
        topics,
        left_out,
        digest,
    }
}

fn digest(topics: &[Topic]) -> Digest {
    let one = |topic: &Topic| {
        let mut grades: Vec<_> = topic.grades.iter().collect();
        grades.sort_unstable();
        let json = serde_json::json!([topic.id, topic.text, grades]);
        Digest::of(json.to_string().as_bytes())
    };
    let mut digests: Vec<_> = topics.iter().map(one).collect();
    digests.sort_unstable();
    let all: Vec<_> = digests.iter().map(Digest::as_str).collect();
    Digest::of(all.join("\n").as_bytes())
}

fn read_queries(lines: Lines<impl BufRead>) -> Result<Vec<(String, String)>, RelevanceError> {
    let (mut queries, mut seen) = (Vec::new(), HashSet::new());
    lines.each(|line| {
        let (id, text) = query(line)?;
        if !seen.insert(id.clone()) {
            return Err(format!("query `{id}` is there twice"));
        }
        queries.push((id, text));
        Ok(())
    })?;
    Ok(queries)
}

fn query(line: &str) -> Result<(String, String), String> {
    let (id, record) = record(line, "query")?;
    let text = record.get("text").and_then(Value::as_str);
    let text = text.ok_or_else(|| format!("query `{id}` has no `text`"))?;
    let bytes = text.len();
    if text.trim().is_empty() {
        return Err(format!("query `{id}` has an empty `text`"));
    }
    if bytes > MAX_QUERY_BYTES {
        return Err(format!(
            "query `{id}` has {bytes} bytes, expected at most {MAX_QUERY_BYTES}"
        ));
    }
    Ok((id, text.to_owned()))
}

/// The file itself, or the only one of a folder: BEIR's folders hold one for each split.
///
/// # Errors
/// If a folder has none or several.
pub fn qrels_file(path: &Path) -> Result<PathBuf, RelevanceError> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let entries = path.read_dir().and_then(Iterator::collect);
    let entries: Vec<std::fs::DirEntry> = entries.map_err(|source| RelevanceError::Read {
        path: path.to_owned(),
        source,
    })?;
    let files = entries.iter().map(std::fs::DirEntry::path);
    let mut files: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|it| it == "tsv"))
        .collect();
    files.sort_unstable();
    let path = path.to_owned();
    match files.len() {
        0 => Err(RelevanceError::NoJudgements { path }),
        1 => Ok(files.remove(0)),
        _ => Err(RelevanceError::SeveralSplits {
            path,
            splits: files,
        }),
    }
}

fn read_qrels(
    lines: Lines<impl BufRead>,
    judgements: &mut Judgements,
) -> Result<(), RelevanceError> {
    lines.each(|line| {
        let fields: Vec<_> = line.split('\t').map(str::trim).collect();
        if fields == HEADER {
            return Ok(());
        }
        let of_trec: Vec<_> = line.split_whitespace().collect();
        let (query, document, grade) = match (&fields[..], &of_trec[..]) {
            ([query, document, grade], _) | (_, [query, _, document, grade]) => {
                (*query, *document, *grade)
            }
            _ => {
                let found = fields.len();
                return Err(format!(
                    "expected 3 fields separated by tabs ({HEADER:?}) or the 4 of TREC (query, iteration, document, \
                     score), found {found}"
                ));
            }
        };
        let grade = read_grade(grade)?;
        let of_query = judgements.entry(query.to_owned()).or_default();
        match of_query.insert(document.to_owned(), grade) {
            Some(before) if before != grade => Err(format!(
                "query `{query}` judges document `{document}` twice, with different scores"
            )),
            Some(_) | None => Ok(()),
        }
    })
}

/// Some files write whole numbers as `1.0`.
fn read_grade(grade: &str) -> Result<i64, String> {
    let whole = grade.split_once('.').map_or(grade, |(whole, rest)| {
        let zeros = !rest.is_empty() && rest.bytes().all(|digit| digit == b'0');
        if zeros { whole } else { grade }
    });
    let parsed = whole.parse();
    parsed.map_err(|_| format!("the score `{grade}` is not a whole number"))
}

#[cfg(test)]
mod tests;
