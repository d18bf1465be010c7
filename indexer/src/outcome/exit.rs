//! Exit: the kinds of failures, each with its exit code, and what to do about those that a person can mend.

use std::process::ExitCode;

use points::connect::{is_busy, may_pass, of_qdrant};
use points::refusal::login_advice;
use queue::denial::NatsDenied;
use queue::nats::NatsError;

/// Why a verb did not do all that was asked for. The codes are those of sysexits where one fits; bad configuration is
/// [`runtime::settings::EXIT_CONFIG`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Other,
    /// A gate did not pass or a limit was met: nothing was switched, and trying again changes nothing.
    Gate,
    /// Documents were refused; the others are done.
    Refused,
    /// NATS cannot be reached: trying again later may do.
    NatsAway,
    /// Qdrant cannot be reached.
    QdrantAway,
    /// A server was there and is too slow, too busy, or gone in the meantime: trying again later may do.
    Busy,
    /// Another process holds the lease for the same work.
    Lease,
    /// A server does not know this login, does not let it do this, or is not trusted.
    Login,
}

/// Another process holds the lease for the same work.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the lease `{key}` is held by {owner}; wait for it or end it")]
pub struct LeaseTaken {
    pub key: String,
    pub owner: String,
}

impl Failure {
    pub fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Other => 1,
            Self::Gate => 2,
            Self::Refused => 65,
            Self::NatsAway | Self::QdrantAway | Self::Busy => 69,
            Self::Lease => 75,
            Self::Login => 77,
        })
    }

    /// The kind of an error.
    pub fn of(error: &anyhow::Error) -> Self {
        let mut kinds = error.chain().filter_map(|cause| {
            if let Some(nats) = cause.downcast_ref::<NatsError>() {
                return Some(Self::of_nats(nats));
            }
            if let Some(qdrant) = of_qdrant(cause) {
                return match login_advice(qdrant) {
                    Some(_) => Some(Self::Login),
                    None if is_busy(qdrant) => Some(Self::Busy),
                    None => may_pass(qdrant).then_some(Self::QdrantAway),
                };
            }
            if lost_nats(cause) {
                return Some(Self::Busy);
            }
            let taken = cause.downcast_ref::<LeaseTaken>().map(|_| Self::Lease);
            taken.or_else(|| cause.downcast_ref::<NatsDenied>().map(|_| Self::Login))
        });
        kinds.next().unwrap_or(Self::Other)
    }

    fn of_nats(error: &NatsError) -> Self {
        match error {
            NatsError::Connect { .. } => Self::NatsAway,
            NatsError::Tls { .. } | NatsError::Login { .. } => Self::Login,
            NatsError::Secret { .. } => Self::Other,
        }
    }

    /// What to do next, where that does not depend on more than the kind.
    pub fn advice(self) -> Option<&'static str> {
        match self {
            Self::NatsAway => Some(
                "start it, name another by --nats-url, or wait for it by --wait-for-servers 60s",
            ),
            Self::QdrantAway => Some(
                "start it, name another by --qdrant-url, or wait for it by --wait-for-servers 60s",
            ),
            Self::Busy => {
                Some("try again when the server has time; what is done is not done again")
            }
            Self::Lease => Some("`indexer status` shows who works on what"),
            Self::Other | Self::Gate | Self::Refused | Self::Login => None,
        }
    }
}

/// Whether NATS has not answered a program that was connected to it.
fn lost_nats(cause: &(dyn std::error::Error + 'static)) -> bool {
    use async_nats::jetstream::context::{
        PublishError, PublishErrorKind, RequestError, RequestErrorKind,
    };
    let request = cause.downcast_ref::<RequestError>().map(|error| {
        matches!(
            error.kind(),
            RequestErrorKind::TimedOut | RequestErrorKind::NoResponders
        )
    });
    let publish = cause.downcast_ref::<PublishError>().map(|error| {
        matches!(
            error.kind(),
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe
        )
    });
    request.or(publish).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use qdrant_client::QdrantError;

    use super::*;

    #[test]
    fn an_error_is_of_the_kind_of_its_cause_whatever_was_said_about_it() {
        let taken = LeaseTaken {
            key: "lease.sync.docs".to_owned(),
            owner: "host".to_owned(),
        };
        let taken: Result<(), _> = Err(taken);
        let error = taken.context("failed to sync").unwrap_err();
        assert_eq!(Failure::of(&error), Failure::Lease);
        assert_eq!(Failure::of(&anyhow::anyhow!("else")), Failure::Other);
        let request = async_nats::jetstream::context::RequestErrorKind::TimedOut;
        let lost: Result<(), _> = Err(async_nats::jetstream::context::RequestError::from(request));
        let error = lost.context("failed to look").unwrap_err();
        assert_eq!(Failure::of(&error), Failure::Busy);
        let urls = "nats://n:4222".to_owned();
        let source = async_nats::ConnectErrorKind::TimedOut.into();
        let away = anyhow::Error::from(NatsError::Connect { urls, source });
        let advice = Failure::of(&away).advice().unwrap_or_default();
        assert!(advice.contains("--nats-url") && !advice.contains("qdrant"));
        let full: Result<(), _> = Err(QdrantError::Io(std::io::Error::other("x")));
        let error = full.context("failed to look").unwrap_err();
        assert_eq!(Failure::of(&error), Failure::Other);
    }
}
