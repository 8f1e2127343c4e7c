//! A file tree over 9P, for all sizes: no `std`, no allocator, no `unsafe`.
//!
//! With the feature `alloc` the texts of errors that are made at run time are on the heap, and so
//! is what a request that is seldom made needs while it is answered; everything else is the same.
//!
//! Bytes go right, once; nothing calls back to its left:
//!
//! ```text
//! transport -> frame -> decode -> session (fid) -> tree (inode) -> encode -> transport
//! embedded-io  serve/   wire/     session/         vfs/            wire/     embedded-io
//! ```
//!
//! | layer | knows | does not know |
//! |---|---|---|
//! | [`wire`] | bytes, the three dialects | fids' meaning, trees, I/O |
//! | [`session`] | fids, tags, msize, dialect of one connection | transports, what a tree is made of |
//! | [`vfs`] | inodes, names, attributes, files that wait | fid, tag, qid, dialect, sockets |
//! | [`serve`] | frames in, frames out, N workers, flush | messages |
//!
//! Read in this order: [`serve`], [`wire`], [`session`], [`vfs`], then [`files`] for what a tree is
//! made of.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]
// Static dispatch only: nobody needs to name these futures or to ask whether they are `Send`.
#![allow(async_fn_in_trait)]

#[cfg(any(feature = "alloc", test))]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod decimal;
pub mod files;
pub mod serve;
pub mod session;
pub mod vfs;
pub mod wire;

pub use decimal::Decimal;
