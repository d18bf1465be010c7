//! Settings from the command line and the environment: every value that cannot be read is reported, not just the first.

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Parser};

use crate::connect::EXIT_CONFIG;

/// Reads the settings of a program. Help, the version and misspelt options end the process as clap does it.
///
/// # Errors
/// A sentence for each value that cannot be read.
pub fn parse<P: Parser>() -> Result<P, Vec<String>> {
    let mut command = P::command();
    let mut faults = Vec::new();
    loop {
        let error = match command.clone().try_get_matches() {
            Ok(matches) if faults.is_empty() => match P::from_arg_matches(&matches) {
                Ok(settings) => return Ok(settings),
                Err(error) => exit(&error),
            },
            Ok(_) => return Err(faults),
            Err(error) => error,
        };
        match unreadable(&error) {
            Some((argument, fault)) if accepts(&command, &argument) => {
                faults.push(fault);
                // Any text will do from now on, so that the next fault shows.
                command = lenient(command, &argument);
            }
            // Where one fault hides another that is none of a value, the values come first.
            Some(_) | None if !faults.is_empty() => return Err(faults),
            Some(_) | None => exit(&error),
        }
    }
}

/// Ends the process as clap does it, with the exit code of bad configuration where it is one.
fn exit(error: &clap::Error) -> ! {
    // Nobody reads it: the exit code says it too.
    drop(error.print());
    std::process::exit(if error.use_stderr() {
        i32::from(EXIT_CONFIG)
    } else {
        0
    })
}

/// The argument whose value cannot be read, as clap shows it, with what is wrong.
fn unreadable(error: &clap::Error) -> Option<(String, String)> {
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
