//! Names that travel in subjects, stream names and Qdrant: checked once, when they are made.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The text cannot be used as a name.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{text}` is not a {what}: expected {rule}")]
pub struct InvalidName {
    what: &'static str,
    text: String,
    rule: &'static str,
}

/// A name that fits a whole token of a NATS subject: no dots, wildcards or white space.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $max:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(
            Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                let allowed: fn(char) -> bool = $allowed;
                let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
                if text.len() <= $max && starts_well && text.chars().all(allowed) {
                    Ok(Self(text))
                } else {
                    let text = text.chars().take(64).collect();
                    Err(InvalidName { what: $what, text, rule: $rule })
                }
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// Name of a model: part of subjects, consumers and vectors.
    ModelName,
    "model name",
    "1 to 48 lowercase letters, digits, `-` or `_`, starting with a letter or digit",
    48,
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_')
);

name!(
    /// Name of a vector of the points of a collection.
    VectorName,
    "vector name",
    "1 to 48 lowercase letters, digits, `-` or `_`, starting with a letter or digit",
    48,
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_')
);

name!(
    /// Name of a Qdrant collection or alias.
    CollectionName,
    "collection name",
    "1 to 128 letters, digits, `-`, `_` or `.`, starting with a letter or digit",
    128,
    |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
);

name!(
    /// Last token of the subject that takes an answer.
    ReplyId,
    "reply id",
    "1 to 64 letters, digits, `-` or `_`, starting with a letter or digit",
    64,
    |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
);

impl From<ModelName> for VectorName {
    fn from(name: ModelName) -> Self {
        Self(name.0)
    }
}

impl CollectionName {
    /// Name of a generation behind this alias.
    ///
    /// # Errors
    /// [`InvalidName`] if the run id does not fit a collection name.
    pub fn generation(&self, run: &str) -> Result<Self, InvalidName> {
        Self::try_from(format!("{}--{run}", self.0))
    }

    /// Whether `other` is this collection or one of the generations behind it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let rest = other.0.strip_prefix(&self.0);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("--"))
    }
}
