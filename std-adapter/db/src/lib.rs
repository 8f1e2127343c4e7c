//! The database: branches, transactions and merges of a Git repository, as files.
//!
//! ```text
//! files (9P) -> transaction, branch -> merge, tree, history -> objects -> store (memory, a repository)
//! ```
//!
//! What is to the right knows nothing of what is to its left: the store knows neither trees nor
//! branches' histories, the merge knows no branch, a transaction knows no file.

#![forbid(unsafe_code)]

mod branch;
mod commit_text;
mod connected;
pub mod counters;
mod database;
pub mod diff;
mod edited;
mod entry_name;
mod error;
mod files;
mod group;
pub mod history;
pub mod identity;
pub mod land;
mod log_line;
pub mod merge;
pub mod object;
pub mod objects;
mod patient;
pub mod push;
mod said;
#[cfg(test)]
mod sample;
pub mod schemes;
pub mod store;
pub mod transaction;
pub mod tree;
mod tree_text;

pub use branch::{Branch, Hold};
pub use database::{Database, TRANSACTION_MEMORY};
pub use datakit_client::db::{BranchName, Id};
pub use error::{Error, Fault, Result};
pub use files::tree as file_tree;
pub use patient::PATIENCE;
