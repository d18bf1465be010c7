//! Tables: rows, quotes, and the names of columns.

use serde_json::json;

use super::{extract_with, found, messages, text};
use crate::extract::{ExtractOptions, record};
use crate::source::SourceError;

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
