//! Settings from the command line and the environment: everything that is wrong with them is reported, not just the first.

use std::ffi::OsString;
use std::fmt;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Parser};

use crate::failpoint;

/// A setting that contradicts another or cannot be met. Programs collect all of them before they open anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// The setting, as on the command line.
    pub setting: &'static str,
    /// What is wrong with its value and what to do.
    pub problem: String,
}

impl ConfigFault {
    /// Blames a setting.
    #[must_use]
    pub fn new(setting: &'static str, problem: impl Into<String>) -> Self {
        Self {
            setting,
            problem: problem.into(),
        }
    }
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.problem)
    }
}

/// What is wrong with the rules of `EBB_FAILPOINTS`. Every verb asks for it: nothing would follow rules that cannot be read, or
/// those of a program without failpoints.
#[must_use]
pub fn failpoint_faults() -> Vec<ConfigFault> {
    let problem = failpoint::check().err();
    let fault = problem.map(|problem| ConfigFault::new("EBB_FAILPOINTS", problem));
    fault.into_iter().collect()
}

/// Exit code for bad configuration, EX_USAGE of sysexits.
pub const EXIT_CONFIG: u8 = 64;

/// How a staged model comes about.
pub const STAGE: &str = "`worker stage SOURCE --models DIRECTORY --name NAME` makes a staged model and prints its \
                         directory, which is given by --model or EBB_MODEL";

/// A value that must not show in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Reads a text that names something and therefore may not be empty. An environment variable that is set to nothing counts
/// as given.
///
/// # Errors
/// If the text is empty or blank.
pub fn identifier(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() {
        return Err("it may not be empty; leave the setting out where nothing is meant");
    }
    Ok(text.to_owned())
}

/// Blames `setting` if it names a file that cannot be read.
#[must_use]
pub fn unreadable(setting: &'static str, path: Option<&std::path::PathBuf>) -> Option<ConfigFault> {
    let path = path?;
    let error = std::fs::File::open(path).err()?;
    Some(ConfigFault::new(
        setting,
        format!("cannot read `{}`: {error}", path.display()),
    ))
}

/// Reads the settings of a program. Help, the version and misspelt options end the process as clap does it.
///
/// # Errors
/// A sentence for each value that cannot be read.
pub fn parse<P: Parser>() -> Result<P, Vec<String>> {
    parse_from(std::env::args_os().collect())
}

/// The same of other arguments than those of the process; the first one is the name of the program.
///
/// # Errors
/// A sentence for each value that cannot be read.
pub fn parse_from<P: Parser>(arguments: Vec<OsString>) -> Result<P, Vec<String>> {
    let (mut command, mut faults) = (P::command(), Vec::new());
    loop {
        let error = match command.clone().try_get_matches_from(&arguments) {
            Ok(matches) if faults.is_empty() => match P::from_arg_matches(&matches) {
                Ok(settings) => return Ok(settings),
                Err(error) => exit(error),
            },
            Ok(_) => return Err(faults),
            Err(error) => error,
        };
        match bad_value(&error) {
            Some((argument, fault)) if accepts(&command, &argument) => {
                faults.push(fault);
                // Any text will do from now on, so that the next fault shows.
                command = lenient(command, &argument);
            }
            // A fault of another kind may hide behind a bad value; the values are reported first.
            Some(_) | None if !faults.is_empty() => return Err(faults),
            Some(_) | None => exit(error),
        }
    }
}

/// What is wrong with a value of an option, which is read as that option reads it.
#[must_use]
pub fn value_fault(argument: &Arg, value: &str) -> Option<String> {
    let mut probe = Arg::new("value")
        .long("value")
        .action(argument.get_action().clone())
        .value_parser(argument.get_value_parser().clone())
        .allow_hyphen_values(true);
    if let Some(delimiter) = argument.get_value_delimiter() {
        probe = probe.value_delimiter(delimiter);
    }
    let command = Command::new("probe").no_binary_name(true).arg(probe);
    let error = command
        .try_get_matches_from([format!("--value={value}")])
        .err()?;
    let possible = argument.get_possible_values();
    let possible: Vec<_> = possible.iter().map(|it| it.get_name()).collect();
    let reason = match std::error::Error::source(&error) {
        Some(source) => source.to_string(),
        None if possible.is_empty() => "cannot be read".to_owned(),
        None => format!("not one of {}", possible.join(", ")),
    };
    Some(format!("`{value}`: {reason}"))
}

/// Says how a staged model comes about, to whoever has named none.
fn with_advice(mut error: clap::Error) -> clap::Error {
    let is_model = |missing: &String| missing.starts_with("--model ");
    let lacks_model = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(missing)) => missing.iter().any(is_model),
        Some(_) | None => false,
    };
    if error.kind() == ErrorKind::MissingRequiredArgument && lacks_model {
        let advice = vec![clap::builder::StyledStr::from(STAGE)];
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(advice));
    }
    error
}

/// Ends the process as clap does it, with the exit code of bad configuration where it is one.
fn exit(error: clap::Error) -> ! {
    let error = with_advice(error);
    // Nobody reads it: the exit code says it too.
    drop(error.print());
    std::process::exit(if error.use_stderr() {
        i32::from(EXIT_CONFIG)
    } else {
        0
    })
}

/// The argument whose value cannot be read, as clap shows it, with what is wrong.
fn bad_value(error: &clap::Error) -> Option<(String, String)> {
    if !matches!(
        error.kind(),
        ErrorKind::ValueValidation | ErrorKind::InvalidValue
    ) {
        return None;
    }
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(_) | None => None,
    };
    let argument = text(ContextKind::InvalidArg)?;
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    // A value that is missing, and would be missing again.
    if value.is_empty() && error.kind() == ErrorKind::InvalidValue {
        return None;
    }
    let reason = std::error::Error::source(error).map_or_else(
        || "not one of the possible values".to_owned(),
        ToString::to_string,
    );
    Some((argument.clone(), format!("{argument}: `{value}`: {reason}")))
}

/// Whether clap shows this option so: `--threads <THREADS>`.
fn is_shown_as(argument: &Arg, shown: &str) -> bool {
    let long = shown
        .strip_prefix("--")
        .and_then(|rest| rest.split([' ', '=']).next());
    long.is_some() && argument.get_long() == long
}

fn accepts(command: &Command, shown: &str) -> bool {
    command
        .get_arguments()
        .any(|argument| is_shown_as(argument, shown))
        || command
            .get_subcommands()
            .any(|command| accepts(command, shown))
}

/// The same command with an argument that takes any text.
fn lenient(command: Command, shown: &str) -> Command {
    let command = command.mut_args(|argument| {
        if is_shown_as(&argument, shown) {
            argument.value_parser(ValueParser::string())
        } else {
            argument
        }
    });
    command.mut_subcommands(|command| lenient(command, shown))
}
