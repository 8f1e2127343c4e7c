//! Tests the reliability of the database with killed servers, many clients, other programs, full
//! disks, clients that die, and unusual or large repositories.
//!
//! Setting `RELIABILITY=full` runs the long versions of the tests. Tests that mount a disk need
//! root and are ignored unless `--include-ignored` is given. Each test prints its measurements,
//! which `--nocapture` shows.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing)]

mod dead_client;
mod disk;
mod killed;
mod large;
mod many_clients;
mod other_programs;
mod setup;
mod unusual;
