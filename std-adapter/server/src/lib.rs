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

pub mod budget;
pub mod clock;
pub mod inode_numbers;
mod keep_alive;
pub mod memory;
pub mod scratch;
mod server;
pub mod sparse_bytes;
pub mod tree;
mod url;

pub use keep_alive::enable_keep_alive;
pub use scratch::Scratch;
pub use server::{
    Durations, Histogram, Limits, MSIZE, Peer, PeerLimiter, PeerPermit, Server, Stats, listen_error,
};
pub use url::{Hyperv, InvalidUrl, Url};
