//! What is kept of a page, and what of it shows.

use super::*;

fn read(page: &str) -> (String, Ledger) {
    let mut dropped = Ledger::default();
    let text = text_of(&parse(page), &mut dropped);
    (text, dropped)
}

fn text(page: &str) -> String {
    read(page).0
}

const PARAGRAPH: &str = "A paragraph that has enough words so that it counts as text.";

#[test]
fn a_page_inside_a_form_is_kept() {
    let page = format!(
        "<body><form><h1>T</h1><p>{PARAGRAPH}</p><label>Name</label><input value=x>\
         <select><option>Aland</select><button>Send</button></form>"
    );
    let (text, dropped) = read(&page);
    assert_eq!(text, format!("# T\n\n{PARAGRAPH}\n\nName"));
    assert_eq!(dropped.count(Reason::Control), 2);
}

#[test]
fn a_heading_that_is_a_button_is_kept() {
    let page = "<h2><button>Question</button></h2><p>answer</p><button><h3>Other</h3></button><dl><dt><button>Term</button><dd>it";
    assert_eq!(text(page), "## Question\n\nanswer\n\n### Other\n\nTerm\nit");
}

#[test]
fn hidden_text_is_kept_and_hidden_labels_are_not() {
    let page = format!(
        "<p>shown</p><div hidden>error</div><div role=tabpanel hidden>tab</div>\
         <div hidden=until-found>found</div><div hidden><p>{PARAGRAPH}</p></div>"
    );
    let (text, dropped) = read(&page);
    assert_eq!(text, format!("shown\n\ntab\n\nfound\n\n{PARAGRAPH}"));
    assert_eq!(dropped.count(Reason::Hidden), 1);
}

#[test]
fn all_main_parts_are_kept() {
    let page = format!(
        "<div>around</div><main>one {PARAGRAPH}</main><p>x</p><main>two {PARAGRAPH}</main>"
    );
    let (two, dropped) = read(&page);
    assert_eq!(two, format!("one {PARAGRAPH}\n\ntwo {PARAGRAPH}"));
    assert_eq!(dropped.count(Reason::OutsideMain), 1);
    let teaser = format!("<main>{PARAGRAPH}</main><article><p>{PARAGRAPH}</p></article>");
    assert_eq!(text(&teaser), format!("{PARAGRAPH}\n\n{PARAGRAPH}"));
    let empty = format!("<main id=app></main><div><p>{PARAGRAPH}</p></div>");
    assert_eq!(text(&empty), PARAGRAPH);
    let nearly = format!(
        "<main>Loading</main><div>{}</div>",
        format!("<p>{PARAGRAPH}</p>").repeat(3)
    );
    assert!(text(&nearly).contains(PARAGRAPH));
}

#[test]
fn the_title_in_a_header_is_kept() {
    let page = "<header><nav>menu</nav><h1>Title</h1></header><p>text</p><footer>legal</footer>";
    assert_eq!(text(page), "# Title\n\ntext");
    let beside =
        format!("<header><a>logo</a><h1>Title</h1></header><main><p>{PARAGRAPH}</p></main>");
    assert_eq!(text(&beside), format!("# Title\n\n{PARAGRAPH}"));
}

#[test]
fn text_for_readers_without_scripts_is_kept() {
    let page = format!("<div id=app></div><noscript><h1>T</h1><p>{PARAGRAPH}</p></noscript>");
    assert_eq!(text(&page), format!("# T\n\n{PARAGRAPH}"));
}

#[test]
fn rows_of_tables_stay_together() {
    let page = "<table><caption>C</caption><tr><th><p>Name</p></th><th><p>Value</p><tr><td><p>a<br>b</p><p>c</p></td>\
        <td><ul><li>1<li>2</ul></td><tr><td></td><td>only</table>after";
    assert_eq!(
        text(page),
        "C\n\nName | Value\na b c | 1 2\n| only\n\nafter"
    );
}

#[test]
fn a_table_that_arranges_a_page_is_no_row() {
    let page =
        "<table><tr><td>menu</td><td><h1>T</h1><p>one</p><p>two</p><pre>x\n y</pre></td></table>";
    assert_eq!(text(page), "menu\n\n# T\n\none\n\ntwo\n\n```\nx\n y\n```");
}

#[test]
fn code_with_fences_in_it_is_fenced_by_more() {
    let page = "<pre>```rust\nx\n```</pre><p>after</p>";
    assert_eq!(text(page), "````\n```rust\nx\n```\n````\n\nafter");
}

#[test]
fn words_of_different_elements_do_not_fuse() {
    let page = "<fieldset><legend>One</legend><label>two</label><label>three</label><center>four</center>five\
        <dialog open>six</dialog>seven<textarea>eight</textarea>nine</fieldset>";
    let words = text(page);
    let words: Vec<&str> = words
        .split_whitespace()
        .filter(|word| *word != "```")
        .collect();
    assert_eq!(
        words,
        [
            "One", "two", "three", "four", "five", "six", "seven", "eight", "nine"
        ]
    );
}

#[test]
fn a_heading_is_one_line() {
    assert_eq!(
        text("<h1>A<br>B <span>C</span><div>D</div></h1>text"),
        "# A B C D\n\ntext"
    );
}

#[test]
fn pictures_and_numbers_of_items_are_told() {
    let page = "<p>See<img alt='a red boat'>here</p><ol start=3><li>three<ul><li>inner</ul><li>four</ol>\
        <ol reversed><li>b<li>a</ol>";
    assert_eq!(
        text(page),
        "See a red boat here\n\n3. three\n  - inner\n4. four\n\n2. b\n1. a"
    );
}

#[test]
fn the_encoding_is_the_one_that_a_page_declares() {
    for (page, encoding) in [
        ("<meta charset=windows-1251>", Some("windows-1251")),
        (
            "<meta http-equiv=x content='text/html; charset=Shift_JIS'>",
            Some("Shift_JIS"),
        ),
        ("<?xml version='1.0' encoding='GB2312'?>", Some("GBK")),
        ("<meta charset='utf-16'>", Some("UTF-8")),
        ("<p>none", None),
    ] {
        assert_eq!(
            declared(page.as_bytes()).map(Encoding::name),
            encoding,
            "{page}"
        );
    }
    let utf8 = "<meta charset=iso-8859-1><p>\u{fc}ber";
    assert_eq!(declared(utf8.as_bytes()).map(Encoding::name), Some("UTF-8"));
}

#[test]
fn elements_of_a_line_that_a_style_sheet_sets_apart_do_not_fuse() {
    for (page, expected) in [
        (
            "<strong>Support</strong><span>11. April</span><b>2017</b><i>Ende</i>",
            "Support 11. April 2017 Ende",
        ),
        (
            "<b>previous</b><a href=x>George Deeb</a>",
            "previous George Deeb",
        ),
        // One word in several elements, a part of a word, and code.
        ("<b>so</b><i>me</i> <b>i</b><i>OS</i>", "some iOS"),
        (
            "<b>T</b>he <b>W</b><i>ord</i>s <b>eX</b><i>Ample</i>",
            "The Words eXAmple",
        ),
        ("<i>cm</i><sup>2</sup>, note<sup>1</sup>", "cm2, note1"),
        ("<code><i>some</i><b>Name</b><b>2</b></code>", "someName2"),
        ("<b>1</b><i>st</i> camel<b>Case</b>", "1st camelCase"),
    ] {
        assert_eq!(text(&format!("<p>{page}</p>")), expected, "{page}");
    }
}
