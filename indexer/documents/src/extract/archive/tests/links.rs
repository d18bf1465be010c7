//! Links in archives: what is passed over, and what is refused.

use super::messages;
use crate::extract::tests::extract_with;
use crate::extract::tests::fixtures::zip_of;
use crate::extract::{ExtractOptions, Extractor};
use crate::source::{Format, Input, InputLocation};

#[test]
fn links_in_archives_are_passed_over_by_their_names() {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    tar.append_data(&mut header, "a.md", &b"A"[..]).unwrap();
    for (name, kind) in [
        ("b.md", tar::EntryType::Link),
        ("c.md", tar::EntryType::Symlink),
        (".d.md", tar::EntryType::Symlink),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        tar.append_link(&mut header, name, "a.md").unwrap();
    }
    let (ids, passed) = passed_over("x.tar", &tar.into_inner().unwrap());
    assert_eq!(ids, ["x.tar!/a.md"]);
    assert_eq!(
        passed,
        "1 links in archives were passed over (`x.tar!/c.md`); \
         1 members of archives are other members once more and were passed over \
         (`x.tar!/b.md`, which is `a.md`)"
    );
    let mut zip = zip_of(&[("a.md", b"A"), ("c.md", b"a.md")]);
    // Written on Unix, as a link.
    let entry = memchr::memmem::rfind(&zip, b"PK\x01\x02").unwrap();
    zip[entry + 5] = 3;
    zip[entry + 38..entry + 42].copy_from_slice(&0xa1ff_0000_u32.to_le_bytes());
    let (ids, passed) = passed_over("x.zip", &zip);
    assert_eq!(ids, ["x.zip!/a.md"]);
    assert_eq!(
        passed,
        "1 links in archives were passed over (`x.zip!/c.md`)"
    );
}

#[test]
fn a_hard_link_to_what_was_not_read_is_refused() {
    let long = "long/".repeat(60) + "name.md";
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in [
        ("large.md", 99),
        ("unknown.bin", 1),
        (".hidden.md", 1),
        (long.as_str(), 1),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes);
        let content = vec![b'x'; usize::try_from(bytes).unwrap()];
        tar.append_data(&mut header, name, content.as_slice())
            .unwrap();
    }
    for (name, target) in [
        ("a.md", "large.md"),
        ("b.md", "unknown.bin"),
        ("c.md", ".hidden.md"),
        ("d.md", "./nowhere.md"),
        ("e.bin", "unknown.bin"),
        ("f.md", &long),
        ("g.md", "f.md"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Link);
        header.set_size(0);
        tar.append_link(&mut header, name, target).unwrap();
    }
    let bytes = tar.into_inner().unwrap();
    let options = ExtractOptions {
        max_office_bytes: 10,
        max_record_bytes: 10,
        ..ExtractOptions::default()
    };
    let found = extract_with("x.tar", &bytes, options);
    assert_eq!(found.documents.len(), 1);
    let message = messages(&found);
    for (name, target) in [
        ("a.md", "large.md"),
        ("b.md", "unknown.bin"),
        ("c.md", ".hidden.md"),
        ("d.md", "nowhere.md"),
    ] {
        let told = format!("{name}`: it is a hard link to `{target}`, which was not read");
        assert!(message.contains(&told), "{message}");
    }
    // With what is large.
    assert_eq!(found.errors.len(), 5, "{message}");
    // Ids are known of what is not read, too.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tar");
    std::fs::write(&path, bytes).unwrap();
    let ids = Extractor::default().ids(Input {
        id: "x".to_owned(),
        format: Format::Tar,
        location: InputLocation::File(path),
    });
    let ids: Vec<String> = ids.map(Result::unwrap).collect();
    let long = format!("x!/{long}");
    assert_eq!(ids, ["x!/large.md", &long, "x!/b.md", "x!/c.md", "x!/d.md"]);
}

#[test]
fn an_archive_in_an_archive_is_read_to_its_end_however_it_is_filled_up() {
    // Longer than what is read at once, and filled up with zeros by as much.
    let text = vec![b'x'; 100 << 10];
    let mut inner = super::tar_of(&[("a.md", &text)]);
    inner.resize(inner.len() + (256 << 10), 0);
    let mut outer = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(inner.len() as u64);
    outer
        .append_data(&mut header, "a.tar", inner.as_slice())
        .unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Link);
    header.set_size(0);
    outer.append_link(&mut header, "b.tar", "a.tar").unwrap();
    let (ids, passed) = passed_over("x.tar", &outer.into_inner().unwrap());
    assert_eq!(ids, ["x.tar!/a.tar!/a.md"]);
    assert!(
        passed.contains("`x.tar!/b.tar`, which is `a.tar`"),
        "{passed}"
    );
}

/// The ids of an archive, and what was passed over in it.
fn passed_over(name: &str, bytes: &[u8]) -> (Vec<String>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let extractor = Extractor::default();
    let documents = extractor.extract(Input {
        id: name.to_owned(),
        format: Format::of_path(&path).unwrap(),
        location: InputLocation::File(path),
    });
    let ids = documents.map(|document| document.unwrap().id).collect();
    let place = format!("{}/", folder.path().display());
    let passed = extractor.take_passed_over().to_string();
    assert!(extractor.take_passed_over().is_empty());
    (ids, passed.replace(&place, ""))
}
