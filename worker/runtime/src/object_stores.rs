//! Object stores: understands a URL, and makes the client of its store.
//!
//! Credentials and endpoints come from the environment, by the names that the tools of each store use; a URL that
//! carries any is refused, because it would end up in payloads and logs.

use std::error::Error;
use std::sync::{Arc, Once};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::{HttpBuilder, HttpStore};
use object_store::path::Path;
use object_store::{ClientConfigKey, ClientOptions, GetOptions, ObjectStore};
use thiserror::Error;
use url::{Position, Url};

use crate::wait::{Wait, tls_error};

/// Longest silence of a store while it sends an object.
pub const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time for all of an object. Objects are sent at the pace at which they are read: only silence is a failure.
const TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// Schemes that are known, for messages.
const SCHEMES: &str = "s3, gs, az, abfs, abfss, http, https";

/// The store and the path that a URL names. The store has not been asked yet.
#[derive(Clone, Debug)]
pub struct StoreLocation {
    pub store: Arc<dyn ObjectStore>,
    /// Scheme and authority of the URL, without what may be secret.
    pub base: Arc<str>,
    /// Path in the store.
    pub path: Path,
    /// Whether the URL ends like a folder, or names the store itself.
    pub is_folder: bool,
}

/// Why a URL leads nowhere. No variant repeats what may be secret.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The URL cannot be used.
    #[error("`{url}` cannot be used: {problem}")]
    Url {
        /// The URL, without what may be secret.
        url: String,
        problem: String,
    },
    /// The client of the store lacks settings.
    #[error("failed to set up the object store of `{url}` from the environment: {reason}")]
    Setup {
        /// The URL, without what may be secret.
        url: String,
        /// What the client said.
        reason: String,
    },
}

impl StoreLocation {
    /// Understands a URL without asking the store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn of_url(text: &str) -> Result<Self, StoreError> {
        let fault = |problem: String| StoreError::Url {
            url: without_secrets(text),
            problem,
        };
        let url = Url::parse(text).map_err(|error| fault(error.to_string()))?;
        if let Some(problem) = unwanted(&url) {
            return Err(fault(problem.to_owned()));
        }
        let path = Path::from_url_path(url.path()).map_err(|error| fault(error.to_string()))?;
        Ok(Self {
            store: connect(&url)?,
            base: url[..Position::BeforePath].into(),
            is_folder: url.path().ends_with('/') || path.is_root(),
            path,
        })
    }

    /// The URL of a path in the store, for messages.
    #[must_use]
    pub fn url_of(&self, path: &Path) -> String {
        format!("{}/{path}", self.base)
    }
}

/// Whether an argument is a URL.
#[must_use]
pub fn is_url(argument: &str) -> bool {
    let scheme = argument.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        !scheme.is_empty()
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '+')
    })
}

/// A web server as a store. `url` is what comes before the path of each object; `options` may have more headers.
///
/// # Errors
/// If the client cannot be made.
pub fn web(url: &str, options: ClientOptions) -> object_store::Result<HttpStore> {
    use_ring();
    // From https a server may not lead to http.
    let options = options
        .with_allow_http(url.starts_with("http://"))
        .with_timeout(TIMEOUT)
        .with_read_timeout(READ_TIMEOUT);
    HttpBuilder::new()
        .with_url(url)
        .with_client_options(options)
        .build()
}

/// Waits until a store answers anything to a look at `path`. If it does not, the first request of the work says why. The
/// client repeats each request by itself for a few seconds.
pub async fn wait_for_store(store: &dyn ObjectStore, path: &Path, name: &str, wait: Wait) {
    if wait.is_none() {
        return;
    }
    let asked = wait.for_answer(name, is_unreachable, async || {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        store.get_opts(path, options).await.map(drop)
    });
    drop(asked.await);
}

/// Whether nobody answers there, or not in time.
fn is_unreachable(error: &object_store::Error) -> bool {
    use HttpErrorKind::{Connect, Interrupted, Request, Timeout};
    let first: &(dyn Error + 'static) = error;
    let mut causes = std::iter::successors(Some(first), |error| (*error).source());
    let failed = causes.find_map(|cause| cause.downcast_ref::<HttpError>());
    failed.is_some_and(|error| matches!(error.kind(), Connect | Interrupted | Request | Timeout))
        && tls_error(error).is_none()
}

/// What a store has said, with its causes. Whoever shows it to a person has the URL already.
#[must_use]
pub fn reason(error: &object_store::Error) -> String {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        cause = inner.source();
    }
    reason
}

/// What must not be in a URL.
fn unwanted(url: &Url) -> Option<&'static str> {
    let is_web = matches!(url.scheme(), "http" | "https");
    // In a URL of Azure, the container stands where others have the user.
    if url.password().is_some() || (is_web && !url.username().is_empty()) {
        Some("credentials belong into the environment")
    } else if url.query().is_some() {
        Some("a query may carry credentials and is not taken")
    } else if url.fragment().is_some() {
        Some("`#` has to be written as %23")
    } else {
        None
    }
}

/// A URL up to its authority where it may carry credentials.
#[must_use]
pub fn without_secrets(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    match (plain.split_once("://"), plain.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://...@{rest}"),
        (Some(_) | None, _) => plain.to_owned(),
    }
}

/// Makes the client of a store from the environment. Nothing is asked yet.
fn connect(url: &Url) -> Result<Arc<dyn ObjectStore>, StoreError> {
    use_ring();
    let name = || without_secrets(url.as_str());
    let connected = match url.scheme() {
        "s3" => s3(url),
        "gs" => google(url),
        "az" | "abfs" | "abfss" => azure(url),
        "http" | "https" => web(&url[..Position::BeforePath], ClientOptions::new())
            .map(|store| Arc::new(store) as _),
        other => {
            return Err(StoreError::Url {
                url: name(),
                problem: format!("the scheme `{other}` is not known, expected one of {SCHEMES}"),
            });
        }
    };
    connected.map_err(|error| StoreError::Setup {
        url: name(),
        reason: reason(&error),
    })
}

/// The limits of time of every store.
fn limits() -> [(ClientConfigKey, String); 2] {
    let seconds = |time: Duration| format!("{} seconds", time.as_secs());
    [
        (ClientConfigKey::Timeout, seconds(TIMEOUT)),
        (ClientConfigKey::ReadTimeout, seconds(READ_TIMEOUT)),
    ]
}

fn s3(url: &Url) -> object_store::Result<Arc<dyn ObjectStore>> {
    let limit = |builder: AmazonS3Builder, (key, value)| {
        builder.with_config(AmazonS3ConfigKey::Client(key), value)
    };
    let builder = limits()
        .into_iter()
        .fold(AmazonS3Builder::from_env(), limit);
    Ok(Arc::new(builder.with_url(url.as_str()).build()?))
}

fn google(url: &Url) -> object_store::Result<Arc<dyn ObjectStore>> {
    let limit = |builder: GoogleCloudStorageBuilder, (key, value)| {
        builder.with_config(GoogleConfigKey::Client(key), value)
    };
    let builder = limits()
        .into_iter()
        .fold(GoogleCloudStorageBuilder::from_env(), limit);
    Ok(Arc::new(builder.with_url(url.as_str()).build()?))
}

fn azure(url: &Url) -> object_store::Result<Arc<dyn ObjectStore>> {
    let limit = |builder: MicrosoftAzureBuilder, (key, value)| {
        builder.with_config(AzureConfigKey::Client(key), value)
    };
    let builder = limits()
        .into_iter()
        .fold(MicrosoftAzureBuilder::from_env(), limit);
    Ok(Arc::new(builder.with_url(url.as_str()).build()?))
}

/// TLS has no provider of cryptography unless somebody names one.
fn use_ring() {
    static USED: Once = Once::new();
    USED.call_once(|| {
        // An error says that somebody has named one already.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_arguments_with_a_scheme_are_urls() {
        for (argument, expected) in [
            ("s3://bucket", true),
            ("http://host/x.md", true),
            ("ftp://host/x.md", true),
            ("x.md", false),
            ("a/b://c", false),
            ("://x", false),
        ] {
            assert_eq!(is_url(argument), expected, "{argument}");
        }
    }

    #[test]
    fn secrets_are_refused_and_not_repeated() {
        for url in [
            "https://user:hidden@host/x.md",
            "https://hidden@host/x.md",
            "s3://key:hidden@bucket/x.md",
            "https://host/x.md?token=hidden",
            "https://host/x.md#hidden",
            "https://user:hidden@:/x.md",
        ] {
            let problem = StoreLocation::of_url(url).unwrap_err().to_string();
            assert!(!problem.contains("hidden"), "{problem}");
            assert!(problem.contains("x.md"), "{problem}");
        }
    }

    #[test]
    fn a_scheme_that_is_not_known_is_named_with_those_that_are() {
        for url in ["ftp://host/x", "file:///etc/passwd"] {
            let problem = StoreLocation::of_url(url).unwrap_err().to_string();
            let scheme = url.split(':').next().unwrap();
            assert!(
                problem.contains(&format!("`{scheme}`")) && problem.contains("https"),
                "{problem}"
            );
        }
    }
}
