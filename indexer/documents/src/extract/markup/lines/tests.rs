//! Pages that stand in markup.

use super::super::{asciidoc, org, rst};
use super::*;
use crate::extract::extracted::Extract;

fn read(extract: Extract, text: &str) -> Extracted {
    let mut out = Extracted::default();
    extract(text.as_bytes(), &mut out).unwrap();
    out
}

#[test]
fn a_page_inside_of_markup_is_read_as_a_page() {
    let page = "<ul class=\"two\">\n<li>Adán <b>D</b></li>\n<li>bar &amp; gita</li></ul>";
    let indented = page.replace('\n', "\n   ");
    let expected = "before\n\n- Adán D\n- bar & gita\n\nbehind";
    for (extract, text) in [
        (
            asciidoc as Extract,
            format!("before\n\n++++\n{page}\n++++\n\nbehind\n"),
        ),
        (
            rst,
            format!("before\n\n.. raw:: html\n\n   {indented}\n\nbehind\n"),
        ),
        (
            rst,
            format!("before\n\n.. raw:: html latex\n   :class: x\n\n   {indented}\n\nbehind\n"),
        ),
        (
            rst,
            format!("before\n\n.. raw:: html\n   {indented}\n\nbehind\n"),
        ),
        (
            org,
            format!("before\n\n#+BEGIN_EXPORT html\n{page}\n#+END_EXPORT\n\nbehind\n"),
        ),
    ] {
        let out = read(extract, &text);
        assert_eq!(out.text, expected, "{text}");
        assert!(out.dropped.is_empty(), "{text}");
    }
}

#[test]
fn what_is_no_page_is_left_out_and_counted() {
    let script = "++++\n<p>shown</p>\n<script>run()</script>\n++++\n";
    let out = read(asciidoc, script);
    assert_eq!(out.text, "shown");
    for (extract, text) in [
        (rst as Extract, ".. raw:: latex\n\n   \\newpage\n\nbehind\n"),
        (rst, ".. raw:: html\n   :file: other.html\n\nbehind\n"),
        (
            org,
            "#+BEGIN_EXPORT latex\n\\newpage\n#+END_EXPORT\nbehind\n",
        ),
    ] {
        let out = read(extract, text);
        assert_eq!(out.text, "behind", "{text}");
        assert_eq!(out.dropped.count(Reason::Code), 1, "{text}");
    }
    let deep = format!("++++\n{}\n++++\n\nbehind\n", "<div>".repeat(2000));
    let out = read(asciidoc, &deep);
    assert_eq!(out.text, "behind");
    assert_eq!(out.dropped.count(Reason::BrokenPart), 1);
}
