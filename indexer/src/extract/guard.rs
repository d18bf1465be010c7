//! Guard: libraries that panic on broken files.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Whether a panic on this thread is expected and becomes an error.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `call`; `None` where it panics. Broken files make some libraries panic rather often: the hook of the process
/// is told to keep quiet about this thread meanwhile, and is as it was for all others.
pub fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                loud(info);
            }
        }));
    });
    GUARDED.set(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(false);
    result.ok()
}
