//! Programs: which ones of the machine the tests and what they test start, so that the command of the README passes where they
//! are missing; and what programs for users do not contain.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

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
/// In the place of crates: their names, and what a failpoint takes of them. The program ends as a shell says of a killed one.
const INSTEAD: [(&str, &str); 2] = [
    (
        "tracing",
        "#[macro_export] macro_rules! warn { ($($x:tt)*) => { drop(stringify!($($x)*)) } }",
    ),
    (
        "rustix",
        r"
pub mod process {
    pub struct Signal;
    impl Signal {
        pub const KILL: Self = Self;
    }
    pub fn getpid() {}
    pub fn kill_process(_: (), _: Signal) -> Result<(), ()> {
        std::process::exit(137)
    }
}
",
    ),
];
/// How the profile `release` compiles.
const RELEASE: [&str; 2] = ["-C", "opt-level=3"];
/// How programs with failpoints are compiled; without optimization, which may take a name apart.
const WITH_FAILPOINTS: [&str; 4] = ["-C", "opt-level=0", "-C", "debug-assertions=on"];

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

/// Compiles a source in a folder that has what it depends on.
fn compile(folder: &Path, source: &Path, kind: &str, more: &[&str]) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut rustc = Command::new(Path::new(&cargo).with_file_name("rustc"));
    rustc.current_dir(folder).arg(source);
    rustc.args(["--edition", "2024", "-L", ".", "--crate-type", kind]);
    let compiled = rustc.args(more).output()?;
    let problem = String::from_utf8_lossy(&compiled.stderr);
    anyhow::ensure!(compiled.status.success(), "{}: {problem}", source.display());
    Ok(())
}

/// A program that passes failpoints, compiled as a profile does.
struct Passing {
    _folder: tempfile::TempDir,
    program: PathBuf,
}

impl Passing {
    fn compiled(profile: &[&str]) -> anyhow::Result<Self> {
        let held = tempfile::tempdir()?;
        let folder = held.path();
        for (name, source) in INSTEAD {
            let file = folder.join(name).with_extension("rs");
            std::fs::write(&file, source)?;
            compile(folder, &file, "rlib", profile)?;
        }
        let failpoint = workspace().join("worker/runtime/src/failpoint.rs");
        let with_crates = [profile, &["--extern", "tracing", "--extern", "rustix"]].concat();
        compile(folder, &failpoint, "rlib", &with_crates)?;
        let passes = folder.join("passes.rs");
        std::fs::write(&passes, PASSES)?;
        let with_failpoint = [profile, &["--extern", "failpoint"]].concat();
        compile(folder, &passes, "bin", &with_failpoint)?;
        Ok(Self {
            program: folder.join("passes"),
            _folder: held,
        })
    }

    /// Whether it has the names of its failpoints.
    fn has_names(&self) -> anyhow::Result<bool> {
        let (bytes, name) = (std::fs::read(&self.program)?, b"secret-step");
        Ok(bytes.windows(name.len()).any(|window| window == name))
    }

    /// Its exit code with these rules.
    fn ended(&self, rules: &str) -> anyhow::Result<Option<i32>> {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .envs((!rules.is_empty()).then_some(("EBB_FAILPOINTS", rules)));
        let output = command.output().context("the program does not start")?;
        Ok(output.status.code())
    }
}

/// A release takes a quarter of an hour to build, so that the rule is tried on a program of some lines; `.ci/release` looks at
/// what it has built.
#[test]
fn a_program_of_a_release_has_no_failpoints_and_refuses_rules_for_them() -> anyhow::Result<()> {
    let passing = Passing::compiled(&RELEASE)?;
    assert!(!passing.has_names()?, "a release has names of failpoints");
    assert_eq!(passing.ended("")?, Some(0));
    assert_eq!(passing.ended("before-secret-step=kill")?, Some(64));
    Ok(())
}

/// The control of the test above: what must not be in a release is found where it is.
#[test]
fn a_program_with_debug_assertions_has_failpoints_and_follows_rules_for_them() -> anyhow::Result<()>
{
    let passing = Passing::compiled(&WITH_FAILPOINTS)?;
    assert!(passing.has_names()?, "there are no names of failpoints");
    assert_eq!(passing.ended("")?, Some(0));
    assert_eq!(passing.ended("before-secret-step=kill")?, Some(137));
    assert_eq!(passing.ended("skipped-secret-step=skip")?, Some(1));
    assert_eq!(passing.ended("before-secret-step")?, Some(64));
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
