//! What is kept of elements, and how their text is put together.

use super::*;
use crate::document::Location;
use crate::extract::markup::tests::{XML, check, dropped};

#[test]
fn xml_keeps_its_words_and_its_structure() {
    let out = check(
        xml,
        XML,
        &[
            "# The paper",
            "Short & good–ish é.",
            "## Start here",
            "Text of bold H2O in lines.",
            "- one\n- two",
            "### Below",
            "Sizes",
            "| Key | Value |\n| --- | --- |\n| alpha | 10 MB |",
            "```\nx\n  y\n```",
        ],
    );
    dropped(&out.dropped, &[Reason::Comment]);
    let mut out = Extracted::default();
    let refused = xml(b"<a><b></a>", &mut out).unwrap_err();
    assert!(
        refused.starts_with("it is not well-formed at byte"),
        "{refused}"
    );
}

#[test]
fn elements_beside_each_other_are_words_of_their_own() {
    for (source, expected) in [
        (
            "<a><contrib><name><surname>Noether</surname><given-names>Emmy</given-names></name>\
             <xref>1</xref><xref>2</xref></contrib></a>",
            "Noether Emmy 1 2",
        ),
        (
            "<a><date><day>14</day><month>4</month><year>1935</year></date></a>",
            "14 4 1935",
        ),
        (
            "<a><p><name><surname>Noether</surname><given-names>E</given-names></name>\
             <name><surname>Weyl</surname></name></p></a>",
            "Noether E Weyl",
        ),
        // Letters that are set in another way are part of their word, and so are links.
        (
            "<a><p><b>H</b><sub>2</sub><i>O</i></p><p>re<link>le</link><link>vant</link></p></a>",
            "H2O\n\nrelevant",
        ),
        (
            "<a><p><link>one</link><link>two</link></p><p><b>n</b><link>1</link>, x</p></a>",
            "one two\n\nn1, x",
        ),
        (
            "<a><p>[<year>1913</year><volume>26</volume>]</p></a>",
            "[1913 26]",
        ),
        // What is verbatim has all its spaces.
        (
            "<a><pre>f(<year>19</year><day>13</day>)<p/><link>x</link><link>y</link></pre></a>",
            "```\nf(1913)\nxy\n```",
        ),
    ] {
        let mut out = Extracted::default();
        xml(source.as_bytes(), &mut out).unwrap();
        assert_eq!(out.text, expected);
    }
}

#[test]
fn blocks_are_where_their_text_starts() {
    let source = "<a>\n<p>one\n</p>two\n<table><tr><td>k</td></tr>\n<tr><td>v</td></tr></table>\n<pre>\n&#10;\n\
        x</pre></a>";
    let mut out = Extracted::default();
    xml(source.as_bytes(), &mut out).unwrap();
    assert_eq!(
        out.text,
        "one\n\ntwo\n\n| k |\n| --- |\n| v |\n\n```\nx\n```"
    );
    let lines = out.locations.iter().map(|(_, line)| line.clone());
    assert_eq!(lines.collect::<Vec<_>>(), [2, 3, 4, 8].map(Location::Line));
}

#[test]
fn very_many_elements_and_references_take_no_longer_each() {
    let links = "<link>x</link>".repeat(200_000);
    let mut out = Extracted::default();
    xml(format!("<a>{links}</a>").as_bytes(), &mut out).unwrap();
    assert_eq!(out.text.len(), 399_999);
    let blanks = "&#10;".repeat(1_000_000);
    let mut out = Extracted::default();
    xml(format!("<pre>{blanks}x</pre>").as_bytes(), &mut out).unwrap();
    assert_eq!(out.text, "```\nx\n```");
}

#[test]
fn entities_that_a_file_defines_are_taken_in() {
    let source = "<!DOCTYPE a [<!ENTITY brand \"Ebb &amp; Flow\"><!ENTITY far SYSTEM \"far.xml\">]>\
        <a><p>By &brand;, caf&eacute;, &far;</p></a>";
    let mut out = Extracted::default();
    xml(source.as_bytes(), &mut out).unwrap();
    assert_eq!(out.text, "By Ebb & Flow, caf\u{e9}, &far;");
    dropped(&out.dropped, &[Reason::UnknownEntity]);
}
