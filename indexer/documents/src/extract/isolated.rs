//! Isolated: formats whose reading may crash, or take any time or memory, are read in processes of their own.
//!
//! ```text
//! extracting thread --Request, bytes--> child process: limits, extractor --Extracted, text--> the same thread
//! ```
//! A child reads one file after another and is replaced when it dies: a stack overflow, a memory or time limit costs the
//! file that it was at, which is refused with the reason. Threads take an idle child or start one, so that there are never
//! more of them than threads that extract at the same time. Both directions are one socket, which is the standard input
//! of the child: what libraries print on its standard output goes nowhere. When the socket closes, because the parent is
//! gone however it ended, the child ends at once. It gets no environment, and so no secret.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::extracted::Extracted;
use crate::source::Format;
use child::Child;

mod child;
mod frame;
mod serve;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub use tests::program as tests_program;

pub use serve::{EXTRACT_VERB, serve_if_asked};

/// What runs as a child.
#[derive(Clone, Debug, Default)]
pub enum Program {
    /// This program, which calls [`serve_if_asked`] before anything else.
    Own,
    /// A program that does the same, with the arguments that make it do so.
    At {
        path: PathBuf,
        arguments: Vec<String>,
    },
    /// None: files are read right here, without limits. For a fuzzer, which has its own and wants to see what they find.
    Here,
    /// There is none: these formats are refused.
    #[default]
    None,
}

/// What a child may use for one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    pub memory_bytes: u64,
    /// Of processor time.
    pub seconds: u64,
    /// Most bytes of the text.
    pub text_bytes: u64,
}

/// Children that wait for their next file.
#[derive(Debug, Default)]
pub struct Pool {
    program: Program,
    idle: Mutex<Vec<Child>>,
}

impl Pool {
    pub fn new(program: Program) -> Self {
        Self {
            program,
            idle: Mutex::default(),
        }
    }

    /// Reads a file in a child. The error says what is wrong with the file, or why it cannot be read.
    pub fn extract(
        &self,
        format: Format,
        limits: Limits,
        bytes: &[u8],
    ) -> Result<Extracted, String> {
        if matches!(self.program, Program::Here) {
            return serve::extract(&format.name(), bytes);
        }
        if let Some(mut child) = self.take() {
            match child.extract(format, limits, bytes) {
                // It may have been killed while it was idle, or be worn out by the files before.
                Err(ended) if ended.may_be_anothers_fault() => {}
                Err(ended) => return Err(ended.reason(limits)),
                Ok(answer) => {
                    self.give_back(child);
                    return answer;
                }
            }
        }
        let mut child = self.start().map_err(|error| {
            format!("the process that reads such files cannot be started: {error}")
        })?;
        let answer = child.extract(format, limits, bytes);
        let answer = answer.map_err(|ended| ended.reason(limits))?;
        self.give_back(child);
        answer
    }

    fn start(&self) -> io::Result<Child> {
        match &self.program {
            Program::Own => Child::start(&own_path()?, &[EXTRACT_VERB.to_owned()]),
            Program::At { path, arguments } => Child::start(path, arguments),
            Program::Here | Program::None => {
                Err(io::Error::other("no program is set that does it"))
            }
        }
    }

    fn take(&self) -> Option<Child> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
    }

    fn give_back(&self, child: Child) {
        if !child.retires {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(child);
        }
    }
}

/// The program that runs, even if its file was replaced meanwhile.
fn own_path() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        Ok(PathBuf::from("/proc/self/exe"))
    } else {
        std::env::current_exe()
    }
}
