//! The messages that are published: what each is to do, and the bytes that say so.

use contract::topology::Priority;
use serde_json::{Value, json};

/// In every text of a document, and nowhere else: where it shows, document text has leaked.
pub(crate) const SECRET: &str = "xyzzy";
/// A worker that meets it in a job kills itself.
pub(crate) const CRASH: &str = "crash-the-worker";
/// Collection of the run.
pub(crate) const COLLECTION: &str = "chaos";

/// A job with what it is for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) id: usize,
    /// Where it is published.
    pub(crate) lane: Priority,
    /// What it does if it is not poison.
    pub(crate) changes: Vec<Change>,
    /// What is wrong with it.
    pub(crate) poison: Option<Poison>,
    /// Whether it is published again and again until JetStream has acknowledged it.
    pub(crate) persistent: bool,
    pub(crate) payload: Vec<u8>,
}

/// What a message does to a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Id of the document.
    pub(crate) document: String,
    pub(crate) version: u64,
    /// How the operation is counted.
    pub(crate) label: &'static str,
    pub(crate) action: Action,
}

/// What is done to a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Write these chunks, of `total`.
    Write {
        /// Chunks of the whole document.
        total: u32,
        /// Position and text of the chunks in this message.
        chunks: Vec<(u32, String)>,
    },
    Delete,
}

/// What is wrong with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Poison {
    BadJson,
    UnknownKind,
    EmptyText,
    LongText,
    HugeText,
    NotUtf8,
    CrashesWorker,
}

impl Poison {
    /// All that is refused at the door.
    pub(crate) const HARMLESS: [Self; 6] = [
        Self::BadJson,
        Self::UnknownKind,
        Self::EmptyText,
        Self::LongText,
        Self::HugeText,
        Self::NotUtf8,
    ];

    /// Cause of the dead letter.
    pub(crate) fn cause(self) -> &'static str {
        match self {
            Self::BadJson | Self::NotUtf8 => "malformed",
            Self::UnknownKind => "unknown_kind",
            Self::EmptyText => "invalid",
            Self::LongText | Self::HugeText => "too_long",
            Self::CrashesWorker => "crashed_worker",
        }
    }

    /// How it is counted.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::BadJson => "poison_bad_json",
            Self::UnknownKind => "poison_unknown_kind",
            Self::EmptyText => "poison_empty_text",
            Self::LongText | Self::HugeText => "poison_long_text",
            Self::NotUtf8 => "poison_not_utf8",
            Self::CrashesWorker => "poison_crash",
        }
    }
}

impl Message {
    /// Name of the run in the job, by which points and dead letters are recognised.
    pub(crate) fn run(&self) -> String {
        run_name(self.id)
    }

    pub(crate) fn encoded(mut self) -> Self {
        self.payload = payload(&self);
        self
    }
}

/// Name of the run in the job of a message.
pub(crate) fn run_name(id: usize) -> String {
    format!("m{id}")
}

fn payload(message: &Message) -> Vec<u8> {
    let deletes = message
        .changes
        .iter()
        .all(|change| change.action == Action::Delete);
    let documents: Vec<_> = message.changes.iter().map(document).collect();
    let mut job = json!({
        "version": "1.0", "kind": if deletes { "delete" } else { "embed" },
        "collection": COLLECTION, "run": message.run(), "documents": documents,
    });
    match message.poison {
        None => {}
        Some(Poison::BadJson) => {
            let mut bytes = job.to_string().into_bytes();
            bytes.truncate(bytes.len() / 2);
            return bytes;
        }
        Some(Poison::NotUtf8) => {
            let mut bytes = job.to_string().into_bytes();
            let middle = bytes.len() / 2;
            bytes[middle] = 0xff;
            return bytes;
        }
        Some(Poison::UnknownKind) => job["kind"] = json!("dance"),
        Some(Poison::EmptyText) => spoil(&mut job, " \n"),
        Some(Poison::LongText) => spoil(&mut job, &format!("{SECRET} tide ").repeat(200)),
        Some(Poison::HugeText) => spoil(&mut job, &format!("{SECRET}{}", "tide".repeat(100_000))),
        Some(Poison::CrashesWorker) => spoil(&mut job, &format!("{SECRET} {CRASH}")),
    }
    job.to_string().into_bytes()
}

/// Gives a job a text that makes it poison.
fn spoil(job: &mut Value, text: &str) {
    job["documents"][0]["chunks"] = json!([{ "text": text }]);
    job["documents"][0]["total"] = Value::Null;
}

fn document(change: &Change) -> Value {
    let mut document = json!({ "id": change.document, "version": change.version });
    if let Action::Write { total, chunks } = &change.action {
        let chunks = chunks
            .iter()
            .map(|(index, text)| json!({ "index": index, "text": text }));
        document["total"] = json!(total);
        document["chunks"] = chunks.collect();
    }
    document
}

#[cfg(test)]
mod tests {
    use contract::job::Job;

    use super::*;

    fn message(poison: Option<Poison>) -> Message {
        let chunks = vec![(0, format!("{SECRET} text"))];
        let change = Change {
            document: "d1".to_owned(),
            version: 7,
            label: "create",
            action: Action::Write { total: 1, chunks },
        };
        Message {
            id: 3,
            lane: Priority::Live,
            changes: vec![change],
            poison,
            persistent: true,
            payload: Vec::new(),
        }
        .encoded()
    }

    #[test]
    fn a_message_is_a_job_that_names_its_run() {
        let job = Job::decode(&message(None).payload).unwrap();
        assert_eq!(job.run(), Some("m3"));
    }

    #[test]
    fn what_is_refused_at_the_door_has_the_cause_that_is_expected() {
        for poison in [
            Poison::BadJson,
            Poison::UnknownKind,
            Poison::EmptyText,
            Poison::NotUtf8,
        ] {
            let error = Job::decode(&message(Some(poison)).payload).unwrap_err();
            assert_eq!(error.code(), poison.cause());
        }
    }

    #[test]
    fn what_is_refused_later_is_a_job() {
        for poison in [Poison::LongText, Poison::HugeText, Poison::CrashesWorker] {
            assert!(
                Job::decode(&message(Some(poison)).payload).is_ok(),
                "{poison:?}"
            );
        }
    }
}
