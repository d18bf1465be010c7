//! Processor: its name, and the instructions that it has.

use std::fs;
use std::path::Path;

/// Name of the processor, or of its architecture where the system does not tell.
pub(crate) fn name() -> String {
    let model = field("/proc/cpuinfo", "model name");
    model.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// Names of the sets of instructions that it has.
pub(crate) fn instructions() -> String {
    field("/proc/cpuinfo", "flags").unwrap_or_default()
}

/// Value of the first line `name : value` of a file.
pub(crate) fn field(path: impl AsRef<Path>, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let value = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    };
    text.lines().find_map(value)
}
