//! Telemetry of ONNX Runtime: official builds report usage to their maker, and keep an id of the device below the home
//! folder. Nobody who runs a worker has agreed to that.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// What the library looks at when it is loaded.
pub const SWITCH: &str = "ORT_DISABLE_TELEMETRY";

/// Switches it off for this process, before the library is loaded. The environment of a process that runs already cannot be
/// changed safely, so that the program takes its own place with another one. To be called before anything else is done.
pub fn switch_off() {
    if std::env::var_os(SWITCH).is_some_and(|value| value == "1") {
        return;
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next();
    let replaced = std::env::current_exe().map(|program| {
        let mut command = Command::new(program);
        command.args(arguments).env(SWITCH, "1");
        if let Some(name) = name {
            command.arg0(name);
        }
        command.exec()
    });
    // Only an error comes back. The library is told later, which is better than nothing.
    let (Ok(error) | Err(error)) = replaced;
    eprintln!("set {SWITCH}=1: telemetry of onnx runtime cannot be switched off ({error})");
}
