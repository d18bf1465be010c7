//! Signals: a program that has nothing to drain ends when it is told to.

use tokio::signal::unix::{SignalKind, signal};

/// Ends the process at SIGTERM and SIGINT, as the system would by itself anywhere but in a container: the first process of
/// a container gets no signal that it does not handle, and would be killed only at the end of the pod's grace. What such a
/// program leaves behind is what a crash leaves behind.
///
/// # Errors
/// If the system refuses to register a handler.
pub fn end_when_told() -> std::io::Result<()> {
    const OF_A_SIGNAL: i32 = 128;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let kind = tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
        };
        tracing::warn!(signal = kind.as_raw_value(), "told to end");
        std::process::exit(OF_A_SIGNAL + kind.as_raw_value());
    });
    Ok(())
}
