//! Finding: something that is wrong, for a person who has to do something about it.

use std::fmt;
use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use crate::fleet::Broken;
use crate::outcome::Outcome;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Jobs are or will be lost from sight, stuck, or done by nobody.
    Error,
    /// The installation works, and somebody should look at it.
    Warning,
    /// The doctor could not look at it.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    pub severity: Severity,
    /// What it is about, like ``consumer `embed-minilm-live`: max_ack_pending``.
    pub what: String,
    pub found: String,
    pub wanted: String,
    /// Why it matters, and what to do about it.
    pub advice: String,
}

impl Finding {
    pub fn error(
        what: impl Into<String>,
        found: impl ToString,
        wanted: impl ToString,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            what: what.into(),
            found: found.to_string(),
            wanted: wanted.to_string(),
            advice: advice.into(),
        }
    }

    pub fn into_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Something that did not answer, and should.
    pub fn failed(what: impl Into<String>, error: &anyhow::Error, advice: &str) -> Self {
        Self::error(what, format!("{error:#}"), "an answer", advice)
    }

    /// Something that was not looked at.
    pub fn unknown(
        what: impl Into<String>,
        found: impl ToString,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Unknown,
            ..Self::error(what, found, "to be known", advice)
        }
    }

    pub fn of(broken: Broken) -> Self {
        Self::error(broken.at, broken.found, broken.wanted, broken.rule)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            severity,
            what,
            found,
            wanted,
            advice,
        } = self;
        writeln!(f, "{severity:<8} {what}")?;
        writeln!(f, "         found {found}, wanted {wanted}")?;
        write!(f, "         {advice}")
    }
}

/// What the doctor found, the worst first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Findings {
    errors: usize,
    findings: Vec<Finding>,
    unknown: usize,
    warnings: usize,
}

impl From<Vec<Finding>> for Findings {
    fn from(findings: Vec<Finding>) -> Self {
        let count = |severity| {
            let of = findings.iter().filter(|found| found.severity == severity);
            of.count()
        };
        Self {
            errors: count(Severity::Error),
            unknown: count(Severity::Unknown),
            warnings: count(Severity::Warning),
            findings,
        }
    }
}

impl Outcome for Findings {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for finding in &self.findings {
            writeln!(out, "{finding}")?;
        }
        let (errors, warnings, unknown) = (self.errors, self.warnings, self.unknown);
        writeln!(
            out,
            "{errors} errors, {warnings} warnings, {unknown} unknown"
        )
    }

    fn is_failure(&self) -> bool {
        self.errors > 0
    }
}
