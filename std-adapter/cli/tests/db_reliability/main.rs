//! Tests for the reliability of the database under difficult conditions, such as killed servers,
//! full disks and large repositories.
//!
//! Setting `RELIABILITY=full` runs the long versions of the tests. Tests that mount a disk require
//! root privileges and run only with `--include-ignored`. Each test prints its measurements. Use
//! `--nocapture` to see the output.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing)]

mod dead_client;
mod disk;
mod killed;
mod large;
mod many_clients;
mod other_programs;
mod setup;
mod unusual;
