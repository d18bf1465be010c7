use super::*;
use crate::document::Content;

fn starts_and_texts(content: &Content) -> Vec<(u64, String)> {
    let blocks = content.blocks(BLOCK_BYTES).unwrap();
    blocks
        .map(|block| block.unwrap())
        .map(|block| (block.start, block.text.into_owned()))
        .collect()
}

fn file_with(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// The same text from memory and from a file, which has to give the same blocks.
fn blocks_of(text: &str) -> Vec<String> {
    let (_folder, path) = file_with(&[BOM, text.as_bytes()].concat());
    let on_disk = Content::File(TextFile::open(&path).unwrap());
    assert_eq!(on_disk.bytes(), text.len() as u64);
    let found = starts_and_texts(&on_disk);
    assert_eq!(found, starts_and_texts(&Content::Text(text.to_owned())));
    let mut at = 0;
    for (start, block) in &found {
        assert_eq!(*start, at);
        assert!(block.len() <= BLOCK_BYTES);
        at += block.len() as u64;
    }
    let texts: Vec<String> = found.into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts.concat(), text);
    texts
}

#[test]
fn blocks_end_where_the_text_has_its_best_place() {
    let filler = "word ".repeat(BLOCK_BYTES / 4);
    for (separator, end) in [
        ("\n\n", "\n\n"),
        ("\r\n\r\n", "\n"),
        ("\n", "\n"),
        ("", " "),
    ] {
        let (head, tail) = filler.split_at(BLOCK_BYTES * 3 / 4 / 5 * 5);
        let texts = blocks_of(&format!("{head}{separator}{tail}"));
        assert!(texts[0].ends_with(end), "{separator:?}");
        assert_eq!(
            texts[0].len() < BLOCK_BYTES - 5,
            !separator.is_empty(),
            "{separator:?}"
        );
    }
}

#[test]
fn characters_are_never_cut() {
    let texts = blocks_of(&"漢".repeat(BLOCK_BYTES));
    assert_eq!(texts.len(), 4);
    assert_eq!(texts[0].len(), BLOCK_BYTES / 3 * 3);
}

#[test]
fn a_text_of_exactly_one_block_is_one_block() {
    assert_eq!(blocks_of(&"x".repeat(BLOCK_BYTES)).len(), 1);
    assert_eq!(blocks_of(&"x".repeat(BLOCK_BYTES + 1)).len(), 2);
    assert_eq!(blocks_of("").len(), 1);
}

#[test]
fn faults_say_at_which_byte() {
    let mut bytes = "é".repeat(BLOCK_BYTES).into_bytes();
    let at = bytes.len() - 10;
    bytes[at] = b'\xff';
    let (_folder, path) = file_with(&bytes);
    let error = Content::File(TextFile::open(&path).unwrap())
        .blocks(BLOCK_BYTES)
        .unwrap()
        .find_map(Result::err);
    assert!(
        matches!(error, Some(SourceError::NotUtf8 { offset, .. }) if offset == at as u64),
        "{error:?}"
    );
    bytes[at] = 0;
    std::fs::write(&path, &bytes).unwrap();
    let error = Content::File(TextFile::open(&path).unwrap())
        .blocks(BLOCK_BYTES)
        .unwrap()
        .find_map(Result::err);
    assert!(
        matches!(error, Some(SourceError::Binary { offset, .. }) if offset == at as u64),
        "{error:?}"
    );
}

#[test]
fn a_character_that_the_file_ends_in_is_a_fault() {
    let (_folder, path) = file_with(&[b"x".repeat(BLOCK_BYTES + 5), b"\xe6\xbc".to_vec()].concat());
    let found = TextFile::open(&path).map(Content::File).unwrap();
    let error = found.blocks(BLOCK_BYTES).unwrap().find_map(Result::err);
    assert!(
        matches!(error, Some(SourceError::NotUtf8 { offset, .. }) if offset == BLOCK_BYTES as u64 + 5),
        "{error:?}"
    );
}
