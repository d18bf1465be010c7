//! What extraction gives, and which errors.

use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::document::{Content, Markup};

mod encodings;
pub mod fixtures;
pub mod mutations;
mod office;
mod tables;
mod whole;

#[derive(Debug, Default)]
pub struct Extraction {
    pub documents: Vec<Document>,
    pub errors: Vec<SourceError>,
}

fn extractor(options: ExtractOptions) -> Extractor {
    Extractor::new(options, isolated::tests_program())
}

pub fn extract_with(name: &str, bytes: &[u8], options: ExtractOptions) -> Extraction {
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
    for item in extractor(options).extract(input) {
        match item {
            Ok(document) => documents.push(document),
            Err(error) => errors.push(error),
        }
    }
    Extraction { documents, errors }
}

/// The documents of a file that is read without a process of its own for any of them.
pub fn extract_in_place(name: &str, bytes: &[u8]) -> Extraction {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let input = Input {
        id: name.to_owned(),
        format: Format::of_path(&path).unwrap(),
        location: InputLocation::File(path),
    };
    let mut found = Extraction::default();
    for item in Extractor::default().extract(input) {
        match item {
            Ok(document) => found.documents.push(document),
            Err(error) => found.errors.push(error),
        }
    }
    found
}

pub fn found(name: &str, bytes: &[u8]) -> Extraction {
    extract_with(name, bytes, ExtractOptions::default())
}

pub fn text(document: &Document) -> &str {
    match &document.text {
        Content::Text(text) => text,
        Content::File(_) => panic!("the text is in a file"),
    }
}

/// The errors without the path of the temporary folder.
fn messages(found: &Extraction, name: &str) -> Vec<String> {
    let short = |error: &SourceError| {
        let message = error.to_string();
        let start = message.find('`').unwrap();
        let end = message.find(name).unwrap();
        format!("{}{}", &message[..=start], &message[end..])
    };
    found.errors.iter().map(short).collect()
}

/// A PDF of these objects, the first of which is its root.
pub fn pdf_of(objects: &[String]) -> Vec<u8> {
    let (mut pdf, mut offsets) = (String::from("%PDF-1.4\n"), String::new());
    for (number, object) in objects.iter().enumerate() {
        offsets.push_str(&format!("{:010} 00000 n \n", pdf.len()));
        pdf.push_str(&format!("{} 0 obj\n{object}\nendobj\n", number + 1));
    }
    let (table, size) = (pdf.len(), objects.len() + 1);
    pdf.push_str(&format!("xref\n0 {size}\n0000000000 65535 f \n{offsets}"));
    pdf.push_str(&format!(
        "trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n"
    ));
    pdf.into_bytes()
}

/// A PDF of one page with one line of text.
pub fn one_page(text: &str) -> Vec<u8> {
    let content = format!("BT /F1 12 Tf 72 720 Td ({text}) Tj ET");
    let length = content.len();
    pdf_of(&[
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R \
         /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {length} >>\nstream\n{content}\nendstream"),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ])
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
        "`x.jsonl` line 8 is not utf-8 at byte 148: name its encoding with --encoding, or convert it",
        "`x.jsonl` line 9 has a document id of 1025 bytes, expected 1 to 1024",
        "`x.jsonl` line 10 has 5021 bytes, more than --max-record-bytes 4000",
        "`x.jsonl` line 11 has a document id of 0 bytes, expected 1 to 1024",
    ];
    assert_eq!(messages(&found, "x.jsonl"), expected);
}

#[test]
fn a_source_without_a_line_is_passed_over() {
    for empty in [&b""[..], b"\n\n"] {
        let found = found("__init__.py", empty);
        assert_eq!((found.documents.len(), found.errors.len()), (0, 0));
    }
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
        let foreign = found(name, b"\xef\xbb\xbfab\xff\xff\xff\xff");
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
    let found: Vec<_> = Extractor::default().extract(input).collect();
    assert!(
        matches!(found.as_slice(), [Err(SourceError::Read { .. })]),
        "{found:?}"
    );
}

#[test]
fn a_nul_in_a_record_costs_that_record() {
    for (name, bytes) in [
        ("x.csv", b"id,text\n1,a\n2,b\0b\n3,c\n".as_slice()),
        ("x.tsv", b"id\ttext\n1\ta\n2\tb\0b\n3\tc\n"),
        (
            "x.jsonl",
            b"{\"id\":1,\"text\":\"a\"}\n\n{\0}\n{\"id\":3,\"text\":\"c\"}\n",
        ),
    ] {
        let found = found(name, bytes);
        let ids: Vec<&str> = found.documents.iter().map(|it| it.id.as_str()).collect();
        assert_eq!(ids, ["1", "3"], "{name}");
        let expected = [format!("`{name}` line 3 holds a NUL, which no text has")];
        assert_eq!(messages(&found, name), expected);
    }
}

#[test]
fn a_record_that_ends_inside_is_an_error() {
    let cut = found("x.jsonl", b"{\"id\":1,\"text\":\"a\"}\n{\"id\":2,\"te");
    assert_eq!((cut.documents.len(), cut.errors.len()), (1, 1));
    let cut = found("x.tsv", b"id\ttext\n1\ta\n2");
    assert_eq!((cut.documents.len(), cut.errors.len()), (1, 1));
}

#[test]
fn a_field_that_comes_twice_is_refused() {
    let table = found("x.csv", b"id,text,text\n1,a,b\n");
    let expected = ["`x.csv` has the field `text` twice: rename one"];
    assert_eq!(messages(&table, "x.csv"), expected);
    let lines = found("x.jsonl", b"{\"id\":1,\"text\":\"a\",\"text\":\"b\"}\n");
    let expected = ["`x.jsonl` line 1 has the field `text` twice: rename one"];
    assert_eq!(messages(&lines, "x.jsonl"), expected);
}

#[test]
fn numbers_are_titles_and_large_ones_keep_their_digits() {
    let line =
        br#"{"id":123456789012345678901,"title":1984,"text":"x","n":[-9223372036854775809]}"#;
    let found = found("x.jsonl", line);
    let document = &found.documents[0];
    assert_eq!(document.id, "123456789012345678901");
    assert_eq!(document.title.as_deref(), Some("1984"));
    assert_eq!(
        serde_json::Value::Object(document.meta.clone()),
        json!({ "n": ["-9223372036854775809"] })
    );
}

#[test]
fn a_json_array_over_several_lines_is_one_error() {
    let found = found("x.jsonl", b"[\n  {\n    \"id\": 1\n  }\n]\n");
    assert!(
        matches!(found.errors.as_slice(), [SourceError::PrettyJson { .. }]),
        "{:?}",
        found.errors
    );
}

#[test]
fn an_id_of_nothing_but_blanks_is_refused() {
    let found_ = found("x.jsonl", b"{\"id\": \" \", \"text\": \"a\"}\n");
    let expected =
        ["`x.jsonl` line 1 has a document id of nothing but white space: give it a name"];
    assert_eq!(messages(&found_, "x.jsonl"), expected);
}

#[test]
fn embedded_files_are_left_out_of_large_texts_too() {
    let picture = "QUJD".repeat(400_000);
    let found = found(
        "x.md",
        format!("# A\n![p](data:image/png;base64,{picture})\nend\n").as_bytes(),
    );
    assert_eq!(text(&found.documents[0]), "# A\n![p]()\nend\n");
}

#[test]
fn documents_can_be_sent_to_other_threads() {
    fn sent<T: Send>() {}
    sent::<Documents>();
}
