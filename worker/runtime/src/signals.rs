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
        exit_at_once(OF_A_SIGNAL + kind.as_raw_value());
    });
    Ok(())
}

/// Ends the process without the exit handlers of the libraries in it. Those of ONNX Runtime free what its threads still use,
/// so that a process which ends in the midst of its work could end with SIGSEGV instead.
pub fn exit_at_once(status: i32) -> ! {
    signal_hook::low_level::exit(status)
}
