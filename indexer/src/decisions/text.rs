//! Values of decisions that are written as text: a span of time, a quantity of storage, the name of a class.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The text is not what it should be.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{text}` is not {what}: expected {rule}")]
pub struct NotReadable {
    text: String,
    what: &'static str,
    rule: String,
}

impl NotReadable {
    pub fn new(text: &str, what: &'static str, rule: impl Into<String>) -> Self {
        let text = text.chars().take(128).collect();
        let rule = rule.into();
        Self { text, what, rule }
    }
}

/// Reads and writes a type as text in YAML and JSON, and describes it in the schema.
macro_rules! as_text {
    ($name:ident, $schema:expr) => {
        impl TryFrom<String> for $name {
            type Error = $crate::decisions::text::NotReadable;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $schema
            }
        }
    };
}

pub(super) use as_text;

/// Longest span that anybody means: after that long, dead letters are gone too.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// A span of time, whole seconds of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(Duration);

as_text!(
    Span,
    schemars::json_schema!({
        "type": "string",
        "description": "A span of time with its units, like `90s`, `30m` or `1h 30m`",
        "pattern": "^([0-9]+ *(s|sec|secs|second|seconds|m|min|mins|minute|minutes|h|hr|hrs|hour|hours|d|day|days|w|week|weeks) *)+$",
    })
);

impl Span {
    pub const fn minutes(minutes: u64) -> Self {
        Self(Duration::from_secs(minutes * 60))
    }

    /// The duration as a type of the standard library.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = NotReadable;

    fn from_str(text: &str) -> Result<Self, NotReadable> {
        let rule = "whole seconds or more, like `30m`, and at most 30 days";
        let fault = || NotReadable::new(text, "a span of time", rule);
        let span = humantime::parse_duration(text).map_err(|_| fault())?;
        let whole = span.subsec_nanos() == 0 && !span.is_zero() && span <= LONGEST;
        whole.then_some(Self(span)).ok_or_else(fault)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// A quantity of storage, as Kubernetes writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Quantity {
    number: u32,
    unit: Unit,
}

/// Units of storage that make sense for weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Mi,
    Gi,
    Ti,
}

impl Unit {
    const ALL: [Self; 3] = [Self::Mi, Self::Gi, Self::Ti];

    fn as_str(self) -> &'static str {
        match self {
            Self::Mi => "Mi",
            Self::Gi => "Gi",
            Self::Ti => "Ti",
        }
    }
}

as_text!(
    Quantity,
    schemars::json_schema!({
        "type": "string",
        "description": "A quantity of storage, like `20Gi`",
        "pattern": "^[1-9][0-9]{0,5}(Mi|Gi|Ti)$",
    })
);

impl Quantity {
    pub const fn gibibytes(number: u32) -> Self {
        let unit = Unit::Gi;
        Self { number, unit }
    }
}

impl FromStr for Quantity {
    type Err = NotReadable;

    fn from_str(text: &str) -> Result<Self, NotReadable> {
        let fault = || {
            let rule = "1 to 999999, then Mi, Gi or Ti, like `20Gi`";
            NotReadable::new(text, "a quantity of storage", rule)
        };
        let of = |unit: Unit| Some((unit, text.strip_suffix(unit.as_str())?));
        let (unit, digits) = Unit::ALL.into_iter().find_map(of).ok_or_else(fault)?;
        let plain = digits.len() <= 6 && digits.chars().all(|c| c.is_ascii_digit());
        let number = digits.parse().map_err(|_| fault())?;
        let good = plain && number > 0 && !digits.starts_with('0');
        good.then_some(Self { number, unit }).ok_or_else(fault)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.number, self.unit.as_str())
    }
}

/// Name of an object of Kubernetes, such as a storage class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectName(String);

as_text!(
    ObjectName,
    schemars::json_schema!({
        "type": "string",
        "description": "Name of an object of Kubernetes",
        "pattern": "^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$",
    })
);

impl FromStr for ObjectName {
    type Err = NotReadable;

    fn from_str(text: &str) -> Result<Self, NotReadable> {
        let named = is_object_name(text).then(|| Self(text.to_owned()));
        let rule = "lowercase letters, digits, `-` and `.`, with a letter or digit at both ends";
        named.ok_or_else(|| NotReadable::new(text, "the name of an object", rule))
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Registry of images, with a path in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Registry(String);

as_text!(
    Registry,
    schemars::json_schema!({
        "type": "string",
        "description": "Host of a registry and a path in it, without a tag",
        "pattern": "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([-._]+[a-z0-9]+)*)*$",
    })
);

impl FromStr for Registry {
    type Err = NotReadable;

    fn from_str(text: &str) -> Result<Self, NotReadable> {
        let rule = "a host, maybe a port, and a path of lowercase letters and digits, like `registry.example.com/ebb`";
        let (host, path) = text
            .split_once('/')
            .map_or((text, None), |(host, path)| (host, Some(path)));
        let (host, port) = host
            .split_once(':')
            .map_or((host, None), |(host, port)| (host, Some(port)));
        let is_port = |port: &str| port.parse::<u16>().is_ok() && !port.starts_with('+');
        let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let inner = |c: char| end(c) || matches!(c, '-' | '.' | '_');
        let is_step =
            |step: &str| step.starts_with(end) && step.ends_with(end) && step.chars().all(inner);
        let good = is_object_name(host)
            && port.is_none_or(is_port)
            && path.is_none_or(|path| path.split('/').all(is_step));
        let registry = good.then(|| Self(text.to_owned()));
        registry.ok_or_else(|| NotReadable::new(text, "a registry of images", rule))
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether Kubernetes takes this as the name of an object: a DNS subdomain.
pub fn is_object_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=253).contains(&text.len())
        && text.chars().all(inner)
        && text.starts_with(end)
        && text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units_and_quantities_too() {
        assert_eq!("1h 30m".parse::<Span>().unwrap(), Span::minutes(90));
        assert_eq!("90m".parse::<Span>().unwrap().to_string(), "1h 30m");
        for text in ["30", "0s", "", "100ms", "fast", "31d", "20000y"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert_eq!("20Gi".parse::<Quantity>().unwrap(), Quantity::gibibytes(20));
        for text in [
            "20",
            "20GB",
            "0Gi",
            "020Gi",
            "-1Gi",
            "+1Gi",
            "1000000Ti",
            "Gi",
        ] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_registry_is_a_host_with_a_path() {
        for text in [
            "registry.example.com/ebb",
            "localhost:5000",
            "ghcr.io/o_o/ebb.x",
        ] {
            assert!(text.parse::<Registry>().is_ok(), "{text}");
        }
        for text in [
            "",
            "https://r.io",
            "r.io/",
            "r.io/Ebb",
            "r.io:x/ebb",
            "r.io/ebb:1",
            "r.io//x",
            "a\n",
        ] {
            assert!(text.parse::<Registry>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_storage_class_has_a_name_that_kubernetes_takes() {
        assert!("nfs-csi.fast".parse::<ObjectName>().is_ok());
        for text in ["", "NFS", "-a", "a-", "a b", "a\n"] {
            assert!(text.parse::<ObjectName>().is_err(), "{text:?}");
        }
    }
}
