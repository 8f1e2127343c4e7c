//! Ready-made files: what a tree is made of.
//!
//! | file | reads as | a write |
//! |---|---|---|
//! | [`Blob`] | constant bytes | is refused |
//! | [`Bytes`] | bytes in RAM | replaces a part, `>` cuts |
//! | [`Param`] of a [`Value`] | the value and a newline | is parsed, checked and applied as a whole |
//! | [`Status`] | a text made at open | is refused |
//! | [`Command`] | the reply to the last command | is a command |
//! | [`Live`] | the latest value, then waits for another one | is refused |
//! | [`Queue`] | every value published since the open, then waits | is refused |
//! | [`Kv`] | what a function gives | is laid over that and given to another function |
//! | [`LevelFile`] | a level of logging | sets it |
//! | [`Doc`] | a line | is refused |
//! | [`Help`] | what is known of the files of a directory | is refused |
//!
//! A value or command may be written in pieces, at offsets that follow each other; it ends with a
//! newline at the end of a write, a write elsewhere, a read, or the clunk. A write of no bytes is
//! none.
//!
//! All take `&self` and are meant for `static`s: constants in flash, values behind a critical
//! section, so that an interrupt may set a [`Value`] or publish.

mod blob;
mod bytes;
mod command;
mod help;
mod kv;
mod level;
mod live;
mod param;
mod parameter;
mod pieces;
mod queue;
mod status;
mod stream;
mod value;
mod write;

pub use blob::Blob;
pub use bytes::Bytes;
pub use command::Command;
pub use help::{Doc, Help};
pub use kv::Kv;
pub use level::{Level, LevelFile};
pub use live::Live;
pub use param::Param;
pub use parameter::{Choice, Number, ParamType};
pub use queue::Queue;
pub use status::Status;
pub use value::Value;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wait_tests;
