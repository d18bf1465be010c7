//! Settings and connections of NATS, Qdrant and object stores, the same for every program of Ebb.

pub mod denial;
pub mod nats;
pub mod qdrant;
pub mod store;

use std::fmt;

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

/// Exit code for bad configuration, EX_USAGE of sysexits.
pub const EXIT_CONFIG: u8 = 64;

/// A value that must not show in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself.
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
