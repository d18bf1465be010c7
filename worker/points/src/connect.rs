//! The connection to Qdrant.

use std::error::Error;
use std::time::Duration;

use clap::Args;
use qdrant_client::QdrantError;
use thiserror::Error;

use crate::client::{PATIENCE, Qdrant};
use crate::refusal::login_advice;
use crate::status_code::{self, CANCELLED, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE};
use runtime::settings::{ConfigFault, Secret};
use runtime::wait::Wait;

/// Longer than a waiting write takes on a busy server, and shorter than 30 s: a half-open connection is found by the
/// timeout of a request alone, because the client offers no keep-alive that would end it. The client then sends the
/// request once more, over a new connection, so that the worst case is twice this.
const TIMEOUT: Duration = Duration::from_secs(25);
/// HTTP/2 carries all requests at once over one connection. With several, each would be found half-open by a request of
/// its own, one timeout after the other.
const CONNECTIONS: usize = 1;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where Qdrant is.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Qdrant")]
pub struct QdrantConfig {
    /// Address of the gRPC port
    #[arg(long, env = "QDRANT_URL", default_value = "http://127.0.0.1:6334")]
    pub qdrant_url: String,
    /// API key; better given in the environment than on the command line
    #[arg(long, env = "QDRANT_API_KEY", hide_env_values = true)]
    pub qdrant_api_key: Option<Secret>,
}

/// Why there is no client for Qdrant.
#[derive(Debug, Error)]
#[error("failed to set up the client for qdrant at `{url}`")]
pub struct QdrantSetupError {
    url: String,
    #[source]
    source: Box<QdrantError>,
}

/// Why there is no client that may write.
#[derive(Debug, Error)]
pub enum ClientToWriteError {
    /// There is no client at all.
    #[error(transparent)]
    Setup(#[from] QdrantSetupError),
    /// The server is not one to write to.
    #[error("qdrant at `{url}` cannot be used")]
    Server { url: String, source: ServerError },
}

/// Qdrant does not know us, or we do not know it. Trying again would not help.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("failed to work with qdrant at `{url}`: {advice}")]
pub struct QdrantLoginError {
    url: String,
    advice: &'static str,
}

/// Oldest supported version, the first whose upserts honour `update_filter`: an older server ignores the condition of a
/// write, and lets old versions replace new ones.
pub const OLDEST: &str = "1.16";

/// Why a server is not written to.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The server would ignore a part of a request.
    #[error("qdrant is version {version}; {what} need at least {since}, upgrade it")]
    TooOld {
        /// Version of the server.
        version: String,
        /// The feature that the server would ignore.
        what: &'static str,
        /// The first version that does not.
        since: &'static str,
    },
    /// The server could not be asked.
    #[error("failed to ask qdrant for its version")]
    Unknown(#[source] Box<QdrantError>),
}

/// Checks that a server is one that Ebb may write to. One that tells no number is believed.
///
/// # Errors
/// [`ServerError`].
pub async fn check_version(qdrant: &Qdrant) -> Result<(), ServerError> {
    check_feature(qdrant, "conditional writes", OLDEST).await
}

/// Checks that a server knows something that it has since a version. One that tells no number is believed.
///
/// # Errors
/// [`ServerError`].
pub async fn check_feature(
    qdrant: &Qdrant,
    what: &'static str,
    since: &'static str,
) -> Result<(), ServerError> {
    let health = qdrant.health_check().await;
    let version = health
        .map_err(|error| ServerError::Unknown(Box::new(error)))?
        .version;
    match (minor(&version), minor(since)) {
        (Some(found), Some(oldest)) if found < oldest => Err(ServerError::TooOld {
            version,
            what,
            since,
        }),
        _ => Ok(()),
    }
}

/// Whether another attempt may succeed without a change of the settings: nobody answers at the address, or not in time.
#[must_use]
pub fn may_pass(error: &QdrantError) -> bool {
    match error {
        // The client keeps nothing of the cause but its text, and calls all of it an internal error.
        QdrantError::ResponseError { status } if status.code() as i32 == INTERNAL => {
            let text = status.message();
            let of_tls = ["InvalidCertificate(", "InvalidMessage("];
            text.starts_with("Failed to connect to") && !of_tls.iter().any(|it| text.contains(it))
        }
        QdrantError::ResponseError { status } => matches!(
            status.code() as i32,
            CANCELLED | DEADLINE_EXCEEDED | UNAVAILABLE
        ),
        QdrantError::ResourceExhaustedError { .. } => true,
        QdrantError::ConversionError(_)
        | QdrantError::InvalidUri(_)
        | QdrantError::NoSnapshotFound(_)
        | QdrantError::Io(_)
        | QdrantError::JsonToPayload(_)
        | QdrantError::PayloadDeserialization(_) => false,
    }
}

/// Whether the server is there and has no time for the request.
#[must_use]
pub fn is_busy(error: &QdrantError) -> bool {
    matches!(error, QdrantError::ResourceExhaustedError { .. })
        || status_code::is(error, DEADLINE_EXCEEDED)
}

/// Major and minor number of a version.
fn minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map_while(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// The client's error, if this one of a chain is it. Some errors hold it in a box, because it is large.
#[must_use]
pub fn of_qdrant<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a QdrantError> {
    let boxed = || error.downcast_ref::<Box<QdrantError>>();
    error
        .downcast_ref()
        .or_else(|| boxed().map(|error| &**error))
}

impl QdrantConfig {
    /// Everything that is wrong with these settings.
    #[must_use]
    pub fn faults(&self) -> Vec<ConfigFault> {
        let url = &self.qdrant_url;
        let mut faults = Vec::new();
        if !url.starts_with("http://") && !url.starts_with("https://") {
            faults.push(ConfigFault::new(
                "--qdrant-url",
                format!("`{url}` does not start with http:// or https://"),
            ));
        }
        if url.ends_with(":6333") {
            faults.push(ConfigFault::new(
                "--qdrant-url",
                format!(
                    "`{url}` names port 6333, which speaks HTTP; the gRPC port is 6334 by default"
                ),
            ));
        }
        // The client would put a key that it cannot send into an error, for everybody to read.
        let key = self.qdrant_api_key.as_ref().map(|key| key.reveal());
        if key.is_some_and(|key| key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            faults.push(ConfigFault::new(
                "--qdrant-api-key",
                "is empty or holds something that no header can carry; look for a line break at its end",
            ));
        }
        faults
    }

    /// Makes a client for a program that writes, and checks the version of the server.
    ///
    /// # Errors
    /// An address or a key that cannot be used, a server that does not answer, or one that is too old.
    pub async fn client_to_write(&self, wait: Wait) -> Result<Qdrant, ClientToWriteError> {
        let client = self.patient_client()?;
        let may_pass = |error: &ServerError| match error {
            ServerError::Unknown(source) => may_pass(source),
            ServerError::TooOld { .. } => false,
        };
        let version = wait
            .for_answer(self.server(), may_pass, async || {
                check_version(&client).await
            })
            .await;
        version.map_err(|source| ClientToWriteError::Server {
            url: self.qdrant_url.clone(),
            source,
        })?;
        Ok(client)
    }

    /// Makes a client for a program that reads much, and goes on when the server is back. If the server is waited for in
    /// vain, the first request says why.
    ///
    /// # Errors
    /// An address or a key that cannot be used.
    pub async fn client_to_read(&self, wait: Wait) -> Result<Qdrant, QdrantSetupError> {
        let client = self.patient_client()?;
        self.wait_for(&client, wait).await;
        Ok(client)
    }

    /// Makes a client for a program that looks at a system and says what it finds, an outage too.
    ///
    /// # Errors
    /// An address or a key that cannot be used.
    pub async fn client_to_look(&self, wait: Wait) -> Result<Qdrant, QdrantSetupError> {
        let client = self.client()?;
        self.wait_for(&client, wait).await;
        Ok(client)
    }

    async fn wait_for(&self, client: &Qdrant, wait: Wait) {
        if !wait.is_none() {
            let may_pass = |error: &QdrantError| may_pass(error);
            let asked = wait.for_answer(self.server(), may_pass, async || {
                client.health_check().await
            });
            drop(asked.await);
        }
    }

    /// The address of the server for logs.
    #[must_use]
    pub fn server(&self) -> String {
        format!("qdrant at {}", self.qdrant_url)
    }

    /// What to say about a request that failed because of who is who; `None` for all other errors.
    #[must_use]
    pub fn refused_login(&self, error: &QdrantError) -> Option<QdrantLoginError> {
        Some(QdrantLoginError {
            url: self.qdrant_url.clone(),
            advice: login_advice(error)?,
        })
    }

    /// Makes a client whose requests fail as soon as the server does. Nothing is sent before the first request.
    ///
    /// # Errors
    /// An address or a key that cannot be used.
    pub fn client(&self) -> Result<Qdrant, QdrantSetupError> {
        Ok(Qdrant::new(self.connection()?))
    }

    /// Makes a client for a program that has begun something, and goes on when the server is back.
    ///
    /// # Errors
    /// An address or a key that cannot be used.
    fn patient_client(&self) -> Result<Qdrant, QdrantSetupError> {
        Ok(Qdrant::with_patience(self.connection()?, PATIENCE))
    }

    fn connection(&self) -> Result<qdrant_client::Qdrant, QdrantSetupError> {
        let key = self
            .qdrant_api_key
            .as_ref()
            .map(|key| key.reveal().to_owned());
        let mut settings = qdrant_client::Qdrant::from_url(&self.qdrant_url)
            .api_key(key)
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .skip_compatibility_check();
        settings.set_pool_size(CONNECTIONS);
        settings.build().map_err(|source| QdrantSetupError {
            url: self.qdrant_url.clone(),
            source: Box::new(source),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// The error of a first request to a server.
    async fn error_of(url: &str) -> QdrantError {
        let config = QdrantConfig {
            qdrant_url: url.to_owned(),
            qdrant_api_key: None,
        };
        let client = config.client().unwrap();
        client.health_check().await.unwrap_err()
    }

    /// A server that says the same to everybody; gives its address.
    async fn saying(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // Who has no answer for anybody closes at once.
                if !answer.is_empty() {
                    drop(stream.read(&mut [0; 64]).await);
                    drop(stream.write_all(answer).await);
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn waiting_mends_a_server_that_nobody_reaches_and_not_one_of_another_kind() {
        let closing = saying(b"").await;
        let web = saying(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refusing = listener.local_addr().unwrap();
        drop(listener);
        for (url, passes) in [
            (format!("http://{refusing}"), true),
            (format!("https://{refusing}"), true),
            (format!("http://{closing}"), true),
            (format!("https://{closing}"), true),
            ("http://no-such-name.invalid:6334".to_owned(), true),
            (format!("http://{web}"), false),
            (format!("https://{web}"), false),
        ] {
            let error = error_of(&url).await;
            assert_eq!(may_pass(&error), passes, "{url}: {error:?}");
        }
    }

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        assert!(minor("1.9.7") < minor(OLDEST));
        assert!(minor("1.16.0") >= minor(OLDEST));
        assert!(minor("2.0.0-dev") > minor("1.16.3"));
        assert_eq!(minor("dev"), None);
    }
}
