//! Fuzzes the extractor of the format that `EBB_FORMAT` names; what is extracted is chunked as well.
//!
//! ```console
//! $ cargo install cargo-fuzz
//! $ cd indexer/documents
//! $ EBB_FORMAT=docx cargo +nightly fuzz run --sanitizer none extract FOLDER -- -timeout=10 -rss_limit_mb=1024
//! ```
//! FOLDER keeps what the fuzzer finds to go on from, and may hold files of the format to begin with. A panic of a library that
//! is caught, and refuses the file by name, is no finding.
//!
//! A file whose first byte is the number of a part of the format's package stands for that part, in a package whose other
//! parts are whole: behind a checksum and a compressor, changed bytes say little. A fuzzer that has nothing to begin with
//! gets these parts.

#![no_main]

use std::cell::RefCell;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::sync::LazyLock;

use documents::chunk::{ChunkOptions, Chunker};
use documents::extract::isolated::Program;
use documents::extract::{ExtractOptions, Extractor};
use documents::source::{Format, Input, InputLocation};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

#[allow(dead_code, reason = "some are of use to tests alone")]
#[path = "../src/extract/tests/fixtures.rs"]
mod fixtures;
#[allow(dead_code, reason = "some are of use to tests alone")]
#[path = "../src/chunk/tiny_tokenizer.rs"]
mod tiny_tokenizer;

/// What is fuzzed.
static FORMAT: LazyLock<Format> = LazyLock::new(|| {
    let name = std::env::var("EBB_FORMAT").expect("EBB_FORMAT names the format to fuzz");
    Format::of_name(&name).expect("EBB_FORMAT names a format")
});

type Parts = Vec<(&'static str, String)>;

/// The parts of a small package of this format, or the one text that stands for it.
fn parts() -> Parts {
    let text = |text: &str| vec![("", text.to_owned())];
    match *FORMAT {
        Format::Docx => fixtures::docx_parts(),
        Format::Pptx => fixtures::pptx_parts(),
        Format::Xlsx => fixtures::xlsx_parts(),
        Format::Odt => fixtures::odt_parts(),
        Format::Ods => fixtures::ods_parts(),
        Format::Odp => fixtures::odp_parts(),
        Format::Epub => fixtures::epub_parts(),
        Format::Rtf => text(fixtures::RTF),
        Format::Ipynb => text(fixtures::NOTEBOOK),
        Format::Eml => text(&fixtures::mail()),
        Format::Mbox => text(&format!("From a@b\n{}", fixtures::mail())),
        Format::Zip => vec![
            ("a.md", "# A\n".to_owned()),
            ("b.csv", "id,text\n1,a\n".to_owned()),
        ],
        Format::Jsonl => text(
            "{\"_id\": \"a\", \"title\": \"T\", \"text\": \"words\", \"metadata\": {\"n\": 1}}\n",
        ),
        Format::Csv => text("id,title,text,meta.n\n1,T,\"a \"\"word\"\"\",2\n"),
        Format::Tsv => text("id\ttext\n1\tword\n"),
        Format::Html => text(
            "<!doctype html><title>T</title><main><h1>A</h1><table><tr><th>a<td>b</table><pre>c</pre></main>",
        ),
        _ => text(
            "# Title\n\nWords of *a* text.\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
        ),
    }
}

/// The file that an input of the fuzzer stands for.
fn file(data: &[u8]) -> Vec<u8> {
    let mut parts = parts();
    let Some((&number, content)) = data.split_first() else {
        return Vec::new();
    };
    let is_package = parts.first().is_some_and(|(name, _)| !name.is_empty());
    if !is_package || usize::from(number) >= parts.len() {
        return data.to_vec();
    }
    let changed = usize::from(number);
    let whole: Vec<(&str, Vec<u8>)> = parts
        .drain(..)
        .map(|(name, text)| (name, text.into_bytes()))
        .collect();
    let members: Vec<(&str, &[u8])> = whole
        .iter()
        .enumerate()
        .map(|(at, (name, bytes))| (*name, if at == changed { content } else { bytes }))
        .collect();
    fixtures::zip_of(&members)
}

fuzz_mutator!(|data: &mut [u8], size: usize, most: usize, seed: u32| {
    if size > 1 {
        return fuzzer_mutate(data, size, most);
    }
    let parts = parts();
    let number = seed as usize % parts.len();
    let (name, text) = &parts[number];
    let mut bytes = Vec::new();
    if !name.is_empty() {
        bytes.extend(u8::try_from(number));
    }
    bytes.extend_from_slice(text.as_bytes());
    let length = bytes.len().min(most);
    data[..length].copy_from_slice(&bytes[..length]);
    length
});

const OPTIONS: ChunkOptions = ChunkOptions {
    max_tokens: 256,
    target_tokens: None,
    overlap_tokens: 16,
    prefix: String::new(),
    context: true,
};

thread_local! {
    static FILE: RefCell<tempfile::NamedTempFile> = RefCell::new(tempfile::NamedTempFile::new_in("/dev/shm").unwrap());
    static CHUNKER: Chunker = Chunker::new(tiny_tokenizer::wordpiece(), OPTIONS).unwrap();
}

fuzz_target!(init: { std::panic::set_hook(Box::new(|_| {})); }, |data: &[u8]| {
    let path = FILE.with_borrow_mut(|written| {
        written.as_file().set_len(0).unwrap();
        written.seek(SeekFrom::Start(0)).unwrap();
        written.write_all(&file(data)).unwrap();
        written.path().to_owned()
    });
    let extractor = Extractor::new(ExtractOptions::default(), Program::Here);
    let input = Input {
        id: "d".to_owned(),
        format: *FORMAT,
        location: InputLocation::File(path),
    };
    for document in extractor.extract(input).flatten() {
        CHUNKER.with(|chunker| {
            for chunk in chunker.chunks(&document) {
                let _ = chunk;
            }
        });
    }
});
