//! Archives, mailboxes and compressed records.

use std::io::Write as _;

use crate::extract::tests::fixtures::{self, zip_of};
use crate::extract::tests::{extract_with, found};
use crate::extract::{ExtractOptions, Extractor};
use crate::source::{Format, Input, InputLocation};

mod links;

pub fn ids_of(found: &crate::extract::tests::Extraction) -> Vec<&str> {
    found
        .documents
        .iter()
        .map(|document| document.id.as_str())
        .collect()
}

pub fn messages(found: &crate::extract::tests::Extraction) -> String {
    let messages: Vec<String> = found
        .errors
        .iter()
        .map(|error| {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        })
        .collect();
    messages.join("\n")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn tar_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

const RECORDS: &[u8] = b"{\"_id\":\"a\",\"text\":\"A\"}\n{\"_id\":\"b\",\"text\":\"B\"}\n";

fn members() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("notes/a.md", b"# A\nwords\n".to_vec()),
        ("b.docx", fixtures::docx()),
        ("records.jsonl", RECORDS.to_vec()),
        ("inner.zip", zip_of(&[("c.txt", b"C")])),
        ("photo.jpg", b"no text".to_vec()),
        ("__MACOSX/b.docx", b"junk".to_vec()),
        ("broken.docx", b"junk".to_vec()),
    ]
}

const IDS: [&str; 5] = [
    "x!/notes/a.md",
    "x!/b.docx",
    "a",
    "b",
    "x!/inner.zip!/c.txt",
];

#[test]
fn members_of_a_zip_are_documents_at_their_place() {
    let members = members();
    let borrowed: Vec<(&str, &[u8])> = members
        .iter()
        .map(|(name, bytes)| (*name, bytes.as_slice()))
        .collect();
    let found = found("x.zip", &zip_of(&borrowed));
    let expected: Vec<String> = IDS.iter().map(|id| id.replace("x!", "x.zip!")).collect();
    assert_eq!(ids_of(&found), expected);
    assert_eq!(found.documents[0].title.as_deref(), Some("A"));
    let origin = found.documents[2].origin.to_string();
    assert!(origin.ends_with("x.zip!/records.jsonl` line 1"), "{origin}");
    assert_eq!(found.errors.len(), 1);
    let message = messages(&found);
    assert!(
        message.contains("x.zip!/broken.docx` is not a readable docx"),
        "{message}"
    );
}

#[test]
fn members_of_a_compressed_tar_are_read_as_it_runs_by() {
    let members = members();
    let mut borrowed: Vec<(&str, &[u8])> = members
        .iter()
        .map(|(name, bytes)| (*name, bytes.as_slice()))
        .collect();
    let long = format!("{}/d.txt", "folder".repeat(30));
    borrowed.push((&long, b"D"));
    for name in ["x.tar.gz", "x.tgz", "x.tar.zst", "x.tar"] {
        let tar = tar_of(&borrowed);
        let bytes = match name.rsplit('.').next() {
            Some("zst") => zstd::encode_all(tar.as_slice(), 1).unwrap(),
            Some("tar") => tar,
            _ => gzip(&tar),
        };
        let found = found(name, &bytes);
        let mut expected: Vec<String> = IDS
            .iter()
            .map(|id| id.replace("x!", &format!("{name}!")))
            .collect();
        expected.push(format!("{name}!/{long}"));
        assert_eq!(ids_of(&found), expected, "{name}");
        assert_eq!(found.errors.len(), 1, "{name}: {}", messages(&found));
    }
}

#[test]
fn a_long_name_in_an_extended_header_counts() {
    let mut tar = tar::Builder::new(Vec::new());
    let long = "n".repeat(120) + ".txt";
    tar.append_pax_extensions([("path", long.as_bytes())])
        .unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(1);
    header.set_path("short.txt").unwrap();
    header.set_cksum();
    tar.append(&header, &b"D"[..]).unwrap();
    let found = found("x.tar", &tar.into_inner().unwrap());
    assert_eq!(ids_of(&found), [format!("x.tar!/{long}")]);
}

#[test]
fn compressed_records_are_read_in_a_stream() {
    let csv = b"id,text\n1,one\n2,two\n";
    for (name, bytes, ids) in [
        ("r.jsonl.gz", gzip(RECORDS), ["a", "b"]),
        (
            "r.ndjson.zst",
            zstd::encode_all(RECORDS, 1).unwrap(),
            ["a", "b"],
        ),
        (
            "r.csv.gz",
            [gzip(&csv[..14]), gzip(&csv[14..])].concat(),
            ["1", "2"],
        ),
    ] {
        let found = found(name, &bytes);
        assert_eq!(ids_of(&found), ids, "{name}: {}", messages(&found));
        assert!(found.errors.is_empty());
    }
    let notes = found("n.md.gz", &gzip(b"words"));
    assert_eq!(ids_of(&notes), ["n.md.gz"]);
    assert_eq!(notes.documents[0].title.as_deref(), Some("n"));
    let mut cut = gzip(&RECORDS.repeat(1000));
    cut.truncate(cut.len() / 2);
    let found = found("r.jsonl.gz", &cut);
    assert_eq!(found.errors.len(), 1);
    assert!(
        messages(&found).starts_with("failed to read"),
        "{}",
        messages(&found)
    );
}

/// What one option refuses of an archive.
fn refused(name: &str, bytes: &[u8], options: ExtractOptions) -> (usize, String) {
    let found = extract_with(name, bytes, options);
    (found.documents.len(), messages(&found))
}

#[test]
fn archives_have_limits_of_members_size_and_depth() {
    let many: Vec<(String, Vec<u8>)> = (0..5)
        .map(|number| (format!("{number}.txt"), vec![b'x'; 1000]))
        .collect();
    let many: Vec<(&str, &[u8])> = many
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    for (name, bytes) in [("x.zip", zip_of(&many)), ("x.tar", tar_of(&many))] {
        let options = ExtractOptions {
            max_archive_members: 2,
            ..ExtractOptions::default()
        };
        let (documents, message) = refused(name, &bytes, options);
        assert_eq!(documents, 2, "{name}");
        assert!(
            message.contains("--max-archive-members"),
            "{name}: {message}"
        );
        let options = ExtractOptions {
            max_archive_bytes: 3500,
            ..ExtractOptions::default()
        };
        let (documents, message) = refused(name, &bytes, options);
        assert!((1..=3).contains(&documents), "{name}: {documents}");
        assert!(message.contains("--max-archive-bytes"), "{name}: {message}");
    }
    let mut nested = zip_of(&[("a.txt", b"deep")]);
    for _ in 0..4 {
        nested = zip_of(&[("x.zip", &nested)]);
    }
    let (documents, message) = refused("x.zip", &nested, ExtractOptions::default());
    assert_eq!(documents, 0);
    assert!(message.contains("--max-archive-depth"), "{message}");
    let zeros = vec![0; 80 << 20];
    let bomb = zip_of(&[("a.txt", &zeros), ("b.md", b"# B\n")]);
    let (documents, message) = refused("x.zip", &bomb, ExtractOptions::default());
    assert_eq!(documents, 1);
    assert!(message.contains("a.txt` has"), "{message}");
}

#[test]
fn damaged_and_encrypted_members_cost_themselves_only() {
    let mut zip = zip_of(&[("a.txt", b"AAAAAAAAAA"), ("b.txt", b"B")]);
    let place = zip.windows(5).position(|bytes| bytes == b"a.txt").unwrap() + 5;
    zip[place + 1] ^= 0xff;
    let (documents, message) = refused("x.zip", &zip, ExtractOptions::default());
    assert_eq!(documents, 1);
    assert!(message.contains("x.zip!/a.txt`"), "{message}");
    let mut zip = zip_of(&[("a.txt", b"A"), ("b.txt", b"B")]);
    let directory = zip
        .windows(4)
        .position(|bytes| bytes == b"PK\x01\x02")
        .unwrap();
    zip[directory + 8] |= 1;
    let (documents, message) = refused("x.zip", &zip, ExtractOptions::default());
    assert_eq!(documents, 1);
    assert!(message.contains("encrypted with a password"), "{message}");
    let mut tar = tar_of(&[("a.txt", b"A"), ("b.txt", &[b'B'; 5000])]);
    tar.truncate(4000);
    let (documents, message) = refused("x.tar", &tar, ExtractOptions::default());
    assert_eq!(documents, 1);
    assert!(message.contains("it is cut off"), "{message}");
}

#[test]
fn a_tar_without_its_end_may_lack_members() {
    let tar = tar_of(&[("a.txt", b"A"), ("b.txt", b"B")]);
    for (length, documents) in [(0, 0), (1024, 1), (2048, 2)] {
        let found = refused("x.tar", &tar[..length], ExtractOptions::default());
        assert_eq!(found.0, documents, "{length}");
        assert!(found.1.contains("it is cut off"), "{length}: {}", found.1);
    }
}

#[test]
fn a_compressed_member_counts_with_what_it_expands_to() {
    let record = "{\"_id\":\"a\",\"text\":\"words\"}\n";
    let packed = gzip(record.repeat(1000).as_bytes());
    for (name, archive) in [
        ("x.zip", zip_of(&[("r.jsonl.gz", &packed)])),
        ("x.tar", tar_of(&[("r.jsonl.gz", &packed)])),
    ] {
        let options = ExtractOptions {
            max_archive_bytes: 10_000,
            ..ExtractOptions::default()
        };
        let (_, message) = refused(name, &archive, options);
        assert!(message.contains("--max-archive-bytes"), "{name}: {message}");
    }
}

#[test]
fn beyond_a_limit_one_error_stands_for_all_members() {
    let names: Vec<String> = (0..50).map(|number| format!("{number}.txt")).collect();
    let members: Vec<(&str, &[u8])> = names.iter().map(|it| (it.as_str(), &b"x"[..])).collect();
    for (name, archive) in [("x.zip", zip_of(&members)), ("x.tar", tar_of(&members))] {
        let options = ExtractOptions {
            max_archive_members: 2,
            ..ExtractOptions::default()
        };
        let found = extract_with(name, &archive, options);
        assert_eq!(
            (found.documents.len(), found.errors.len()),
            (2, 1),
            "{name}"
        );
    }
}

#[test]
fn a_source_without_a_line_has_no_id() {
    let folder = tempfile::tempdir().unwrap();
    let ids = |content: &str| -> Vec<String> {
        let path = folder.path().join("x.py");
        std::fs::write(&path, content).unwrap();
        let input = Input {
            id: "x.py".to_owned(),
            format: Format::Python,
            location: InputLocation::File(path),
        };
        Extractor::default()
            .ids(input)
            .map(Result::unwrap)
            .collect()
    };
    assert_eq!(ids("import x\n"), ["x.py"]);
    assert!(ids("\n").is_empty(), "what was indexed of it is gone");
}

#[test]
fn what_cannot_be_read_in_an_archive_is_known_by_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.zip");
    std::fs::write(
        &path,
        zip_of(&[("broken.docx", b"junk"), ("r.jsonl", RECORDS)]),
    )
    .unwrap();
    let input = Input {
        id: "x.zip".to_owned(),
        format: Format::Zip,
        location: InputLocation::File(path),
    };
    let ids: Vec<String> = Extractor::default()
        .ids(input)
        .map(Result::unwrap)
        .collect();
    assert_eq!(ids, ["x.zip!/broken.docx", "a", "b"]);
}

#[test]
fn any_damage_to_an_archive_gives_a_result_or_an_error() {
    let count = std::env::var("EBB_MUTATIONS").map_or(100, |said| said.parse().unwrap());
    let members: Vec<(&str, &[u8])> = vec![
        ("a.txt", b"words"),
        ("b/c.md", b"# C\n"),
        ("r.jsonl", RECORDS),
    ];
    let mbox = "From x\nSubject: s\n\ntext\n\nFrom y\nMessage-ID: <a@b>\n\nmore\n";
    let inner = zip_of(&members);
    let nested = zip_of(&[("x.zip", &inner), ("y.tar", &tar_of(&members))]);
    for (name, whole) in [
        ("x.zip", nested),
        ("x.tar", tar_of(&members)),
        ("x.tar.gz", gzip(&tar_of(&members))),
        ("x.jsonl.gz", gzip(RECORDS)),
        (
            "x.csv.zst",
            zstd::encode_all(&b"id,text\n1,one\n"[..], 1).unwrap(),
        ),
        ("x.mbox", mbox.as_bytes().to_vec()),
    ] {
        let mut slowest = std::time::Duration::ZERO;
        for number in 1..=count {
            let mut bytes = whole.clone();
            crate::extract::tests::mutations::damage(number, &mut bytes);
            let start = std::time::Instant::now();
            let found = crate::extract::tests::extract_in_place(name, &bytes);
            slowest = slowest.max(start.elapsed());
            assert!(
                !found.documents.is_empty()
                    || !found.errors.is_empty()
                    || bytes.is_empty()
                    || name == "x.zip"
                    || name.contains("tar")
            );
        }
        eprintln!("{name}: {count} files, slowest {slowest:?}");
    }
}
