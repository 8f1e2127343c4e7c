//! Lists the history of a commit and finds the common ancestors of two commits.

mod log;
mod merge_base;
#[cfg(test)]
mod tests;

pub use log::{Log, log};
pub(crate) use merge_base::merge_bases_of;
pub use merge_base::{is_ancestor, merge_bases};
