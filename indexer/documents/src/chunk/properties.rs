//! What holds for the chunks of any text.

use std::ops::Range;

use contract::tokenizer::Pieces;
use proptest::prelude::*;

use super::tiny_tokenizer::{bytes, wordpiece};
use super::{Chunk, ChunkOptions, Chunker};
use crate::document::{Content, Document, Markup};
use crate::source::Origin;

fn document(text: &str, title: Option<&str>, markup: Markup) -> Document {
    Document {
        id: "d".to_owned(),
        title: title.map(str::to_owned),
        meta: serde_json::Map::new(),
        text: Content::Text(text.to_owned()),
        markup,
        places: crate::document::Places::Lines,
        read: crate::document::Amount::default(),
        dropped: crate::document::Ledger::default(),
        origin: Origin::stdin(),
    }
}

/// Pieces that texts in the wild are made of, the nasty ones included.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => "[a-z]{1,9}( [a-z]{1,9}){0,12}[.!?]? ?",
        2 => "[a-z0-9]{100,700}",
        2 => "#{1,7} [a-z ]{0,20}\n",
        1 => "\n(=|-){1,5}\n",
        2 => "(\n|\r\n|\n\n|\r\n\r\n| {1,5}|\t)",
        1 => "(- |\\* |12\\. |\\| a \\| b \\|\n|> )",
        1 => "(```|~~~|````)[a-z]{0,3}\n",
        1 => "(e\u{301}{1,40}|👨‍👩‍👧‍👦|🇩🇪|\u{200b}|\u{feff}|\u{fdfa}|ﬁ|İ|\u{0})",
        1 => "[漢字文書検索。、]{1,40}",
        1 => "\\PC{0,20}",
        1 => "(---\n|\\[UNK\\]|<\\|x\\|>|a\\.b\\.c|\\.{3,30})",
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn options() -> impl Strategy<Value = ChunkOptions> {
    let prefix = prop_oneof![Just(String::new()), Just("passage: ".to_owned())];
    (
        32_usize..120,
        any::<bool>(),
        0_usize..4,
        prefix,
        any::<bool>(),
    )
        .prop_map(
            |(max_tokens, aims, overlap, prefix, context)| ChunkOptions {
                max_tokens,
                target_tokens: aims.then_some(max_tokens - 2),
                overlap_tokens: overlap,
                prefix,
                context,
            },
        )
}

/// Where a chunk is in its document.
pub fn range_of(chunk: &Chunk) -> Range<usize> {
    usize::try_from(chunk.start).unwrap()..usize::try_from(chunk.end).unwrap()
}

fn all(chunker: &Chunker, document: &Document) -> Vec<Chunk> {
    chunker
        .chunks(document)
        .map(|chunk| chunk.unwrap())
        .collect()
}

/// The same chunker with nothing but the library under it.
fn on_whole_texts(chunker: &Chunker) -> Chunker {
    let tokenizer = chunker.tokenizer.clone().on_whole_texts();
    Chunker {
        block_bytes: chunker.block_bytes,
        ..Chunker::new(tokenizer, chunker.options.clone()).unwrap()
    }
}

/// Every promise of [`Chunker::chunks`] that can be checked against the text.
fn check(chunker: &Chunker, text: &str, document: &Document) {
    let chunks = all(chunker, document);
    let whole = on_whole_texts(chunker);
    assert_eq!(
        chunks,
        all(&whole, document),
        "the same document gives the same chunks, however it is tokenized"
    );
    let mut covered = 0;
    for (index, chunk) in chunks.iter().enumerate() {
        assert_eq!(
            (chunk.index as usize, chunk.chunks as usize),
            (index, chunks.len())
        );
        let Range { start, end } = range_of(chunk);
        assert_eq!(&text[start..end], chunk.text);
        assert_eq!(chunk.text, chunk.text.trim());
        assert!(!chunk.text.is_empty());
        assert!(
            chunk.token_ids.len() <= chunker.target(),
            "{} tokens",
            chunk.token_ids.len()
        );
        assert!(chunk.text.len() <= chunker.max_bytes());
        let input = chunk.input(&chunker.options.prefix);
        assert_eq!(chunk.token_ids, whole.tokenizer.encode(&input).unwrap());
        if start > covered {
            assert_eq!(
                text[covered..start].trim(),
                "",
                "text between chunks is lost"
            );
        }
        assert!(end > covered, "a chunk has nothing new");
        covered = end;
        if let Some(context) = &chunk.context {
            let mut pieces = Pieces::default();
            whole.tokenizer.add_pieces(context, 0, &mut pieces).unwrap();
            assert!(pieces.ids.len() <= chunker.options.max_tokens / 4);
        }
    }
    assert_eq!(text[covered..].trim(), "", "the end of the text is lost");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_markdown_in_word_pieces(text in soup(), options in options(), title in "[a-z ]{0,60}") {
        let document = document(&text, Some(&title), Markup::Markdown);
        check(&Chunker::new(wordpiece(), options).unwrap(), &text, &document);
    }

    #[test]
    fn any_text_in_bytes(text in soup(), options in options()) {
        let max_tokens = options.max_tokens + 40;
        let target_tokens = options.target_tokens.map(|target| target + 30);
        let options = ChunkOptions { max_tokens, target_tokens, ..options };
        let document = document(&text, None, Markup::Plain);
        check(&Chunker::new(bytes(), options).unwrap(), &text, &document);
    }

    #[test]
    fn any_text_of_many_blocks(text in soup(), options in options(), block_bytes in 1_usize..900) {
        let chunker = Chunker::new(wordpiece(), options).unwrap();
        let document = document(&text, Some("title"), Markup::Markdown);
        check(&Chunker { block_bytes, ..chunker }, &text, &document);
    }

    #[test]
    fn any_unicode(text in any::<String>(), markdown in any::<bool>()) {
        let markup = if markdown { Markup::Markdown } else { Markup::Plain };
        let options = ChunkOptions {
            max_tokens: 24, target_tokens: None, overlap_tokens: 3, prefix: String::new(), context: true,
        };
        let document = document(&text, None, markup);
        check(&Chunker::new(wordpiece(), options).unwrap(), &text, &document);
    }
}
