use super::*;
use crate::extract::tests::pdf_of;

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
