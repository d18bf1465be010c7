//! Failpoints: named moments at which a test can kill, stall or deceive a worker. See [`contract::failpoint`].

pub use contract::failpoint::{Verdict, check, pass, pass_with, reached, reached_with, skips};
