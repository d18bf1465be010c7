//! Dead letters: seen, read, replayed, dropped, and found where JetStream leaves them lying.
//!
//! | verb | what it does |
//! |---|---|
//! | [`list`] | lists dead letters |
//! | [`show`] | shows one with its job |
//! | [`replay`] | publishes jobs again and removes their dead letters |
//! | [`remove`] | removes dead letters |
//! | [`sweep`] | makes dead letters of jobs that JetStream has given up |
//!
//! Dead letters are read one after the other, headers alone; a payload is fetched when it is needed. A million of
//! them takes no more memory than ten.

pub mod list;
pub mod read;
pub mod remove;
pub mod replay;
pub mod select;
pub mod show;
pub mod sweep;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{DeleteStatus, RawMessageError, RawMessageErrorKind, Stream};
use async_nats::jetstream::{self, ErrorCode};
use clap::{Args, Subcommand};
use queue::nats::{FirstConnect, NatsConfig};
use runtime::settings::ConfigFault;
use serde::Serialize;

use list::ListConfig;
use remove::DropConfig;
use replay::ReplayConfig;
use show::ShowConfig;
use sweep::SweepConfig;

/// Settings of `indexer dlq`.
#[derive(Args, Clone, Debug)]
pub struct DlqConfig {
    #[command(subcommand)]
    #[allow(missing_docs, reason = "clap would show the comment as help")]
    pub verb: DlqVerb,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the comment as help")]
    pub nats: NatsConfig,
}

/// What to do with dead letters.
#[derive(Clone, Debug, Subcommand)]
pub enum DlqVerb {
    /// List dead letters, oldest first
    Ls(ListConfig),
    /// Show a dead letter: its headers and its job
    Show(ShowConfig),
    /// Publish jobs again as they were, and remove their dead letters
    Replay(ReplayConfig),
    /// Remove dead letters for good
    Drop(DropConfig),
    /// Find jobs that had their last delivery and make dead letters of them
    Sweep(SweepConfig),
}

impl DlqConfig {
    /// Everything that is wrong with these settings.
    #[must_use]
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.nats.faults();
        match &self.verb {
            DlqVerb::Ls(config) => faults.extend(config.selection.faults()),
            DlqVerb::Replay(config) => faults.extend(config.faults()),
            DlqVerb::Drop(config) => faults.extend(config.faults()),
            DlqVerb::Show(_) | DlqVerb::Sweep(_) => {}
        }
        faults
    }
}

/// Does what was asked and writes the outcome.
///
/// # Errors
/// If NATS cannot be reached or asked, something is not provisioned, or `out` takes nothing.
pub async fn dlq(config: &DlqConfig, out: &mut (dyn Write + Send)) -> anyhow::Result<ExitCode> {
    let client = config.nats.connect("indexer", FirstConnect::Fail).await?;
    let jetstream = queue::nats::jetstream(client);
    match &config.verb {
        DlqVerb::Ls(config) => list::list(&jetstream, config, out).await,
        DlqVerb::Show(config) => show::show(&jetstream, config, out).await,
        DlqVerb::Replay(config) => replay::replay(&jetstream, config, out).await,
        DlqVerb::Drop(config) => remove::remove(&jetstream, config, out).await,
        DlqVerb::Sweep(config) => sweep::sweep(&jetstream, config, out).await,
    }
}

/// Whether a message was there to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    Removed,
    /// Somebody else was faster.
    Gone,
}

/// Looks a stream up.
pub(crate) async fn stream(jetstream: &jetstream::Context, name: &str) -> anyhow::Result<Stream> {
    let found = jetstream.get_stream(name).await;
    found.with_context(|| format!("failed to look up stream `{name}`; run `indexer provision`"))
}

/// Removes a message; that it is gone already is no error, whatever the server calls it.
///
/// The server only marks it as removed. The client's own call has the bytes overwritten, for which the server writes a
/// whole block of messages anew, and which takes it eighty times as long.
pub(crate) async fn remove_message(
    jetstream: &jetstream::Context,
    stream: &Stream,
    sequence: u64,
) -> anyhow::Result<Removal> {
    let name = &stream.cached_info().config.name;
    let request = serde_json::json!({ "seq": sequence, "no_erase": true });
    let removed: Result<Response<DeleteStatus>, _> = jetstream
        .request(format!("STREAM.MSG.DELETE.{name}"), &request)
        .await;
    let error = match removed {
        Ok(Response::Ok(_)) => return Ok(Removal::Removed),
        Ok(Response::Err { error }) => anyhow::Error::from(error),
        Err(error) => anyhow::Error::from(error),
    };
    match stream.get_raw_message(sequence).await {
        Err(missing) if is_missing(&missing) => Ok(Removal::Gone),
        Ok(_) | Err(_) => {
            Err(error).with_context(|| format!("failed to remove message {sequence} of `{name}`"))
        }
    }
}

/// Whether the stream answered that there is no such message.
pub(crate) fn is_missing(error: &RawMessageError) -> bool {
    match error.kind() {
        RawMessageErrorKind::NoMessageFound => true,
        RawMessageErrorKind::JetStream(error) => error.error_code() == ErrorCode::NO_MESSAGE_FOUND,
        RawMessageErrorKind::InvalidSubject | RawMessageErrorKind::Other => false,
    }
}

/// Characters that would move a terminal's cursor are shown, not obeyed: anybody may publish a dead letter.
pub(crate) fn shown(text: &str) -> String {
    let escape = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    text.chars().map(escape).collect()
}

pub(crate) fn write_json(
    out: &mut (dyn Write + Send),
    value: &impl Serialize,
) -> anyhow::Result<()> {
    writeln!(out, "{}", serde_json::to_string(value)?)?;
    Ok(())
}
