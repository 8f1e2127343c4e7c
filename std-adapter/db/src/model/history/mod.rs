//! The commit graph: logs and common ancestors.

mod log;
mod merge_base;
#[cfg(test)]
mod tests;

pub use log::{Log, log};
pub(crate) use merge_base::merge_bases_of;
pub use merge_base::{is_ancestor, merge_bases};
