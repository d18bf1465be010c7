//! Why there is no connection to NATS, and whether trying again may help.

use std::error::Error;
use std::path::PathBuf;

use async_nats::{ConnectError, ConnectErrorKind};
use runtime::wait::tls_error;
use thiserror::Error;

/// Why there is no connection to NATS.
#[derive(Debug, Error)]
pub enum NatsError {
    /// A file with a secret cannot be read.
    #[error("failed to read `{path}`")]
    Secret {
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The first connection failed.
    #[error("failed to connect to nats at {urls}")]
    Connect {
        urls: String,
        /// What the client said.
        #[source]
        source: ConnectError,
    },
    /// We do not trust the server. Trying again would not help.
    #[error("nats at {urls} {problem}")]
    Tls {
        urls: String,
        /// The problem, and who has to do something now.
        problem: &'static str,
        /// What the client said.
        #[source]
        source: ConnectError,
    },
    /// The server does not know us, or the login cannot be used. Trying again would not help.
    #[error("nats at {urls} refused the login; {advice}")]
    Login {
        urls: String,
        /// Which settings to look at.
        advice: &'static str,
        /// What the client said.
        #[source]
        source: ConnectError,
    },
}

impl NatsError {
    /// Whether another attempt may succeed without a change of the settings. A TLS error is about the files that were
    /// given.
    pub(super) fn may_pass(&self) -> bool {
        use ConnectErrorKind::{Dns, Io, MaxReconnects, TimedOut};
        match self {
            Self::Connect { source, .. } => {
                matches!(source.kind(), Dns | Io | MaxReconnects | TimedOut)
            }
            Self::Secret { .. } | Self::Tls { .. } | Self::Login { .. } => false,
        }
    }
}

/// Whether the server does not know us.
pub(super) fn is_refusal(error: &ConnectError) -> bool {
    use ConnectErrorKind::{Authentication, AuthorizationViolation};
    matches!(error.kind(), Authentication | AuthorizationViolation)
}

/// Why we do not trust the server, if that is it. The client calls that an IO error; only its cause tells.
pub(super) fn distrust(error: &(dyn Error + 'static)) -> Option<&'static str> {
    match tls_error(error) {
        Some(rustls::Error::InvalidCertificate(_)) => Some(
            "shows a certificate that is not trusted; give its authority by --nats-ca (NATS_CA)",
        ),
        Some(rustls::Error::InvalidMessage(_)) => {
            Some("does not speak TLS, on which --nats-ca (NATS_CA) insists")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn waiting_mends_a_server_that_cannot_be_reached_and_nothing_else() {
        use ConnectErrorKind::{Dns, Io, ServerParse, TimedOut, Tls};
        let connect = |kind| NatsError::Connect {
            urls: String::new(),
            source: ConnectError::new(kind),
        };
        for (kind, passes) in [
            (Io, true),
            (Dns, true),
            (TimedOut, true),
            (ServerParse, false),
            (Tls, false),
        ] {
            assert_eq!(connect(kind).may_pass(), passes, "{kind:?}");
        }
        let login = NatsError::Login {
            urls: String::new(),
            advice: "",
            source: ConnectError::new(ConnectErrorKind::AuthorizationViolation),
        };
        assert!(!login.may_pass());
    }

    #[test]
    fn a_server_that_is_not_trusted_is_told_from_one_that_cannot_be_reached() {
        let unknown = || rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = || io::Error::new(io::ErrorKind::InvalidData, unknown());
        assert!(distrust(&unknown()).is_some());
        assert!(distrust(&wrapped()).is_some());
        assert!(
            distrust(&NatsError::Secret {
                path: PathBuf::new(),
                source: wrapped()
            })
            .is_some()
        );
        assert_eq!(
            distrust(&io::Error::other(rustls::Error::DecryptError)),
            None
        );
        assert_eq!(
            distrust(&io::Error::from(io::ErrorKind::ConnectionRefused)),
            None
        );
    }
}
