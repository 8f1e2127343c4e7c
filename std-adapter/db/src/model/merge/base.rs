//! Computes the base tree of a merge. If two commits have several merge bases, the bases are merged
//! recursively.

use std::collections::HashMap;

use super::{NameCheck, merge_with};
use crate::model::history;
use crate::model::object::NewObjects;
use crate::model::object_cache::ObjectCache;
use crate::model::tree::Tree;
use crate::{Id, Result};

/// The maximum number of merge-base sets to merge when computing one base tree. When this limit is
/// reached, only the newest commit of each set is used.
const MAX_BASE_MERGES: usize = 32;

/// Returns the base tree for a merge of two commits. If the commits have several merge bases, the
/// result is a merge of all bases. Returns `None` if the commits have no common ancestor.
///
/// # Errors
/// Returns [`Error::Broken`](crate::Error::Broken) if a commit or tree is missing or cannot be
/// read.
pub fn base_tree(objects: &ObjectCache, a: Id, b: Id) -> Result<Option<Tree>> {
    let bases = history::merge_bases(objects, a, b)?;
    Bases { objects, crossings: MAX_BASE_MERGES, done: HashMap::new() }.merged(bases)
}

struct Bases<'o> {
    objects: &'o ObjectCache,
    crossings: usize,
    /// The results of earlier merges, which are cached because criss-cross merges can lead to the
    /// same bases repeatedly.
    done: HashMap<Vec<Id>, Tree>,
}

impl Bases<'_> {
    /// Merges the trees of several commits. No commit in the list may be an ancestor of another
    /// one.
    fn merged(&mut self, bases: Vec<Id>) -> Result<Option<Tree>> {
        let Some((first, others)) = bases.split_first() else { return Ok(None) };
        if let Some(tree) = self.done.get(&bases) {
            return Ok(Some(tree.clone()));
        }
        let mut merged = self.tree(*first)?;
        if others.is_empty() || self.crossings == 0 {
            return Ok(Some(merged));
        }
        self.crossings -= 1;
        for (count, other) in (1..).zip(others) {
            // Find the merge base of `other` and all commits merged so far, because a merge base
            // computed from only the first of these commits could be older.
            let before = bases.get(..count).unwrap_or_default();
            let below = history::merge_bases_of(self.objects, before, &[*other])?;
            let below = self.merged(below)?.unwrap_or(Tree::stored(Id::EMPTY_TREE));
            // At a conflicting path, the merged tree contains a file that neither side of the outer
            // merge contains. Therefore, the outer merge also has a conflict if its sides differ at
            // that path.
            let other = self.tree(*other)?;
            merged = merge_with(NameCheck::Skip, self.objects, &below, &merged, &other)?.tree;
        }
        // Write the merged tree to the store, so that unchanged directories can be compared by
        // hash.
        let mut batch = NewObjects::new();
        let merged = Tree::stored(merged.write(&mut batch)?);
        self.objects.store().write(&batch)?;
        self.done.insert(bases, merged.clone());
        Ok(Some(merged))
    }

    fn tree(&self, commit: Id) -> Result<Tree> {
        Ok(Tree::stored(self.objects.commit(commit)?.tree))
    }
}
