//! What extraction gives, and which errors.

use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::document::{Content, Markup};

mod whole;

struct Found {
    documents: Vec<Document>,
    errors: Vec<SourceError>,
}

fn extract_with(name: &str, bytes: &[u8], options: ExtractOptions) -> Found {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let format = Format::of_path(&path).unwrap();
    let input = Input {
        id: name.to_owned(),
        format,
        location: InputLocation::File(path),
    };
    let (mut documents, mut errors) = (Vec::new(), Vec::new());
    for item in extract(input, options) {
        match item {
            Ok(document) => documents.push(document),
            Err(error) => errors.push(error),
        }
    }
    Found { documents, errors }
}

fn found(name: &str, bytes: &[u8]) -> Found {
    extract_with(name, bytes, ExtractOptions::default())
}

fn text(document: &Document) -> &str {
    match &document.text {
        Content::Text(text) => text,
        Content::File(_) => panic!("the text is in a file"),
    }
}

/// The errors without the path of the temporary folder.
fn messages(found: &Found, name: &str) -> Vec<String> {
    let short = |error: &SourceError| {
        let message = error.to_string();
        let start = message.find('`').unwrap();
        let end = message.find(name).unwrap();
        format!("{}{}", &message[..=start], &message[end..])
    };
    found.errors.iter().map(short).collect()
}

#[test]
fn json_lines_give_a_document_each_with_metadata() {
    let lines = concat!(
        "\u{feff}{\"_id\":\"a\",\"title\":\"T\",\"text\":\"one\",\"lang\":\"en\",\"id\":7}\r\n",
        "\n",
        "{\"id\":12,\"text\":\"two\",\"title\":null}",
    );
    let found = found("x.jsonl", lines.as_bytes());
    assert!(found.errors.is_empty(), "{:?}", found.errors);
    let [a, b] = found.documents.as_slice() else {
        panic!("two documents")
    };
    assert_eq!(
        (a.id.as_str(), a.title.as_deref(), text(a)),
        ("a", Some("T"), "one")
    );
    assert_eq!(
        serde_json::Value::Object(a.meta.clone()),
        json!({ "lang": "en", "id": 7 })
    );
    assert_eq!(
        (b.id.as_str(), b.title.as_deref(), text(b)),
        ("12", None, "two")
    );
    assert_eq!((a.origin.line, b.origin.line), (Some(1), Some(3)));
}

#[test]
fn bad_json_lines_are_named_and_the_rest_goes_on() {
    let long = format!("{{\"_id\":\"{}\",\"text\":\"x\"}}", "i".repeat(1025));
    let huge = format!("{{\"_id\":\"h\",\"text\":\"{}\"}}", "x".repeat(5000));
    let lines = [
        b"{\"text\":\"x\"}".as_slice(),
        b"{\"_id\":\"a\"}",
        b"{\"_id\":\"a\",\"text\":\" \\n\"}",
        b"{\"_id\":\"a\",\"text\":5}",
        b"{\"_id\":1.5,\"text\":\"x\"}",
        b"{\"_id\":\"a\",\"text\":\"secret",
        b"\"secret\"",
        b"{\"_id\":\"a\",\"text\":\"\xff\"}",
        long.as_bytes(),
        huge.as_bytes(),
        b"{\"_id\":\"\",\"text\":\"x\"}",
        b"{\"_id\":\"ok\",\"text\":\"x\"}",
    ];
    let options = ExtractOptions {
        max_record_bytes: 4000,
        ..ExtractOptions::default()
    };
    let found = extract_with("x.jsonl", &lines.join(&b'\n'), options);
    assert_eq!(found.documents.len(), 1);
    assert_eq!(found.documents[0].id, "ok");
    let expected = [
        "`x.jsonl` line 1 has no field `_id`",
        "`x.jsonl` line 2 has no field `text`",
        "`x.jsonl` line 3 has no text",
        "`x.jsonl` line 4 has a number in field `text`, expected a string",
        "`x.jsonl` line 5 has a number in field `_id`, expected a string or a whole number",
        "`x.jsonl` line 6 is not valid json: EOF while parsing a string at column 25",
        "`x.jsonl` line 7 is a string, expected a json object",
        "`x.jsonl` line 8 is not utf-8 at byte 148: convert it first",
        "`x.jsonl` line 9 has a document id of 1025 bytes, expected 1 to 1024",
        "`x.jsonl` line 10 has 5021 bytes, more than --max-record-bytes 4000",
        "`x.jsonl` line 11 has a document id of 0 bytes, expected 1 to 1024",
    ];
    assert_eq!(messages(&found, "x.jsonl"), expected);
}

#[test]
fn binary_and_empty_files_are_one_error_each() {
    for name in [
        "x.txt", "x.md", "x.html", "x.jsonl", "x.csv", "x.tsv", "x.pdf",
    ] {
        let empty = found(name, b"");
        assert!(
            matches!(empty.errors.as_slice(), [SourceError::Empty { .. }]),
            "{name}"
        );
        let binary = found(name, &b"\0id\ttext\n\0\x01\0\n\n\0".repeat(100));
        assert_eq!(
            (binary.documents.len(), binary.errors.len()),
            (0, 1),
            "{name}"
        );
    }
    for name in ["x.txt", "x.md", "x.html", "x.jsonl"] {
        let binary = found(name, b"a\0b");
        assert!(
            matches!(
                binary.errors.as_slice(),
                [SourceError::Binary { offset: 1, .. }]
            ),
            "{name}"
        );
        let blank = found(name, b" \r\n\n");
        assert_eq!(blank.errors.len(), 1, "{name}");
        let foreign = found(name, b"\xef\xbb\xbfab\xff");
        let at = |error: &SourceError| matches!(error, SourceError::NotUtf8 { offset: 5, .. });
        assert!(
            foreign.errors.iter().all(at) && foreign.errors.len() == 1,
            "{name}"
        );
    }
}

#[test]
fn a_missing_file_is_an_error() {
    let location = InputLocation::File("/nowhere/x.md".into());
    let input = Input {
        id: "x.md".to_owned(),
        format: Format::Markdown,
        location,
    };
    let found: Vec<_> = extract(input, ExtractOptions::default()).collect();
    assert!(
        matches!(found.as_slice(), [Err(SourceError::Read { .. })]),
        "{found:?}"
    );
}

#[test]
fn tables_give_a_document_per_row() {
    let table =
        "\u{feff}id,text,title,year\r\na,\"one, \"\"two\"\"\nthree\",T,1999\r\n\r\nb,x,,\r\n";
    let found = found("x.csv", table.as_bytes());
    assert!(found.errors.is_empty(), "{:?}", found.errors);
    let [a, b] = found.documents.as_slice() else {
        panic!("two documents")
    };
    assert_eq!((a.id.as_str(), text(a)), ("a", "one, \"two\"\nthree"));
    assert_eq!(
        serde_json::Value::Object(a.meta.clone()),
        json!({ "year": "1999" })
    );
    assert_eq!(
        (b.id.as_str(), b.title.as_deref(), b.meta.len()),
        ("b", None, 0)
    );
    assert_eq!((a.origin.line, b.origin.line), (Some(2), Some(5)));
}

#[test]
fn bad_rows_are_named_and_the_rest_goes_on() {
    let long = "x".repeat(100_000);
    let table = format!("_id\ttext\na\t\"quoted\nb\nc\t\nd\t{long}\ne\tlast\n");
    let options = ExtractOptions {
        max_record_bytes: 3000,
        ..ExtractOptions::default()
    };
    let found = extract_with("x.tsv", table.as_bytes(), options);
    let texts: Vec<&str> = found.documents.iter().map(text).collect();
    assert_eq!(texts, ["\"quoted", "last"]);
    let expected = [
        "`x.tsv` line 3 has 1 cells, expected 2",
        "`x.tsv` line 4 has no field `text`",
        "`x.tsv` line 5 has 100001 bytes, more than --max-record-bytes 3000",
    ];
    assert_eq!(messages(&found, "x.tsv"), expected);
}

#[test]
fn a_quote_that_is_never_closed_stays_out_of_memory() {
    let table = format!("id,text\na,\"{}", "line,of,text\n".repeat(10_000));
    let options = ExtractOptions {
        max_record_bytes: 1000,
        ..ExtractOptions::default()
    };
    let found = extract_with("x.csv", table.as_bytes(), options);
    assert!(found.documents.is_empty());
    let expected = ["`x.csv` line 2 has 130001 bytes, more than --max-record-bytes 1000"];
    assert_eq!(messages(&found, "x.csv"), expected);
}

#[test]
fn a_table_without_its_columns_is_refused() {
    let found_ = found("x.csv", b"key,text\na,b\n");
    let expected = ["`x.csv` has no column `id` in its header: found 2 columns"];
    assert_eq!(messages(&found_, "x.csv"), expected);
    let empty = found("x.csv", b"id,text\n");
    assert!(matches!(
        empty.errors.as_slice(),
        [SourceError::Empty { .. }]
    ));
}

#[test]
fn documents_can_be_sent_to_other_threads() {
    fn sent<T: Send>() {}
    sent::<Documents>();
}
