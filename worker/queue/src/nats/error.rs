//! Why there is no connection to NATS, and whether trying again may help.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use async_nats::{ConnectError, ConnectErrorKind};
use thiserror::Error;

/// Why there is no connection to NATS.
#[derive(Debug, Error)]
pub enum NatsError {
    /// A file with a secret cannot be read.
    #[error("failed to read `{path}`")]
    Secret {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The first connection failed.
    #[error("failed to connect to nats at {urls}")]
    Connect {
        /// The addresses.
        urls: String,
        /// What the client said.
        #[source]
        source: ConnectError,
    },
    /// We do not trust the server. Trying again would not help.
    #[error("nats at {urls} {problem}")]
    Tls {
        /// The addresses.
        urls: String,
        /// What is wrong with it, and whose turn it is.
        problem: &'static str,
        /// What the client said.
        #[source]
        source: ConnectError,
    },
    /// The server does not know us, or the login cannot be used. Trying again would not help.
    #[error("nats at {urls} refused the login; {advice}")]
    Login {
        /// The addresses.
        urls: String,
        /// Which settings to look at.
        advice: &'static str,
        /// What the client said.
        #[source]
        source: ConnectError,
    },
}

/// Whether another attempt may succeed without a change of the settings. A TLS error is about the files that were given.
pub(super) fn may_pass(error: &ConnectError) -> bool {
    let settings = matches!(
        error.kind(),
        ConnectErrorKind::ServerParse | ConnectErrorKind::Tls
    );
    !settings && !is_refusal(error) && distrust(error).is_none()
}

/// Whether the server does not know us.
pub(super) fn is_refusal(error: &ConnectError) -> bool {
    use ConnectErrorKind::{Authentication, AuthorizationViolation};
    matches!(error.kind(), Authentication | AuthorizationViolation)
}

/// Why we do not trust the server, if that is it. The client calls that an IO error; only its cause tells.
pub(super) fn distrust(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut cause = Some(error);
    while let Some(found) = cause {
        let inner = found
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        let inner = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let tls = found.downcast_ref::<rustls::Error>().or(inner);
        if matches!(tls, Some(rustls::Error::InvalidCertificate(_))) {
            return Some(
                "shows a certificate that is not trusted; give its authority by --nats-ca (NATS_CA)",
            );
        }
        if matches!(tls, Some(rustls::Error::InvalidMessage(_))) {
            return Some("does not speak TLS, on which --nats-ca (NATS_CA) insists");
        }
        cause = found.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

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
