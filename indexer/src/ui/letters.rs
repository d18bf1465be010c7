//! Letters: dead letters, the newest first, and one with its job. Texts of documents are left out of it.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use contract::topology::DLQ;
use serde_json::{Value, json};

use super::answer::{
    Answer, App, MOST_ENTRIES, Refusal, Shared, apart, in_time, json as answer, number, parameter,
    turn,
};
use crate::dead_letters::StoredLetter;
use crate::streams::{Range, Reader, message_at, stream};

/// Dead letters that are read for one page, whether or not they are of the cause that is asked for.
const WINDOW: u64 = 10_000;
const BUSY: &str = "others read the dead letters; try again";
/// Entries of a list, and characters of a text, that are shown of a job.
const SHOWN: usize = 20;
const SHOWN_CHARACTERS: usize = 1_024;
/// Fields of a job whose texts are names that Ebb gave or that stand in its subject, and the ids of documents.
const NAMES: [&str; 13] = [
    "kind",
    "type",
    "version",
    "run",
    "collection",
    "tokenization",
    "fingerprint",
    "id",
    "reply",
    "field",
    "point",
    "digest",
    "name",
];

/// A page of dead letters before one, of a cause or of all.
pub async fn list(State(app): Shared, uri: Uri) -> Answer {
    let turn = turn(&app.reads, BUSY).await?;
    apart(turn, move || in_time(page(app, uri))).await
}

async fn page(app: Arc<App>, uri: Uri) -> Answer {
    let (cause, before) = (parameter(&uri, "cause"), number::<u64>(&uri, "before")?);
    let dlq = stream(&app.sources.jetstream().await?, DLQ).await?;
    let state = &dlq.cached_info().state;
    let (oldest, end) = (state.first_sequence, state.last_sequence + 1);
    let end = before.map_or(end, |before| before.min(end));
    let first = end.saturating_sub(WINDOW).max(oldest);
    let range = Range {
        filter: ">".to_owned(),
        first,
        headers_only: true,
    };
    let (mut reader, mut letters) = (Reader::open(dlq, range).await?, VecDeque::new());
    while let Some((sequence, message)) = reader.next().await? {
        if sequence >= end {
            break;
        }
        let stored = StoredLetter::delivered(&message)?;
        if cause.as_deref().is_none_or(|cause| cause == stored.cause()) {
            letters.push_front(stored);
            letters.truncate(MOST_ENTRIES);
        }
    }
    // More may be older than the last that is shown, or than all that were looked at.
    let next = match letters.back().filter(|_| letters.len() == MOST_ENTRIES) {
        Some(last) => last.id,
        None => first,
    };
    let next = (next > oldest).then_some(next);
    Ok(answer(&json!({ "letters": letters, "next": next })))
}

/// A dead letter with its job.
pub async fn show(State(app): Shared, uri: Uri) -> Answer {
    let turn = turn(&app.reads, BUSY).await?;
    apart(turn, move || in_time(one(app, uri))).await
}

async fn one(app: Arc<App>, uri: Uri) -> Answer {
    let id = number(&uri, "id")?.ok_or_else(|| Refusal::bad("give the id of a dead letter"))?;
    let dlq = stream(&app.sources.jetstream().await?, DLQ).await?;
    let found = message_at(&dlq, id).await?;
    let message = found.ok_or_else(|| {
        Refusal::new(
            StatusCode::NOT_FOUND,
            format!("there is no dead letter {id}"),
        )
    })?;
    let job = match serde_json::from_slice(&message.payload) {
        Ok(job) => without_texts(None, job),
        Err(_) => json!(format!("{} bytes that are not JSON", message.payload.len())),
    };
    Ok(answer(
        &json!({ "letter": StoredLetter::of(&message), "job": job }),
    ))
}

/// A job without texts: names and numbers stay.
fn without_texts(field: Option<&str>, value: Value) -> Value {
    match value {
        Value::String(text) if field.is_some_and(|field| NAMES.contains(&field)) => {
            json!(text.chars().take(SHOWN_CHARACTERS).collect::<String>())
        }
        Value::String(text) => json!(format!("text of {} bytes", text.len())),
        Value::Array(items) if items.len() > SHOWN && items.iter().all(Value::is_number) => {
            json!(format!("{} numbers", items.len()))
        }
        Value::Array(items) => {
            let more = items.len().saturating_sub(SHOWN);
            let shown = items.into_iter().take(SHOWN);
            let mut shown: Vec<_> = shown.map(|item| without_texts(None, item)).collect();
            if more > 0 {
                shown.push(json!(format!("{more} more")));
            }
            Value::Array(shown)
        }
        Value::Object(fields) => {
            let more = fields.len().saturating_sub(SHOWN);
            let shown = fields.into_iter().take(SHOWN);
            let mut shown: serde_json::Map<_, _> = shown.map(shown_field).collect();
            if more > 0 {
                shown.insert("…".to_owned(), json!(format!("{more} more")));
            }
            Value::Object(shown)
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
    }
}

/// What a publisher says about a document is its own, names included.
fn shown_field((name, value): (String, Value)) -> (String, Value) {
    let value = match (name.as_str(), &value) {
        ("meta", Value::Object(meta)) => json!(format!("{} fields", meta.len())),
        _ => without_texts(Some(&name), value),
    };
    (name.chars().take(SHOWN_CHARACTERS).collect(), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_shown_without_texts_and_never_larger_than_a_page() {
        let chunk = json!({ "text": "secret", "context": "secret", "token_ids": vec![1; 100] });
        let job = json!({
            "kind": "embed", "version": "1.0", "queries": ["secret"], "other": { "name2": "secret" },
            "documents": [{ "id": "d", "meta": { "secret": "secret" }, "chunks": vec![chunk; 30] }],
        });
        let shown = without_texts(None, job);
        assert!(!shown.to_string().contains("secret"), "{shown:#}");
        assert_eq!(
            (&shown["kind"], &shown["documents"][0]["id"]),
            (&json!("embed"), &json!("d"))
        );
        let chunks = &shown["documents"][0]["chunks"];
        assert_eq!(
            (&chunks[0]["text"], &chunks[20]),
            (&json!("text of 6 bytes"), &json!("10 more"))
        );
        assert_eq!(chunks[0]["token_ids"], "100 numbers");
    }
}
