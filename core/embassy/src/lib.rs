#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]
// Callers use static dispatch, so they neither name the returned futures nor require them to be
// `Send`.
#![allow(async_fn_in_trait)]

#[cfg(test)]
extern crate std;

mod acceptor;
mod config;
mod connection;
mod connections;
mod file;
mod memory;
mod quota;
mod server;

pub use config::Config;
pub use connection::EndReason;
pub use connections::{ConnectionInfo, Connections, Peer};
pub use memory::Memory;
pub use quota::{OpenQuota, QuotaTree, SharedTree};
pub use server::Server;
