//! Encodings: what is said, what is guessed, and what is broken.

use super::{extract_with, found, text};
use crate::document::Reason;
use crate::extract::{ExtractOptions, encoding};
use crate::source::SourceError;

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
    let told = "was guessed (windows-1252, as ";
    assert!(dropped.contains(told), "{dropped}");
    assert!(
        dropped.ends_with(" of 4 parts of it look like)"),
        "{dropped}"
    );
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
    let short = found("x.txt", b"caf\xe9");
    assert!(
        matches!(short.errors.as_slice(), [SourceError::NotUtf8 { .. }]),
        "{:?}",
        short.errors
    );
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
fn broken_letters_of_a_text_in_utf8_are_replaced_and_counted() {
    for (bytes, expected, lines) in [
        (
            b"\xc3\xa9\xc3\xa8\n\xc3\xa9\xff cut \xe2\x82".as_slice(),
            "\u{e9}\u{e8}\n\u{e9}\u{fffd} cut \u{fffd}",
            "(line 2, line 2)",
        ),
        // A word of UTF-8 among others that are broken.
        (
            b"letters \xc3\xbc and \xff\xfe lost\n\xff\n".as_slice(),
            "letters \u{fc} and \u{fffd}\u{fffd} lost\n\u{fffd}\n",
            "(line 1, line 1, line 2)",
        ),
        (
            b"valid \xc3\xbc then \xff\xfe\n\xff\xfe\n\xff\xfe\n",
            "valid \u{fc} then \u{fffd}\u{fffd}\n\u{fffd}\u{fffd}\n\u{fffd}\u{fffd}\n",
            "(line 1, line 1, line 2, line 2, line 3, line 3)",
        ),
    ] {
        let found = found("x.txt", bytes);
        assert!(found.errors.is_empty(), "{:?}", found.errors);
        let document = &found.documents[0];
        assert_eq!(text(document), expected);
        let dropped = document.dropped.to_string();
        assert!(dropped.ends_with(lines), "{dropped}");
        assert!(document.dropped.is_loss());
    }
}

#[test]
fn letters_of_utf8_that_are_there_by_chance_do_not_make_a_text_utf8() {
    for (label, words) in [
        ("koi8-r", "вещё ещё трое её ждут "),
        ("koi8-u", "її мій ґанок є своєї "),
        ("windows-1251", "«ООО» «Ромашка» и ТОЧКА» "),
        ("windows-1252", "Le «CAFÉ» est ouvert, déjà! "),
        ("windows-1253", "«ΤΟ ΚΑΦΈ» είναι ανοιχτό "),
        ("windows-1255", "«שלום» עולם טוב "),
        ("windows-1256", "برگ سگ چه پرگار گل "),
        ("windows-1256", "ايک بڑا گھر ہے "),
        ("windows-874", "ภาษาไทยเป็นภาษา ที่มีวรรณยุกต์ "),
        ("gbk", "编码转换 的文字，没有 空格 可言 "),
        ("big5", "編碼轉換的文字 沒有空格 "),
        ("shift_jis", "漢字かな交じり文 ﾃｽﾄ ﾃﾞｰﾀ "),
        ("euc-kr", "한글 문장을 읽는 시험 "),
    ] {
        let words = words.repeat(12);
        let encoding: encoding::TextEncoding = label.parse().unwrap();
        let (bytes, _, is_lossy) = encoding.0.encode(&words);
        assert!(!is_lossy, "{label}");
        for bytes in [&bytes[..], &bytes[..bytes.len() / 12]] {
            let found = found("x.txt", bytes);
            let broken = |it: &crate::document::Document| it.dropped.count(Reason::BrokenLetter);
            assert!(found.documents.iter().all(|it| broken(it) == 0), "{label}");
        }
        let found = found("x.txt", &bytes);
        assert!(found.errors.is_empty(), "{label}: {:?}", found.errors);
        assert_eq!(text(&found.documents[0]), words, "{label}");
    }
    // A capital with a mark behind it is a letter of UTF-8 that languages of today are written with, or one that none is.
    for bytes in [
        b"A \xabIRM\xc3\xbb \xe9".as_slice(),
        b"p\xe5 \xabG\xc5\xbb \xe4r",
        b"\xe9t\xe9 \xe0 G\xc5\xa0!",
    ] {
        let found = found("x.txt", bytes);
        let broken = |it: &crate::document::Document| it.dropped.count(Reason::BrokenLetter);
        assert!(
            found.documents.iter().all(|it| broken(it) == 0),
            "{bytes:?}"
        );
    }
    let short = found("x.txt", b"Le \xabCAF\xc9\xbb est ouvert");
    assert!(short.documents.is_empty(), "{:?}", short.documents);
    let two = found("x.txt", b"Le \xabCAF\xc9\xbb est \xabICI\xbb");
    let text = text(&two.documents[0]);
    assert_eq!(text, "Le \u{ab}CAF\u{c9}\u{bb} est \u{ab}ICI\u{bb}");
}

#[test]
fn utf16_without_a_mark_is_read_where_it_is_certain() {
    let utf16 =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    for (name, source, expected) in [
        ("x.txt", "Gr\u{fc}\u{df}e\n", "Gr\u{fc}\u{df}e\n"),
        ("x.csv", "id,text\n1,\u{fc}ber\n", "\u{fc}ber"),
        (
            "x.jsonl",
            "{\"id\": 1, \"text\": \"\u{fc}ber\"}\n",
            "\u{fc}ber",
        ),
    ] {
        let found = found(name, &utf16(source));
        assert!(found.errors.is_empty(), "{name}: {:?}", found.errors);
        assert_eq!(text(&found.documents[0]), expected, "{name}");
        let dropped = found.documents[0].dropped.to_string();
        assert!(dropped.contains("utf-16le, by"), "{name}: {dropped}");
    }
    let mail = utf16("Subject: wide\n\nGr\u{fc}\u{df}e\n");
    assert_eq!(
        found("x.eml", &mail).documents[0].title.as_deref(),
        Some("wide")
    );
    let marked: Vec<u8> = "\u{feff}{}"
        .chars()
        .map(u32::from)
        .flat_map(u32::to_le_bytes)
        .collect();
    let refused = found("x.jsonl", &marked);
    let reason = std::error::Error::source(&refused.errors[0])
        .unwrap()
        .to_string();
    assert!(reason.starts_with("it is utf-32le"), "{reason}");
    // No option says how UTF-32 is read.
    let cut = found("x.txt", &marked[..marked.len() - 1]).errors[0].to_string();
    assert!(cut.contains(" looks like utf-32le, "), "{cut}");
    assert!(cut.ends_with(": convert it"), "{cut}");
}

#[test]
fn a_large_text_in_another_encoding_is_read() {
    let line = "\u{fc}ber d\u{e4}mmernden \u{c4}ckern\n".repeat(60_000);
    let found = found("x.md", &encoding_rs::WINDOWS_1252.encode(&line).0);
    assert_eq!(text(&found.documents[0]), line);
}

#[test]
fn a_large_text_is_mended_wherever_it_is_broken() {
    let line = "\u{fc}ber d\u{e4}mmernden \u{c4}ckern\n";
    // What is read at once, 1 MiB, ends in the midst of a letter.
    let lines = "x".repeat(21) + &line.repeat(100_000);
    assert!(!lines.is_char_boundary(1 << 20));
    for (broken, expected) in [(b"\xff".as_slice(), 1), (b"\xc3", 1), (b"", 0)] {
        for name in ["x.md", "x.txt"] {
            let bytes = [lines.as_bytes(), broken].concat();
            let found = found(name, &bytes);
            assert!(found.errors.is_empty(), "{:?}", found.errors);
            let document = &found.documents[0];
            assert_eq!(document.dropped.count(Reason::BrokenLetter), expected);
            let is_file = matches!(document.text, crate::document::Content::File(_));
            assert_eq!(is_file, broken.is_empty());
        }
    }
}

#[test]
fn of_a_text_that_is_too_large_to_be_mended_the_place_of_the_fault_is_told() {
    let bytes = [&[b'x'; 3 << 20][..], b"\xff\n"].concat();
    let options = ExtractOptions {
        max_record_bytes: 2 << 20,
        ..ExtractOptions::default()
    };
    let found = extract_with("x.txt", &bytes, options);
    assert!(
        matches!(found.errors[..], [SourceError::NotUtf8 { offset, .. }] if offset == 3 << 20),
        "{:?}",
        found.errors
    );
}

#[test]
fn few_bytes_say_nothing_against_what_is_said() {
    for (name, bytes) in [
        ("x.txt", b"\xef\xbb\xbfcaf\xe9".as_slice()),
        ("x.html", b"<meta charset=utf-8><p>caf\xe9"),
        (
            "x.xml",
            b"<?xml version='1.0' encoding='utf-8'?><a>caf\xe9</a>",
        ),
    ] {
        let found = found(name, bytes);
        assert!(found.errors.is_empty(), "{name}: {:?}", found.errors);
        assert_eq!(text(&found.documents[0]), "caf\u{fffd}", "{name}");
        assert!(found.documents[0].dropped.is_loss());
    }
    let page = b"<meta charset=utf-8><p>D\xe9j\xe0 vu, d\xe9j\xe0 vu";
    let refused = found("x.html", page);
    assert!(
        matches!(
            refused.errors.as_slice(),
            [SourceError::NotUtf8 { offset: 24, .. }]
        ),
        "{:?}",
        refused.errors
    );
}

#[test]
fn broken_letters_are_replaced_whatever_says_that_a_text_is_utf8() {
    let words = "d\u{e9}j\u{e0} vu et \u{e9}t\u{e9} ";
    let with = |head: &str, tail: &str| {
        [head.as_bytes(), words.as_bytes(), b"\xff", tail.as_bytes()].concat()
    };
    for (name, bytes) in [
        ("x.txt", with("\u{feff}", "")),
        ("x.html", with("\u{feff}<p>", "")),
        ("x.html", with("<meta charset=utf-8><p>", "")),
        ("x.html", with("<meta charset=iso-8859-1><p>", "")),
        (
            "x.xml",
            with("<?xml version='1.0' encoding='UTF-8'?><a>", "</a>"),
        ),
        (
            "x.xml",
            with("<?xml version='1.0' encoding='iso-8859-1'?><a>", "</a>"),
        ),
    ] {
        let found = found(name, &bytes);
        assert!(found.errors.is_empty(), "{name}: {:?}", found.errors);
        let document = &found.documents[0];
        assert_eq!(text(document), format!("{words}\u{fffd}"), "{name}");
        assert_eq!(document.dropped.count(Reason::BrokenLetter), 1, "{name}");
    }
    let options = ExtractOptions {
        encoding: Some("utf-8".parse().unwrap()),
        ..ExtractOptions::default()
    };
    let said = extract_with("x.txt", &with("", ""), options);
    assert_eq!(said.documents[0].dropped.count(Reason::BrokenLetter), 1);
    let mut dropped = crate::document::Ledger::default();
    let chapter = crate::extract::html::markdown_of(with("<p>", ""), &mut dropped);
    assert_eq!(chapter.unwrap().text.trim(), format!("{words}\u{fffd}"));
    assert_eq!(dropped.count(Reason::BrokenLetter), 1);
    // What a page says counts where its bytes do not say something else for the most part.
    let page = b"<meta charset=iso-8859-1><p>Le \xabCAF\xc9\xbb, d\xe9j\xe0";
    assert_eq!(
        text(&found("x.html", page).documents[0]),
        "Le \u{ab}CAF\u{c9}\u{bb}, d\u{e9}j\u{e0}"
    );
}
