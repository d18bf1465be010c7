//! Texts of more than one block.

use std::io::Write;

use super::*;
use crate::chunk::properties::range_of;
use crate::document::TextFile;
use crate::source::SourceError;

#[test]
fn ten_megabytes_without_a_space_are_cut_into_pieces() {
    let bytes = 10 << 20;
    let document = document(None, Content::Text("x".repeat(bytes)), Markup::Plain);
    let chunker = chunker(options(256));
    let (mut covered, mut count) = (0, 0);
    // Anything but linear time would keep this test from ever ending.
    for chunk in chunker.chunks(&document) {
        let chunk = chunk.unwrap();
        assert!(chunk.text.len() <= 16 * 256);
        assert_eq!(chunk.start, covered);
        covered = chunk.end;
        count = chunk.chunks;
    }
    assert_eq!((covered, count), (bytes as u64, 2560));
}

/// A block size that makes several blocks of a file of moderate size.
const BLOCK_BYTES: usize = 64 << 10;

fn chunker_of_small_blocks() -> Chunker {
    Chunker {
        block_bytes: BLOCK_BYTES,
        ..chunker(options(256))
    }
}

/// A Markdown file of several blocks, and its text.
fn large_file() -> (tempfile::NamedTempFile, String) {
    let mut text = String::from("# the\n\n");
    while text.len() < 2 * BLOCK_BYTES + BLOCK_BYTES / 2 {
        text.push_str(&format!(
            "## queue {}\n\n{}\n\n",
            text.len(),
            sentence(60).repeat(3)
        ));
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"\xef\xbb\xbf").unwrap();
    file.write_all(text.as_bytes()).unwrap();
    (file, text)
}

#[test]
fn a_file_of_several_blocks_gives_what_its_text_gives() {
    let (file, text) = large_file();
    let chunker = chunker_of_small_blocks();
    let on_disk = Content::File(TextFile::open(file.path()).unwrap());
    let on_disk = document(None, on_disk, Markup::Markdown);
    let chunks = all(&chunker, &on_disk);
    assert_eq!(chunks, all(&chunker, &markdown(&text)));
    let mut covered = 0;
    for (index, chunk) in chunks.iter().enumerate() {
        assert_eq!(
            (chunk.index as usize, chunk.chunks as usize),
            (index, chunks.len())
        );
        assert_eq!(&text[range_of(chunk)], chunk.text);
        assert_eq!(text[covered..range_of(chunk).start].trim(), "");
        covered = range_of(chunk).end;
    }
    assert_eq!(text[covered..].trim(), "");
    let beyond = chunks
        .iter()
        .filter(|c| c.start > BLOCK_BYTES as u64 && c.context.is_some());
    assert!(beyond.clone().count() > 100);
    assert!(
        beyond
            .clone()
            .all(|c| c.context.as_deref().unwrap().starts_with("the"))
    );
}

#[test]
fn a_file_that_changes_between_its_passes_is_reported() {
    let (mut file, _) = large_file();
    let text = Content::File(TextFile::open(file.path()).unwrap());
    let document = document(None, text, Markup::Markdown);
    let chunker = chunker_of_small_blocks();
    let mut chunks = chunker.chunks(&document);
    assert!(chunks.next().unwrap().is_ok());
    file.write_all(b"more").unwrap();
    let error = chunks.find_map(Result::err).unwrap();
    assert!(
        matches!(error, ChunkError::Source(SourceError::Changed { .. })),
        "{error}"
    );
}

#[test]
fn a_fault_far_into_a_file_shows_before_its_first_chunk() {
    let (mut file, text) = large_file();
    file.write_all(b"\xff").unwrap();
    let content = Content::File(TextFile::open(file.path()).unwrap());
    let document = document(None, content, Markup::Markdown);
    let chunker = chunker_of_small_blocks();
    let found: Vec<_> = chunker.chunks(&document).collect();
    let offset = text.len() as u64 + 3;
    assert_eq!(found.len(), 1);
    let is_offset = |error: &ChunkError| matches!(error, ChunkError::Source(SourceError::NotUtf8 { offset: at, .. }) if *at == offset);
    assert!(found[0].as_ref().is_err_and(is_offset), "{found:?}");
}
