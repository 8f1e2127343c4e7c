//! The listing of a directory that is stored as a Git tree.

use std::sync::Arc;

use datakit_core::vfs::{FileType, Id, NAME_MAX};
use datakit_server::tree::{Entry, Listing};

use crate::model::tree::{Name, TreeNode};
use crate::model::tree_entry::{EntryMode, TreeEntry};
use crate::model::tree_text::TreeEntries;

/// A directory that can create the entries of its listing.
pub(super) trait EntrySource: Send + Sync {
    /// Returns the file type and the inode number of an entry that [is shown](is_shown).
    fn kind_and_number(&self, name: &[u8], mode: EntryMode) -> (FileType, u64);

    /// Creates the entry for a node, or returns `None` if the node is not [shown](is_shown).
    fn entry(&self, name: Name, node: TreeNode) -> Option<Entry>;
}

/// Returns whether clients can see an entry. Submodules and names that exceed the maximum file name
/// length are hidden.
pub(super) fn is_shown(name: &[u8], mode: EntryMode) -> bool {
    mode != EntryMode::Submodule && name.len() <= NAME_MAX
}

/// The entries of a stored directory, sorted by the bytes of their names. The listing shares the
/// decoded tree with the cache.
pub(super) struct StoredListing<D> {
    dir: D,
    entries: Arc<TreeEntries>,
    /// The indices of the entries that are shown.
    order: Box<[u32]>,
}

impl<D: EntrySource> StoredListing<D> {
    /// Lists `entries`, the current content of `dir`.
    pub(super) fn new(dir: D, entries: Arc<TreeEntries>) -> StoredListing<D> {
        let entries_by_index = (0..).zip(entries.iter());
        let shown = entries_by_index.filter(|(_, entry)| is_shown(&entry.name, entry.mode));
        let mut order: Vec<(u32, &TreeEntry)> = shown.collect();
        TreeEntries::sort_by_name(&mut order, |(_, entry)| entry);
        let order = order.into_iter().map(|(index, _)| index).collect();
        StoredListing { dir, entries, order }
    }

    fn get(&self, index: usize) -> Option<&TreeEntry> {
        self.entries.get(*self.order.get(index)? as usize)
    }
}

impl<D: EntrySource> Listing for StoredListing<D> {
    fn describe(&self, index: usize, with: &mut dyn FnMut(&[u8], Id)) {
        if let Some(entry) = self.get(index) {
            let (kind, ino) = self.dir.kind_and_number(&entry.name, entry.mode);
            with(&entry.name, Id { ino, kind, version: 0 });
        }
    }

    fn entry(&self, index: usize) -> Option<Entry> {
        let entry = self.get(index)?;
        self.dir.entry(entry.name.clone(), TreeNode::of(entry))
    }
}
