//! What extraction gives, and which errors.

use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::document::{Content, Markup};

pub mod fixtures;
pub mod mutations;
mod office;
mod whole;

#[derive(Debug, Default)]
pub struct Found {
    pub documents: Vec<Document>,
    pub errors: Vec<SourceError>,
}

fn extractor(options: ExtractOptions) -> Extractor {
    Extractor::new(options, isolated::tests_program())
}

pub fn extract_with(name: &str, bytes: &[u8], options: ExtractOptions) -> Found {
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
    Found { documents, errors }
}

/// The documents of a file that is read without a process of its own for any of them.
pub fn extract_in_place(name: &str, bytes: &[u8]) -> Found {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let input = Input {
        id: name.to_owned(),
        format: Format::of_path(&path).unwrap(),
        location: InputLocation::File(path),
    };
    let mut found = Found::default();
    for item in Extractor::default().extract(input) {
        match item {
            Ok(document) => found.documents.push(document),
            Err(error) => found.errors.push(error),
        }
    }
    found
}

pub fn found(name: &str, bytes: &[u8]) -> Found {
    extract_with(name, bytes, ExtractOptions::default())
}

pub fn text(document: &Document) -> &str {
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
    let found: Vec<_> = Extractor::default().extract(input).collect();
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
    let expected =
        ["`x.csv` line 2 opens a quote that is never closed; nothing from there on was read"];
    assert_eq!(messages(&found, "x.csv"), expected);
}

#[test]
fn a_quote_that_is_never_closed_is_named_and_swallows_no_rows() {
    let row = |number: usize| match number {
        10 => "10,\"open quote here\n".to_owned(),
        _ => format!("{number},text\n"),
    };
    let table: String = (1..=1000).map(row).collect();
    let found = found("x.csv", format!("id,text\n{table}").as_bytes());
    assert_eq!(found.documents.len(), 9);
    let expected =
        ["`x.csv` line 11 opens a quote that is never closed; nothing from there on was read"];
    assert_eq!(messages(&found, "x.csv"), expected);
    assert!(found.errors.iter().all(SourceError::hides_documents));
}

#[test]
fn a_quote_that_another_one_closes_later_is_named() {
    let table = "id,text\n1,x\n2,\"open\n3,y\n4,\"quoted\"\n5,z\n";
    let found = found("x.csv", table.as_bytes());
    assert_eq!(found.documents.len(), 1);
    let expected = [
        "`x.csv` line 3 opens a quote that closes in the midst of a text lines later; nothing from there on was read",
    ];
    assert_eq!(messages(&found, "x.csv"), expected);
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
fn the_delimiter_of_a_table_is_found_by_its_header() {
    for table in [
        "id;text;year\na;one, two;1\n",
        "id\ttext\tyear\na\t\"one, two\"\t1\n",
        "id|text|year\na|one, two|1\n",
        "sep=;\r\nid;text;year\r\na;one, two;1\r\n",
        "\"id\",\"text\",\"year; month\"\na,\"one, two\",1\n",
    ] {
        let found = found("x.csv", table.as_bytes());
        assert!(found.errors.is_empty(), "{table}: {:?}", found.errors);
        assert_eq!(text(&found.documents[0]), "one, two", "{table}");
        assert_eq!(found.documents[0].meta.len(), 1, "{table}");
    }
}

#[test]
fn columns_have_the_names_that_are_said() {
    let columns = record::Columns {
        id_column: Some("Nr".to_owned()),
        text_column: Some("Inhalt".to_owned()),
        title_column: Some("Jahr".to_owned()),
        metadata_columns: Some(vec!["Autor".to_owned()]),
    };
    let options = ExtractOptions {
        columns,
        delimiter: Some("#".parse().unwrap()),
        ..ExtractOptions::default()
    };
    let table = "Nr#Inhalt#Jahr#Autor#intern\n7#Text#1999#A#x\n";
    let found_ = extract_with("x.csv", table.as_bytes(), options.clone());
    assert!(found_.errors.is_empty(), "{:?}", found_.errors);
    let document = &found_.documents[0];
    assert_eq!((document.id.as_str(), text(document)), ("7", "Text"));
    assert_eq!(document.title.as_deref(), Some("1999"));
    assert_eq!(
        serde_json::Value::Object(document.meta.clone()),
        json!({ "Autor": "A" })
    );
    let line = br#"{"Nr":7,"Inhalt":"Text","Jahr":1999,"Autor":"A","id":1}"#;
    let found_ = extract_with("x.jsonl", line, options);
    let document = &found_.documents[0];
    assert_eq!(
        (document.id.as_str(), document.title.as_deref()),
        ("7", Some("1999"))
    );
    assert_eq!(
        serde_json::Value::Object(document.meta.clone()),
        json!({ "Autor": "A" })
    );
    let options = ExtractOptions {
        columns: record::Columns {
            metadata_columns: Some(vec!["year".to_owned()]),
            ..record::Columns::default()
        },
        ..ExtractOptions::default()
    };
    let found_ = extract_with("x.csv", b"id,text\n1,x\n", options);
    let expected = [
        "`x.csv` has no column `year`, found `id`, `text`: name the right one with --metadata-columns",
    ];
    assert_eq!(messages(&found_, "x.csv"), expected);
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
fn encodings_are_honoured_and_guesses_are_told() {
    let words = "D\u{e9}j\u{e0} vu: les \u{e9}l\u{e8}ves ont \u{e9}t\u{e9} tr\u{e8}s \u{e9}mus par la f\u{ea}te de No\u{eb}l";
    let encode =
        |encoding: &'static encoding_rs::Encoding, text: &str| encoding.encode(text).0.into_owned();
    let latin = encode(encoding_rs::WINDOWS_1252, words);
    let guessed = found("x.txt", &latin);
    assert!(guessed.errors.is_empty(), "{:?}", guessed.errors);
    assert_eq!(text(&guessed.documents[0]), words);
    let dropped = guessed.documents[0].dropped.to_string();
    assert!(dropped.ends_with("was guessed (windows-1252)"), "{dropped}");
    for (label, sample) in [
        ("gb18030", "\u{6c49}\u{5b57}\u{7f16}\u{7801}"),
        ("utf-16le", "\u{e9}t\u{e9}"),
    ] {
        let encoding: encoding::TextEncoding = label.parse().unwrap();
        let bytes = match label {
            "utf-16le" => sample.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            _ => encode(encoding.0, sample),
        };
        let options = ExtractOptions {
            encoding: Some(encoding),
            ..ExtractOptions::default()
        };
        let said = extract_with("x.txt", &bytes, options);
        assert_eq!(text(&said.documents[0]), sample, "{label}");
        assert!(said.documents[0].dropped.is_empty());
    }
    let marked: Vec<u8> = "\u{feff}id,text\n1,\u{fc}ber\n"
        .encode_utf16()
        .flat_map(u16::to_be_bytes)
        .collect();
    let marked = found("x.csv", &marked);
    assert_eq!(text(&marked.documents[0]), "\u{fc}ber");
    let page = encode(
        encoding_rs::SHIFT_JIS,
        "<meta charset=shift_jis><p>\u{6f22}\u{5b57}\u{304b}\u{306a}",
    );
    assert_eq!(
        text(&found("x.html", &page).documents[0]),
        "\u{6f22}\u{5b57}\u{304b}\u{306a}"
    );
}

#[test]
fn what_tells_too_little_about_its_encoding_is_refused() {
    for bytes in [
        b"caf\xe9".as_slice(),
        b"\xc3\xa9\xc3\xa8\xc3\xa9\xff broken utf-8",
    ] {
        let found = found("x.txt", bytes);
        assert!(
            matches!(found.errors.as_slice(), [SourceError::NotUtf8 { .. }]),
            "{:?}",
            found.errors
        );
    }
    let options = ExtractOptions {
        encoding: Some("shift_jis".parse().unwrap()),
        ..ExtractOptions::default()
    };
    let wrong = extract_with("x.txt", b"\x82\xff\x81", options);
    assert!(
        matches!(wrong.errors.as_slice(), [SourceError::NotEncoded { .. }]),
        "{:?}",
        wrong.errors
    );
}

#[test]
fn a_large_text_in_another_encoding_is_read() {
    let line = "\u{fc}ber d\u{e4}mmernden \u{c4}ckern\n".repeat(60_000);
    let found = found("x.md", &encoding_rs::WINDOWS_1252.encode(&line).0);
    assert_eq!(text(&found.documents[0]), line);
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
fn a_table_without_its_columns_is_refused() {
    let found_ = found("x.csv", b"key,text\na,b\n");
    let expected = [
        "`x.csv` has no column `_id` or `id`, found `key`, `text`: name the right one with --id-column",
    ];
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
