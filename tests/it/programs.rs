//! Programs: which ones of the machine the tests start, so that the command of the README passes where they are missing.

use std::collections::BTreeSet;
use std::path::Path;

use fixtures::programs::workspace;

/// Started by name. Python is found and checked by the installation, and cargo by the variable that it sets itself.
const STARTED: [&str; 6] = [
    // Every Unix has these.
    "bash", "cp", "false", "sh",
    // In a tier of their own: only tests that are ignored by default start them.
    "openssl", "promtool",
];

fn sources(folder: &Path, found: &mut Vec<String>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(std::fs::read_to_string(path)?);
        }
    }
    Ok(())
}

#[test]
fn tests_start_no_other_program_of_the_machine() -> anyhow::Result<()> {
    let mut texts = Vec::new();
    for folder in ["tests", "fixtures"] {
        sources(&workspace().join(folder), &mut texts)?;
    }
    // In two parts, so that this line is none of those that are looked for.
    let start = ["Command", "::new(\""].concat();
    let names = texts
        .iter()
        .flat_map(|text| text.split(start.as_str()).skip(1))
        .filter_map(|rest| rest.split('"').next());
    let names: BTreeSet<_> = names.collect();
    assert_eq!(names, BTreeSet::from(STARTED));
    Ok(())
}
