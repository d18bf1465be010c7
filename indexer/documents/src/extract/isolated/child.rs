//! A child process as its parent sees it.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{self, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::super::extracted::{Attachment, Extracted};
use super::Limits;
use super::frame::{self, Reply, Request};
use crate::source::Format;

/// How much longer than its processor time a file may take: other processes want the processor too.
const PATIENCE: u32 = 6;
/// What starting and handing over may take beside that.
const SLACK: Duration = Duration::from_secs(30);
/// What is kept of the end of what a child says on its standard error.
const KEPT_BYTES: usize = 4 << 10;

#[derive(Debug)]
pub struct Child {
    process: process::Child,
    socket: UnixStream,
    /// Reads its standard error, so that it never waits for a reader.
    last_words: Option<JoinHandle<Vec<u8>>>,
    /// Files that it has read.
    files: u64,
    /// Whether it ends by itself now.
    pub retires: bool,
}

/// Why a child gave no answer.
#[derive(Debug)]
pub struct Ended {
    cause: Cause,
    was_fresh: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Cause {
    Memory,
    Stack,
    Time,
    /// It was still running long after its time.
    Silent,
    /// What it answered is no answer.
    Garbage(String),
    Signal(i32),
    Exit,
}

impl Child {
    pub fn start(program: &Path, arguments: &[String]) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear();
        command
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = command.spawn()?;
        let last_words = process
            .stderr
            .take()
            .map(|stderr| std::thread::spawn(move || end_of(stderr)));
        Ok(Self {
            process,
            socket,
            last_words,
            files: 0,
            retires: false,
        })
    }

    /// Reads one file: its text, or what the extractor finds wrong with it.
    pub fn extract(
        &mut self,
        format: Format,
        limits: Limits,
        bytes: &[u8],
    ) -> Result<Result<Extracted, String>, Ended> {
        let was_fresh = self.files == 0;
        self.files += 1;
        let seconds = u32::try_from(limits.seconds).unwrap_or(u32::MAX);
        let patience = Duration::from_secs(1)
            .saturating_mul(seconds)
            .saturating_mul(PATIENCE);
        let deadline = Deadline::after(patience + SLACK);
        let answer = self.talk(format, limits, bytes, deadline);
        answer.map_err(|error| Ended {
            cause: self.cause(&error),
            was_fresh,
        })
    }

    fn talk(
        &mut self,
        format: Format,
        limits: Limits,
        bytes: &[u8],
        deadline: Deadline,
    ) -> io::Result<Result<Extracted, String>> {
        let request = Request {
            format: format.name().to_owned(),
            limits,
        };
        let mut socket = Timed {
            socket: &self.socket,
            deadline,
        };
        frame::write(&mut socket, &request, bytes)?;
        let mut answer = Err("it has no text".to_owned());
        let mut attachments = Vec::new();
        loop {
            let (reply, body) = frame::read(&mut socket, limits.text_bytes)?;
            match reply {
                Reply::Extracted(extracted) => {
                    let invalid = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not utf-8");
                    let text = String::from_utf8(body).map_err(invalid)?;
                    answer = Ok(Extracted { text, ..extracted });
                }
                Reply::Refused(reason) => answer = Err(reason),
                Reply::Attached { name } => attachments.push(Attachment { name, bytes: body }),
                Reply::Ready { retires } => {
                    self.retires = retires;
                    return Ok(answer.map(|extracted| Extracted {
                        attachments,
                        ..extracted
                    }));
                }
            }
        }
    }

    /// Ends the process, and says why it gave no answer.
    fn cause(&mut self, error: &io::Error) -> Cause {
        let kind = error.kind();
        if matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            self.end();
            return Cause::Silent;
        }
        if kind == io::ErrorKind::InvalidData {
            self.end();
            return Cause::Garbage(error.to_string());
        }
        // The socket is closed, so it has ended; this changes nothing then.
        drop(self.process.kill());
        let Ok(status) = self.process.wait() else {
            return Cause::Exit;
        };
        let words = self.last_words.take().and_then(|thread| thread.join().ok());
        Cause::of(status, &words.unwrap_or_default())
    }

    fn end(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[cfg(test)]
impl Child {
    pub fn kill_and_wait(&mut self) {
        self.end();
    }

    pub fn files(&self) -> u64 {
        self.files
    }

    /// Waits for the end of the process after closing the socket, as the end of its parent does.
    pub fn ends_when_the_socket_closes(mut self) -> bool {
        self.socket.shutdown(std::net::Shutdown::Both).unwrap();
        self.process.wait().unwrap().success()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

impl Cause {
    fn of(status: ExitStatus, last_words: &[u8]) -> Self {
        let said = |words: &str| {
            let mut places = last_words.windows(words.len());
            places.any(|place| place == words.as_bytes())
        };
        match status.signal() {
            Some(_) if said("overflowed its stack") => Self::Stack,
            Some(_) if said("memory allocation of") => Self::Memory,
            Some(signal) if signal == Signal::XCPU.as_raw() => Self::Time,
            Some(signal) => Self::Signal(signal),
            None => Self::Exit,
        }
    }
}

impl Ended {
    /// Whether a fresh child may fare better with the same file.
    pub fn may_be_anothers_fault(&self) -> bool {
        match self.cause {
            Cause::Time | Cause::Silent | Cause::Stack => false,
            Cause::Memory | Cause::Garbage(_) | Cause::Signal(_) | Cause::Exit => !self.was_fresh,
        }
    }

    pub fn reason(&self, limits: Limits) -> String {
        let Limits {
            memory_bytes,
            seconds,
            ..
        } = limits;
        match &self.cause {
            Cause::Memory => {
                format!(
                    "reading it takes more memory than {memory_bytes} bytes; raise --max-extract-memory-bytes"
                )
            }
            Cause::Stack => "it refers to itself, or nests without end".to_owned(),
            Cause::Time => {
                format!("reading it takes more than {seconds} seconds; raise --max-extract-seconds")
            }
            Cause::Silent => "reading it came to no end".to_owned(),
            Cause::Garbage(what) => {
                format!("the process that reads it gave an answer that is none: {what}")
            }
            Cause::Signal(signal) => {
                format!("the process that reads it died of signal {signal}")
            }
            Cause::Exit => "the process that reads it ended without an answer".to_owned(),
        }
    }
}

/// A moment that no single read or write goes beyond.
#[derive(Clone, Copy, Debug)]
struct Deadline(Instant);

impl Deadline {
    fn after(time: Duration) -> Self {
        /// Longer than anybody waits.
        const DAY: Duration = Duration::from_secs(86_400);
        Self(Instant::now() + time.min(DAY))
    }

    fn left(self) -> io::Result<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(left)
    }
}

/// A socket that is read and written until a moment.
struct Timed<'a> {
    socket: &'a UnixStream,
    deadline: Deadline,
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.deadline.left()?))?;
        (&mut &*self.socket).read(buffer)
    }
}

impl io::Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.deadline.left()?))?;
        (&mut &*self.socket).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The end of what a child says. Nothing of it is shown: it may quote the file.
fn end_of(mut stderr: impl Read) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0; KEPT_BYTES]);
    while let Ok(read @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..read]);
        let excess = kept.len().saturating_sub(KEPT_BYTES);
        kept.drain(..excess);
    }
    kept
}
