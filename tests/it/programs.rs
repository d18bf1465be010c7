//! Programs: which ones of the machine the tests and what they test start, so that the command of the README passes where they
//! are missing; and what programs for users do not contain.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::Context as _;

use fixtures::programs::workspace;

/// `cargo cluster` needs more of a machine, and looks for it before it starts. No test starts that, so what counts for tests are
/// its own tests alone.
const CLUSTER: &str = "fixtures/cluster";
/// Where the tests of a file begin.
const TESTS: &str = "#[cfg(test)]";
/// What it looks for on the search path: pairs of a program and its package.
const LOOKED_FOR: &str = "src/preflight.rs";
/// What it starts without having looked for it: a wheel brings the one where it is missing, and the other is unpacked.
const OWN: [&str; 2] = ["/usr/bin/containerd", "go"];

/// Started by name. Python is found and checked by the installation, and cargo by the variable that it sets itself.
const STARTED: [&str; 7] = [
    // Every Unix has these.
    "bash", "cp", "false", "sh",
    // In a tier of their own: only tests that are ignored by default start them.
    "openssl", "promtool", "strace",
];

/// A program that passes failpoints, and refuses rules for them as the programs of this project do.
const PASSES: &str = r#"
fn main() -> std::process::ExitCode {
    failpoint::pass("before-secret-step");
    failpoint::pass_with("during-secret-step", || [b"context"]);
    if failpoint::skips("skipped-secret-step")
        || failpoint::reached("reached-secret-step") != failpoint::Verdict::Go
    {
        return 1.into();
    }
    match failpoint::check() {
        Ok(()) => 0.into(),
        Err(_) => 64.into(),
    }
}
"#;
/// In the place of the crate of this name.
const TRACING: &str =
    "#[macro_export] macro_rules! warn { ($($x:tt)*) => { drop(stringify!($($x)*)) } }";

fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = std::fs::read_to_string(&path)?;
            found.push((path, text));
        }
    }
    Ok(())
}

/// Names of the programs that a source starts. The commands of clap have the same name and start nothing.
fn started(text: &str) -> BTreeSet<&str> {
    let is_of_clap = |line: &str| {
        let mut words = line.split(|c: char| !c.is_alphanumeric());
        line.starts_with("use clap::") && words.any(|word| word == "Command")
    };
    if text.lines().any(is_of_clap) && !text.contains("process::Command") {
        return BTreeSet::new();
    }
    // In two parts, so that this line is none of those that are looked for.
    let start = ["Command", "::new(\""].concat();
    let rests = text
        .match_indices(&start)
        .map(|(at, it)| &text[at + it.len()..]);
    rests.filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn tests_start_no_other_program_of_the_machine() -> anyhow::Result<()> {
    let mut texts = Vec::new();
    for folder in ["tests", "fixtures", "worker", "indexer"] {
        sources(&workspace().join(folder), &mut texts)?;
    }
    let cluster = workspace().join(CLUSTER);
    let names = texts.iter().flat_map(|(path, text)| {
        let begin = match path.starts_with(&cluster) {
            true => text.find(TESTS).unwrap_or(text.len()),
            false => 0,
        };
        started(&text[begin..])
    });
    assert_eq!(names.collect::<BTreeSet<_>>(), BTreeSet::from(STARTED));
    Ok(())
}

#[test]
fn a_cluster_starts_no_program_that_it_has_not_looked_for() -> anyhow::Result<()> {
    let cluster = workspace().join(CLUSTER);
    let mut texts = Vec::new();
    sources(&cluster.join("src"), &mut texts)?;
    let names: BTreeSet<_> = texts.iter().flat_map(|(_, text)| started(text)).collect();
    assert!(names.contains("unshare"), "{names:?}");
    let preflight = std::fs::read_to_string(cluster.join(LOOKED_FOR))?;
    let missing = names
        .into_iter()
        .filter(|name| !OWN.contains(name) && !preflight.contains(&format!("(\"{name}\", \"")));
    assert_eq!(missing.collect::<Vec<_>>(), [""; 0]);
    Ok(())
}

/// Compiles a source as the profile `release` does, in a folder that has what it depends on.
fn compile(folder: &Path, source: &Path, kind: &str, more: &[&str]) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut rustc = Command::new(Path::new(&cargo).with_file_name("rustc"));
    rustc.current_dir(folder).arg(source);
    rustc.args(["--edition", "2024", "-C", "opt-level=3", "-L", "."]);
    let compiled = rustc.args(["--crate-type", kind]).args(more).output()?;
    let problem = String::from_utf8_lossy(&compiled.stderr);
    anyhow::ensure!(compiled.status.success(), "{}: {problem}", source.display());
    Ok(())
}

/// A release takes a quarter of an hour to build, so that the rule is tried on a program of some lines; `.ci/release` looks at
/// what it has built.
#[test]
fn a_program_of_a_release_has_no_failpoints_and_refuses_rules_for_them() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let [tracing, passes] = ["tracing.rs", "passes.rs"].map(|name| folder.join(name));
    std::fs::write(&tracing, TRACING)?;
    std::fs::write(&passes, PASSES)?;
    let failpoint = workspace().join("worker/runtime/src/failpoint.rs");
    compile(folder, &tracing, "rlib", &[])?;
    compile(folder, &failpoint, "rlib", &["--extern", "tracing"])?;
    compile(folder, &passes, "bin", &["--extern", "failpoint"])?;
    let program = folder.join("passes");
    let bytes = std::fs::read(&program)?;
    let has = |name: &[u8]| bytes.windows(name.len()).any(|window| window == name);
    assert!(!has(b"secret-step"), "a release has names of failpoints");
    let ended = |rules: &str| -> anyhow::Result<Output> {
        let mut command = Command::new(&program);
        command
            .env_clear()
            .envs((!rules.is_empty()).then_some(("EBB_FAILPOINTS", rules)));
        command.output().context("the program does not start")
    };
    assert_eq!(ended("")?.status.code(), Some(0));
    assert_eq!(ended("before-secret-step=kill")?.status.code(), Some(64));
    Ok(())
}

/// Debug assertions in a release would bring its failpoints back.
#[test]
fn no_profile_for_users_has_debug_assertions() -> anyhow::Result<()> {
    for file in ["Cargo.toml", ".cargo/config.toml"] {
        let text = std::fs::read_to_string(workspace().join(file))?;
        assert!(!text.contains("debug-assertions"), "{file}");
    }
    Ok(())
}
