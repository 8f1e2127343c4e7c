//! The common base of two commits, whose own bases are merged if there are several.

use std::collections::HashMap;

use super::{NameCheck, merge_with};
use crate::model::history;
use crate::model::object_cache::ObjectCache;
use crate::model::tree::{NewObjects, Tree};
use crate::{Id, Result};

/// Times that bases of bases are merged; a history that crosses more often than that is merged with
/// the newest base there.
const MAX_BASE_MERGES: usize = 32;

/// The tree that two commits came from: of their one lowest common ancestor, or a merge of all of
/// them. `None` if they have nothing in common.
///
/// # Errors
/// [`Error::NotFound`] if one of the two is not there.
pub fn base_tree(objects: &ObjectCache, a: Id, b: Id) -> Result<Option<Tree>> {
    let bases = history::merge_bases(objects, a, b)?;
    Bases { objects, crossings: MAX_BASE_MERGES, done: HashMap::new() }.merged(bases)
}

struct Bases<'o> {
    objects: &'o ObjectCache,
    crossings: usize,
    /// What was merged already: where three branches cross, the same bases are met again and again.
    done: HashMap<Vec<Id>, Tree>,
}

impl Bases<'_> {
    /// One tree of commits of which none came from another.
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
            // Of the base with all that was merged before, not only of the first.
            let before = bases.get(..count).unwrap_or_default();
            let below = history::merge_bases_of(self.objects, before, &[*other])?;
            let below = self.merged(below)?.unwrap_or(Tree::stored(Id::EMPTY_TREE));
            // What cannot be merged there is a file that says so, which neither side has: it is a
            // conflict here, too, where both differ.
            let other = self.tree(*other)?;
            merged = merge_with(NameCheck::Skip, self.objects, &below, &merged, &other)?.tree;
        }
        // Written, so that directories are known by their names again.
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
