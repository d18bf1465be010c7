//! Office files, books, notebooks and mails: their text, and what is told about the rest.

use super::fixtures::{self, zip_of};
use super::{extract_with, found, text};
use crate::document::Reason;
use crate::extract::ExtractOptions;

/// The text of the only document, after a check of what was left out.
fn read(name: &str, bytes: &[u8], left_out: &[Reason]) -> String {
    let found = found(name, bytes);
    assert!(found.errors.is_empty(), "{name}: {:?}", found.errors);
    let [document] = found.documents.as_slice() else {
        panic!("{name}: {} documents", found.documents.len())
    };
    let reasons: Vec<Reason> = document.dropped.iter().map(|(reason, _)| reason).collect();
    assert_eq!(reasons, left_out, "{name}");
    text(document).to_owned()
}

fn refusal(name: &str, bytes: &[u8]) -> String {
    let found = found(name, bytes);
    assert!(found.documents.is_empty(), "{name}");
    found.errors[0].to_string()
}

#[test]
fn a_docx_keeps_its_structure_and_tells_what_it_leaves_out() {
    let left_out = [
        Reason::Furniture,
        Reason::DeletedText,
        Reason::Comment,
        Reason::HiddenInOffice,
    ];
    let text = read("a.docx", &fixtures::docx(), &left_out);
    let expected = "# The Title\n\n## Part one\n\nKept inserted text[1] with a tab\there.\n\n[1] A note at the foot.\n\n\
        Words in a box.\n\n3. first\n  - inner\n4. second\n\n\
        | Name | Price |\n| --- | --- |\n| pen \\| ink | 2 |\n| book nested cell | 10 |\n\nIn a layout cell.\n\n\\# no heading";
    assert_eq!(text, expected);
}

#[test]
fn a_pptx_is_read_slide_by_slide_with_its_notes() {
    let found = found("a.pptx", &fixtures::pptx());
    let [document] = found.documents.as_slice() else {
        panic!("one document: {:?}", found.errors)
    };
    let expected = "## Second in the file\n\n- point\n  - deeper\n\n| A | B |\n| --- | --- |\n| 1 | 2 |\n\n\
        Series of a chart\n\nSay this aloud.\n\n## First in the file\n\nA box.";
    assert_eq!(text(document), expected);
    assert_eq!(document.dropped.count(Reason::HiddenInOffice), 1);
    assert_eq!(document.dropped.count(Reason::Furniture), 1);
    assert!(
        document.dropped.to_string().contains("slide 3"),
        "{}",
        document.dropped
    );
}

#[test]
fn an_xlsx_shows_cells_as_people_see_them() {
    let text = read(
        "a.xlsx",
        &fixtures::xlsx(),
        &[Reason::Comment, Reason::HiddenInOffice],
    );
    let expected = "## Prices\n\nPrices of May\n\n| Item | Day | Price | Share |\n| --- | --- | --- | --- |\n\
        | pen | 2024-05-17 | 1,234.50 | 25% |\n| ink | | #DIV/0! | TRUE |\n\nAnother table\n\n\
        ## Text\n\n| a | b |\n| --- | --- |\n| 0.3 | sum: 3 |";
    assert_eq!(text.replace("|  |", "| |"), expected);
}

#[test]
fn opendocument_is_read_like_the_others() {
    let left_out = [Reason::DeletedText, Reason::Comment];
    let expected = "# Head\n\nTwo  words[1] here\n\n[1] A foot note.\n\n1. one\n2. two\n  - inner\n\n\
        | h1 | h2 |\n| --- | --- |\n| a | b |\n\nIn a box.";
    assert_eq!(read("a.odt", &fixtures::odt(), &left_out), expected);
    let expected =
        "## S1\n\n| x | y |\n| --- | --- |\n| 12 % | 2024-05-17 |\n| 12 % | 2024-05-17 |";
    assert_eq!(
        read("a.ods", &fixtures::ods(), &[Reason::HiddenInOffice]),
        expected
    );
    assert_eq!(
        read("a.odp", &fixtures::odp(), &[]),
        "## Slide title\n\nBody text\n\nSpoken words"
    );
}

#[test]
fn rtf_has_letters_of_all_code_pages() {
    let left_out = [
        Reason::Furniture,
        Reason::DeletedText,
        Reason::Comment,
        Reason::Picture,
    ];
    let text = read("a.rtf", fixtures::RTF.as_bytes(), &left_out);
    let expected = "# Heading\n\ncaf\u{e9} \u{43f}\u{440}\u{438}\u{432}\u{435}\u{442} \u{65e5}\u{672c} \u{1f600} \u{2013} kept[1]\n\n\
        [1] A note.\n\n1. item\n\n| a | b |\n| --- | --- |\n| c | d |\n\nlast link";
    assert_eq!(text, expected);
}

#[test]
fn a_book_is_read_in_its_order() {
    let text = read("a.epub", &fixtures::epub(), &[]);
    assert_eq!(text, "# One\n\nFirst chapter.\n\n# Two\n\nSecond chapter.");
}

#[test]
fn a_notebook_keeps_text_code_and_results() {
    let text = read("a.ipynb", fixtures::NOTEBOOK.as_bytes(), &[Reason::Picture]);
    let expected =
        "# Title\n\nwords\n\n```\nprint(1)\n```\n\n```\n1\n```\n\n```\nValueError: bad\n```";
    assert_eq!(text, expected);
}

#[test]
fn a_mail_is_a_document_and_so_is_what_is_attached() {
    let found = found("m.eml", fixtures::mail().as_bytes());
    assert!(found.errors.is_empty(), "{:?}", found.errors);
    let ids: Vec<&str> = found
        .documents
        .iter()
        .map(|document| document.id.as_str())
        .collect();
    assert_eq!(
        ids,
        [
            "m.eml",
            "m.eml!/notes.txt",
            "m.eml!/notes.txt~2",
            "m.eml!/part-5.eml"
        ]
    );
    let mail = &found.documents[0];
    assert_eq!(mail.title.as_deref(), Some("Gr\u{fc}\u{df}e"));
    let expected = "# Gr\u{fc}\u{df}e\n\nFrom: J\u{fc}rgen <j@example.org>\nTo: a@example.org\n\
        Date: 2024-05-17T10:00:00+02:00\n\nDer Preis ist 5 \u{20ac}.";
    assert_eq!(text(mail), expected);
    assert!(
        mail.dropped.to_string().contains("photo.png"),
        "{}",
        mail.dropped
    );
    assert_eq!(text(&found.documents[1]), "attached words");
    assert!(text(&found.documents[3]).ends_with("forwarded words"));
    let path = found.documents[1].origin.to_string();
    assert!(path.ends_with("m.eml!/notes.txt`"), "{path}");
}

#[test]
fn a_mail_whose_parts_end_inside_each_other_is_refused_with_a_reason() {
    let mail = "Content-Type:multipart/;boundary=m\n\n--mContent-Type:message/rfc822\n\nu\n\
        Content-Type:message/rfc822\n\n\n--m--";
    let found = found("m.eml", mail.as_bytes());
    let message = found
        .errors
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    assert!(!message.contains("panicked"), "{message}");
}

#[test]
fn a_mail_in_utf_16_is_read() {
    let mail = "\u{feff}Subject: wide\n\nwords\n".encode_utf16();
    let mail: Vec<u8> = mail.flat_map(u16::to_le_bytes).collect();
    assert_eq!(read("m.eml", &mail, &[]), "# wide\n\nwords");
}

#[test]
fn a_thin_plain_text_gives_way_to_the_page() {
    let mail = "Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n\
        --b\r\nContent-Type: text/plain\r\n\r\nSee the page\r\n--b\r\nContent-Type: text/html\r\n\r\n\
        <h2>News</h2><p>one two three four five six seven</p>\r\n--b--\r\n";
    let text = read("m.eml", mail.as_bytes(), &[]);
    assert_eq!(text, "# s\n\n## News\n\none two three four five six seven");
}

#[test]
fn one_form_is_taken_of_all_texts_of_a_mail() {
    let both = |plain: &str, page: &str| {
        format!(
            "Content-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\nContent-Type: text/plain\r\n\r\n{plain}\r\n\
             --i\r\nContent-Type: text/html\r\n\r\n<p>{page}</p>\r\n--i--\r\n"
        )
    };
    let long = "one two three four five six seven eight";
    let mail = format!(
        "Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n{}\r\n--m\r\n{}\r\n--m--\r\n",
        both(long, long),
        both("nine ten", "nine ten")
    );
    let text = read("m.eml", mail.as_bytes(), &[]);
    assert_eq!(text, format!("# s\n\n{long}\n\nnine ten"));
}

#[test]
fn a_result_that_is_a_page_alone_is_kept() {
    let notebook = r#"{"cells": [{"cell_type": "code", "source": "show()", "outputs": [
        {"output_type": "display_data", "data": {"text/plain": "<IPython.core.display.HTML object>",
         "text/html": "<p>the table</p>"}},
        {"output_type": "display_data", "data": {"application/json": {"a": 1}}}
        ]}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}"#;
    let text = read("a.ipynb", notebook.as_bytes(), &[Reason::UnreadAttachment]);
    assert_eq!(text, "```\nshow()\n```\n\nthe table");
}

#[test]
fn encrypted_and_older_files_are_refused_as_what_they_are() {
    let wide = |name: &str| {
        name.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>()
    };
    let compound = |name: &str| {
        [
            &b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"[..],
            &[0; 504],
            &wide(name),
        ]
        .concat()
    };
    let message = refusal("a.docx", &compound("EncryptedPackage"));
    assert!(
        message.ends_with("is not a readable docx: it is encrypted with a password"),
        "{message}"
    );
    let message = refusal("a.xlsx", &compound("Workbook"));
    assert!(message.contains("before 2007"), "{message}");
    let manifest = "<manifest><file-entry><encryption-data/></file-entry></manifest>";
    let odt = zip_of(&[
        ("META-INF/manifest.xml", manifest.as_bytes()),
        ("content.xml", b"\x01\x02"),
    ]);
    assert!(refusal("a.odt", &odt).ends_with("it is encrypted with a password"));
    let encryption = "<e><CipherReference URI=\"OPS/one.xhtml\"/></e>";
    let epub = zip_of(&[("META-INF/encryption.xml", encryption.as_bytes())]);
    assert!(refusal("a.epub", &epub).contains("digital rights"));
    let mail = "Subject: s\nContent-Type: multipart/encrypted; boundary=b\n\n--b\n\nx\n--b--\n";
    assert!(refusal("a.eml", mail.as_bytes()).ends_with("it is encrypted (OpenPGP)"));
}

#[test]
fn what_is_no_such_file_says_so() {
    for (name, bytes, said) in [
        ("a.docx", &b"plain"[..], "it is no zip, or is cut off"),
        ("a.rtf", b"plain", "it does not begin with"),
        ("a.ipynb", b"plain", "it is not valid json at line 1"),
        ("a.eml", b"\n\nplain", "it has no header of a mail"),
    ] {
        let message = refusal(name, bytes);
        assert!(message.contains(said), "{message}");
    }
    let docx = zip_of(&[("word/other.xml", b"<a/>")]);
    assert!(refusal("a.docx", &docx).contains("no part `word/document.xml`"));
    let broken = zip_of(&[("word/document.xml", b"<w:document><w:body>")]);
    assert!(refusal("a.docx", &broken).contains("`word/document.xml` is cut off"));
}

#[test]
fn a_part_that_expands_without_end_costs_its_file_only() {
    let zeros = vec![b' '; 140 << 20];
    let bomb = zip_of(&[("word/document.xml", &zeros)]);
    assert!(bomb.len() < 1 << 20);
    assert!(refusal("a.docx", &bomb).contains("expands to more than"));
    // Names that stand for more and more of each other are taken in up to a limit.
    let levels: String = (1..12)
        .map(|level| {
            let before = format!("&a{};", level - 1).repeat(10);
            format!("<!ENTITY a{level} \"{before}\">")
        })
        .collect();
    let entities = format!(
        "<!DOCTYPE d [<!ENTITY a0 \"ha\">{levels}]>\
         <document><body><p><r><t>x&a1;y&a11;z</t></r></p></body></document>"
    );
    let docx = zip_of(&[("word/document.xml", entities.as_bytes())]);
    let text = read("a.docx", &docx, &[]);
    assert_eq!(text, format!("x{}y&a11;z", "ha".repeat(10)));
    let deep = format!("<document><body>{}", "<tbl><tr><tc>".repeat(100_000));
    let docx = zip_of(&[("word/document.xml", deep.as_bytes())]);
    assert!(refusal("a.docx", &docx).contains("is cut off"));
    let groups = format!("{{\\rtf1 {}", "{".repeat(100_000));
    assert!(refusal("a.rtf", groups.as_bytes()).contains("nests groups more than"));
}

#[test]
fn office_files_have_a_limit() {
    let options = ExtractOptions {
        max_office_bytes: 100,
        ..ExtractOptions::default()
    };
    let found = extract_with("a.docx", &fixtures::docx(), options);
    let message = found.errors[0].to_string();
    assert!(
        message.ends_with("more than --max-office-bytes 100"),
        "{message}"
    );
}
