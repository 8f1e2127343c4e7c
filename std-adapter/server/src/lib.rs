//! Serves file trees over 9P: a tokio server and the trees it serves.
//!
//! ```text
//! sockets -> server -> datakit_core (frame, session) -> scratch, tree -> datakit_core -> sockets
//! ```
//!
//! - [`Server`]: listens, and serves a tree to each connection on a thread of its own core.
//! - [`scratch`]: a writable tree in memory.
//! - [`tree`]: directories that change at run time, files of closures, values and streams.
//! - [`url`]: where to listen and to connect.
//! - [`memory`]: returns freed memory to the system.
#![forbid(unsafe_code)]

pub mod clock;
pub mod content;
pub mod ino;
pub mod keep_alive;
pub mod memory;
pub mod scratch;
mod server;
pub mod space;
pub mod tree;
pub mod url;

pub use server::{
    Distribution, Durations, Limits, MSIZE, PORT_IN_USE, Peer, Seat, Seats, Server, Stats,
    cannot_listen,
};
