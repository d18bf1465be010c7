//! The README says what is so.

use std::collections::BTreeSet;

use fixtures::programs::workspace;

/// Words that begin with two dashes.
fn options(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words
        .filter(|word| word.starts_with("--") && word.contains(|c: char| c.is_ascii_alphanumeric()))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn the_settings_of_the_readme_are_those_of_the_worker() -> anyhow::Result<()> {
    let readme = std::fs::read_to_string(workspace().join("README.md"))?;
    let table = readme
        .split("## Settings")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next());
    let table: String = table
        .unwrap_or_default()
        .lines()
        .filter(|line| line.starts_with('|'))
        .collect();
    let output = tests::tools()
        .await?
        .program("worker")
        .args(["run", "--help"])
        .output()
        .await?;
    let help = String::from_utf8(output.stdout)?;
    let mut wanted: BTreeSet<String> = help
        .lines()
        .filter(|line| line.trim_start().starts_with('-'))
        .flat_map(|line| options(line.split('<').next().unwrap_or_default()))
        .collect();
    wanted.remove("--help");
    assert_eq!(options(&table), wanted);
    Ok(())
}

#[test]
fn every_path_that_the_readme_maps_is_there() -> anyhow::Result<()> {
    let readme = std::fs::read_to_string(workspace().join("README.md"))?;
    let map = readme
        .split("## Map")
        .nth(1)
        .and_then(|rest| rest.split("```").nth(1))
        .unwrap_or_default();
    let paths: Vec<_> = map
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(paths.len() > 5, "{paths:?}");
    for path in paths {
        assert!(workspace().join(path).exists(), "`{path}` is not there");
    }
    Ok(())
}
