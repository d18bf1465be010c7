//! The pages say what is so: their tables are what the programs print, and their links and paths lead somewhere.
//!
//! `EBB_UPDATE_DOCS=1 cargo test --package tests readme` writes the tables anew.

mod help;

use std::collections::VecDeque;
use std::path::Path;

use anyhow::{Context as _, ensure};
use fixtures::programs::workspace;

use help::{Help, Helps, fill, missing};

/// Programs with a page of their own.
const PROGRAMS: [&str; 2] = ["worker", "indexer"];

const PAGES: [&str; 10] = [
    "README.md",
    "indexer/README.md",
    "worker/README.md",
    "fixtures/README.md",
    "tests/README.md",
    "deploy/README.md",
    "deploy/SECURITY.md",
    "deploy/monitoring/RUNBOOK.md",
    "keda/README.md",
    ".github/CONTRIBUTING.md",
];

/// What the first page may have at most: more is not read.
const FIRST_PAGE_BYTES: usize = 10_240;

fn read(page: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(workspace().join(page)).with_context(|| format!("no `{page}`"))
}

/// What all verbs of a program say about themselves.
async fn helps(program: &str) -> anyhow::Result<Helps> {
    let tools = tests::tools().await?;
    let mut helps = Helps::new();
    let mut verbs = VecDeque::from([program.to_owned()]);
    while let Some(name) = verbs.pop_front() {
        let mut command = tools.program(program);
        command.args(name.split(' ').skip(1)).arg("--help");
        let output = command.output().await?;
        ensure!(output.status.success(), "`{name} --help` failed");
        let help = Help::parse(&String::from_utf8(output.stdout)?);
        verbs.extend(help.verbs.iter().map(|(verb, _)| format!("{name} {verb}")));
        helps.insert(name, help);
    }
    Ok(helps)
}

#[tokio::test]
async fn the_tables_of_verbs_and_settings_are_what_the_programs_say() -> anyhow::Result<()> {
    for program in PROGRAMS {
        let helps = helps(program).await?;
        ensure!(helps.len() > PROGRAMS.len(), "{helps:?}");
        let name = format!("{program}/README.md");
        let page = read(&name)?;
        let filled = fill(&page, &helps).map_err(anyhow::Error::msg)?;
        if std::env::var_os("EBB_UPDATE_DOCS").is_some() {
            std::fs::write(workspace().join(&name), &filled)?;
        } else {
            let differs = page
                .lines()
                .zip(filled.lines())
                .find(|(is, wanted)| is != wanted);
            ensure!(
                page == filled,
                "`{name}` is not what `{program}` says: run with EBB_UPDATE_DOCS=1; first: {differs:?}"
            );
        }
        let missing = missing(&page, program, &helps).map_err(anyhow::Error::msg)?;
        assert_eq!(missing, Vec::<String>::new(), "not in a table of `{name}`");
    }
    Ok(())
}

#[test]
fn every_path_that_the_readme_maps_is_there() -> anyhow::Result<()> {
    let readme = read("README.md")?;
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

#[test]
fn the_first_page_is_short() -> anyhow::Result<()> {
    let bytes = read("README.md")?.len();
    assert!(bytes <= FIRST_PAGE_BYTES, "{bytes}");
    Ok(())
}

#[test]
fn every_link_of_the_pages_leads_somewhere() -> anyhow::Result<()> {
    let mut seen = 0;
    for page in PAGES {
        let folder = Path::new(page).parent().unwrap_or(Path::new(""));
        for link in links(&read(page)?) {
            let (path, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = match path {
                "" => workspace().join(page),
                _ => workspace().join(folder).join(path),
            };
            ensure!(target.exists(), "`{page}` links to `{link}`");
            if !heading.is_empty() {
                let text = std::fs::read_to_string(&target)?;
                let is_there = text
                    .lines()
                    .any(|line| anchor(line) == Some(heading.into()));
                ensure!(is_there, "`{page}` links to `{link}`");
            }
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
    Ok(())
}

/// Links of a page to files of the repository.
fn links(page: &str) -> Vec<String> {
    let links = page.split("](").skip(1);
    links
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.contains("://") && !link.contains(char::is_whitespace))
        .map(str::to_owned)
        .collect()
}

/// What a link to a heading has behind its `#`.
fn anchor(line: &str) -> Option<String> {
    let heading = line.strip_prefix('#')?.trim_start_matches('#').trim();
    let kept = heading.to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(kept.collect::<String>().replace(' ', "-"))
}

/// What clap prints in its two layouts.
const WIDE: &str = "Finds things

Usage: finder find [OPTIONS] --model <MODEL> <WORDS>...

Arguments:
  <WORDS>...
          Words to look for

Options:
      --lane <LANE>
          Lane of the jobs

          Possible values:
          - live: Pulled
            first
          - bulk: Pulled later

          [env: LANE=bulk]
          [default: live]

  -h, --help
          Print help

NATS:
      --model <MODEL>
          Directory | of AWS_*
";
const NARROW: &str = "Counts things

Usage: finder count [OPTIONS] --model <MODEL>

Options:
      --all            Count
                       everything [possible values: a, b]
  -k, --cutoffs <K>    How many [default: 1,3]
      --model <MODEL>  Directory | of AWS_*
  -h, --help           Print help
";

#[test]
fn tables_are_made_of_both_layouts_of_a_help_text() -> anyhow::Result<()> {
    let helps = Helps::from([
        ("finder find".to_owned(), Help::parse(WIDE)),
        ("finder count".to_owned(), Help::parse(NARROW)),
    ]);
    let page = "a\n<!-- settings: finder find -->\n<!-- end -->\nb\n\
        <!-- settings: finder find, count -->\n| old |\n<!-- end -->\n";
    let head = "| setting | environment | default | meaning |\n|---|---|---|---|\n";
    let wanted = format!(
        "a\n<!-- settings: finder find -->\n{head}\
        | `<WORDS>...` |  | required | Words to look for |\n\
        | `--lane` | `LANE` | `live` | Lane of the jobs: `live` (Pulled first), `bulk` (Pulled later) |\n\
        <!-- end -->\nb\n<!-- settings: finder find, count -->\n{head}\
        | `--model` |  | required | Directory \\| of AWS_\\* |\n<!-- end -->\n"
    );
    let filled = fill(page, &helps).map_err(anyhow::Error::msg)?;
    assert_eq!(filled, wanted);
    assert_eq!(
        fill(&filled, &helps).map_err(anyhow::Error::msg)?,
        wanted,
        "filling a filled page changes nothing"
    );
    let missing = missing(page, "finder", &helps).map_err(anyhow::Error::msg)?;
    assert_eq!(
        missing,
        ["finder count `--all`", "finder count `-k, --cutoffs`"]
    );
    Ok(())
}
