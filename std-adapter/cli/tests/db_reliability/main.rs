//! What the database withstands: kills, crowds, other programs, full disks, clients that die,
//! repositories of any kind.
//!
//! `RELIABILITY=full` is the long form. What mounts a disk is ignored unless it is asked for with
//! `--include-ignored`: only root may. Each test prints what it measured; `--nocapture` shows it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing)]

mod crowd;
mod dead_client;
mod disk;
mod killed;
mod large;
mod others;
mod place;
mod unusual;
