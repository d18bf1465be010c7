//! Understands one SOURCE argument and walks what is behind it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

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
        /// What paths below the root have to match.
        pattern: glob::Pattern,
        argument: String,
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
    Folder(Box<FolderWalk>),
}

/// A walk through a folder, whose paths may have to match a pattern.
pub struct FolderWalk {
    walk: ignore::Walk,
    root: PathBuf,
    pattern: Option<glob::Pattern>,
    outside: Outside,
    /// What the walk has given, but for a link that was told first.
    next: Option<Next>,
}

type Next = Option<Result<ignore::DirEntry, ignore::Error>>;

/// Links that lead out of the folder, which nobody has told yet.
type Outside = Arc<Mutex<Vec<PathBuf>>>;

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
            Self::Folder(folder) => folder.step(),
        }
    }
}

impl FolderWalk {
    fn of(root: &Path, pattern: Option<glob::Pattern>) -> Self {
        let outside = Outside::default();
        // A pattern says whether hidden files are meant, and how deep there is something to find.
        let is_deep = |pattern: &glob::Pattern| pattern.as_str().contains("**");
        let depth = pattern
            .as_ref()
            .filter(|pattern| !is_deep(pattern))
            .map(|pattern| pattern.as_str().split('/').count());
        let mut walk = folder(root, &outside);
        walk.hidden(pattern.is_none()).max_depth(depth);
        Self {
            walk: walk.build(),
            root: root.to_owned(),
            pattern,
            outside,
            next: None,
        }
    }

    fn step(&mut self) -> Step {
        let next = match self.next.take() {
            Some(next) => next,
            None => self.walk.next(),
        };
        let outside = {
            let mut outside = self.outside.lock().unwrap_or_else(PoisonError::into_inner);
            outside.pop()
        };
        match outside {
            Some(path) => {
                self.next = Some(next);
                Step::Fault(SourceError::LeadsOut { path })
            }
            None => self.entry(next),
        }
    }

    fn entry(&self, next: Next) -> Step {
        match next {
            None => Step::End,
            Some(Ok(entry)) if self.matches(entry.path()) => Step::Path(entry.into_path()),
            Some(Ok(_)) => Step::Pass,
            // The target of the loop is walked where it really is.
            Some(Err(error)) if is_loop(&error) => Step::Pass,
            Some(Err(error)) => Step::Fault(SourceError::Walk {
                reason: error.to_string(),
            }),
        }
    }

    fn matches(&self, path: &Path) -> bool {
        let Some(pattern) = &self.pattern else {
            return true;
        };
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        pattern.matches_with(&below.to_string_lossy(), GLOB)
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
            Self::Directory { root } => Walk::Folder(Box::new(FolderWalk::of(root, None))),
            Self::Glob { root, .. } if !or_here(root).is_dir() => Walk::One(None),
            Self::Glob { root, pattern, .. } => {
                let walk = FolderWalk::of(or_here(root), Some(pattern.clone()));
                Walk::Folder(Box::new(walk))
            }
        }
    }

    /// The folders below the root of a glob, which its own walk does not give.
    pub fn folders_of_glob(&self) -> Vec<PathBuf> {
        let Self::Glob { root, .. } = self else {
            return Vec::new();
        };
        let mut walk = folder(or_here(root), &Outside::default());
        let entries = walk.hidden(true).build().filter_map(Result::ok);
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
            Self::Glob { argument, .. } => argument.clone(),
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
            Self::Glob { root, pattern, .. } => {
                pattern.matches_with(id, GLOB).then(|| root.join(id))
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
    if format == Format::Parquet {
        return Err(SourceError::StdinParquet);
    }
    Ok(Source::Stdin { format })
}

fn understand_glob(argument: &str) -> Result<Source, SourceError> {
    let is_literal = |part: &std::path::Component<'_>| {
        !part.as_os_str().to_string_lossy().contains(['*', '?', '['])
    };
    let path = Path::new(argument.trim_start_matches("./"));
    let root: PathBuf = path.components().take_while(is_literal).collect();
    let rest: PathBuf = path.components().skip_while(is_literal).collect();
    let pattern = glob::Pattern::new(&rest.to_string_lossy());
    let pattern = pattern.map_err(|error| SourceError::Glob {
        pattern: argument.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(Source::Glob {
        root,
        pattern,
        argument: argument.to_owned(),
    })
}

/// The folder that a path without parts stands for.
fn or_here(root: &Path) -> &Path {
    if root.as_os_str().is_empty() {
        Path::new(".")
    } else {
        root
    }
}

/// Walks a folder in the order of its names. Links are followed within it: those that lead out of it are noted.
fn folder(root: &Path, outside: &Outside) -> ignore::WalkBuilder {
    let mut walk = ignore::WalkBuilder::new(root);
    walk.standard_filters(false).follow_links(true);
    walk.sort_by_file_name(std::ffi::OsStr::cmp);
    let (root, outside) = (root.canonicalize(), Arc::clone(outside));
    walk.filter_entry(move |entry| {
        if entry.depth() == 0 || !entry.path_is_symlink() {
            return true;
        }
        let (Ok(root), Ok(target)) = (&root, entry.path().canonicalize()) else {
            // A broken link is told where its file is missed.
            return true;
        };
        let is_inside = target.starts_with(root);
        if !is_inside {
            let mut outside = outside.lock().unwrap_or_else(PoisonError::into_inner);
            outside.push(entry.path().to_owned());
        }
        is_inside
    });
    walk
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
