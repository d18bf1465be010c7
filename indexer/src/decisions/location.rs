//! Location: where a model or a corpus comes from, an address or a volume.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

use super::text::{NotReadable, as_text, is_object_name};

/// Scheme of a path on a claimed volume: `pvc://claim/path`.
const CLAIM: &str = "pvc://";
/// Scheme of the Hugging Face hub: `hf://owner/name`, and `@revision` behind it.
const HUB: &str = "hf://";

/// Schemes from which `worker stage` takes a model, the hub aside.
const OF_MODELS: [&str; 3] = ["s3", "https", "http"];
/// Schemes from which `indexer rebuild` takes documents.
const OF_DOCUMENTS: [&str; 7] = ["s3", "gs", "az", "abfs", "abfss", "http", "https"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    Url(String),
    /// A path on a volume.
    Claim {
        /// The claim, in the namespace of the workers.
        claim: String,
        /// The path on it, relative; empty for all of it.
        path: String,
    },
}

/// The location that `worker stage` gets a model from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelLocation(Location);

/// The location that `indexer rebuild` gets documents from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CorpusLocation(Location);

as_text!(
    ModelLocation,
    schemars::json_schema!({
        "type": "string",
        "description": "Address of a model directory, or `pvc://claim/path`",
        "pattern": "^(hf|s3|https?|pvc)://.+$",
    })
);

as_text!(
    CorpusLocation,
    schemars::json_schema!({
        "type": "string",
        "description": "URL of an object store or of a web server, or `pvc://claim/path`",
        "pattern": "^(s3|gs|az|abfss?|https?|pvc)://.+$",
    })
);

impl ModelLocation {
    /// As an address or a volume.
    pub fn location(&self) -> &Location {
        &self.0
    }
}

impl CorpusLocation {
    /// As an address or a volume.
    pub fn location(&self) -> &Location {
        &self.0
    }
}

impl FromStr for ModelLocation {
    type Err = NotReadable;

    fn from_str(text: &str) -> Result<Self, NotReadable> {
        let fault = |rule: String| NotReadable::new(shown(text), "a place of a model", rule);
        if text.starts_with(CLAIM) {
            return claim(text).map(Self).map_err(fault);
        }
        let good = match text.strip_prefix(HUB) {
            Some(name) => check_hub(name),
            None => check_url(text, &OF_MODELS),
        };
        good.map_err(fault)?;
        Ok(Self(Location::Url(text.to_owned())))
    }
}

impl FromStr for CorpusLocation {
    type Err = NotReadable;

    fn from_str(text: &str) -> Result<Self, NotReadable> {
        let fault = |rule: String| NotReadable::new(shown(text), "a place of documents", rule);
        if text.starts_with(CLAIM) {
            return claim(text).map(Self).map_err(fault);
        }
        if !text.contains("://") {
            let rule = "the URL of an object store, or `pvc://claim/path` for a path";
            return Err(fault(rule.to_owned()));
        }
        check_url(text, &OF_DOCUMENTS).map_err(fault)?;
        Ok(Self(Location::Url(text.to_owned())))
    }
}

/// The text, unless it may carry what is secret.
fn shown(text: &str) -> &str {
    let secret = text.contains('?') || (text.contains('@') && !text.starts_with(HUB));
    if secret { "..." } else { text }
}

/// A URL of one of these schemes, without anything that belongs into a Secret.
fn check_url(text: &str, schemes: &[&str]) -> Result<(), String> {
    let known = || {
        format!(
            "a URL that starts with {}, or {CLAIM}claim/path",
            schemes.join(", ")
        )
    };
    let url = Url::parse(text).map_err(|_| known())?;
    if !schemes.contains(&url.scheme()) || !url.has_host() {
        return Err(known());
    }
    // In a URL of Azure, the container stands where others have the user.
    let is_azure = matches!(url.scheme(), "abfs" | "abfss" | "az");
    let is_login = url.password().is_some() || !(is_azure || url.username().is_empty());
    if is_login || url.query().is_some() || url.fragment().is_some() {
        return Err(
            "no credentials and no query, which belong into a Secret, and no `#`".to_owned(),
        );
    }
    is_plain(text)
}

/// Owner and name on the hub, and a revision.
fn check_hub(name: &str) -> Result<(), String> {
    let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
    let parts: Vec<_> = name.split('/').collect();
    let good = |part: &&str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.starts_with('.') && !part.is_empty() && part.chars().all(allowed)
    };
    let known = matches!(parts.len(), 1 | 2) && parts.iter().all(good) && is_path(revision);
    known
        .then_some(())
        .ok_or_else(|| "hf://owner/name or hf://owner/name@revision".to_owned())
}

fn claim(text: &str) -> Result<Location, String> {
    let rest = text.strip_prefix(CLAIM).unwrap_or(text);
    let (claim, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.trim_end_matches('/');
    if !is_object_name(claim) {
        return Err("pvc://claim/path with the name of a claim".to_owned());
    }
    if !path.is_empty() && !is_path(path) {
        return Err("pvc://claim/path with a path without `..` and special characters".to_owned());
    }
    Ok(Location::Claim {
        claim: claim.to_owned(),
        path: path.to_owned(),
    })
}

/// Whether each part of a path is a name, so that it stays on its volume and means one thing in a command line.
fn is_path(path: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '=');
    let part = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(allowed);
    path.split('/').all(part)
}

/// `$(` starts a reference where Kubernetes expands arguments.
fn is_plain(text: &str) -> Result<(), String> {
    let plain = text
        .chars()
        .all(|c| !c.is_whitespace() && !c.is_control() && c != '$');
    plain
        .then_some(())
        .ok_or_else(|| "no white space and no `$`: write %20 and %24".to_owned())
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url),
            Self::Claim { claim, path } => write!(f, "{CLAIM}{claim}/{path}"),
        }
    }
}

impl fmt::Display for ModelLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for CorpusLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_addresses_and_volumes() {
        for text in [
            "hf://sentence-transformers/all-MiniLM-L6-v2",
            "hf://BAAI/bge-m3@5617a9f61b028005a4858fdac845db406aefb181",
            "s3://models/bge",
            "https://models.example.org/bge",
        ] {
            assert_eq!(text.parse::<ModelLocation>().unwrap().to_string(), text);
        }
        for text in [
            "s3://corpus/handbook",
            "gs://notes",
            "https://example.org/q.jsonl",
        ] {
            assert_eq!(text.parse::<CorpusLocation>().unwrap().to_string(), text);
        }
        let claimed: CorpusLocation = "pvc://corpora/handbook/2026/".parse().unwrap();
        let (claim, path) = ("corpora".to_owned(), "handbook/2026".to_owned());
        assert_eq!(claimed.location(), &Location::Claim { claim, path });
        assert!("pvc://corpora".parse::<CorpusLocation>().is_ok());
    }

    #[test]
    fn what_is_no_place_or_carries_a_secret_is_refused() {
        for text in [
            "./models",
            "hf://",
            "hf://a/b/c",
            "hf://a/b c",
            "ftp://x/y",
            "s3://",
            "pvc://",
            "pvc://A/x",
            "pvc://a/../b",
            "s3://m/$(X)",
        ] {
            assert!(text.parse::<ModelLocation>().is_err(), "{text}");
        }
        for text in [
            "handbook/",
            "/data",
            "ftp://x/y",
            "pvc://a/b/../c",
            "pvc://a/$(X)",
            "s3://a/b c",
        ] {
            assert!(text.parse::<CorpusLocation>().is_err(), "{text}");
        }
        let secret = "https://me:hunter2@example.org/x?sig=hunter2";
        let corpus = secret.parse::<CorpusLocation>().unwrap_err().to_string();
        let model = secret.parse::<ModelLocation>().unwrap_err().to_string();
        assert!(
            !corpus.contains("hunter2") && !model.contains("hunter2"),
            "{corpus} {model}"
        );
    }
}
