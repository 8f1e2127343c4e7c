//! Tests the operations of the `Database` trait on a server, in a repository and in memory.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod branches;
mod conformance;
mod merges;
mod other_programs;
mod suite;
mod transactions;
mod trees;
mod watches;
