//! The result of a merge.

use super::path::Path;
use super::tree::Tree;

/// The result of a merge into a transaction. The trees can be read until the transaction performs
/// another merge or ends. `T` is the back end's tree type.
#[derive(Debug)]
#[non_exhaustive]
pub struct MergeResult<T = Tree> {
    /// The tree of the transaction before the merge.
    pub ours: T,
    /// The tree of the merged commit.
    pub theirs: T,
    /// The tree of the common ancestor, or an empty tree if there is none.
    pub base: T,
    /// The paths of the conflicting files. Each of these files contains a description of its
    /// conflict and must be replaced or removed before the commit.
    pub conflicts: Vec<Path>,
}

impl<T> MergeResult<T> {
    /// Creates the result of a merge. Only back ends need to call this function.
    #[must_use]
    pub fn new(ours: T, theirs: T, base: T, conflicts: Vec<Path>) -> MergeResult<T> {
        MergeResult { ours, theirs, base, conflicts }
    }

    /// Converts each tree by calling `f`.
    #[must_use]
    pub fn map_trees<U>(self, mut f: impl FnMut(T) -> U) -> MergeResult<U> {
        let MergeResult { ours, theirs, base, conflicts } = self;
        MergeResult { ours: f(ours), theirs: f(theirs), base: f(base), conflicts }
    }
}
