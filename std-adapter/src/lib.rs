//! The desktop side of DataKit: a server of file trees over 9P, the trees it serves, and a client.
//!
//! ```text
//! sockets -> server -> datakit_core (frame, session) -> scratch, tree -> datakit_core -> sockets
//! ```
//!
//! - [`server`]: listens, and serves a tree to each connection on a thread of its own core.
//! - [`scratch`]: a writable tree in memory.
//! - [`tree`]: directories that change at run time, files of closures, values and streams.
//! - [`db`]: a database of branches and transactions, in memory or in a Git repository, as one more
//!   tree.
//! - [`client`]: the other end, asynchronous, in all three dialects; [`client::db`] knows the
//!   database.
//! - [`metrics`]: what a server counts, for Prometheus.
//! - [`memory`]: what was freed goes back to the system.
//! - [`mount`]: one tree under a name of another.
//! - [`url`]: where to listen and to connect.
#![forbid(unsafe_code)]
// Static dispatch only: nobody needs to name these futures.
#![allow(async_fn_in_trait)]

pub mod client;
mod clock;
mod content;
pub mod db;
mod ino;
mod keep_alive;
mod locked;
pub mod memory;
pub mod metrics;
pub mod mount;
pub mod scratch;
pub mod server;
mod space;
pub mod tree;
pub mod url;

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
