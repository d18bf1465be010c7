//! Fields of forms: what is drawn of them, and what is not.

use super::{HELVETICA, read, stream};
use crate::extract::tests::pdf_of;

fn widget(place: &str, more: &str) -> String {
    format!("<< /Type /Annot /Subtype /Widget /Rect [{place}] {more} >>")
}

/// What an annotation of a width of 99 looks like.
fn appearance(drawn: &str) -> String {
    let length = drawn.len();
    format!(
        "<< /Type /XObject /Subtype /Form /BBox [0 0 99 9] /Length {length} \
         /Resources << /Font << /F1 5 0 R >> >> >>\nstream\n{drawn}\nendstream"
    )
}

/// The paragraphs of a page that says `Name`, with objects from number 6 on, some of them annotations.
fn paragraphs(annotations: &str, more: Vec<String>) -> Vec<String> {
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R \
             /Resources << /Font << /F1 5 0 R >> >> /Annots [{annotations}] >>"
        ),
        stream("BT /F1 12 Tf 72 720 Td (Name) Tj ET"),
        HELVETICA.to_owned(),
    ];
    objects.extend(more);
    let text = read(&pdf_of(&objects)).text;
    text.split("\n\n").map(str::to_owned).collect()
}

#[test]
fn fields_whose_values_are_not_drawn_are_read() {
    let found = paragraphs(
        "6 0 R 7 0 R 8 0 R 9 0 R 10 0 R 13 0 R",
        vec![
            widget("0 0 99 9", "/FT /Tx /V (Ada) /AP << /N 12 0 R >>"),
            widget("0 20 99 29", "/Parent 11 0 R"),
            widget("0 40 99 49", "/FT /Tx /F 2 /V (unseen)"),
            widget("0 60 99 69", "/FT /Tx /Ff 8192 /V (secret)"),
            widget("0 80 99 89", "/FT /Tx /V (drawn) /AP << /N 14 0 R >>"),
            "<< /FT /Ch /V (se) /Opt [[(no) (Norway)] [(se) (Sweden)]] >>".to_owned(),
            appearance(""),
            widget("0 100 99 109", "/FT /Btn /V /Off"),
            appearance("BT /F1 12 Tf 5 1 Td (drawn) Tj ET"),
        ],
    );
    assert_eq!(found, ["Name", "drawn", "Ada", "Sweden"]);
}

#[test]
fn a_value_that_is_drawn_elsewhere_is_a_value_all_the_same() {
    let drawn = "BT /F1 12 Tf 5 1 Td (Name drawn from right to left) Tj ET";
    let found = paragraphs(
        "6 0 R 7 0 R 8 0 R 9 0 R",
        vec![
            // The page says the same, the field beside it too, and a letter more than is drawn is not drawn.
            widget("0 0 99 9", "/FT /Tx /V (Name)"),
            widget(
                "0 20 99 29",
                "/FT /Tx /V (tfel\\rName drawn from right to) /AP << /N 10 0 R >>",
            ),
            widget("0 40 99 49", "/FT /Tx /V (drawn)"),
            widget("0 60 99 69", "/FT /Tx /V (lefty) /AP << /N 10 0 R >>"),
            appearance(drawn),
        ],
    );
    let line = "Name drawn from right to left";
    assert_eq!(found, ["Name", line, line, "Name", "drawn", "lefty"]);
}

#[test]
fn a_value_at_the_end_of_the_last_line_of_its_page_is_not_taken_for_it() {
    let more = vec![widget("70 710 199 730", "/FT /Tx /V (Name)")];
    assert_eq!(paragraphs("6 0 R", more), ["Name", "Name"]);
}

#[test]
fn what_lies_over_a_field_takes_nothing_of_it() {
    let drawn = "BT /F1 12 Tf 5 1 Td (drawn) Tj ET";
    let found = paragraphs(
        "6 0 R 7 0 R",
        vec![
            "<< /Type /Annot /Subtype /Watermark /Rect [0 0 612 792] >>".to_owned(),
            widget("0 20 99 29", "/FT /Tx /V (drawn) /AP << /N 8 0 R >>"),
            appearance(drawn),
        ],
    );
    assert_eq!(found, ["Name", "drawn"]);
}
