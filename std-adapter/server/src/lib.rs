#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod budget;
pub mod clock;
pub mod inode_numbers;
mod io_reason;
pub mod memory;
pub mod scratch;
mod server;
pub mod sparse_bytes;
pub mod tree;
mod url;

pub use io_reason::io_reason;
pub use scratch::Scratch;
pub use server::{
    Durations, Histogram, Limits, Listener, MSIZE, Peer, PeerLimiter, PeerPermit, Server, Stats,
    enable_keep_alive, listen_error,
};
pub use url::{Hyperv, InvalidUrl, Url};
