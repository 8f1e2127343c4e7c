//! Tests for databases in memory and in Git repositories. The tests include cases D1 to D59.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "db/authors.rs"]
mod authors;
#[path = "db/branches.rs"]
mod branches;
#[path = "db/commits.rs"]
mod commits;
#[path = "db/hostile.rs"]
mod hostile;
#[path = "db/log.rs"]
mod log;
#[path = "db/memory.rs"]
mod memory;
#[path = "db/merges.rs"]
mod merges;
#[path = "db/open_files.rs"]
mod open_files;
#[path = "db/persistence.rs"]
mod persistence;
#[path = "db/pruned.rs"]
mod pruned;
#[path = "db/reasons.rs"]
mod reasons;
#[path = "db/snapshots.rs"]
mod snapshots;
#[path = "db/swap.rs"]
mod swap;
#[path = "db/tools.rs"]
mod tools;
#[path = "db/transactions.rs"]
mod transactions;
#[path = "db/trees.rs"]
mod trees;
#[path = "db/watches.rs"]
mod watches;
#[path = "db/work_trees.rs"]
mod work_trees;
