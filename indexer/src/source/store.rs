//! Object stores as sources: understands a URL, lists what is below it, looks for one object.
//!
//! Credentials and endpoints come from the environment, by the names that the tools of each store use; a URL that
//! carries any is refused, because it would end up in payloads and logs.

use std::path::Path as FilePath;
use std::sync::{Arc, Once};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{ClientOptions, GetOptions, ObjectMeta, ObjectStore};
use url::{Position, Url};

use super::object::{Object, reason, wait};
use super::{Format, Input, Place, SourceError};

/// Longest silence of a web server while it sends an object.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Schemes that are known, for messages.
const SCHEMES: &str = "s3, gs, az, abfs, abfss, http, https";

/// A place in an object store: one object, or all below a prefix.
#[derive(Clone, Debug)]
pub(super) struct Location {
    store: Arc<dyn ObjectStore>,
    /// Scheme and authority of the URL.
    base: Arc<str>,
    path: Path,
    /// Set where the URL names one object.
    format: Option<Format>,
}

/// What a listing came across.
pub(super) enum Listed {
    Input(Input),
    /// An object whose extension is unknown.
    Unknown,
    /// None of ours: hidden, or a marker of a folder.
    Pass,
    Fault(SourceError),
    End,
}

/// The objects below a prefix, page by page.
pub(super) struct Listing {
    location: Location,
    objects: BoxStream<'static, object_store::Result<ObjectMeta>>,
}

/// Whether an argument is a URL.
pub(super) fn is_url(argument: &str) -> bool {
    let scheme = argument.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        !scheme.is_empty()
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '+')
    })
}

impl Location {
    /// Understands a URL without asking the store. A URL that ends with a known extension is one object.
    ///
    /// # Errors
    /// [`SourceError::Url`] and [`SourceError::Store`].
    pub(super) fn understand(argument: &str) -> Result<Self, SourceError> {
        let url = Url::parse(argument).map_err(|error| SourceError::Url {
            url: without_secrets(argument),
            problem: error.to_string(),
        })?;
        let fault = |problem: String| SourceError::Url {
            url: without_secrets(argument),
            problem,
        };
        if let Some(problem) = unwanted(&url) {
            return Err(fault(problem.to_owned()));
        }
        let path = Path::from_url_path(url.path()).map_err(|error| fault(error.to_string()))?;
        let is_folder = url.path().ends_with('/') || path.is_root();
        let of_name = Format::of_path(FilePath::new(path.filename().unwrap_or_default()));
        Ok(Self {
            store: connect(&url)?,
            base: url[..Position::BeforePath].into(),
            path,
            format: of_name.filter(|_| !is_folder),
        })
    }

    /// Whether it names one object.
    pub(super) fn is_one(&self) -> bool {
        self.format.is_some()
    }

    /// The URL, for messages.
    pub(super) fn name(&self) -> String {
        self.url_of(&self.path)
    }

    /// The only object of a location that names one.
    ///
    /// # Errors
    /// [`SourceError::Read`] if it is not there or the store refuses.
    pub(super) fn one(&self) -> Result<Option<Input>, SourceError> {
        let Some(format) = self.format else {
            return Ok(None);
        };
        let object = self.look(&self.path).map_err(|error| SourceError::Read {
            origin: crate::document::Origin::url(&self.name()),
            source: std::io::Error::other(reason(&error)),
        })?;
        Ok(Some(Input {
            id: self.path.filename().unwrap_or_default().to_owned(),
            format,
            place: Place::Object(object),
        }))
    }

    /// Starts to list what is below a location that is a prefix.
    pub(super) fn list(&self) -> Listing {
        let prefix = (!self.path.is_root()).then_some(&self.path);
        Listing {
            objects: self.store.list(prefix),
            location: self.clone(),
        }
    }

    /// The URL of the object with the document id `id`, if there is one.
    ///
    /// # Errors
    /// [`SourceError::Read`] if the store refuses to tell.
    pub(super) fn holder_of(&self, id: &str) -> Result<Option<String>, SourceError> {
        if self.is_one() {
            let same = self.path.filename() == Some(id);
            return Ok(same.then(|| self.name()));
        }
        let below = format!("{}/{id}", self.path);
        let Ok(path) = Path::parse(below.trim_start_matches('/')) else {
            return Ok(None);
        };
        if super::walk::is_hidden(id) {
            return Ok(None);
        }
        match self.look(&path) {
            Ok(_) => Ok(Some(self.url_of(&path))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(SourceError::Read {
                origin: crate::document::Origin::url(&self.url_of(&path)),
                source: std::io::Error::other(reason(&error)),
            }),
        }
    }

    fn look(&self, path: &Path) -> object_store::Result<Object> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let found = wait(self.store.get_opts(path, options))??;
        Ok(self.object(path, &found.meta))
    }

    fn object(&self, path: &Path, meta: &ObjectMeta) -> Object {
        Object::new(
            Arc::clone(&self.store),
            path.clone(),
            self.url_of(path),
            meta,
        )
    }

    fn url_of(&self, path: &Path) -> String {
        format!("{}/{path}", self.base)
    }
}

impl Listing {
    /// The next object.
    pub(super) fn step(&mut self) -> Listed {
        let next = match wait(self.objects.next()) {
            Ok(next) => next,
            Err(error) => Some(Err(error)),
        };
        match next {
            None => Listed::End,
            Some(Ok(meta)) => self.admit(&meta),
            Some(Err(error)) => {
                // What comes after a page that is missing would look like all there is.
                self.objects = futures::stream::empty().boxed();
                Listed::Fault(SourceError::Walk {
                    reason: format!("`{}`: {}", self.location.name(), reason(&error)),
                })
            }
        }
    }

    fn admit(&self, meta: &ObjectMeta) -> Listed {
        let (path, prefix) = (meta.location.as_ref(), self.location.path.as_ref());
        let id = path.strip_prefix(prefix).unwrap_or(path);
        let id = id.trim_start_matches('/');
        match Format::of_path(FilePath::new(id)) {
            _ if super::walk::is_hidden(id) => Listed::Pass,
            None if meta.size == 0 => Listed::Pass,
            None => Listed::Unknown,
            Some(format) => Listed::Input(Input {
                id: id.to_owned(),
                format,
                place: Place::Object(self.location.object(&meta.location, meta)),
            }),
        }
    }
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
fn without_secrets(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    match (plain.split_once("://"), plain.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://...@{rest}"),
        (Some(_) | None, _) => plain.to_owned(),
    }
}

/// Makes the client of a store from the environment. Nothing is asked yet.
fn connect(url: &Url) -> Result<Arc<dyn ObjectStore>, SourceError> {
    use_ring();
    let name = || without_secrets(url.as_str());
    let connected: object_store::Result<Arc<dyn ObjectStore>> = match url.scheme() {
        "s3" => (AmazonS3Builder::from_env().with_url(url.as_str()).build())
            .map(|store| Arc::new(store) as _),
        "gs" => (GoogleCloudStorageBuilder::from_env()
            .with_url(url.as_str())
            .build())
        .map(|store| Arc::new(store) as _),
        "az" | "abfs" | "abfss" => (MicrosoftAzureBuilder::from_env()
            .with_url(url.as_str())
            .build())
        .map(|store| Arc::new(store) as _),
        "http" | "https" => web(url).map(|store| Arc::new(store) as _),
        other => {
            return Err(SourceError::Url {
                url: name(),
                problem: format!("the scheme `{other}` is not known, expected one of {SCHEMES}"),
            });
        }
    };
    connected.map_err(|error| SourceError::Store {
        url: name(),
        reason: reason(&error),
    })
}

/// A web server sends an object at the pace at which it is read, so that only its silence is limited.
fn web(url: &Url) -> object_store::Result<object_store::http::HttpStore> {
    let options = ClientOptions::new()
        .with_allow_http(true)
        .with_timeout_disabled()
        .with_read_timeout(READ_TIMEOUT);
    HttpBuilder::new()
        .with_url(&url[..Position::BeforePath])
        .with_client_options(options)
        .build()
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
mod tests;
