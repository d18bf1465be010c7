//! Corpus: the documents that are searched.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;

use super::RelevanceError;
use super::lines::{Lines, record};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub id: String,
    /// Its title, if it has one, and its text.
    pub text: String,
}

/// Reads `corpus.jsonl`: JSON lines with `_id`, `text` and maybe `title`, which goes before the text as in BEIR.
///
/// # Errors
/// A line that is not in its shape, or a document that is there twice.
pub fn read(path: &Path) -> Result<Vec<Document>, RelevanceError> {
    let (mut documents, mut seen) = (Vec::new(), HashSet::new());
    Lines::open(path)?.each(|line| {
        let document = document(line)?;
        if !seen.insert(document.id.clone()) {
            return Err(format!("document `{}` is there twice", document.id));
        }
        documents.push(document);
        Ok(())
    })?;
    Ok(documents)
}

fn document(line: &str) -> Result<Document, String> {
    let (id, record) = record(line, "document")?;
    let field = |name: &str| record.get(name).and_then(Value::as_str).map(str::trim);
    let text = field("text").ok_or_else(|| format!("document `{id}` has no `text`"))?;
    let title = field("title").unwrap_or_default();
    let text = format!("{title} {text}").trim().to_owned();
    Ok(Document { id, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Document>, String> {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("corpus.jsonl");
        std::fs::write(&path, text).expect("there is room");
        read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn the_title_goes_before_the_text() {
        let read = read_text(
            "{\"_id\": \"a\", \"title\": \"One\", \"text\": \"two\"}\n\n{\"_id\": 7, \"text\": \"three\"}",
        );
        let document = |id: &str, text: &str| Document {
            id: id.to_owned(),
            text: text.to_owned(),
        };
        assert_eq!(
            read,
            Ok(vec![document("a", "One two"), document("7", "three")])
        );
    }

    #[test]
    fn a_document_that_is_there_twice_or_without_text_is_named() {
        let twice = "{\"_id\": \"a\", \"text\": \"x\"}\n{\"_id\": \"a\", \"text\": \"y\"}";
        assert!(
            read_text(twice).is_err_and(|it| it.contains("line 2: document `a` is there twice"))
        );
        assert!(read_text("{\"_id\": \"a\"}").is_err_and(|it| it.contains("`a` has no `text`")));
    }
}
