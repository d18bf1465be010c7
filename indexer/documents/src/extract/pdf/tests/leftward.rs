//! Text that runs to the left.

use super::{page_with_font, read, stream};

/// A page whose letters A to F are the first ones of Hebrew.
fn hebrew(content: &str) -> String {
    let font = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 6 0 R >>";
    let map = stream(
        "/CIDInit /ProcSet findresource begin begincmap 1 begincodespacerange <00> <FF> \
         endcodespacerange 1 beginbfrange <41> <46> <05D0> endbfrange endcmap end",
    );
    read(&page_with_font(font, content, &[&map])).text
}

/// The same letters in a text.
fn plain(letters: &str) -> String {
    let letter = |c: char| match c {
        'A'..='F' => char::from_u32(u32::from(c) - u32::from('A') + 0x5d0).unwrap(),
        other => other,
    };
    letters.chars().map(letter).collect()
}

#[test]
fn text_that_runs_to_the_left_is_read_as_people_do() {
    for (drawn, expected) in [
        ("(FE DCBA) Tj", "ABCD EF"),
        ("(35% DC \\(BA\\)) Tj", "(AB) CD 35%"),
        ("(see CBA here) Tj", "see ABC here"),
        ("(.DC Rust 2.0 BA) Tj", "AB Rust 2.0 CD."),
        // Letter by letter, in the order of reading.
        (
            "1 0 0 1 300 600 Tm (A) Tj 1 0 0 1 292 600 Tm (B) Tj 1 0 0 1 284 600 Tm (C) Tj \
             1 0 0 1 270 600 Tm (D) Tj",
            "ABC D",
        ),
    ] {
        assert_eq!(hebrew(drawn), plain(expected), "{drawn}");
    }
}

#[test]
fn the_page_says_from_which_side_a_line_is_read() {
    let latin = "(FE uvw xyz rst) Tj";
    for (more, expected) in [
        ("", "FE uvw xyz rst"),
        ("0 -14 Td (FEDC BA FE) Tj", "uvw xyz rst EF\nEF AB CDEF"),
        (
            "0 -14 Td (only latin letters) Tj",
            "FE uvw xyz rst\nonly latin letters",
        ),
    ] {
        let text = hebrew(&format!("{latin} {more}"));
        let expected = expected.replace("FE uvw", "EF uvw");
        assert_eq!(text, plain(&expected), "{more}");
    }
    // A line of hardly anything else than Hebrew has its own side: it ends with its period.
    let page = "(only latin letters on this page) Tj 0 -14 Td (.FEDC a BA) Tj";
    let expected = plain("only latin letters on this page\nAB a CDEF.");
    assert_eq!(hebrew(page), expected);
}

#[test]
fn gaps_are_judged_by_the_whole_line_in_both_directions() {
    // Kerned letters in a line that has its spaces.
    let kerned = "[(FEDC) -160 (BA CD EF) -160 (AB CD)] TJ";
    assert_eq!(hebrew(kerned), plain("DC BAFE DC ABCDEF"));
    // Letters that are set apart, and words further.
    let apart: Vec<&str> = ["(A)", "(B)", "(C)", "(D)"].repeat(3).into_iter().collect();
    let word = apart.join(" -300 ");
    let spaced = hebrew(&format!("[{word} -900 {word}] TJ"));
    let letters = plain(&"DCBA".repeat(3));
    assert_eq!(spaced, format!("{letters} {letters}"));
}

#[test]
fn a_word_stays_whole_where_another_one_is_drawn_over_it() {
    // The bar begins within the last letter of the word.
    let drawn = "1 0 0 1 100 600 Tm (A) Tj 1 0 0 1 92 600 Tm (B) Tj 1 0 0 1 83.3 600 Tm (C) Tj \
        1 0 0 1 102 600 Tm (|) Tj";
    assert_eq!(hebrew(drawn), plain("|ABC"));
}

#[test]
fn a_text_in_place_of_letters_is_as_wide_as_they_are() {
    let word = "/Span << /ActualText <FEFF05D305D4> >> BDC (xyz) Tj EMC (BA) Tj";
    assert_eq!(hebrew(word), plain("AB") + "\u{5d3}\u{5d4}");
}
