//! Formats of one document per file.

use super::*;

#[test]
fn text_is_titled_by_its_heading_or_its_file() {
    let markdown = found("guide.md", b"\xef\xbb\xbf# The guide\r\ntext\r\n").documents;
    assert_eq!(markdown[0].title.as_deref(), Some("The guide"));
    assert_eq!(
        (text(&markdown[0]), markdown[0].markup),
        ("# The guide\r\ntext\r\n", Markup::Markdown)
    );
    let plain = found("guide.txt", b"# text\n").documents;
    assert_eq!(
        (plain[0].title.as_deref(), plain[0].markup),
        (Some("guide"), Markup::Plain)
    );
    assert_eq!(
        (plain[0].id.as_str(), plain[0].origin.line),
        ("guide.txt", None)
    );
}

#[test]
fn large_text_stays_in_its_file() {
    let big = format!("# Big\n{}", "line\n".repeat(400_000));
    let found = found("big.md", big.as_bytes());
    assert!(matches!(found.documents[0].text, Content::File(_)));
    assert_eq!(found.documents[0].title.as_deref(), Some("Big"));
    assert_eq!(found.documents[0].text.bytes(), big.len() as u64);
}

#[test]
fn html_keeps_its_structure_and_drops_its_furniture() {
    let page = "<!doctype html><title>The\n page</title><style>p{}</style><body>\
        <header>site</header><nav>menu</nav><h1>One <em>two</em></h1>\
        <p>A <b>bold</b>, word.\n   Next<br>line.<p hidden>no</p><script>if(a<b){}</script>\
        <ul><li>first<li><p>second</p></ul><pre>x\n  y</pre>\
        <table><tr><th>a<th>b<tr><td>1<td>2</table><article><header><h2>Three</h2></header></article>\
        <footer>legal</footer>";
    let found = found("p.html", page.as_bytes());
    assert!(found.errors.is_empty(), "{:?}", found.errors);
    let expected = "# One two\n\nA bold, word. Next\nline.\n\n- first\n- second\n\n```\nx\n  y\n```\n\n\
        a | b\n1 | 2\n\n## Three";
    assert_eq!(text(&found.documents[0]), expected);
    assert_eq!(found.documents[0].title.as_deref(), Some("The page"));
    assert_eq!(found.documents[0].markup, Markup::Markdown);
}

#[test]
fn html_is_its_main_part_where_there_is_one() {
    let page = b"<body><div>around</div><main><header><h1>H</h1></header>text</main>after";
    assert_eq!(text(&found("p.html", page).documents[0]), "# H\n\ntext");
    let bare = found("bare.htm", b"<p>only");
    assert_eq!(bare.documents[0].title.as_deref(), Some("bare"));
    let nothing = found("p.html", b"<script>x</script>");
    assert!(matches!(
        nothing.errors.as_slice(),
        [SourceError::EmptyText { .. }]
    ));
}

#[test]
fn html_that_nests_without_end_is_refused_in_no_time() {
    let found_ = found("p.html", "<div>".repeat(1_000_000).as_bytes());
    assert_eq!(
        messages(&found_, "p.html"),
        ["`p.html` nests elements more than 1024 deep, or never closes them"]
    );
    let deep = format!("{}x{}", "<div>".repeat(1000), "</div>".repeat(1000));
    assert_eq!(text(&found("p.html", deep.as_bytes()).documents[0]), "x");
    let options = ExtractOptions {
        max_html_bytes: 10,
        ..ExtractOptions::default()
    };
    let large = extract_with("p.html", b"<p>more than ten", options);
    let expected = ["`p.html` has 16 bytes, more than --max-html-bytes 10"];
    assert_eq!(messages(&large, "p.html"), expected);
}

#[test]
fn pdf_gives_its_text() {
    let found = found("p.pdf", &one_page("the queue and the worker"));
    assert!(found.errors.is_empty(), "{:?}", found.errors);
    assert_eq!(text(&found.documents[0]), "the queue and the worker");
    assert_eq!(found.documents[0].title.as_deref(), Some("p"));
}

#[test]
fn broken_pdf_is_an_error_whatever_the_library_does() {
    let whole = one_page("the queue");
    for cut in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[cut] = b'<';
        let found = found("p.pdf", &bytes);
        assert_eq!(found.documents.len() + found.errors.len(), 1);
    }
    let none = found("p.pdf", b"not a pdf");
    assert!(
        matches!(none.errors.as_slice(), [SourceError::Unreadable { .. }]),
        "{:?}",
        none.errors
    );
    let options = ExtractOptions {
        max_pdf_bytes: 8,
        ..ExtractOptions::default()
    };
    let large = extract_with("p.pdf", &whole, options);
    assert!(matches!(
        large.errors.as_slice(),
        [SourceError::TooLarge { limit: 8, .. }]
    ));
}
