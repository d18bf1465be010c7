//! What chunks look like.

use super::properties::range_of;
use super::tiny_tokenizer::wordpiece;
use super::{Chunk, ChunkError, ChunkOptions, Chunker};
use crate::document::{Content, Document, Markup};
use crate::source::Origin;

mod large;

fn options(max_tokens: usize) -> ChunkOptions {
    ChunkOptions {
        max_tokens,
        target_tokens: None,
        overlap_tokens: 0,
        prefix: String::new(),
        context: true,
    }
}

fn chunker(options: ChunkOptions) -> Chunker {
    Chunker::new(wordpiece(), options).unwrap()
}

fn document(title: Option<&str>, text: Content, markup: Markup) -> Document {
    Document {
        id: "d".to_owned(),
        title: title.map(str::to_owned),
        meta: serde_json::Map::new(),
        text,
        markup,
        places: crate::document::Places::Lines,
        read: crate::document::Amount::default(),
        dropped: crate::document::Ledger::default(),
        origin: Origin::stdin(),
    }
}

fn markdown(text: &str) -> Document {
    document(None, Content::Text(text.to_owned()), Markup::Markdown)
}

fn all(chunker: &Chunker, document: &Document) -> Vec<Chunk> {
    chunker
        .chunks(document)
        .map(|chunk| chunk.unwrap())
        .collect()
}

fn texts(chunks: &[Chunk]) -> Vec<&str> {
    chunks.iter().map(|chunk| chunk.text.as_str()).collect()
}

/// A sentence of exactly this many tokens.
fn sentence(tokens: usize) -> String {
    format!("The {}vector. ", "the ".repeat(tokens - 3))
}

#[test]
fn a_short_text_is_one_chunk_under_its_title() {
    let chunker = chunker(ChunkOptions {
        prefix: "the queue: ".to_owned(),
        ..options(64)
    });
    let text = Content::Text(" the worker\n".to_owned());
    let chunks = all(&chunker, &document(Some("vectors"), text, Markup::Plain));
    assert_eq!(texts(&chunks), ["the worker"]);
    assert_eq!((chunks[0].start, chunks[0].end), (1, 11));
    assert_eq!(chunks[0].context.as_deref(), Some("vectors"));
    let ids = chunker
        .tokenizer()
        .encode("the queue: vectors\nthe worker")
        .unwrap();
    assert_eq!(chunks[0].token_ids, ids);
}

#[test]
fn a_title_that_is_the_first_heading_is_said_once() {
    let text = "# vector\nthe queue\n";
    let titled = Document {
        title: Some("vector".to_owned()),
        ..markdown(text)
    };
    assert_eq!(all(&chunker(options(64)), &titled)[0].context, None);
}

#[test]
fn large_sections_are_not_mixed_and_small_ones_share_a_chunk() {
    let body = sentence(20);
    let text = format!("# the\n{body}\n# queue\n{body}\n# worker\nvector\n\n# chunk\nvector\n");
    let chunks = all(&chunker(options(64)), &markdown(&text));
    let starts: Vec<&str> = chunks
        .iter()
        .map(|c| c.text.lines().next().unwrap())
        .collect();
    assert_eq!(starts, ["# the", "# queue"]);
    assert!(chunks[1].text.ends_with("# chunk\nvector"));
}

#[test]
fn a_heading_stays_with_its_text_and_names_the_chunks_after_it() {
    let text = format!("# the\n\n## queue\n\n{}", sentence(20).repeat(6));
    let chunks = all(&chunker(options(64)), &markdown(&text));
    assert!(chunks[0].text.starts_with("# the\n\n## queue\n\nThe the"));
    assert_eq!(chunks[0].context, None);
    assert!(chunks.len() > 2);
    assert!(
        chunks[1..]
            .iter()
            .all(|c| c.context.as_deref() == Some("the > queue"))
    );
    assert!(chunks.iter().all(|c| c.text.ends_with("vector.")));
}

#[test]
fn chunks_of_several_sections_have_the_headings_common_to_all() {
    let text = "# the\n## queue\n### worker\nvector\n## chunk\nvector\n";
    let long = format!("{text}## queue\n{}", sentence(30));
    let chunks = all(&chunker(options(40)), &markdown(&long));
    assert_eq!(chunks[0].text, text.trim_end());
    assert_eq!(chunks[0].context, None);
    assert_eq!(chunks[1].context.as_deref(), Some("the"));
}

#[test]
fn paragraphs_are_preferred_to_sentences() {
    let paragraph = format!("{}{}", sentence(10), sentence(8).trim_end());
    let text = format!("{paragraph}\n\n{paragraph}\n\n{paragraph}\n\n{paragraph}");
    let chunks = all(&chunker(options(50)), &markdown(&text));
    let expected = format!("{paragraph}\n\n{paragraph}");
    assert_eq!(texts(&chunks), [&expected, &expected]);
}

#[test]
fn whole_sentences_are_repeated_up_to_the_overlap() {
    let text = (0..12)
        .map(|n| format!("{n} {}", sentence(8)))
        .collect::<String>();
    let chunker = chunker(ChunkOptions {
        overlap_tokens: 12,
        ..options(48)
    });
    let chunks = all(&chunker, &markdown(&text));
    assert!(chunks.len() > 2);
    for pair in chunks.windows(2) {
        let repeated = &pair[0].text[range_of(&pair[1]).start - range_of(&pair[0]).start..];
        assert!(pair[1].text.starts_with(repeated));
        assert_eq!(repeated.matches("vector.").count(), 1, "{repeated}");
        assert!(
            repeated.starts_with(|first: char| first.is_ascii_digit()),
            "{repeated}"
        );
    }
}

#[test]
fn a_long_title_takes_a_quarter_at_most() {
    let title = "queue ".repeat(5000);
    let text = Content::Text("vector ".repeat(100));
    let chunks = all(
        &chunker(options(64)),
        &document(Some(&title), text, Markup::Plain),
    );
    for chunk in &chunks {
        assert_eq!(
            chunk.context.as_deref(),
            Some("queue ".repeat(16).trim_end())
        );
        assert!(chunk.token_ids.len() <= 64);
    }
    let plain = chunker(ChunkOptions {
        context: false,
        ..options(64)
    });
    let text = Content::Text("vector".to_owned());
    assert_eq!(
        all(&plain, &document(Some("queue"), text, Markup::Plain))[0].context,
        None
    );
}

#[test]
fn options_that_contradict_each_other_are_refused_with_their_values() {
    let error = |options| Chunker::new(wordpiece(), options).unwrap_err();
    let small = error(ChunkOptions {
        prefix: "the ".repeat(20),
        ..options(32)
    });
    assert!(
        matches!(
            small,
            ChunkError::Limit {
                limit: 32,
                fixed: 22,
                context: 8
            }
        ),
        "{small}"
    );
    assert!(small.to_string().ends_with("with --no-context"), "{small}");
    let target = error(ChunkOptions {
        target_tokens: Some(65),
        ..options(64)
    });
    assert!(
        matches!(
            target,
            ChunkError::Target {
                target: 65,
                limit: 64
            }
        ),
        "{target}"
    );
    let overlap = error(ChunkOptions {
        overlap_tokens: 24,
        ..options(64)
    });
    assert!(
        matches!(
            overlap,
            ChunkError::Overlap {
                overlap: 24,
                most: 23
            }
        ),
        "{overlap}"
    );
}

#[test]
fn the_context_follows_the_length_that_chunks_aim_at() {
    let short = chunker(ChunkOptions {
        target_tokens: Some(16),
        ..options(512)
    });
    let text = Content::Text("vector ".repeat(100));
    let title = "the queue and the worker ".repeat(10);
    let chunks = all(&short, &document(Some(&title), text, Markup::Plain));
    assert!(chunks.iter().all(|chunk| chunk.token_ids.len() <= 16));
    let longest = chunks.iter().filter_map(|chunk| chunk.context.as_ref());
    assert!(longest.clone().count() > 0);
    assert!(
        longest
            .map(|line| line.split_whitespace().count())
            .all(|words| words <= 4)
    );
}

#[test]
fn a_chunk_says_on_which_line_of_its_file_it_starts() {
    let text: String = (1..=400).map(|n| format!("Line {n} of it.\n\n")).collect();
    let document = markdown(&text);
    let chunks = all(&chunker(options(60)), &document);
    assert!(chunks.len() > 20);
    for chunk in &chunks {
        let start = usize::try_from(chunk.start).unwrap();
        let line = text[..start].matches('\n').count() as u64 + 1;
        let location = chunk.location.as_ref().unwrap();
        assert_eq!((location.line, &location.section), (Some(line), &None));
    }
}

#[test]
fn a_chunk_of_extracted_text_says_on_which_page_and_below_which_heading_it_starts() {
    use crate::document::{Location, Places};
    let text = "# A\n\none\n\n## B\n\ntwo\n\nthree";
    let at = |part: &str| text.find(part).unwrap() as u64;
    let marks = vec![
        (0, Location::Page(1)),
        (at("## B") - 2, Location::Page(2)),
        (at("three"), Location::Page(3)),
    ];
    let document = Document {
        places: Places::marked(marks),
        ..markdown(text)
    };
    let mut small = options(12);
    small.context = false;
    let chunks = all(&chunker(small), &document);
    let found: Vec<_> = chunks
        .iter()
        .map(|chunk| chunk.location.clone().unwrap().to_string())
        .collect();
    assert_eq!(
        found,
        [
            "page 1, section `A`",
            "page 2, section `A > B`",
            "page 3, section `A > B`"
        ]
    );
}

#[test]
fn every_chunk_of_a_table_has_its_header() {
    let rows: String = (0..40)
        .map(|row| format!("| the queue {row} | worker |\n"))
        .collect();
    let text =
        format!("# vector\n\n| queue | worker |\n| --- | --- |\n{rows}\nthe text after it\n");
    let chunks = all(&chunker(options(48)), &markdown(&text));
    assert!(chunks.len() > 5, "{}", chunks.len());
    assert_eq!(chunks[0].context, None);
    for chunk in &chunks[1..] {
        let context = chunk.context.as_deref();
        if chunk.text.starts_with('|') {
            assert_eq!(context, Some("vector > queue | worker"), "{}", chunk.text);
        } else {
            assert_eq!(context, Some("vector"), "{}", chunk.text);
        }
    }
}

#[test]
fn a_row_of_dashes_inside_a_table_is_no_header_line() {
    let rows: String = (0..40)
        .map(|row| format!("| the queue {row} | worker |\n| -- | -- |\n"))
        .collect();
    let text = format!("# vector\n\n| queue \\| job | worker |\n| --- | --- |\n{rows}");
    let chunks = all(&chunker(options(48)), &markdown(&text));
    assert!(chunks.len() > 3, "{}", chunks.len());
    for chunk in &chunks[1..] {
        let context = chunk.context.as_deref();
        assert_eq!(
            context,
            Some("vector > queue | job | worker"),
            "{}",
            chunk.text
        );
    }
}
