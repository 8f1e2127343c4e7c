//! The database: branches, transactions and merges of a Git repository, as files.
//!
//! ```text
//! files (9P) -> transaction, branch -> model -> store (memory, a repository)
//! ```
//!
//! What is to the right knows nothing of what is to its left: the store knows neither trees nor
//! branches' histories, the merge knows no branch, a transaction knows no file.

#![forbid(unsafe_code)]

mod branch;
pub mod counters;
mod database;
mod error;
mod files;
pub mod integrate;
mod io_error;
mod model;
pub mod remote;
pub mod store;
pub mod transaction;

pub use branch::{Branch, BranchLock};
pub use database::{Database, TRANSACTION_MEMORY};
pub use datakit_client::db::{BranchName, Id};
pub use error::{Error, Fault, Result};
pub use files::tree as file_tree;
pub use io_error::IoError;
pub use model::{diff, history, identity, merge, object, object_cache, tree};
