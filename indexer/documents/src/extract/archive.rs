//! Archive: the files inside a file, each read by its own format.
//!
//! Nothing is unpacked: a member of a zip is read where it lies, one of a tar while the archive runs by, and a mail of a
//! mailbox is in memory alone. What an archive may expand to, how many members it may have and how deep archives may lie in
//! each other is limited for the outermost one with all that lies in it; beyond a limit that archive is refused from there
//! on, by name. A member that cannot be read costs itself only.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::Extractor;
use crate::source::{
    Allowance, Archive, Container, Format, INSIDE, Input, InputLocation, Member, SourceError,
};
use crate::source::{Origin, check_id, clean_name};

mod mbox;
mod tar;
#[cfg(test)]
mod tests;
mod zip;

/// The members of an archive, in its order.
pub type Members = Box<dyn Iterator<Item = Result<Input, SourceError>> + Send>;

/// What the members of an archive are listed for. Where only ids are needed, no member is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembersFor {
    Ids,
    Documents,
}

/// An archive that is being read.
#[derive(Clone, Debug)]
pub struct Opened {
    id: String,
    origin: Origin,
    format: Format,
    container: Container,
}

impl Opened {
    /// Takes its place below the container that it lies in.
    pub fn new(input: &Input, extractor: &Extractor) -> Result<Self, SourceError> {
        let options = &extractor.options;
        let container = match &input.location {
            InputLocation::Member(member) => Container {
                depth: member.container.depth + 1,
                allowance: Arc::clone(&member.container.allowance),
            },
            InputLocation::File(_) | InputLocation::Object(_) | InputLocation::Stdin => Container {
                depth: 1,
                allowance: Arc::new(Allowance::new(
                    options.max_archive_bytes,
                    options.max_archive_members,
                )),
            },
        };
        let opened = Self {
            id: input.id.clone(),
            origin: input.origin(),
            format: input.format,
            container,
        };
        if opened.container.depth > options.max_archive_depth {
            let most = options.max_archive_depth;
            return Err(opened.refuse(format!(
                "it lies deeper than {most} archives in each other; raise --max-archive-depth"
            )));
        }
        Ok(opened)
    }

    pub fn container(&self) -> Container {
        self.container.clone()
    }

    fn refuse(&self, reason: impl Into<String>) -> SourceError {
        SourceError::Unreadable {
            origin: self.origin.clone(),
            format: self.format.name(),
            reason: reason.into(),
        }
    }

    /// What people call a member.
    fn place_of(&self, name: &str) -> String {
        format!("`{}{INSIDE}{}`", self.origin.path, clean_name(name))
    }

    fn take_member(&self) -> Result<(), SourceError> {
        if self.container.allowance.take_member() {
            return Ok(());
        }
        Err(self.refuse("it has more members than --max-archive-members"))
    }

    /// A member by its name; `None` where its extension is none that is known.
    pub fn member(
        &self,
        name: &str,
        format: Option<Format>,
        content: impl FnOnce(String) -> Member,
    ) -> Result<Option<Input>, SourceError> {
        self.take_member()?;
        let name = clean_name(name);
        let Some(format) = format.or_else(|| Format::of_path(Path::new(&name))) else {
            return Ok(None);
        };
        let path = format!("{}{INSIDE}{name}", self.origin.path);
        let id = format!("{}{INSIDE}{name}", self.id);
        let id = check_id(id, || Origin::inside(&path))?;
        Ok(Some(Input {
            id,
            format,
            location: InputLocation::Member(content(path)),
        }))
    }
}

/// The members of an input that is an archive. Those of a tar have to be read in their order, each before the next.
pub fn members(
    input: &Input,
    kind: Archive,
    extractor: &Extractor,
    asked: MembersFor,
) -> Result<Members, SourceError> {
    let opened = Opened::new(input, extractor)?;
    let allowance = Arc::clone(&opened.container.allowance);
    let members: Members = match kind {
        Archive::Zip => Box::new(zip::Zip::open(input, opened, extractor)?),
        Archive::Tar => Box::new(tar::Tar::open(input, opened, extractor, asked)?),
        Archive::Mbox => Box::new(mbox::Mbox::open(input, opened, extractor)?),
    };
    // Beyond the limit one error stands for all that follow.
    let mut ended = false;
    Ok(Box::new(members.take_while(move |member| {
        let goes_on = !ended;
        ended = member.is_err() && !allowance.has_members();
        goes_on
    })))
}

/// What a member expands to, counted with what its archive does.
pub fn counted(reader: Box<dyn Read + Send>, container: &Container) -> Box<dyn Read + Send> {
    Box::new(Counted {
        reader,
        allowance: Arc::clone(&container.allowance),
    })
}

/// Whether a name is one that file systems and archivers add beside the files of people.
fn is_hidden(name: &str) -> bool {
    name.split('/')
        .any(|part| part.starts_with('.') && part != "." && part != ".." || part == "__MACOSX")
}

/// Counts what an archive expands to.
struct Counted<R> {
    reader: R,
    allowance: Arc<Allowance>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        if self.allowance.take_bytes(read as u64) {
            return Ok(read);
        }
        Err(io::Error::other(
            "its archive expands to more than --max-archive-bytes",
        ))
    }
}
