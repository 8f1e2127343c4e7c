//! The data model, which consists of objects, trees, diffs, merges and histories. The model does
//! not depend on how objects are stored.

pub(crate) mod commit;
pub(crate) mod connected;
pub mod diff;
pub(crate) mod entry_name;
pub mod history;
pub mod identity;
pub(crate) mod log_line;
pub mod merge;
pub(crate) mod object;
pub mod object_cache;
mod side_by_side;
#[cfg(test)]
pub(crate) mod test_trees;
pub mod tree;
pub(crate) mod tree_entry;
pub(crate) mod tree_text;
