//! File types from which trees can be built.
//!
//! | file | a read returns | a write |
//! |---|---|---|
//! | [`Blob`] | constant bytes | is refused |
//! | [`Doc`] | a constant line | is refused |
//! | [`Status`] | text that is rendered each time the file is opened | is refused |
//! | [`Help`] | a description of the files in a directory | is refused |
//! | [`Bytes`] | bytes in RAM | replaces part of them |
//! | [`Kv`] | bytes from a function | passes the updated bytes to another function |
//! | [`Param`] of a [`Value`] | the value, followed by a newline | is checked and sets the value |
//! | [`LevelFile`] | a log level | sets the level |
//! | [`Command`] | the reply to the last command | is a command |
//! | [`Live::file`] | the latest value; the next read waits for the next value | is refused |
//! | [`Queue::file`] | every value published since the file was opened; further reads wait | is refused |
//! | [`TaskFile`] | the reply from a task | is passed to a task as one unit |
//!
//! A parameter's value can have one of these types:
//!
//! | type | a read returns, for example | a write also accepts |
//! |---|---|---|
//! | `u8` to `u64`, `i8` to `i64` | `60000` | `60_000`, `0xea60`, `0b101` |
//! | `f32`, `f64` | `0.1`, `3.4028235e38` | any decimal number |
//! | `bool` | `on` | `true`, `1` |
//! | [`Fixed`] | `-12.5` | `-12.50` |
//! | an enum that implements [`Choice`](trait@Choice) | `auto` | |
//! | [`Line`] | a line of text, which may have a default | |
//! | `heapless::String<N>` | a line of text | |
//! | `heapless::Vec<u8, N>` | `0aff` | `0A:FF`, `0a-ff`, `0a_ff`, `0a ff` |
//! | [`Millis`], [`Micros`] | `1.5 s`, `250 ms`, `10 us` | `1500ms`, `2 min`, `0.5 h` |
//! | [`Ipv4`] | `192.168.0.1` | |
//! | [`Mac`] | `02:00:00:12:ab:ff` | `02-00-00-12-AB-FF`, `02000012abff` |
//! | `Option<T>` of one of these types | `none` or the value | |
//! | `[T; N]` of a type whose text contains no spaces | `1 2 3` | `0x1  2\t3` |
//!
//! Parameters can be declared as struct fields instead of table entries. The `Params` macro from
//! the [`datakit-derive`](https://docs.rs/datakit-derive) crate generates a struct that implements
//! [`Fields`](fields::Fields), and the `derive` feature exports the macro from this module. A
//! [`ParamsDir`] contains such a struct and other files.
//!
//! A value or a command may be written in pieces at consecutive offsets. It is complete when a
//! write ends with a newline, when a write starts at a non-consecutive offset, when the file is
//! read, or when the fid is clunked. An empty write has no effect.
//!
//! All methods of a file take `&self`, so a file can be a `static`. The constant parts of a file
//! stay in flash. Values are protected by critical sections, so an interrupt handler may set a
//! [`Value`] or publish to a stream.

mod command;
mod content;
mod display;
pub mod fields;
mod input;
mod level;
mod param;
mod pieces;
mod read_only;
mod render;
mod stream;
mod task;

pub use command::Command;
#[cfg(feature = "derive")]
pub use datakit_derive::{Choice, Params};

pub use content::{Bytes, Kv};
pub use display::Plain;
pub use fields::{Params, ParamsDir, params};
pub use level::{Level, LevelFile};
pub use param::{
    Check, Choice, Description, Field, Fixed, Flags, Ipv4, Line, Mac, Micros, Millis, Number,
    Param, ParamFile, ParamInfo, ParamType, Parameter, Proposed, Rule, Step, StepUnit, Value,
};
pub use read_only::{Blob, Doc, Help, Status};
pub use stream::{Live, Queue, StreamFile};
pub use task::{FileRequest, FileRequests, Operation, TaskFile};
#[cfg(feature = "params")]
pub(crate) use {
    display::{Quoted, write_hex},
    input::check_plain_mode,
    param::{NewTexts, Staging, change_count, count_change, value_waiters},
    pieces::{PieceTarget, apply as apply_piece, write as write_piece},
    render::{Count, render},
    stream::{End, Missed, StreamSource, poll_stream},
};

#[cfg(test)]
mod tests;
