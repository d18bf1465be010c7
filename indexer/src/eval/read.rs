//! Read: queries and judgements in the shape of BEIR.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use contract::digest::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest line of either file.
const MAX_LINE_BYTES: u64 = 1 << 20;
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
    /// Its text.
    pub text: String,
    /// Grades of the judged documents; those above zero are relevant.
    pub grades: HashMap<String, i64>,
    /// Grades of the relevant documents, highest first.
    pub ideal: Vec<i64>,
}

/// What takes no part in the measures, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Queries without judgements.
    pub unjudged: usize,
    /// Queries of which no judged document is relevant.
    pub without_relevant: usize,
    /// Query ids that have judgements and no text.
    pub unknown: usize,
}

/// Everything to evaluate.
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
pub fn read(queries: &Path, qrels: &[PathBuf]) -> anyhow::Result<Topics> {
    let texts = read_queries(queries)?;
    let mut judgements = Judgements::new();
    for path in qrels {
        read_qrels(&qrels_file(path)?, &mut judgements)?;
    }
    let topics = join(texts, judgements);
    ensure!(
        !topics.topics.is_empty(),
        "no query of `{}` has a relevant document in the judgements ({} queries without judgements, {} with \
         judgements of irrelevant documents alone, {} judged queries without a text); do both belong together?",
        queries.display(),
        topics.left_out.unjudged,
        topics.left_out.without_relevant,
        topics.left_out.unknown
    );
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

fn read_queries(path: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let (mut queries, mut seen) = (Vec::new(), HashSet::new());
    each_line(path, |line| {
        let (id, text) = query(line)?;
        ensure!(seen.insert(id.clone()), "query `{id}` is there twice");
        queries.push((id, text));
        Ok(())
    })?;
    Ok(queries)
}

fn query(line: &str) -> anyhow::Result<(String, String)> {
    let record: Value =
        serde_json::from_str(line).context("expected a json object with `_id` and `text`")?;
    let id = record.get("_id").or_else(|| record.get("id"));
    let id = match id {
        Some(Value::String(id)) if !id.is_empty() => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        Some(_) | None => bail!("a query has no `_id`"),
    };
    let text = record.get("text").and_then(Value::as_str);
    let text = text.with_context(|| format!("query `{id}` has no `text`"))?;
    let bytes = text.len();
    ensure!(!text.trim().is_empty(), "query `{id}` has an empty `text`");
    ensure!(
        bytes <= MAX_QUERY_BYTES,
        "query `{id}` has {bytes} bytes, expected at most {MAX_QUERY_BYTES}"
    );
    Ok((id, text.to_owned()))
}

/// The file itself, or the only one of a folder: BEIR's folders hold one for each split, and whoever evaluates on
/// several at once has tuned on what they test.
fn qrels_file(path: &Path) -> anyhow::Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let entries = path.read_dir().and_then(Iterator::collect);
    let entries: Vec<_> =
        entries.with_context(|| format!("failed to read the folder `{}`", path.display()))?;
    let files = entries.iter().map(std::fs::DirEntry::path);
    let mut files: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|it| it == "tsv"))
        .collect();
    files.sort_unstable();
    let names: Vec<_> = files.iter().map(|file| file.display()).collect();
    match names.as_slice() {
        [] => bail!("`{}` has no .tsv file; name the judgements", path.display()),
        [_] => Ok(files.remove(0)),
        [..] => bail!(
            "`{}` has several splits; name one: {names:?}",
            path.display()
        ),
    }
}

fn read_qrels(path: &Path, judgements: &mut Judgements) -> anyhow::Result<()> {
    each_line(path, |line| {
        let fields: Vec<_> = line.split('\t').map(str::trim).collect();
        if fields == HEADER {
            return Ok(());
        }
        let [query, document, grade] = fields[..] else {
            bail!(
                "expected 3 fields separated by tabs ({HEADER:?}), found {}",
                fields.len()
            );
        };
        // Some files write whole numbers as `1.0`.
        let whole = grade.split_once('.').map_or(grade, |(whole, rest)| {
            let zeros = !rest.is_empty() && rest.bytes().all(|digit| digit == b'0');
            if zeros { whole } else { grade }
        });
        let grade: i64 = whole
            .parse()
            .with_context(|| format!("the score `{grade}` is not a whole number"))?;
        let of_query = judgements.entry(query.to_owned()).or_default();
        let before = of_query.insert(document.to_owned(), grade);
        ensure!(
            before.is_none_or(|before| before == grade),
            "query `{query}` judges document `{document}` twice, with different scores"
        );
        Ok(())
    })
}

/// Calls `take` with each line that is not blank; its errors get the place in the file.
fn each_line(path: &Path, mut take: impl FnMut(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let file = File::open(path);
    let file = file.with_context(|| format!("failed to open `{}`", path.display()))?;
    let (mut reader, mut bytes) = (BufReader::new(file), Vec::new());
    for number in 1.. {
        bytes.clear();
        let place = || format!("`{}`, line {number}", path.display());
        let mut limited = reader.by_ref().take(MAX_LINE_BYTES + 1);
        if limited.read_until(b'\n', &mut bytes).with_context(place)? == 0 {
            break;
        }
        let line = text(&bytes).with_context(place)?;
        if !line.trim().is_empty() {
            take(line).with_context(place)?;
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> anyhow::Result<&str> {
    ensure!(
        bytes.len() as u64 <= MAX_LINE_BYTES,
        "the line has more than {MAX_LINE_BYTES} bytes"
    );
    let line = std::str::from_utf8(bytes).context("the line is not utf-8")?;
    Ok(line
        .trim_start_matches('\u{feff}')
        .trim_end_matches(['\n', '\r']))
}

#[cfg(test)]
mod tests;
