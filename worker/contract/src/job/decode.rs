//! Decode: bytes to a validated job, without panics and without repeating document text in errors.

use serde::Deserialize;
use serde_path_to_error::Segment;
use thiserror::Error;

use super::{Job, MAX_JOB_BYTES};
use crate::field::META;

/// The major version that this code reads.
const MAJOR: &str = "1";

/// Why bytes are not a job. The messages name places and values, never document text.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum JobError {
    /// Larger than [`MAX_JOB_BYTES`].
    #[error("the job has {bytes} bytes, at most {MAX_JOB_BYTES} are allowed")]
    Oversized {
        /// Size of the job.
        bytes: usize,
    },
    /// Not JSON, or JSON of another shape.
    #[error("the job is not {expected}: error at {place}line {line} column {column}")]
    Malformed {
        /// What should have been there.
        expected: &'static str,
        /// The field, as in "`documents[3].id`, "; empty where none is known.
        place: String,
        /// Line of the error, from 1.
        line: usize,
        /// Column of the error, from 1.
        column: usize,
    },
    /// Of a major version that this code does not read.
    #[error(
        "unknown job version `{version}`: this worker reads {MAJOR}.x; a newer one may read it"
    )]
    UnknownVersion {
        /// The version, cut to 32 characters.
        version: String,
    },
    /// Of a kind that this code does not know.
    #[error(
        "unknown job kind `{kind}`: expected embed, rescore, delete or attach; a newer worker may know it"
    )]
    UnknownKind {
        /// The kind, cut to 32 characters.
        kind: String,
    },
    /// Well-formed, but it contradicts itself or asks for nothing.
    #[error("invalid {kind} job: {problem}")]
    Invalid {
        /// Kind of the job.
        kind: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl JobError {
    /// Short constant for metrics and dead letters.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Oversized { .. } => "oversized",
            Self::Malformed { .. } => "malformed",
            Self::UnknownVersion { .. } => "unknown_version",
            Self::UnknownKind { .. } => "unknown_kind",
            Self::Invalid { .. } => "invalid",
        }
    }
}

/// What is read first: it decides how the rest is read.
#[derive(Deserialize)]
struct Preamble {
    version: String,
    kind: String,
}

impl Job {
    /// Reads and validates a job.
    ///
    /// # Errors
    /// [`JobError`]; all of them are permanent for the job, but for what only a newer version knows.
    pub fn decode(bytes: &[u8]) -> Result<Self, JobError> {
        if bytes.len() > MAX_JOB_BYTES {
            return Err(JobError::Oversized { bytes: bytes.len() });
        }
        let mut job = match kind(bytes)? {
            Kind::Embed => Self::Embed(parse(bytes, "an embed job")?),
            Kind::Rescore => Self::Rescore(parse(bytes, "a rescore job")?),
            Kind::Delete => Self::Delete(parse(bytes, "a delete job")?),
            Kind::Attach => Self::Attach(parse(bytes, "an attach job")?),
        };
        job.number_chunks();
        job.validate()?;
        Ok(job)
    }

    /// Whether this code reads jobs of that version and kind, whatever else is in it.
    ///
    /// # Errors
    /// [`JobError::UnknownVersion`], [`JobError::UnknownKind`], or that it is no job at all.
    pub fn check_kind(bytes: &[u8]) -> Result<(), JobError> {
        kind(bytes).map(drop)
    }

    /// Fills in the positions and totals that a plain publisher left out.
    fn number_chunks(&mut self) {
        let Self::Embed(embed) = self else { return };
        for document in &mut embed.documents {
            let given = u32::try_from(document.chunks.len()).unwrap_or(u32::MAX);
            document.total.get_or_insert(given);
            for (position, chunk) in (0..).zip(&mut document.chunks) {
                chunk.index.get_or_insert(position);
            }
        }
    }

    /// Checks what the types cannot say.
    fn validate(&self) -> Result<(), JobError> {
        let checked = match self {
            Self::Embed(job) => job.validate(),
            Self::Rescore(job) => job.validate(),
            Self::Delete(job) => job.validate(),
            Self::Attach(job) => job.validate(),
        };
        checked.map_err(|problem| JobError::Invalid {
            kind: self.kind(),
            problem,
        })
    }
}

/// What jobs there are.
enum Kind {
    Embed,
    Rescore,
    Delete,
    Attach,
}

fn kind(bytes: &[u8]) -> Result<Kind, JobError> {
    // Without a place: it could be below a name that a publisher chose, since nothing else is looked at here.
    let preamble: Preamble = serde_json::from_slice(bytes).map_err(|error| {
        malformed(
            &error,
            "a JSON object with `version` and `kind`",
            String::new(),
        )
    })?;
    if preamble.version.split('.').next() != Some(MAJOR) {
        return Err(JobError::UnknownVersion {
            version: cut(&preamble.version),
        });
    }
    Ok(match preamble.kind.as_str() {
        "embed" => Kind::Embed,
        "rescore" => Kind::Rescore,
        "delete" => Kind::Delete,
        "attach" => Kind::Attach,
        other => return Err(JobError::UnknownKind { kind: cut(other) }),
    })
}

/// Parses JSON without ever quoting it.
fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], expected: &'static str) -> Result<T, JobError> {
    serde_json::from_slice(bytes).map_err(|error| malformed(&error, expected, place::<T>(bytes)))
}

fn malformed(error: &serde_json::Error, expected: &'static str, place: String) -> JobError {
    JobError::Malformed {
        expected,
        place,
        line: error.line(),
        column: error.column(),
    }
}

/// The field at which reading fails. Names that publishers choose are left out.
fn place<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> String {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut reader) else {
        return String::new();
    };
    let mut place = String::new();
    for segment in error.path().iter() {
        match segment {
            Segment::Seq { index } => place.push_str(&format!("[{index}]")),
            // What is no name of ours may be anything.
            Segment::Map { key }
                if !key.bytes().all(|it| it == b'_' || it.is_ascii_lowercase()) =>
            {
                break;
            }
            Segment::Map { key } => {
                if !place.is_empty() {
                    place.push('.');
                }
                place.push_str(key);
                if key == META {
                    break;
                }
            }
            Segment::Enum { .. } | Segment::Unknown => break,
        }
    }
    match place.as_str() {
        "" => place,
        place => format!("`{place}`, "),
    }
}

/// Bounds what an error repeats of its input.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(32).collect()
}
