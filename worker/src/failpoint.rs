//! Failpoints: named moments at which a test can kill, stall or deceive a worker. See [`runtime::failpoint`].

pub use runtime::failpoint::{Verdict, check, pass, pass_with, reached, reached_with, skips};
