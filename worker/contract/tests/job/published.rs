//! Published: files of the repository that are made of the code. Shared by the tests of several crates.

/// Checks that the file at `path` is `wanted`. With `EBB_UPDATE=1` in the environment it is written anew before.
pub(crate) fn is_current(path: &str, wanted: &str) {
    if std::env::var_os("EBB_UPDATE").is_some() {
        std::fs::write(path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap();
    assert!(
        found == wanted,
        "{path} is not current; run with EBB_UPDATE=1"
    );
}

/// A schema as it is published.
pub(crate) fn text(schema: &schemars::Schema) -> String {
    serde_json::to_string_pretty(schema).unwrap() + "\n"
}
