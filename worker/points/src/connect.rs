//! The connection to Qdrant.

use std::error::Error;
use std::time::Duration;

use clap::Args;
use qdrant_client::{Qdrant, QdrantError};
use thiserror::Error;

use runtime::settings::{ConfigFault, Secret};

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
    Server {
        /// Its address.
        url: String,
        /// Why.
        source: ServerError,
    },
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
    /// It would ignore a part of what it is asked.
    #[error("qdrant is version {version}; {what} need at least {since}, upgrade it")]
    TooOld {
        /// What the server says.
        version: String,
        /// What it would ignore.
        what: &'static str,
        /// The first version that does not.
        since: &'static str,
    },
    /// It could not be asked.
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

/// What to do about a request that failed because of who we are, or of who the server is; `None` for all other errors.
#[must_use]
pub fn login_advice(error: &QdrantError) -> Option<&'static str> {
    const PERMISSION_DENIED: i32 = 7;
    const UNAUTHENTICATED: i32 = 16;
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
    pub async fn client_to_write(&self) -> Result<Qdrant, ClientToWriteError> {
        let client = self.client()?;
        let url = || self.qdrant_url.clone();
        let version = check_version(&client).await;
        version.map_err(|source| ClientToWriteError::Server { url: url(), source })?;
        Ok(client)
    }

    /// What to say about a request that failed because of who is who; `None` for all other errors.
    #[must_use]
    pub fn refused_login(&self, error: &QdrantError) -> Option<QdrantLoginError> {
        Some(QdrantLoginError {
            url: self.qdrant_url.clone(),
            advice: login_advice(error)?,
        })
    }

    /// Makes a client. Nothing is sent before the first request.
    ///
    /// # Errors
    /// An address or a key that cannot be used.
    pub fn client(&self) -> Result<Qdrant, QdrantSetupError> {
        let key = self
            .qdrant_api_key
            .as_ref()
            .map(|key| key.reveal().to_owned());
        let mut settings = Qdrant::from_url(&self.qdrant_url)
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
    use super::{OLDEST, minor};

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        assert!(minor("1.9.7") < minor(OLDEST));
        assert!(minor("1.16.0") >= minor(OLDEST));
        assert!(minor("2.0.0-dev") > minor("1.16.3"));
        assert_eq!(minor("dev"), None);
    }
}
