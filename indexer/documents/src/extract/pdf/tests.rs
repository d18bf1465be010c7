use super::*;
use crate::extract::tests::pdf_of;

mod forms;
mod leftward;

fn stream(content: &str) -> String {
    let length = content.len();
    format!("<< /Length {length} >>\nstream\n{content}\nendstream")
}

/// A page with a font of this dictionary and objects from number 6 on.
fn page_with_font(font: &str, content: &str, more: &[&str]) -> Vec<u8> {
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R \
         /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        stream(&format!("BT /F1 12 Tf 72 720 Td {content} ET")),
        font.to_owned(),
    ];
    objects.extend(more.iter().map(|object| (*object).to_owned()));
    pdf_of(&objects)
}

fn read(bytes: &[u8]) -> Extracted {
    let mut extracted = Extracted::default();
    pdf(bytes, &mut extracted).unwrap();
    extracted
}

const HELVETICA: &str = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>";

#[test]
fn ligatures_are_the_letters_that_they_stand_for() {
    let font = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica \
        /Encoding << /Type /Encoding /Differences [1 /fi /fl /ff] >> >>";
    let bytes = page_with_font(font, "(e\\003ect, \\001nd, \\002ow) Tj", &[]);
    assert_eq!(read(&bytes).text, "effect, find, flow");
}

#[test]
fn predefined_character_maps_are_known() {
    let descendant = "<< /Type /Font /Subtype /CIDFontType0 /BaseFont /Ryumin-Light \
        /CIDSystemInfo << /Registry (Adobe) /Ordering (Japan1) /Supplement 2 >> >>";
    for (encoding, codes) in [
        ("UniJIS-UTF16-H", "<65E5672C>"),
        ("90ms-RKSJ-H", "<93FA967B>"),
        ("EUC-H", "<C6FCCBDC>"),
    ] {
        let font = format!(
            "<< /Type /Font /Subtype /Type0 /BaseFont /Ryumin-Light /Encoding /{encoding} \
             /DescendantFonts [6 0 R] >>"
        );
        let bytes = page_with_font(&font, &format!("{codes} Tj"), &[descendant]);
        assert_eq!(read(&bytes).text, "\u{65e5}\u{672c}", "{encoding}");
    }
}

#[test]
fn words_lines_and_paragraphs_are_told_apart() {
    let content =
        "(one) Tj 30 0 Td (two) Tj 0 -14 Td (three) Tj 0 -60 Td [(fo) 20 (ur) -400 (five)] TJ";
    let bytes = page_with_font(HELVETICA, content, &[]);
    assert_eq!(read(&bytes).text, "one two\nthree\n\nfour five");
}

#[test]
fn text_that_is_drawn_twice_is_said_once() {
    let bytes = page_with_font(HELVETICA, "2 Tr (once) Tj", &[]);
    assert_eq!(read(&bytes).text, "once");
}

#[test]
fn letters_that_nobody_can_know_are_counted() {
    let descendant = "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Unknown \
        /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>";
    let font = "<< /Type /Font /Subtype /Type0 /BaseFont /Unknown /Encoding /Identity-H \
        /DescendantFonts [6 0 R] >>";
    let extracted = read(&page_with_font(font, "<00410042> Tj", &[descendant]));
    assert_eq!(extracted.text, "");
    assert_eq!(extracted.dropped.count(Reason::UnknownLetter), 2);
}

#[test]
fn a_page_without_its_font_does_not_refuse_the_others() {
    let page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents";
    let bytes = pdf_of(&[
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R 4 0 R] /Count 2 >>".to_owned(),
        format!("{page} 5 0 R /Resources << /Font << /F1 99 0 R >> >> >>"),
        format!("{page} 6 0 R /Resources << /Font << /F1 7 0 R >> >> >>"),
        stream("BT /F1 12 Tf 72 720 Td <80818283> Tj ET"),
        stream("BT /F1 12 Tf 72 720 Td (second) Tj ET"),
        HELVETICA.to_owned(),
    ]);
    assert!(read(&bytes).text.ends_with("second"));
}

#[test]
fn letters_that_are_set_apart_are_words_all_the_same() {
    let spaced = "3 Tc (letters that are set apart) Tj";
    let bytes = page_with_font(HELVETICA, spaced, &[]);
    assert_eq!(read(&bytes).text, "letters that are set apart");
    let words: Vec<String> = ["letters", "without", "spaces"]
        .iter()
        .map(|word| {
            let letters: Vec<String> = word.chars().map(|c| format!("({c})")).collect();
            letters.join(" -280 ")
        })
        .collect();
    let bytes = page_with_font(HELVETICA, &format!("[{}] TJ", words.join(" -700 ")), &[]);
    assert_eq!(read(&bytes).text, "letters without spaces");
    // A font that says too small widths draws gaps of any width.
    let narrow = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /FirstChar 32 /LastChar 122 \
        /Widths [";
    let widths = "278 ".to_owned() + &"150 ".repeat(90);
    let letters: Vec<String> = "widths that are not true"
        .chars()
        .map(|letter| format!("({letter}) Tj {} 0 Td", if letter == 'i' { 3 } else { 7 }))
        .collect();
    let bytes = page_with_font(&format!("{narrow}{widths}] >>"), &letters.join(" "), &[]);
    assert_eq!(read(&bytes).text, "widths that are not true");
}

#[test]
fn words_that_stand_close_are_told_apart() {
    let tight = "[(words) -140 (that) -145 (stand) -140 (clo) 20 (se) -140 (to) -150 (others)] TJ";
    let bytes = page_with_font(HELVETICA, tight, &[]);
    assert_eq!(read(&bytes).text, "words that stand close to others");
    // With spaces of its own, a line has no others.
    let kerned = "[(a) -150 (nother line of sp) -150 (aces)] TJ";
    let bytes = page_with_font(HELVETICA, kerned, &[]);
    assert_eq!(read(&bytes).text, "another line of spaces");
    // Columns stand apart, whatever is between their letters.
    let columns = "(a) Tj 40 0 Td (b) Tj 40 0 Td (c) Tj 40 0 Td (d) Tj";
    let bytes = page_with_font(HELVETICA, columns, &[]);
    assert_eq!(read(&bytes).text, "a b c d");
}

#[test]
fn a_file_that_is_encrypted_is_not_called_empty() {
    let mut extracted = Extracted::default();
    let broken = b"%PDF-1.4\ntrailer << /Root 1 0 R /Encrypt 9 0 R >>\n%%EOF";
    let reason = pdf(broken, &mut extracted).unwrap_err();
    assert!(reason.starts_with("it is encrypted"), "{reason}");
}

#[test]
fn fonts_of_known_collections_say_what_their_numbers_mean() {
    let font = |name: &str, encoding: &str| {
        format!(
            "<< /Type /Font /Subtype /Type0 /BaseFont /ABCDEF+{name} /Encoding /{encoding} \
             /DescendantFonts [3 0 R] >>"
        )
    };
    let bytes = pdf_of(&[
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [7 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Font /Subtype /CIDFontType0 /BaseFont /Any \
         /CIDSystemInfo << /Registry (Adobe) /Ordering (Japan1) /Supplement 5 >> >>"
            .to_owned(),
        font("One", "Identity-H"),
        font("Two", "90ms-RKSJ-H"),
        font("One", "Identity-H"),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] >>".to_owned(),
        font("Both", "90ms-RKSJ-H"),
        font("Both", "Identity-H"),
    ]);
    let pdf = Pdf::new(bytes).unwrap();
    let collections = collections::Collections::of(&pdf);
    assert_eq!(collections.text("One", 3284).as_deref(), Some("\u{65e5}"));
    assert_eq!(collections.text("Two", 0x93fa).as_deref(), Some("\u{65e5}"));
    assert_eq!(collections.text("Both", 0x93fa), None);
    assert_eq!(collections.text("None", 1), None);
}

#[test]
fn a_text_in_place_of_letters_stands_where_they_do() {
    let replaced = |text: &str| format!("/Span << /ActualText ({text}) >> BDC");
    for (content, expected) in [
        (
            format!("{} (ABCDEF) Tj EMC (s) Tj", replaced("one")),
            "ones",
        ),
        (format!("(a) Tj {} (-) Tj EMC (b) Tj", replaced("")), "ab"),
        // What goes on in the next line ends this one.
        (
            format!("{} (A) Tj 0 -14 Td (B) Tj EMC (s) Tj", replaced("one")),
            "one\ns",
        ),
    ] {
        let bytes = page_with_font(HELVETICA, &content, &[]);
        assert_eq!(read(&bytes).text, expected);
    }
}
