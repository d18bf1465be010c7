//! Show: one dead letter, its headers and its job.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use async_nats::jetstream;
use async_nats::jetstream::message::StreamMessage;
use clap::Args;
use contract::topology::DLQ;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::dead_letters::StoredLetter;
use crate::outcome::escaped;
use crate::outcome::{Outcome, print};
use crate::streams::{message_at, stream};

#[derive(Args, Clone, Debug)]
pub struct ShowConfig {
    /// Id, as `ls` shows it
    pub id: u64,
    /// Print the job's bytes and nothing else
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A payload in the most readable form that keeps all of it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    Json(Value),
    Text(String),
    Hex(String),
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct ShownLetter {
    #[serde(flatten)]
    stored: StoredLetter,
    headers: BTreeMap<String, Vec<String>>,
    payload: Payload,
}

pub async fn show(
    jetstream: &jetstream::Context,
    config: &ShowConfig,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<ExitCode> {
    let dlq = stream(jetstream, DLQ).await?;
    let message = message_at(&dlq, config.id).await?;
    let message = message.with_context(|| {
        let id = config.id;
        format!("there is no dead letter {id}; `indexer dlq ls` lists them")
    })?;
    if config.raw {
        out.write_all(&message.payload)?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&ShownLetter::of(&message), config.json, out)
}

impl ShownLetter {
    fn of(message: &StreamMessage) -> Self {
        let text = |values: &[async_nats::HeaderValue]| {
            values
                .iter()
                .map(|value| value.as_str().to_owned())
                .collect()
        };
        let headers = message.headers.iter();
        Self {
            stored: StoredLetter::of(message),
            headers: headers
                .map(|(name, values)| (name.to_string(), text(values)))
                .collect(),
            payload: Payload::of(&message.payload),
        }
    }
}

impl Outcome for ShownLetter {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let died = humantime::format_rfc3339_millis(self.stored.died);
        let subject = escaped(&self.stored.subject);
        writeln!(
            out,
            "dead letter {}, `{subject}`, of {died}",
            self.stored.id
        )?;
        if let Err(error) = &self.stored.letter {
            writeln!(out, "not a dead letter of this program: {error}")?;
        }
        for (name, values) in &self.headers {
            for value in values {
                writeln!(out, "{}: {}", escaped(name), escaped(value))?;
            }
        }
        writeln!(out, "\n{}", self.payload.pretty()?)
    }
}

impl Payload {
    fn of(bytes: &[u8]) -> Self {
        if let Ok(json) = serde_json::from_slice(bytes) {
            return Self::Json(json);
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex(hex(bytes)),
        }
    }

    fn pretty(&self) -> serde_json::Result<String> {
        Ok(match self {
            Self::Json(json) => escaped_lines(&serde_json::to_string_pretty(json)?),
            Self::Text(text) => escaped_lines(text),
            Self::Hex(hex) => hex.clone(),
        })
    }
}

fn escaped_lines(text: &str) -> String {
    text.lines().map(escaped).collect::<Vec<_>>().join("\n")
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_shown_as_what_it_is() {
        assert_eq!(
            Payload::of(b"{\"a\":1}").pretty().unwrap(),
            "{\n  \"a\": 1\n}"
        );
        let csi = Payload::of("{\"a\":\"\u{9b}2J\"}".as_bytes());
        assert!(csi.pretty().unwrap().is_ascii());
        let text = Payload::of("one\n\u{1b}[2J\u{7f}ü".as_bytes());
        assert_eq!(text.pretty().unwrap(), "one\n\\u{1b}[2J\\u{7f}ü");
        assert_eq!(Payload::of(b"\xff\x00").pretty().unwrap(), "ff00");
        assert_eq!(Payload::of(b""), Payload::Text(String::new()));
    }
}
