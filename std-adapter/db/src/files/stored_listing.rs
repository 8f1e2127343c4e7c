//! The listing of a directory that is stored as a Git tree.

use std::sync::Arc;

use datakit_core::vfs::{Id as QidId, NAME_MAX};
use datakit_server::tree::{Entry, Listing};

use super::ro::DirRef;
use crate::Id;
use crate::model::tree::TreeNode;
use crate::model::tree_entry::{EntryMode, TreeEntry};
use crate::model::tree_text::TreeEntries;

/// The entries of a stored directory, sorted by the bytes of their names. The listing shares the
/// decoded tree with the cache.
pub(super) struct StoredListing {
    dir: Arc<DirRef>,
    entries: Arc<TreeEntries>,
    /// The indices of the entries that are shown.
    order: Box<[u32]>,
}

impl StoredListing {
    /// Lists the tree `id`, which is the current content of `dir`.
    ///
    /// # Errors
    /// Returns [`Error::Broken`](crate::Error::Broken) if the tree is missing from the store or
    /// cannot be read.
    pub(super) fn new(dir: &Arc<DirRef>, id: Id) -> crate::Result<StoredListing> {
        let entries = dir.objects().tree(id).map_err(|error| error.at(&dir.path))?;
        let is_shown =
            |entry: &TreeEntry| entry.mode != EntryMode::Submodule && entry.name.len() <= NAME_MAX;
        let shown = (0..).zip(entries.iter()).filter(|(_, entry)| is_shown(entry));
        let mut order: Vec<(u32, &TreeEntry)> = shown.collect();
        TreeEntries::sort_by_name(&mut order, |(_, entry)| entry);
        let order = order.into_iter().map(|(index, _)| index).collect();
        Ok(StoredListing { dir: dir.clone(), entries, order })
    }

    fn get(&self, index: usize) -> Option<&TreeEntry> {
        self.entries.get(*self.order.get(index)? as usize)
    }
}

impl Listing for StoredListing {
    fn describe(&self, index: usize, with: &mut dyn FnMut(&[u8], QidId)) {
        if let Some(entry) = self.get(index)
            && let Some((kind, ino)) = self.dir.kind_and_number(&entry.name, entry.mode)
        {
            with(&entry.name, QidId { ino, kind, version: 0 });
        }
    }

    fn entry(&self, index: usize) -> Option<Entry> {
        let entry = self.get(index)?;
        self.dir.entry(entry.name.clone(), TreeNode::of(entry))
    }
}
