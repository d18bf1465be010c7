//! Denial: what NATS does not let this login do.
//!
//! The server drops what may not be published, and tells the connection, not the sender. Whoever waits for an answer
//! waits in vain, a job that cannot be acknowledged is delivered again and again, and a lookup seems to say that nothing
//! is provisioned. So a program ends when something is denied to it: it has the permissions of its role, or it has none
//! that would do.

use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex, PoisonError};

use async_nats::ServerError;
use thiserror::Error;
use tokio::sync::watch;

/// The words of the server before it names the operation and the subject that it denies.
const VIOLATION: &str = "Permissions Violation for ";

/// The first denial. A process has one login, whatever the number of its connections.
static FIRST: LazyLock<watch::Sender<Option<NatsDenied>>> =
    LazyLock::new(|| watch::Sender::new(None));

/// All operations that were denied, as far as there is room: a program that looks at many things goes on without some.
static ALL: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
const MOST: usize = 256;

/// NATS has denied something to the login of this process. Trying again would not help.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("nats denied this login the {operation}; {advice}")]
pub struct NatsDenied {
    /// The operation and its subject, as the server names them.
    operation: String,
    /// Who has to do something now, and what.
    advice: &'static str,
}

/// Waits until NATS denies something to this process.
pub async fn denied() -> NatsDenied {
    let mut first = FIRST.subscribe();
    let found = first.wait_for(Option::is_some).await;
    // The sender is never dropped.
    match found.ok().and_then(|found| found.clone()) {
        Some(denied) => denied,
        None => std::future::pending().await,
    }
}

/// Whether something about this subject was denied to this process.
#[must_use]
pub fn was_denied(subject: &str) -> bool {
    let subject = format!("`{subject}`");
    let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.iter().any(|operation| operation.contains(&subject))
}

/// Keeps what a connection was told is denied.
pub(super) fn heed(error: &ServerError) {
    if let Some(denied) = NatsDenied::read(error) {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MOST {
            all.insert(denied.operation.clone());
        }
        drop(all);
        FIRST.send_if_modified(|first| first.replace(denied).is_none());
    }
}

impl NatsDenied {
    fn read(error: &ServerError) -> Option<Self> {
        let ServerError::Other(text) = error else {
            return None;
        };
        let operation = text.strip_prefix(VIOLATION)?;
        let advice = if operation.starts_with("Subscription") {
            "give it the inbox of its role by --nats-inbox-prefix (NATS_INBOX_PREFIX), or its user the permission"
        } else {
            "log in as the role that may, or give its user the permission (deploy/nats/roles.conf)"
        };
        let operation = operation
            .replacen("Publish", "publish", 1)
            .replacen("Subscription", "subscription", 1)
            .replace('"', "`");
        Some(Self { operation, advice })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<String> {
        let error = ServerError::Other(text.to_owned());
        Some(NatsDenied::read(&error)?.to_string())
    }

    #[test]
    fn a_denial_names_what_was_denied_and_what_to_do() {
        let publish =
            of("Permissions Violation for Publish to \"$JS.ACK.JOBS.a.1.2.3.4.0\"").unwrap();
        assert!(
            publish
                .starts_with("nats denied this login the publish to `$JS.ACK.JOBS.a.1.2.3.4.0`; ")
        );
        assert!(publish.ends_with("(deploy/nats/roles.conf)"));
        let subscribe = of("Permissions Violation for Subscription to \"_INBOX.x.*\"").unwrap();
        assert!(subscribe.contains("--nats-inbox-prefix"), "{subscribe}");
    }

    #[test]
    fn whatever_was_denied_is_remembered_by_its_subject() {
        for subject in ["$JS.API.STREAM.INFO.DLQ", "$JS.API.STREAM.INFO.JOBS"] {
            let text = format!("Permissions Violation for Publish to \"{subject}\"");
            heed(&ServerError::Other(text));
        }
        assert!(was_denied("$JS.API.STREAM.INFO.JOBS"));
        assert!(!was_denied("$JS.API.STREAM.INFO.JOB"));
    }

    #[test]
    fn other_errors_of_the_server_are_no_denials() {
        assert_eq!(of("Maximum Payload Violation"), None);
        assert_eq!(NatsDenied::read(&ServerError::AuthorizationViolation), None);
        assert_eq!(NatsDenied::read(&ServerError::SlowConsumer(7)), None);
    }
}
