use super::*;

struct Tree {
    folder: tempfile::TempDir,
}

impl Tree {
    fn of(paths: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for path in paths {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        Self { folder }
    }

    fn path(&self, path: &str) -> String {
        self.folder.path().join(path).to_str().unwrap().to_owned()
    }

    fn open(&self, arguments: &[&str]) -> Sources {
        let arguments: Vec<String> = arguments.iter().map(|path| self.path(path)).collect();
        Sources::open(&arguments, Format::Jsonl).unwrap()
    }
}

fn ids(sources: &mut Sources) -> Vec<String> {
    sources
        .map(|input| input.map_or_else(|error| format!("error: {error}"), |i| i.id))
        .collect()
}

#[test]
fn a_folder_gives_its_known_files_sorted_with_relative_ids() {
    let tree = Tree::of(&[
        "b.md",
        "a/c.TXT",
        "a/.hidden.md",
        ".git/x.md",
        "z.bin",
        "a/b/q.pdf",
    ]);
    let mut sources = tree.open(&[""]);
    assert_eq!(ids(&mut sources), ["a/b/q.pdf", "a/c.TXT", "b.md"]);
    assert_eq!(sources.skipped(), 1);
}

#[test]
fn a_file_has_its_name_as_id_and_a_glob_the_path_below_its_literal_part() {
    let tree = Tree::of(&[
        "docs/a.md",
        "docs/b/a.md",
        "docs/.h.md",
        "docs/b/c.txt",
        "x.jsonl",
    ]);
    assert_eq!(ids(&mut tree.open(&["docs/a.md"])), ["a.md"]);
    assert_eq!(ids(&mut tree.open(&["docs/**/*.md"])), ["a.md", "b/a.md"]);
    assert_eq!(
        ids(&mut tree.open(&["d*/b/*"])),
        ["docs/b/a.md", "docs/b/c.txt"]
    );
}

#[test]
fn a_source_that_gives_nothing_is_an_error_and_the_others_go_on() {
    let tree = Tree::of(&["a/x.bin", "b/y.md"]);
    let found = ids(&mut tree.open(&["a", "b/*.nothing", "b"]));
    assert!(found[0].starts_with("error: source `") && found[0].contains("matches no file"));
    assert!(found[1].contains("b/*.nothing"), "{}", found[1]);
    assert_eq!(found[2], "y.md");
}

#[test]
fn all_faulty_arguments_are_reported_at_once() {
    let tree = Tree::of(&["x.bin"]);
    let arguments = [tree.path("x.bin"), tree.path("none.md"), "a[".to_owned()];
    let stdin = ["-".to_owned(), "-".to_owned()];
    let all: Vec<String> = arguments.into_iter().chain(stdin).collect();
    let faults = Sources::open(&all, Format::Jsonl).unwrap_err();
    assert!(
        matches!(
            faults.as_slice(),
            [
                SourceError::Extension { .. },
                SourceError::NotFound { .. },
                SourceError::Glob { .. },
                SourceError::StdinTwice
            ]
        ),
        "{faults:?}"
    );
}

#[test]
fn the_second_file_with_the_same_id_is_reported() {
    let tree = Tree::of(&["a/x.md", "b/x.md", "b/y.md", "c/y.md"]);
    let found = ids(&mut tree.open(&["a", "b", "c/*.md", "a/x.md"]));
    assert_eq!((found[0].as_str(), found[2].as_str()), ("x.md", "y.md"));
    assert_eq!(
        found.iter().filter(|id| id.contains("has as well")).count(),
        3
    );
    assert!(
        found[1].contains("b/x.md") && found[1].contains("a/x.md"),
        "{}",
        found[1]
    );
}

#[cfg(unix)]
#[test]
fn links_that_loop_or_lead_nowhere_do_not_stop_the_walk() {
    let tree = Tree::of(&["a/x.md", "z.md"]);
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(tree.path(target), tree.path(name)).unwrap();
    };
    link("", "a/loop");
    link("nowhere", "b.md");
    link("z.md", "c.md");
    let found = ids(&mut tree.open(&[""]));
    assert_eq!(found[0], "a/x.md");
    assert!(
        found[1].starts_with("error: ") && found[1].contains("b.md"),
        "{}",
        found[1]
    );
    assert_eq!(found[2..], ["c.md", "z.md"]);
}

#[cfg(unix)]
#[test]
fn a_name_that_is_not_text_is_an_error() {
    use std::os::unix::ffi::OsStrExt;
    let tree = Tree::of(&["z.md"]);
    let name = std::ffi::OsStr::from_bytes(b"a\xff.md");
    std::fs::write(tree.folder.path().join(name), "x").unwrap();
    let found: Vec<_> = tree.open(&[""]).collect();
    assert!(
        matches!(found[0], Err(SourceError::PathNotUtf8 { .. })),
        "{found:?}"
    );
    assert!(found[1].is_ok());
}

#[test]
fn inputs_can_be_sent_to_other_threads() {
    fn sent<T: Send>() {}
    sent::<Input>();
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_no_utf8_costs_itself_only() {
    use std::os::unix::ffi::OsStrExt as _;
    let tree = Tree::of(&["docs/a.md", "docs/z.md"]);
    let name = std::ffi::OsStr::from_bytes(b"docs/m\xff.md");
    std::fs::write(tree.folder.path().join(name), "x").unwrap();
    for argument in ["docs/*.md", "docs/**/*.md", "docs"] {
        let found = ids(&mut tree.open(&[argument]));
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!((found[0].as_str(), found[2].as_str()), ("a.md", "z.md"));
        assert!(found[1].contains("is not utf-8"), "{found:?}");
    }
}

#[cfg(unix)]
#[test]
fn links_are_followed_within_a_source_and_named_where_they_lead_out() {
    let tree = Tree::of(&["docs/a.md", "docs/in/b.md", "other/secret.md"]);
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(tree.path(target), tree.path(name)).unwrap();
    };
    link("docs/in", "docs/link");
    link("other", "docs/outside");
    link("other/secret.md", "docs/s.md");
    for argument in ["docs", "docs/**/*.md"] {
        let found = ids(&mut tree.open(&[argument]));
        let (faults, ids): (Vec<_>, Vec<_>) = found.iter().partition(|it| it.starts_with("error"));
        assert_eq!(ids, ["a.md", "in/b.md", "link/b.md"]);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(
            faults
                .iter()
                .all(|it| it.contains("leads out of its source"))
        );
    }
    // A source may be a link itself.
    link("other", "linked");
    assert_eq!(ids(&mut tree.open(&["linked"])), ["secret.md"]);
}

#[test]
fn inputs_are_named_as_they_are_told_to() {
    let tree = Tree::of(&["docs/README.md"]);
    let naming = Naming {
        stdin_id: Some("notes".to_owned()),
        prefix: "team/".to_owned(),
    };
    let arguments = ["-".to_owned(), tree.path("docs")];
    let sources = Sources::open(&arguments, Format::Text).unwrap();
    assert_eq!(ids(&mut sources.named(naming)), ["notes", "team/README.md"]);
}
