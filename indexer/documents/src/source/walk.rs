//! Understands one SOURCE argument and walks what is behind it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use runtime::object_stores::is_url;

use super::store::{Listed, Listing, Location};
use super::{Format, Input, InputLocation, SourceError};
use crate::source::Origin;

/// How globs match: like a shell, so that `*.md` does not pick up hidden files.
const GLOB: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// One argument, understood but not yet walked.
#[derive(Debug)]
pub enum Source {
    File {
        path: PathBuf,
        format: Format,
    },
    Directory {
        root: PathBuf,
    },
    Glob {
        root: PathBuf,
        pattern: glob::Pattern,
    },
    Objects(Location),
    Stdin {
        format: Format,
    },
}

/// What is left of a source.
pub enum Walk {
    One(Option<Input>),
    Object(Location),
    Objects(Listing),
    Directory(Box<ignore::Walk>),
    Glob(glob::Paths),
}

pub enum Step {
    Input(Input),
    Path(PathBuf),
    Fault(SourceError),
    /// A file whose extension is unknown.
    Unknown,
    /// An entry that is none of ours.
    Pass,
    End,
}

impl Walk {
    pub fn step(&mut self) -> Step {
        match self {
            Self::One(input) => input.take().map_or(Step::End, Step::Input),
            Self::Object(location) => {
                let found = location.one();
                *self = Self::One(None);
                match found {
                    Ok(input) => input.map_or(Step::End, Step::Input),
                    Err(error) => Step::Fault(error),
                }
            }
            Self::Objects(listing) => match listing.step() {
                Listed::Input(input) => Step::Input(input),
                Listed::Unknown => Step::Unknown,
                Listed::Pass => Step::Pass,
                Listed::Fault(error) => Step::Fault(error),
                Listed::End => Step::End,
            },
            Self::Directory(walk) => match walk.next() {
                None => Step::End,
                Some(Ok(entry)) => Step::Path(entry.into_path()),
                // The target of the loop is walked where it really is.
                Some(Err(error)) if is_loop(&error) => Step::Pass,
                Some(Err(error)) => Step::Fault(SourceError::Walk {
                    reason: error.to_string(),
                }),
            },
            // The library panics on a name that is not UTF-8, which ends the walk but must not end the process.
            Self::Glob(paths) => match catch_unwind(AssertUnwindSafe(|| paths.next())) {
                Err(_) => {
                    *self = Self::One(None);
                    Step::Fault(SourceError::Walk {
                        reason: "a file name below the glob is not utf-8: rename it, or name its folder \
                                 instead of a glob"
                            .to_owned(),
                    })
                }
                Ok(None) => Step::End,
                Ok(Some(Ok(path))) => Step::Path(path),
                Ok(Some(Err(error))) => Step::Fault(SourceError::Walk {
                    reason: error.to_string(),
                }),
            },
        }
    }
}

impl Source {
    /// The folder that ids are relative to; `None` where there is one input only.
    pub fn root(&self) -> Option<&Path> {
        match self {
            Self::Directory { root } | Self::Glob { root, .. } => Some(root),
            Self::File { .. } | Self::Objects(_) | Self::Stdin { .. } => None,
        }
    }

    pub fn walk(&self) -> Walk {
        match self {
            Self::File { path, format } => {
                let id = path.file_name().map(PathBuf::from).unwrap_or_default();
                let id = id.to_string_lossy().into_owned();
                Walk::One(Some(Input {
                    id,
                    format: *format,
                    location: InputLocation::File(path.clone()),
                }))
            }
            Self::Objects(location) if location.is_one() => Walk::Object(location.clone()),
            Self::Objects(location) => Walk::Objects(location.list()),
            Self::Stdin { format } => {
                let id = "stdin".to_owned();
                Walk::One(Some(Input {
                    id,
                    format: *format,
                    location: InputLocation::Stdin,
                }))
            }
            Self::Directory { root } => Walk::Directory(Box::new(folder(root))),
            Self::Glob { pattern, .. } => match glob::glob_with(pattern.as_str(), GLOB) {
                Ok(paths) => Walk::Glob(paths),
                // The pattern was compiled when the argument was understood.
                Err(_) => Walk::One(None),
            },
        }
    }

    /// The folders below the root of a glob, which its own walk does not give.
    pub fn folders_of_glob(&self) -> Vec<PathBuf> {
        let Self::Glob { root, .. } = self else {
            return Vec::new();
        };
        let here = Path::new(".");
        let root = if root.as_os_str().is_empty() {
            here
        } else {
            root
        };
        let entries = folder(root).filter_map(Result::ok);
        let folders = entries.filter(|entry| entry.path().is_dir());
        let path = |entry: ignore::DirEntry| {
            let path = entry.into_path();
            path.strip_prefix("./").map(Path::to_owned).unwrap_or(path)
        };
        folders.map(path).collect()
    }

    /// What errors call the source.
    pub fn name(&self) -> String {
        match self {
            Self::File { path: root, .. } | Self::Directory { root } => root.display().to_string(),
            Self::Glob { pattern, .. } => pattern.as_str().to_owned(),
            Self::Objects(location) => location.name(),
            Self::Stdin { .. } => "-".to_owned(),
        }
    }

    /// What in this source has the document id `id`, if anything has.
    pub fn holder_of(&self, id: &str) -> Result<Option<Origin>, SourceError> {
        let path = match self {
            Self::Objects(location) => {
                let holder = location.holder_of(id)?;
                return Ok(holder.map(|url| Origin::url(&url)));
            }
            Self::File { path, .. } => {
                let same = path.file_name().is_some_and(|name| name == id);
                return Ok(same.then(|| Origin::file(path)));
            }
            Self::Directory { root } if !is_hidden(id) => Some(root.join(id)),
            Self::Stdin { .. } | Self::Directory { .. } => None,
            Self::Glob { root, pattern } => {
                let path = root.join(id);
                pattern.matches_path_with(&path, GLOB).then_some(path)
            }
        };
        let path = path.filter(|path| path.is_file());
        Ok(path.map(|path| Origin::file(&path)))
    }
}

/// Looks at an argument without reading what is behind it.
pub fn understand(argument: &str, stdin: Format) -> Result<Source, SourceError> {
    let path = PathBuf::from(argument);
    if argument == "-" {
        understand_stdin(stdin)
    } else if is_url(argument) {
        Ok(Source::Objects(Location::understand(argument)?))
    } else if path.is_dir() {
        Ok(Source::Directory { root: path })
    } else if path.is_file() {
        let format = Format::of_path(&path);
        format
            .map(|format| Source::File {
                path: path.clone(),
                format,
            })
            .ok_or(SourceError::Extension { path })
    } else if path.exists() {
        Err(SourceError::NotFile { path })
    } else if argument.contains(['*', '?', '[']) {
        understand_glob(argument)
    } else {
        Err(SourceError::NotFound { path })
    }
}

fn understand_stdin(format: Format) -> Result<Source, SourceError> {
    match format {
        Format::Parquet => Err(SourceError::StdinParquet),
        Format::Text
        | Format::Markdown
        | Format::Html
        | Format::Jsonl
        | Format::Csv
        | Format::Tsv
        | Format::Pdf => Ok(Source::Stdin { format }),
    }
}

fn understand_glob(argument: &str) -> Result<Source, SourceError> {
    let literal = argument.trim_start_matches("./");
    let pattern = glob::Pattern::new(literal).map_err(|error| SourceError::Glob {
        pattern: argument.to_owned(),
        reason: error.to_string(),
    })?;
    let is_literal = |part: &std::path::Component<'_>| {
        !part.as_os_str().to_string_lossy().contains(['*', '?', '['])
    };
    let root = Path::new(literal)
        .components()
        .take_while(is_literal)
        .collect();
    Ok(Source::Glob { root, pattern })
}

/// Walks a folder in the order of its names.
fn folder(root: &Path) -> ignore::Walk {
    let mut walk = ignore::WalkBuilder::new(root);
    walk.standard_filters(false).hidden(true).follow_links(true);
    walk.sort_by_file_name(std::ffi::OsStr::cmp);
    walk.build()
}

pub fn is_hidden(id: &str) -> bool {
    id.split('/').any(|part| part.starts_with('.'))
}

fn is_loop(error: &ignore::Error) -> bool {
    match error {
        ignore::Error::Loop { .. } => true,
        ignore::Error::WithPath { err, .. }
        | ignore::Error::WithDepth { err, .. }
        | ignore::Error::WithLineNumber { err, .. } => is_loop(err),
        ignore::Error::Partial(errors) => errors.iter().all(is_loop),
        ignore::Error::Io(_)
        | ignore::Error::Glob { .. }
        | ignore::Error::UnrecognizedFileType(_)
        | ignore::Error::InvalidDefinition => false,
    }
}
