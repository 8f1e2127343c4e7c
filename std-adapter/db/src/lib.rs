#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod branch;
pub mod counters;
mod database;
mod direct;
mod error;
mod files;
mod integrate;
mod io_error;
mod model;
pub mod remote;
pub mod store;
mod transaction;

pub use branch::{Branch, BranchLock, BranchWatch};
pub use database::{Database, TRANSACTION_MEMORY};
pub use datakit_client::db::{BranchName, Id};
pub use direct::{
    AnyBranch, AnyCommit, AnyDb, AnyTransaction, AnyTree, AnyUrl, DirectBranch, DirectCommit,
    DirectDb, DirectTransaction, DirectTree,
};
pub use error::{Error, Fault, Result, StoreError};
pub use files::tree as file_tree;
pub use integrate::{MergePolicy, fast_forward};
pub use io_error::IoError;
pub use model::identity;
pub use model::merge::{Conflict, ConflictKind, Conflicts};
pub use transaction::{CommitOptions, Committed, Transaction};

/// Blobs, trees and commits in Git's format.
pub mod object {
    pub use crate::model::commit::Commit;
    pub use crate::model::object::{NewObjects, Object, ObjectKind};
    pub use crate::model::tree_entry::{EntryMode, TreeEntry};
    pub use crate::model::tree_text::{TreeEntries, encode_tree};
}

/// Internal functions called by the fuzz targets. The items in this module are not part of the
/// public interface and may change at any time.
#[doc(hidden)]
pub mod fuzz {
    pub use crate::model::{diff, history, merge, object_cache, tree};
}
