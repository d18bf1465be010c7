//! Object stores as sources: understands a URL, lists what is below it, looks for one object.

use std::path::Path as FilePath;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta};
use runtime::object_stores::{StoreLocation as StorePlace, reason};

use super::object::{Object, wait};
use super::{Format, Input, InputLocation, SourceError};

/// A place in an object store: one object, or all below a prefix.
#[derive(Clone, Debug)]
pub struct Location {
    at: StorePlace,
    /// Set where the URL names one object.
    format: Option<Format>,
}

pub enum Listed {
    Input(Input),
    /// An object whose extension is unknown.
    Unknown,
    /// None of ours: hidden, or a marker of a folder.
    Pass,
    Fault(SourceError),
    End,
}

/// The objects below a prefix, page by page.
pub struct Listing {
    location: Location,
    objects: BoxStream<'static, object_store::Result<ObjectMeta>>,
}

impl Location {
    /// Understands a URL without asking the store. A URL that ends with a known extension is one object.
    pub fn understand(argument: &str) -> Result<Self, SourceError> {
        let at = StorePlace::of_url(argument)?;
        let of_name = Format::of_path(FilePath::new(at.path.filename().unwrap_or_default()));
        Ok(Self {
            format: of_name.filter(|_| !at.is_folder),
            at,
        })
    }

    /// Whether it names one object.
    pub fn is_one(&self) -> bool {
        self.format.is_some()
    }

    pub fn name(&self) -> String {
        self.url_of(&self.at.path)
    }

    /// The only object of a location that names one.
    pub fn one(&self) -> Result<Option<Input>, SourceError> {
        let Some(format) = self.format else {
            return Ok(None);
        };
        let object = self
            .look(&self.at.path)
            .map_err(|error| SourceError::Read {
                origin: crate::source::Origin::url(&self.name()),
                source: std::io::Error::other(reason(&error)),
            })?;
        Ok(Some(Input {
            id: self.at.path.filename().unwrap_or_default().to_owned(),
            format,
            location: InputLocation::Object(object),
        }))
    }

    /// Starts to list what is below a location that is a prefix.
    pub fn list(&self) -> Listing {
        let prefix = (!self.at.path.is_root()).then_some(&self.at.path);
        Listing {
            objects: self.at.store.list(prefix),
            location: self.clone(),
        }
    }

    /// The URL of the object with the document id `id`, if there is one.
    pub fn holder_of(&self, id: &str) -> Result<Option<String>, SourceError> {
        if self.is_one() {
            let same = self.at.path.filename() == Some(id);
            return Ok(same.then(|| self.name()));
        }
        let below = format!("{}/{id}", self.at.path);
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
                origin: crate::source::Origin::url(&self.url_of(&path)),
                source: std::io::Error::other(reason(&error)),
            }),
        }
    }

    fn look(&self, path: &Path) -> object_store::Result<Object> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let found = wait(self.at.store.get_opts(path, options))??;
        Ok(self.object(path, &found.meta))
    }

    fn object(&self, path: &Path, meta: &ObjectMeta) -> Object {
        Object::new(
            Arc::clone(&self.at.store),
            path.clone(),
            self.url_of(path),
            meta,
        )
    }

    fn url_of(&self, path: &Path) -> String {
        self.at.url_of(path)
    }
}

impl Listing {
    pub fn step(&mut self) -> Listed {
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
        let (path, prefix) = (meta.location.as_ref(), self.location.at.path.as_ref());
        let id = path.strip_prefix(prefix).unwrap_or(path);
        let id = id.trim_start_matches('/');
        match Format::of_path(FilePath::new(id)) {
            _ if super::walk::is_hidden(id) => Listed::Pass,
            None if meta.size == 0 => Listed::Pass,
            None => Listed::Unknown,
            Some(format) => Listed::Input(Input {
                id: id.to_owned(),
                format,
                location: InputLocation::Object(self.location.object(&meta.location, meta)),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
