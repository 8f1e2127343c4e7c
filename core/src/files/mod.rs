//! Ready-made files, the building blocks of a tree.
//!
//! | file | a read returns | a write |
//! |---|---|---|
//! | [`Blob`] | constant bytes | is refused |
//! | [`Doc`] | a constant line | is refused |
//! | [`Status`] | text that is rendered at each open | is refused |
//! | [`Help`] | a description of the files in a directory | is refused |
//! | [`Bytes`] | bytes in RAM | replaces a part of them |
//! | [`Kv`] | bytes from a function | is passed to another function, as part of the whole |
//! | [`Param`] of a [`Value`] | the value and a newline | is parsed, checked and set as a whole |
//! | [`LevelFile`] | a log level | sets the level |
//! | [`Command`] | the reply to the last command | is a command |
//! | [`Live`] | the latest value, then waits for the next | is refused |
//! | [`Queue`] | every value published since the open, then waits | is refused |
//!
//! A value or a command may be written in pieces at consecutive offsets. A newline at the end of a
//! write, a write at another offset, a read, or the clunk ends the value or command. An empty write
//! has no effect.
//!
//! The methods of all files take `&self`, so a file can be a `static`. Constants stay in flash, and
//! values are protected by a critical section, so an interrupt handler may set a [`Value`] or
//! publish to a stream.

mod command;
mod content;
mod level;
mod param;
mod pieces;
mod read_only;
mod stream;
mod util;

pub use command::Command;
pub use content::{Bytes, Kv};
pub use level::{Level, LevelFile};
pub use param::{Choice, Number, Param, ParamType, Value};
pub use read_only::{Blob, Doc, Help, Status};
pub use stream::{Live, Queue};

#[cfg(test)]
mod tests;
