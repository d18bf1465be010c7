//! Refusal: why Qdrant does not do what it is asked, and whose turn it is.
//!
//! The gRPC code alone does not tell. A server answers INVALID_ARGUMENT where a point is wrong, and also where a limit of
//! the collection is, an index is missing, or it is full. What is about the installation must never be held against a
//! job, so this is the one place where answers are told apart:
//!
//! | code | text | why |
//! |---|---|---|
//! | INVALID_ARGUMENT, as all below | `Limit exceeded …`, `… limit reached …`, `… disabled!`, `… is forbidden …`, `… has a limit of …` | limit |
//! | | `Index required …`, `Index of type …` | index |
//! | | `Max … reached`, `… maximum number of …`, `… configured limit of …` | full |
//! | | `Shard key …`, `No shards found …`, `… resharding …`, or anything else of a `Bad request` | setup |
//! | | anything else, which is `Wrong input` or says nothing of its kind | content |
//! | RESOURCE_EXHAUSTED | with a time to wait | rate |
//! | | without one: the request alone is more than the server takes in a minute | limit |
//! | OUT_OF_RANGE | what gRPC says of a message that is too large | limit |
//! | UNIMPLEMENTED | | setup |
//! | ALREADY_EXISTS | | content |
//! | PERMISSION_DENIED, UNAUTHENTICATED | | rights |
//! | NOT_FOUND | | missing |
//! | all others, and no answer | | outage |
//!
//! In a cluster one server passes on what another has refused, and puts its own words in front, so that words are looked
//! for anywhere in a text. A text never repeats what a point holds but for the name of its vector.

use std::time::Duration;

use qdrant_client::QdrantError;

use crate::status_code::{
    ALREADY_EXISTS, INVALID_ARGUMENT, NOT_FOUND, OUT_OF_RANGE, PERMISSION_DENIED,
    RESOURCE_EXHAUSTED, UNAUTHENTICATED, UNIMPLEMENTED,
};

/// Why a request was refused, or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The request is larger than the collection takes, or of a kind that it does not allow.
    Limit,
    /// The request filters by a field without an index.
    Index,
    /// The collection or the server is full: points, bytes, memory, disk, payload indexes.
    Full,
    /// There were too many requests; another one may come after this time.
    Rate(Duration),
    /// The collection is set up for requests that Ebb does not make, like those with shard keys.
    Setup,
    /// The key may not do that.
    Rights,
    /// The collection or the point that the request is about is not there.
    Missing,
    /// The content of the request is wrong, and will be wrong again.
    Content,
    /// The server, or a part of it, or the way to it, does not work at the moment.
    Outage,
}

/// Words of each kind, in small letters. The first kind that has one of its words in the text is it.
const WORDS: [(Refusal, &[&str]); 4] = [
    (
        Refusal::Index,
        &["index required but not found", "index of type "],
    ),
    (
        Refusal::Full,
        &[
            "max points count limit",
            "max vector storage size limit",
            "max payload storage size limit",
            "max collections limit",
            "maximum number of payload ind",
            "the configured limit of",
            "quota",
        ],
    ),
    (
        Refusal::Limit,
        &[
            "limit exceeded",
            "condition limit reached",
            "condition size limit reached",
            " disabled!",
            "request is forbidden",
            "has a limit of",
            "strict mode",
        ],
    ),
    (
        Refusal::Setup,
        &[
            "shard key",
            "no shards found",
            "resharding",
            "is not a local shard",
        ],
    ),
];

/// Bad requests that no change of the installation makes good.
const OURS: [&str; 4] = [
    "empty update request",
    "limit cannot be 0",
    "no filter or points provided",
    "can't auto-detect field type",
];

impl Refusal {
    /// Why the client gives this error.
    #[must_use]
    pub fn of(error: &QdrantError) -> Self {
        match error {
            QdrantError::ResponseError { status } => {
                Self::of_status(status.code() as i32, status.message())
            }
            QdrantError::ResourceExhaustedError {
                retry_after_seconds,
                ..
            } => Self::Rate(Duration::from_secs(*retry_after_seconds)),
            QdrantError::ConversionError(_)
            | QdrantError::InvalidUri(_)
            | QdrantError::NoSnapshotFound(_)
            | QdrantError::Io(_)
            | QdrantError::JsonToPayload(_)
            | QdrantError::PayloadDeserialization(_) => Self::Outage,
        }
    }

    fn of_status(code: i32, text: &str) -> Self {
        match code {
            INVALID_ARGUMENT => Self::of_text(text),
            ALREADY_EXISTS => Self::Content,
            UNIMPLEMENTED => Self::Setup,
            NOT_FOUND => Self::Missing,
            PERMISSION_DENIED | UNAUTHENTICATED => Self::Rights,
            RESOURCE_EXHAUSTED | OUT_OF_RANGE => Self::Limit,
            _ => Self::Outage,
        }
    }

    fn of_text(text: &str) -> Self {
        let text = text.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if has(&OURS) {
            return Self::Content;
        }
        let named = WORDS.iter().find(|(_, words)| has(words));
        match named {
            Some((refusal, _)) => *refusal,
            None if text.contains("bad request:") => Self::Setup,
            None => Self::Content,
        }
    }

    /// Whether somebody has to change the installation before the same request can succeed.
    #[must_use]
    pub fn is_of_installation(self) -> bool {
        matches!(self, Self::Limit | Self::Index | Self::Full | Self::Setup)
    }

    /// Short constant, for metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Index => "index",
            Self::Full => "full",
            Self::Rate(_) => "rate",
            Self::Setup => "setup",
            Self::Rights => "rights",
            Self::Missing => "missing",
            Self::Content => "content",
            Self::Outage => "outage",
        }
    }

    /// Who has to do something now, and what.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Limit => {
                "raise the limit that it names in the strict mode of the collection; `indexer doctor` says what is needed"
            }
            Self::Index => {
                "run `indexer provision`, which makes the payload indexes that are missing"
            }
            Self::Full => {
                "raise the limit that it names, give the server more room, or delete what nobody needs"
            }
            Self::Rate(_) => "raise the rate limit of the collection if this takes too long",
            Self::Setup => {
                "make the collection anew with `indexer rebuild`, without what the answer names"
            }
            Self::Rights => "give --qdrant-api-key (QDRANT_API_KEY) a key that may do this",
            Self::Missing => "run `indexer provision`",
            Self::Content => "correct what was published",
            Self::Outage => "bring the server back",
        }
    }
}

/// What to do about a request that failed because of who we are, or of who the server is; `None` for all other errors.
#[must_use]
pub fn login_advice(error: &QdrantError) -> Option<&'static str> {
    let QdrantError::ResponseError { status } = error else {
        return None;
    };
    // The client keeps nothing of the cause but its text.
    if status.message().contains("InvalidCertificate(") {
        return Some(
            "it shows a certificate that is not trusted; name its authority in SSL_CERT_FILE or SSL_CERT_DIR",
        );
    }
    match status.code() as i32 {
        PERMISSION_DENIED => Some("permission denied; check --qdrant-api-key (QDRANT_API_KEY)"),
        UNAUTHENTICATED => Some("login refused; check --qdrant-api-key (QDRANT_API_KEY)"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal::{self, Content, Full, Index, Limit, Missing, Outage, Rights, Setup};

    /// In the words of servers from 1.16 to 1.19, numbers and names changed.
    const ANSWERS: &[(i32, &str, Refusal)] = &[
        (
            3,
            "Bad request: Limit exceeded 7 > 5 for \"limit\". Help: ...",
            Limit,
        ),
        (
            3,
            "Bad request: Limit exceeded 7 > 5 for \"upsert limit\". Help: ...",
            Limit,
        ),
        (
            3,
            "Bad request: Limit exceeded 7 > 5 for \"update limit\". Help: ...",
            Limit,
        ),
        (
            3,
            "Bad request: Limit exceeded 7 > 5 for \"timeout\". Help: ...",
            Limit,
        ),
        (
            3,
            "Bad request: Limit exceeded 7 > 5 for \"search batch size\". Help: ...",
            Limit,
        ),
        (
            3,
            "Bad request: Limit exceeded 7 > 5 for \"hnsw_ef\". Help: ...",
            Limit,
        ),
        (
            3,
            "Bad request: Limit exceeded 2.5 > 1 for \"oversampling\". Help: ...",
            Limit,
        ),
        (
            3,
            "Bad request: Filter condition limit reached (7 > 5). Help: ...",
            Limit,
        ),
        (
            3,
            "Bad request: Condition size limit reached (7 > 5). Help: ...",
            Limit,
        ),
        (3, "Bad request: Exact search disabled!. Help: ...", Limit),
        (
            3,
            "Bad request: Request is forbidden on 'm' because ... Help: ...",
            Limit,
        ),
        (
            3,
            "Bad request: Multivector 'm' has a limit of 2 vectors, but 3 ...",
            Limit,
        ),
        (
            3,
            "Bad request: Sparse vector 'm' has a limit of 2 indices, but 3 ...",
            Limit,
        ),
        (
            3,
            "Bad request: Index required but not found for \"lang\" of ... Help: ...",
            Index,
        ),
        (
            3,
            "Bad request: Index of type \"Text\" found for \"lang\". Help: ...",
            Index,
        ),
        (
            3,
            "Bad request: Collection already has the maximum number of payload indices (5). Help: ...",
            Full,
        ),
        (3, "Bad request: Max points count limit of 5 reached!", Full),
        (
            3,
            "Bad request: Max vector storage size limit of 5MB reached!",
            Full,
        ),
        (
            3,
            "Bad request: Max payload storage size limit of 5MB reached!",
            Full,
        ),
        (
            3,
            "Bad request: Resident memory usage is at 91% of total memory, exceeding the configured limit of 90%. Help: ...",
            Full,
        ),
        (
            3,
            "Bad request: Disk usage is at 91% of total capacity, exceeding the configured limit of 90%. Help: ...",
            Full,
        ),
        (
            3,
            "Bad request: Disk usage is at 80% of total capacity. It reached the configured limit of 85% and ...",
            Full,
        ),
        (
            3,
            "Bad request: Can't create collection with name docs. Max collections limit reached: 5",
            Full,
        ),
        (
            3,
            "Wrong input: InvalidArgument: code: 'Client specified an invalid argument', message: \"Bad request: Max points count limit of 5 reached!\"",
            Full,
        ),
        (
            3,
            "Wrong input: 1 out of 2 shards failed to apply operation. First error captured: Bad request: Max points count limit of 5 reached!",
            Full,
        ),
        (3, "Wrong input: Shard key not specified", Setup),
        (3, "Wrong input: No shards found for shard key", Setup),
        (3, "Bad request: Shard key \"eu\" not found", Setup),
        (3, "Bad request: something that a later version says", Setup),
        (3, "Bad request: Empty update request", Content),
        (
            3,
            "Wrong input: Vector dimension error: expected dim: 3, got 2",
            Content,
        ),
        (3, "Wrong input: Not existing vector name error: m", Content),
        (
            3,
            "Validation error in body: [points[0].vectors: ...]",
            Content,
        ),
        (3, "Unable to parse UUID: x", Content),
        (
            8,
            "Rate limiting exceeded: Write rate limit exceeded, request larger than rate limiter capacity",
            Limit,
        ),
        (7, "Forbidden: Write access is required", Rights),
        (
            16,
            "Must provide an API key or an Authorization bearer token",
            Rights,
        ),
        (11, "Error, decoded message length too large", Limit),
        (12, "", Setup),
        (6, "Wrong input: Collection `docs` already exists!", Content),
        (5, "Not found: Collection `docs` doesn't exist!", Missing),
        (
            13,
            "Service internal error: No space left on device",
            Outage,
        ),
        (14, "Shard temporarily unavailable: ...", Outage),
        (9, "Pre-condition failure: ...", Outage),
        (4, "Timeout: Operation 'scroll' timed out after 60s", Outage),
        (1, "", Outage),
    ];

    #[test]
    fn what_is_about_the_installation_is_told_from_what_is_about_the_content() {
        for (code, text, expected) in ANSWERS {
            assert_eq!(Refusal::of_status(*code, text), *expected, "{code} {text}");
        }
    }

    #[test]
    fn only_the_installation_holds_jobs() {
        let held = [Limit, Index, Full, Setup];
        let others = [Content, Missing, Outage, Rights];
        assert!(held.iter().all(|refusal| refusal.is_of_installation()));
        assert!(!others.iter().any(|refusal| refusal.is_of_installation()));
    }
}
