//! Objects, trees, diffs, merges and histories: what a commit is, whatever stores it.

mod commit_text;
pub(crate) mod connected;
pub mod diff;
mod edited;
pub(crate) mod entry_name;
pub mod history;
pub mod identity;
pub(crate) mod log_line;
pub mod merge;
pub mod object;
pub mod object_cache;
#[cfg(test)]
pub(crate) mod test_trees;
pub mod tree;
mod tree_text;
