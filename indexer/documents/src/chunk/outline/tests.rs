use super::*;

fn titles<'a>(outline: &'a Outline, text: &'a str) -> Vec<(String, &'a str)> {
    let name = |s: &Section| (outline.path(s.inner).join(">"), text[s.start..s.end].trim());
    outline
        .sections
        .iter()
        .map(name)
        .filter(|(_, text)| !text.is_empty())
        .collect()
}

#[test]
fn sections_start_at_headings_and_know_their_path() {
    let text = "intro\n# A\n## B\ntext\n```\n# not\n```\n## C\nmore\nTop\n===\n";
    let outline = Outline::of(text, Markup::Markdown, &[], &mut OutlineState::default());
    let found = titles(&outline, text);
    let names: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    // `more` and `Top` are one paragraph of two lines, which an underline does not make a heading.
    assert_eq!(names, ["", "A>B", "A>C"]);
    assert_eq!(found[1].1, "# A\n## B\ntext\n```\n# not\n```");
}

#[test]
fn an_underlined_line_is_a_heading() {
    let text = "Top\r\n===\r\ntext\r\n\r\nSub\r\n---\r\nmore\r\n";
    let outline = Outline::of(text, Markup::Markdown, &[], &mut OutlineState::default());
    let names: Vec<String> = titles(&outline, text)
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(names, ["Top", "Top>Sub"]);
}

#[test]
fn an_open_fence_and_the_headings_are_carried_on() {
    let mut carry = OutlineState::default();
    Outline::of("# A\n\n```\ncode\n\n", Markup::Markdown, &[], &mut carry);
    let text = "# comment\n```\n## B\n";
    let outline = Outline::of(text, Markup::Markdown, &[], &mut carry);
    let found = titles(&outline, text);
    assert_eq!(found[0], ("A".to_owned(), "# comment\n```"));
    assert_eq!(found[1], ("A>B".to_owned(), "## B"));
}

#[test]
fn front_matter_is_no_heading() {
    let text = "---\ntitle: x\n---\ntext\n";
    let outline = Outline::of(text, Markup::Markdown, &[], &mut OutlineState::default());
    assert!(outline.headings.is_empty());
    assert_eq!(outline.pieces[0].kind, Kind::Verbatim);
}

#[test]
fn plain_text_has_paragraphs_only() {
    let text = "# one\nline\n\n- two\n\n\nthree";
    let outline = Outline::of(text, Markup::Plain, &[], &mut OutlineState::default());
    let starts: Vec<usize> = outline.pieces.iter().map(|piece| piece.start).collect();
    assert_eq!(starts, [0, 12, 20]);
    assert_eq!(outline.sections.len(), 1);
}
