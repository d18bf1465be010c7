//! Resolves SOURCE arguments into inputs.
//!
//! Takes the arguments of `publish`; gives one [`Input`] after another, lazily, so that a folder of millions of
//! files is never listed in memory; owns the walk through the file system or an object store; a file that cannot be
//! used is an `Err` item and the walk goes on. Nothing is remembered about inputs already given: whether an earlier
//! source holds the same document id is asked of the file system, or of the store.

mod error;
mod format;
mod member;
mod object;
mod origin;
mod store;
mod walk;

use std::path::{Path, PathBuf};

pub use error::SourceError;
pub use format::{Archive, Compression, EXTENSIONS, Format, Shape};
pub use member::{Allowance, Container, INSIDE, Member, clean_name};
pub use object::{Object, ObjectReader};
pub use origin::{MAX_ID_BYTES, Origin, check_id};
use walk::{Source, Step, Walk, understand};

/// Something that documents can be extracted from.
#[derive(Debug, Clone)]
pub struct Input {
    /// Id of the document where the input is one: the path below its source, with forward slashes.
    pub id: String,
    pub format: Format,
    pub location: InputLocation,
}

impl Input {
    /// What errors and payloads call this input.
    pub fn origin(&self) -> Origin {
        match &self.location {
            InputLocation::File(path) => Origin::file(path),
            InputLocation::Object(object) => Origin::url(object.url()),
            InputLocation::Member(member) => Origin::inside(member.path()),
            InputLocation::Stdin => Origin::stdin(),
        }
    }

    /// The name of its file; empty where there is none.
    pub fn file_name(&self) -> std::borrow::Cow<'_, str> {
        match &self.location {
            InputLocation::File(path) => path.file_name().unwrap_or_default().to_string_lossy(),
            InputLocation::Object(object) => object.file_name().into(),
            InputLocation::Member(member) => member.file_name().into(),
            InputLocation::Stdin => "".into(),
        }
    }

    /// How many bytes it has, as far as that is known without reading it; 0 where it is not.
    pub fn bytes(&self) -> u64 {
        match &self.location {
            InputLocation::File(path) => {
                std::fs::metadata(path).map_or(0, |metadata| metadata.len())
            }
            InputLocation::Object(object) => object.bytes(),
            InputLocation::Member(member) => member.bytes(),
            InputLocation::Stdin => 0,
        }
    }
}

/// Where the bytes of an input are.
#[derive(Debug, Clone)]
pub enum InputLocation {
    File(PathBuf),
    /// An object of an object store.
    Object(Object),
    /// A part of another input.
    Member(Member),
    /// Standard input, which can be read only once.
    Stdin,
}

/// The inputs behind a list of SOURCE arguments, in the order of the arguments and sorted within each.
pub struct Sources {
    sources: Vec<Source>,
    /// The source being walked is `sources[next - 1]`.
    next: usize,
    walk: Option<Walk>,
    /// Items that the current source has given.
    found: u64,
    skipped: u64,
    empty: Vec<String>,
    naming: Naming,
}

/// What documents that are whole inputs are called beside their paths.
#[derive(Clone, Debug, Default)]
pub struct Naming {
    /// Id of standard input.
    pub stdin_id: Option<String>,
    /// What ids begin with.
    pub prefix: String,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources")
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}

impl Sources {
    /// Understands every argument before anything is read: a file, a directory (walked recursively), a glob, the URL
    /// of an object or of a prefix, or `-` for standard input in `stdin` format. No object store is asked.
    ///
    /// # Errors
    /// All arguments that name nothing usable, at once.
    pub fn open(arguments: &[String], stdin: Format) -> Result<Self, Vec<SourceError>> {
        let (mut sources, mut faults) = (Vec::new(), Vec::new());
        for argument in arguments {
            match understand(argument, stdin) {
                Ok(Source::Stdin { .. })
                    if sources.iter().any(|s| matches!(s, Source::Stdin { .. })) =>
                {
                    faults.push(SourceError::StdinTwice);
                }
                Ok(source) => sources.push(source),
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self {
            sources,
            next: 0,
            walk: None,
            found: 0,
            skipped: 0,
            empty: Vec::new(),
            naming: Naming::default(),
        })
    }

    pub fn named(self, naming: Naming) -> Self {
        Self { naming, ..self }
    }

    /// The input with the id that it is to have.
    fn name(&self, mut input: Input) -> Result<Input, SourceError> {
        match (&input.location, &self.naming.stdin_id) {
            (InputLocation::Stdin, Some(id)) => input.id.clone_from(id),
            _ => input.id.insert_str(0, &self.naming.prefix),
        }
        check_id(input.id.clone(), || input.origin())?;
        Ok(input)
    }

    /// Files passed over so far because their extension is not one of [`Format`]'s.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// What the ids of documents would begin with in the folders so far that hold nothing: a mount may be missing there.
    /// Of a source that gave nothing at all it is empty, which every id begins with.
    pub fn empty(&self) -> &[String] {
        &self.empty
    }

    /// Notes a folder without any entry, below the root of its source.
    fn note_if_empty(&mut self, path: &Path) {
        let is_empty = path
            .read_dir()
            .is_ok_and(|mut entries| entries.next().is_none());
        let root = self.sources[self.next - 1].root();
        let below = root.and_then(|root| path.strip_prefix(root).ok());
        let Some(below) = below.filter(|_| is_empty) else {
            return;
        };
        if let Ok(id) = id_of(below) {
            self.empty.push(format!("{id}/"));
        }
    }

    /// A glob gives the files that are there, and nothing of a folder that holds none.
    fn note_empty_below_glob(&mut self) {
        for folder in self.sources[self.next - 1].folders_of_glob() {
            self.note_if_empty(&folder);
        }
    }

    /// Turns a path that a walk came across into an input; `None` where it is none of ours.
    fn admit(&mut self, path: PathBuf) -> Option<Result<Input, SourceError>> {
        if !path.is_file() {
            // A directory, or a pipe, socket or device: reading one of those could wait for ever.
            self.note_if_empty(&path);
            let broken = path.is_symlink() && !path.exists();
            return broken.then_some(Err(SourceError::NotFile { path }));
        }
        let Some(format) = Format::of_path(&path) else {
            self.skipped += 1;
            return None;
        };
        let root = self.sources[self.next - 1].root()?;
        let id = path.strip_prefix(root).unwrap_or(&path);
        Some(match id_of(id) {
            Ok(id) => self.unclaimed(Input {
                id,
                format,
                location: InputLocation::File(path),
            }),
            Err(error) => Err(error),
        })
    }

    /// Refuses an input whose id an earlier source gives as well: its document would replace the other's.
    fn unclaimed(&self, input: Input) -> Result<Input, SourceError> {
        let earlier = &self.sources[..self.next - 1];
        for source in earlier {
            if let Some(first) = source.holder_of(&input.id)? {
                return Err(SourceError::DuplicateId {
                    origin: input.origin(),
                    id: input.id,
                    first,
                });
            }
        }
        Ok(input)
    }

    /// Opens the next source; `None` after the last one.
    fn open_next(&mut self) -> Option<Walk> {
        let source = self.sources.get(self.next)?;
        self.next += 1;
        self.found = 0;
        Some(source.walk())
    }

    /// The error of a source that is through without having given anything.
    fn barren(&self) -> Option<SourceError> {
        let source = &self.sources[self.next - 1];
        (self.found == 0).then(|| SourceError::NoMatch {
            argument: source.name(),
        })
    }
}

impl Iterator for Sources {
    type Item = Result<Input, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.walk.is_none() {
                self.walk = Some(self.open_next()?);
            }
            let item = match self.walk.as_mut()?.step() {
                Step::Input(input) => Some(id_fits(input).and_then(|input| self.unclaimed(input))),
                Step::Path(path) => self.admit(path),
                Step::Fault(error) => Some(Err(error)),
                Step::Unknown => {
                    self.skipped += 1;
                    None
                }
                Step::Pass => None,
                Step::End => {
                    self.walk = None;
                    self.note_empty_below_glob();
                    match self.barren() {
                        Some(error) => {
                            self.empty.push(String::new());
                            return Some(Err(error));
                        }
                        None => continue,
                    }
                }
            };
            if let Some(item) = item {
                self.found += 1;
                return Some(item.and_then(|input| self.name(input)));
            }
        }
    }
}

/// The id of a document at a path below its source.
fn id_of(path: &Path) -> Result<String, SourceError> {
    let parts: Option<Vec<&str>> = path.iter().map(std::ffi::OsStr::to_str).collect();
    let parts = parts.ok_or_else(|| SourceError::PathNotUtf8 {
        path: path.to_owned(),
    })?;
    check_id(parts.join("/"), || Origin::file(path))
}

/// The rules of [`id_of`] for an input that did not come as a path below a folder.
fn id_fits(input: Input) -> Result<Input, SourceError> {
    match &input.location {
        InputLocation::File(path) => drop(id_of(Path::new(path.file_name().unwrap_or_default()))?),
        InputLocation::Object(_) | InputLocation::Member(_) => {
            drop(check_id(input.id.clone(), || input.origin())?);
        }
        InputLocation::Stdin => {}
    }
    Ok(input)
}

#[cfg(test)]
mod tests;
