//! Raw: jobs as their stream holds them, whoever wrote them.
//!
//! Anybody may publish, and the server stores headers that the client refuses to read: one such message would hide all
//! behind it. Headers that are not readable are left out here, and everything else of the message is given.

use anyhow::Context as _;
use async_nats::datetime::parse_rfc3339;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::topology::JOBS;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct GetResponse {
    message: Stored,
}

#[derive(Deserialize)]
struct Stored {
    subject: String,
    seq: u64,
    time: String,
    #[serde(default)]
    data: String,
    #[serde(default)]
    hdrs: String,
}

/// The first job of a subject at or after a sequence.
pub async fn next_job(
    jetstream: &jetstream::Context,
    filter: &str,
    sequence: u64,
) -> anyhow::Result<Option<StreamMessage>> {
    let which = json!({ "seq": sequence, "next_by_subj": filter });
    let found = get(jetstream, &which).await;
    found.with_context(|| format!("failed to read `{JOBS}` from {sequence}"))
}

/// A job by its sequence, `None` if it is not there.
pub async fn job_at(
    jetstream: &jetstream::Context,
    sequence: u64,
) -> anyhow::Result<Option<StreamMessage>> {
    let found = get(jetstream, &json!({ "seq": sequence })).await;
    found.with_context(|| format!("failed to read message {sequence} of `{JOBS}`"))
}

async fn get(
    jetstream: &jetstream::Context,
    which: &Value,
) -> anyhow::Result<Option<StreamMessage>> {
    let asked = jetstream.request(format!("STREAM.MSG.GET.{JOBS}"), which);
    match asked.await? {
        Response::Ok(GetResponse { message }) => message.read().map(Some),
        Response::Err { error } if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
        Response::Err { error } => Err(error.into()),
    }
}

impl Stored {
    fn read(self) -> anyhow::Result<StreamMessage> {
        let sequence = self.seq;
        let bytes = |text: &str| {
            let decoded = STANDARD.decode(text);
            decoded.with_context(|| format!("message {sequence} is not in base64"))
        };
        let time = parse_rfc3339(&self.time).map_err(|error| {
            anyhow::anyhow!("time `{}` of message {sequence}: {error}", self.time)
        })?;
        Ok(StreamMessage {
            payload: bytes(&self.data)?.into(),
            headers: headers(&bytes(&self.hdrs)?),
            subject: self.subject.into(),
            sequence,
            time,
        })
    }
}

/// The headers that can be read: a line each, after the line with the version of the protocol.
fn headers(bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').skip(1) {
        if let Some((name, value)) = header(line) {
            headers.append(name, value);
        }
    }
    headers
}

fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let line = str::from_utf8(line).ok()?.trim_end_matches('\r');
    let (name, value) = line.split_once(':')?;
    Some((name.parse().ok()?, value.trim_start().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_cannot_be_read_are_left_out() {
        let read =
            headers(b"NATS/1.0\r\nA: 1\r\nX: M\xfcller\r\nno colon\r\nB: x: y\r\nB:2\r\n\r\n");
        let of = |name: &str| {
            let values = read.get_all(name).map(|value| value.as_str().to_owned());
            values.collect::<Vec<_>>()
        };
        assert_eq!(
            (of("A"), of("B")),
            (
                vec!["1".to_owned()],
                vec!["x: y".to_owned(), "2".to_owned()]
            )
        );
        assert_eq!(read.len(), 2);
    }
}
