//! Changed directories. The changes are kept separate from the stored entries.
//!
//! Changing an entry is fast even in a very large directory. Writing a directory is the only
//! operation that takes time proportional to the directory's size.
//!
//! This module and `dir` depend on each other, because together they define a recursive type: a
//! changed directory contains nodes, and a node can be a changed directory.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::dir::{Name, TreeDir, TreeNode};
use crate::model::object::{NewObjects, Object};
use crate::model::tree_entry::{EntryMode, TreeEntry};
use crate::model::tree_entry::{find, order};
use crate::model::tree_text::{TreeEntries, encode_sorted};
use crate::{Id, Result};

/// A changed directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EditedDir {
    before: Arc<TreeEntries>,
    /// The changed entries, keyed by name. Each value is the new node, or `None` if the entry was
    /// removed.
    changes: BTreeMap<Name, Option<TreeNode>>,
    /// The number of entries in the directory.
    count: usize,
}

impl EditedDir {
    /// Creates a copy of a stored directory. The copy has no changes yet.
    pub(crate) fn of(before: Arc<TreeEntries>) -> EditedDir {
        EditedDir { count: before.len(), before, changes: BTreeMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the approximate number of bytes that the stored entries take up in memory.
    pub(crate) fn weight(&self) -> u64 {
        self.before.weight()
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<TreeNode> {
        match self.changes.get(name) {
            Some(changed) => changed.clone(),
            None => find(&self.before, name).map(TreeNode::of),
        }
    }

    pub(crate) fn get_mut(&mut self, name: &[u8]) -> Option<&mut TreeNode> {
        if !self.changes.contains_key(name) {
            let entry = find(&self.before, name)?;
            self.changes.insert(entry.name.clone(), Some(TreeNode::of(entry)));
        }
        self.changes.get_mut(name)?.as_mut()
    }

    pub(crate) fn insert(&mut self, name: Name, node: TreeNode) {
        let was_there = match self.changes.get(&name) {
            Some(changed) => changed.is_some(),
            None => find(&self.before, &name).is_some(),
        };
        self.count += usize::from(!was_there);
        self.changes.insert(name, Some(node));
    }

    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<TreeNode> {
        let before = find(&self.before, name);
        let removed = match (self.changes.get_mut(name), before) {
            (Some(changed), Some(_)) => changed.take(),
            (Some(_), None) => self.changes.remove(name).flatten(),
            (None, Some(entry)) => {
                self.changes.insert(entry.name.clone(), None);
                Some(TreeNode::of(entry))
            }
            (None, None) => None,
        };
        self.count -= usize::from(removed.is_some());
        removed
    }

    /// Returns all changed entries, except for entries that were removed.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (&Name, &TreeNode)> {
        self.changes.iter().filter_map(|(name, node)| Some((name, node.as_ref()?)))
    }

    /// Calls `see` with each entry, in bytewise order of the names.
    pub(crate) fn each(&self, see: &mut dyn FnMut(&Name, TreeNode)) {
        let before = self.before.by_name();
        let mut before =
            before.iter().filter(|entry| !self.changes.contains_key(&entry.name)).peekable();
        for (name, node) in self.changed() {
            while let Some(entry) = before.next_if(|entry| entry.name < *name) {
                see(&entry.name, TreeNode::of(entry));
            }
            see(name, node.clone());
        }
        before.for_each(|entry| see(&entry.name, TreeNode::of(entry)));
    }

    /// Like [`TreeDir::write`], encodes the directory and everything below it.
    pub(crate) fn write(&self, batch: &mut NewObjects) -> Result<(Id, Object)> {
        let mut changed = Vec::with_capacity(self.changes.len());
        for (name, node) in self.changed() {
            let (mode, id) = match node {
                TreeNode::Dir(dir) => (EntryMode::Dir, dir.write(batch)?),
                TreeNode::File(file) => (file.mode, file.content.write(batch)?),
                TreeNode::Submodule(id) => (EntryMode::Submodule, *id),
            };
            changed.push(TreeEntry { name: name.clone(), mode, id });
        }
        changed.sort_by(order);
        let mut changed = changed.iter().peekable();
        let mut all = Vec::with_capacity(self.count);
        for entry in self.before.iter().filter(|entry| !self.changes.contains_key(&entry.name)) {
            while let Some(changed) = changed.next_if(|changed| order(changed, entry).is_lt()) {
                all.push(changed);
            }
            all.push(entry);
        }
        all.extend(changed);
        // Leave out empty directories, because Git does not store them.
        all.retain(|entry| (entry.mode, entry.id) != (EntryMode::Dir, Id::EMPTY_TREE));
        encode_sorted(&all)
    }
}

impl From<EditedDir> for TreeDir {
    fn from(edited: EditedDir) -> TreeDir {
        TreeDir::Edited(Arc::new(edited))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::object_cache::ObjectCache;
    use crate::model::tree_text::encode_tree;
    use crate::store::MemoryStore;

    fn entry(name: &str, mode: EntryMode) -> TreeEntry {
        TreeEntry { name: name.as_bytes().into(), mode, id: Id::from_bytes([7; 20]) }
    }

    fn mode() -> impl Strategy<Value = EntryMode> {
        prop::sample::select(
            [EntryMode::Normal, EntryMode::Exec, EntryMode::Dir, EntryMode::Submodule].as_slice(),
        )
    }

    proptest! {
        #[test]
        fn changes_match_a_map(
            before in prop::collection::btree_map("[a-c.-]{1,2}", mode(), 0..6),
            changes in prop::collection::vec(("[a-c.-]{1,2}", prop::option::of(mode())), 0..12),
        ) {
            // Leave out names that are not valid in a Git tree.
            let named = |name: &String| name != "." && name != "..";
            let mut model: BTreeMap<_, _> = before.into_iter().filter(|(name, _)| named(name)).collect();
            let (_, object) = encode_tree(model.iter().map(|(name, mode)| entry(name, *mode))).unwrap();
            let mut edited = EditedDir::of(Arc::new(TreeEntries::parse(&object.data).unwrap()));
            for (name, mode) in changes.into_iter().filter(|(name, _)| named(name)) {
                match mode {
                    Some(mode) => {
                        edited.insert(name.as_bytes().into(), TreeNode::of(&entry(&name, mode)));
                        model.insert(name, mode);
                    }
                    None => {
                        let removed = edited.remove(name.as_bytes()).map(|node| node.mode());
                        prop_assert_eq!(removed, model.remove(&name));
                    }
                }
            }
            let mut listed = Vec::new();
            edited.each(&mut |name, node| listed.push((String::from_utf8(name.to_vec()).unwrap(), node.mode())));
            prop_assert_eq!(&listed, &model.clone().into_iter().collect::<Vec<_>>());
            prop_assert_eq!(edited.is_empty(), model.is_empty());
            for (name, mode) in &model {
                prop_assert_eq!(edited.get(name.as_bytes()).map(|node| node.mode()), Some(*mode));
                prop_assert_eq!(edited.get_mut(name.as_bytes()).map(|node| node.mode()), Some(*mode));
            }
            let written = edited.write(&mut NewObjects::new()).unwrap().0;
            prop_assert_eq!(written, encode_tree(model.iter().map(|(name, mode)| entry(name, *mode))).unwrap().0);
        }
    }

    #[test]
    fn change_in_a_large_directory_copies_one_entry() {
        let objects = ObjectCache::new(Arc::new(MemoryStore::new()));
        let names: Vec<_> = (0..10_000).map(|n| format!("{n:05}")).collect();
        let (id, object) =
            encode_tree(names.iter().map(|name| entry(name, EntryMode::Normal))).unwrap();
        objects.store().write(&[(id, object)]).unwrap();
        let mut tree = crate::model::tree::Tree::stored(id);
        tree.put_node(&objects, b"05000", TreeNode::file(EntryMode::Normal, "new")).unwrap();
        let TreeDir::Edited(edited) = tree.top() else { panic!("expected a changed directory") };
        assert_eq!((edited.changed().count(), edited.count), (1, 10_000));
        assert!(Arc::ptr_eq(&edited.before, &objects.tree(id).unwrap()));
    }
}
