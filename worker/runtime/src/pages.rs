//! Pages: completions for shells and pages for `man`, made from the definitions of a program's verbs.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

/// Which completions.
#[derive(Args, Clone, Debug)]
pub struct CompletionsConfig {
    /// Shell to print them for
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Where pages go.
#[derive(Args, Clone, Debug)]
pub struct ManConfig {
    /// Directory to write the pages to, one for each verb
    #[arg(default_value = ".")]
    pub directory: PathBuf,
}

/// Exit codes with what they mean, as they stand in tables: `143, 130` are two of one meaning.
pub type ExitCodes = [(&'static str, &'static str)];

/// Prints completions.
///
/// # Errors
/// Of the writer.
pub fn completions(
    config: &CompletionsConfig,
    mut command: Command,
    out: &mut dyn Write,
) -> io::Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(config.shell, &mut command, name, &mut script);
    out.write_all(&script)
}

/// Writes pages for `man`: one for the program, and one for each verb.
///
/// # Errors
/// Of the file system, with the directory.
pub fn man(config: &ManConfig, command: Command, codes: &ExitCodes) -> io::Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let write = || {
        std::fs::create_dir_all(&config.directory)?;
        write_pages(&command, &config.directory, codes)
    };
    write().map_err(|error| {
        let directory = config.directory.display();
        io::Error::new(
            error.kind(),
            format!("failed to write pages to `{directory}`: {error}"),
        )
    })
}

fn write_pages(command: &Command, directory: &Path, codes: &ExitCodes) -> io::Result<()> {
    for below in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        write_pages(below, directory, codes)?;
    }
    let page = Man::new(command.clone().override_usage(synopsis(command)));
    let mut text = Vec::new();
    page.render(&mut text)?;
    text.extend(exit_status(codes).into_bytes());
    std::fs::write(directory.join(page.get_filename()), text)
}

/// How a verb is typed: options with their values, those that must be given without brackets.
fn synopsis(command: &Command) -> String {
    let mut line = command
        .get_bin_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned();
    let shown = command.get_arguments().filter(|it| !it.is_hide_set());
    let (positional, options): (Vec<_>, Vec<_>) = shown.partition(|it| it.is_positional());
    for argument in options.into_iter().chain(positional) {
        let typed = typed(argument);
        match argument.is_required_set() {
            true => line.extend([" ", typed.as_str()]),
            false => line.extend([" [", typed.as_str(), "]"]),
        }
    }
    if command.has_subcommands() {
        line.push_str(" <COMMAND>");
    }
    line
}

/// An argument with the names of its values.
fn typed(argument: &Arg) -> String {
    let takes_value = argument.get_action().takes_values();
    let names = argument.get_value_names().unwrap_or_default();
    let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
    let values = match (takes_value, names.as_slice()) {
        (false, _) => String::new(),
        (true, []) => argument.get_id().as_str().to_uppercase(),
        (true, names) => names.join(" "),
    };
    let is_list = argument
        .get_num_args()
        .is_some_and(|it| it.max_values() > 1);
    let more = match is_list || matches!(argument.get_action(), ArgAction::Append) {
        true => "...",
        false => "",
    };
    match (argument.get_long(), argument.get_short()) {
        (Some(long), _) if values.is_empty() => format!("--{long}"),
        (Some(long), _) => format!("--{long} {values}{more}"),
        (None, Some(short)) if values.is_empty() => format!("-{short}"),
        (None, Some(short)) => format!("-{short} {values}{more}"),
        (None, None) => format!("{values}{more}"),
    }
}

fn exit_status(codes: &ExitCodes) -> String {
    let heading = ".SH \"EXIT STATUS\"\n".to_owned();
    let entries = codes.iter().map(|(code, meaning)| {
        // What stands in code there is text here; a backslash or a dot would be obeyed.
        let meaning = meaning.replace('`', "").replace('\\', "\\e");
        format!(".TP\n\\fB{code}\\fR\n\\&{meaning}\n")
    });
    std::iter::once(heading).chain(entries).collect()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    fn program() -> Command {
        let limit = Arg::new("limit")
            .long("limit")
            .value_name("HITS")
            .help("How many");
        let exact = Arg::new("exact").long("exact").action(ArgAction::SetTrue);
        let model = Arg::new("model").long("model").required(true);
        let search = Command::new("search").about("Search").args([
            limit,
            exact,
            model,
            Arg::new("QUERY").required(true),
        ]);
        Command::new("ebb").version("1").subcommand(search)
    }

    #[test]
    fn every_shell_has_completions() {
        for shell in Shell::value_variants() {
            let mut out = Vec::new();
            completions(&CompletionsConfig { shell: *shell }, program(), &mut out).unwrap();
            let script = String::from_utf8(out).unwrap();
            assert!(
                script.contains("search") && script.contains("limit"),
                "{shell}"
            );
        }
    }

    #[test]
    fn every_verb_has_a_page_with_values_and_exit_codes() {
        let directory = std::env::temp_dir().join(format!("ebb-pages-{}", std::process::id()));
        let config = ManConfig {
            directory: directory.clone(),
        };
        man(
            &config,
            program(),
            &[("0", "it is done"), ("64", "the `limit` is bad")],
        )
        .unwrap();
        let read = |page: &str| std::fs::read_to_string(directory.join(page)).unwrap();
        let (all, page) = (read("ebb.1"), read("ebb-search.1"));
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(
            all.contains("<COMMAND>") && all.contains("EXIT STATUS"),
            "{all}"
        );
        let page = page.replace('\\', "");
        let line = "ebb searchfR [--limit HITS] [--exact] --model MODEL";
        assert!(page.contains(line) && page.contains("QUERY"), "{page}");
        assert!(page.contains("fB64fR\n&the limit is bad"), "{page}");
    }
}
