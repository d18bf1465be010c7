//! Pages: completions for shells and pages for `man`, made from the definitions of the verbs.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;

#[derive(Args, Clone, Debug)]
pub struct CompletionsConfig {
    /// Shell to print them for
    #[arg(value_enum)]
    pub shell: Shell,
}

#[derive(Args, Clone, Debug)]
pub struct ManConfig {
    /// Directory to write the pages to, one for each verb
    #[arg(default_value = ".")]
    pub directory: PathBuf,
}

/// Prints completions.
pub fn completions(config: &CompletionsConfig, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(config.shell, &mut Cli::command(), "indexer", &mut script);
    out.write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes pages for `man`.
pub fn man(config: &ManConfig) -> anyhow::Result<ExitCode> {
    let directory = &config.directory;
    let write = || {
        std::fs::create_dir_all(directory)?;
        clap_mangen::generate_to(Cli::command(), directory)
    };
    write().with_context(|| format!("failed to write pages to `{}`", directory.display()))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_has_completions_and_every_verb_a_page() {
        for shell in Shell::value_variants() {
            let mut out = Vec::new();
            completions(&CompletionsConfig { shell: *shell }, &mut out).unwrap();
            let script = String::from_utf8(out).unwrap();
            assert!(
                script.contains("rebuild") && script.contains("nats-url"),
                "{shell}"
            );
        }
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("man1");
        man(&ManConfig {
            directory: directory.clone(),
        })
        .unwrap();
        for page in ["indexer.1", "indexer-rebuild.1", "indexer-dlq-replay.1"] {
            assert!(directory.join(page).is_file(), "{page}");
        }
    }
}
