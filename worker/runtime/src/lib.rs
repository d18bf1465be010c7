//! What every program of Ebb is started with. Nothing here knows NATS, Qdrant or ONNX Runtime.
//!
//! | module | what it holds |
//! |---|---|
//! | [`settings`] | reading settings, and what is wrong with them |
//! | [`model_dir`] | which staged model a program uses, and with whose signature |
//! | [`object_stores`] | understanding the URL of an object, and the client of its store |
//! | [`pages`] | completions for shells, and pages for `man` |
//! | [`wait`] | how long a program waits for its servers |
//! | [`log`], [`signals`] | the log of a process, and its end by a signal |
//! | [`failpoint`] | moments at which a test can kill, stall or deceive a program |

pub mod failpoint;
pub mod log;
pub mod model_dir;
pub mod object_stores;
pub mod pages;
pub mod settings;
pub mod signals;
pub mod wait;
