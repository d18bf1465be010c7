//! What a child does: reads files one after the other, each within its limits.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::super::extracted::{Attachment, Extracted};
use super::Limits;
use super::frame::{self, Reply, Request};
use crate::extract::reader::Reader;
use crate::source::Format;

/// The argument that makes a program a child.
pub const EXTRACT_VERB: &str = "extract-one";

/// Stack of the thread that extracts. Documents of people nest a few hundred levels deep.
const STACK_BYTES: usize = 16 << 20;
/// A child that holds on to this part of its memory between two files is replaced.
const RETIRE_PART: u64 = 4;

type Work = (Request, Vec<u8>);

/// Serves if the first argument of the process is [`EXTRACT_VERB`]. To be called before anything else is done: a child
/// must not read settings, open connections or write logs.
pub fn serve_if_asked() -> Option<ExitCode> {
    let asked = std::env::args_os()
        .nth(1)
        .is_some_and(|verb| verb == EXTRACT_VERB);
    asked.then(|| match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

/// Serves until the parent closes the socket that is the standard input.
pub fn serve() -> io::Result<()> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    std::panic::set_hook(Box::new(|_| {}));
    limit(Resource::Core, 0)?;
    let (requests, work) = sync_channel(0);
    let mut incoming = socket.try_clone()?;
    let worker = thread::Builder::new().stack_size(STACK_BYTES);
    let worker = worker.spawn(move || answer_all(&socket, &work))?;
    // This thread is always reading, so that the process ends with its parent even in the midst of a file.
    while let Ok(request) = frame::read(&mut incoming, u64::MAX) {
        if requests.send(request).is_err() {
            break;
        }
    }
    if worker.is_finished() {
        return Ok(());
    }
    std::process::exit(0)
}

fn answer_all(mut socket: &UnixStream, work: &Receiver<Work>) -> io::Result<()> {
    let baseline = mapped_bytes();
    while let Ok((request, bytes)) = work.recv() {
        let limits = request.limits;
        confine(limits, baseline)?;
        match extract(&request.format, &bytes) {
            Ok(extracted) if extracted.text.len() as u64 > limits.text_bytes => {
                let (bytes, most) = (extracted.text.len(), limits.text_bytes);
                let reason = format!("it has {bytes} bytes of text, more than {most}");
                frame::write(&mut socket, &Reply::Refused(reason), b"")?;
            }
            Ok(mut extracted) => {
                let text = std::mem::take(&mut extracted.text);
                for Attachment { name, bytes } in std::mem::take(&mut extracted.attachments) {
                    frame::write(&mut socket, &Reply::Attached { name }, &bytes)?;
                }
                frame::write(&mut socket, &Reply::Extracted(extracted), text.as_bytes())?;
            }
            Err(reason) => frame::write(&mut socket, &Reply::Refused(reason), b"")?,
        }
        drop(bytes);
        let held = mapped_bytes().saturating_sub(baseline);
        let retires = held > limits.memory_bytes / RETIRE_PART;
        frame::write(&mut socket, &Reply::Ready { retires }, b"")?;
    }
    Ok(())
}

pub(super) fn extract(format: &str, bytes: &[u8]) -> Result<Extracted, String> {
    let format =
        Format::of_name(format).ok_or("its format is unknown to the process that reads it")?;
    let extract = Reader::of(format)
        .isolated()
        .ok_or("its format is not one that is read in a process of its own")?;
    let mut extracted = Extracted::default();
    match catch_unwind(AssertUnwindSafe(|| extract(bytes, &mut extracted))) {
        Ok(done) => done.map(|()| extracted),
        Err(_) => Err("the library panicked".to_owned()),
    }
}

/// Sets the limits of one file, on top of what the process has used so far.
fn confine(limits: Limits, baseline: u64) -> io::Result<()> {
    limit(Resource::As, baseline.saturating_add(limits.memory_bytes))?;
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let used = u64::try_from(used.tv_sec).unwrap_or(0) + 1;
    limit(Resource::Cpu, used.saturating_add(limits.seconds))
}

/// Sets a limit that a later file may raise again, as far as the process was allowed from outside.
fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let maximum = getrlimit(resource).maximum;
    let current = maximum.map_or(most, |maximum| maximum.min(most));
    let limits = Rlimit {
        current: Some(current),
        maximum,
    };
    Ok(setrlimit(resource, limits)?)
}

/// Bytes of address space in use; 0 where the system does not tell.
fn mapped_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status
        .split(' ')
        .next()
        .and_then(|pages| pages.parse::<u64>().ok());
    pages
        .unwrap_or(0)
        .saturating_mul(rustix::param::page_size() as u64)
}
