//! The database: branches, transactions and merges of a Git repository, as files.
//!
//! ```text
//! files (9P) -> transaction, branch -> merge, tree, history -> objects -> store (memory, a repository)
//! ```
//!
//! What is to the right knows nothing of what is to its left: the store knows neither trees nor branches' histories, the merge knows
//! no branch, a transaction knows no file.

mod branch_name;
mod error;
mod id;
pub mod object;
pub mod objects;
pub mod store;
pub mod tree;

pub use branch_name::BranchName;
pub use error::{Error, Result};
pub use id::Id;
