//! The inode table of a transaction's tree. For each inode, the table records its number, its
//! modification time, and whether it is in use.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

use datakit_core::vfs::{Error, Result, Time};

use super::RwTree;
use crate::model::tree::{Name, names};
use crate::transaction::FileAt;
use datakit_server::clock::now;
use datakit_server::inode_numbers;
use datakit_server::tree::{Entry, WeakEntry};

/// The maximum number of components in a path. The limit is needed because the inode table is
/// traversed recursively.
const MAX_DEPTH: usize = 1024;

/// The minimum number of entries in the table before unused entries are removed.
const MIN_SWEEP: usize = 1024;

/// The inodes of one transaction. To change the transaction's tree, lock this table before locking
/// the transaction, and keep the table locked during the change.
pub(super) struct InodeTable {
    top: NameEntry,
    /// A number that is hashed into all derived inode numbers. The number changes when a reset or a
    /// merge replaces the tree.
    epoch: u64,
    /// The modification time of nodes that the transaction has not changed.
    since: Time,
    /// The approximate number of entries in the table. Unused entries are removed when this number
    /// reaches `sweep_at`.
    size: usize,
    sweep_at: usize,
}

/// An inode table entry, which records the state of one name in a directory.
#[derive(Default)]
struct NameEntry {
    /// The inode number, if a node was created with this name or moved to it. Otherwise, the inode
    /// number is derived from the name.
    number: Option<u64>,
    /// The modification time, if the node has changed.
    changed: Option<Time>,
    inode: Weak<Inode>,
    below: HashMap<Name, NameEntry>,
}

/// A file or directory that is in use. An inode keeps its identity even if its name is removed,
/// changed, or reused.
pub(super) struct Inode {
    pub(super) rw: Weak<RwTree>,
    pub(super) number: u64,
    pub(super) is_dir: bool,
    /// The inode's location in the tree. It changes only while the [`InodeTable`] is locked.
    location: Mutex<InodeLocation>,
    /// The file-tree entry that represents the inode, if one is in use.
    entry: Mutex<Option<WeakEntry>>,
}

/// The location of an inode in the tree.
enum InodeLocation {
    /// The root directory.
    Top,
    /// A name in a directory.
    In(Arc<Inode>, Name),
    /// The inode was removed and has no name. A removed file keeps its content. The value is the
    /// time of the last change.
    Removed(Time),
}

/// An inode whose name was removed or replaced.
pub(super) struct UnlinkedInode {
    pub(super) inode: Arc<Inode>,
    /// The old path of the inode, relative to the removed node or the replaced tree.
    pub(super) path: Vec<u8>,
    changed: Option<Time>,
}

impl InodeTable {
    /// Creates an inode table for a tree whose modification time is `since`.
    pub(super) fn new(since: Time) -> InodeTable {
        InodeTable {
            top: NameEntry::default(),
            epoch: epoch(),
            since,
            size: 0,
            sweep_at: MIN_SWEEP,
        }
    }

    /// Returns the inode of the root directory.
    pub(super) fn top(&mut self, rw: &Weak<RwTree>) -> Arc<Inode> {
        if let Some(top) = self.top.inode.upgrade() {
            return top;
        }
        let top = Inode::new(rw, inode_numbers::next(), true, InodeLocation::Top);
        self.top.inode = Arc::downgrade(&top);
        top
    }

    /// Returns the inode of the `name` entry in the `dir` directory. `path` is the full path of the
    /// entry.
    pub(super) fn inode(
        &mut self,
        dir: &Arc<Inode>,
        path: &[u8],
        name: &[u8],
        is_dir: bool,
    ) -> Arc<Inode> {
        let derived = inode_numbers::hash_of_child(
            dir.number ^ self.epoch,
            if is_dir { b'D' } else { b'F' },
            name,
        );
        let known = self.known_mut(path);
        if let Some(inode) = known.inode.upgrade() {
            return inode;
        }
        let number = known.number.unwrap_or(derived);
        let inode =
            Inode::new(&dir.rw, number, is_dir, InodeLocation::In(dir.clone(), name.into()));
        known.inode = Arc::downgrade(&inode);
        if self.size > self.sweep_at {
            self.size = self.top.sweep();
            self.sweep_at = self.size.saturating_mul(2).max(MIN_SWEEP);
        }
        inode
    }

    /// Records that a node was created at `path`.
    pub(super) fn created(&mut self, path: &[u8], now: Time) {
        *self.known_mut(path) = NameEntry {
            number: Some(inode_numbers::next()),
            changed: Some(now),
            ..NameEntry::default()
        };
        self.touch_parent(path, now);
    }

    /// Records that the node at `path` has changed.
    pub(super) fn touch(&mut self, path: &[u8], now: Time) {
        self.known_mut(path).changed = Some(now);
    }

    fn touch_parent(&mut self, path: &[u8], now: Time) {
        if let Some((parent, _)) = crate::model::tree::split(path) {
            self.touch(parent, now);
        }
    }

    /// Returns the modification time of the node at `path`.
    pub(super) fn changed(&self, path: &[u8]) -> Time {
        let known = names(path).try_fold(&self.top, |known, name| known.below.get(name));
        known.and_then(|known| known.changed).unwrap_or(self.since)
    }

    /// Records that the node at `path` was removed. Returns all inodes in use at or below `path`.
    pub(super) fn remove(&mut self, path: &[u8], now: Time) -> Vec<UnlinkedInode> {
        let mut lost = Vec::new();
        if let Some(known) = self.remove_entry(path) {
            known.collect_used(&mut Vec::new(), &mut lost);
        }
        self.touch_parent(path, now);
        lost
    }

    /// Records that `inode` and everything below it were moved to `name` in the `dir` directory.
    /// The caller must have removed any existing node at `to`.
    pub(super) fn rename(
        &mut self,
        inode: &Inode,
        from: &[u8],
        dir: &Arc<Inode>,
        name: &[u8],
        to: &[u8],
        now: Time,
    ) {
        let mut known = self.remove_entry(from).unwrap_or_default();
        known.number = Some(inode.number);
        *self.known_mut(to) = known;
        *inode.location.lock() = InodeLocation::In(dir.clone(), name.into());
        self.touch_parent(from, now);
        self.touch_parent(to, now);
    }

    /// Records that the transaction's tree has been replaced by another tree. Keeps the path of
    /// each inode for which `stays` returns `true`, and returns all other inodes. `stays` receives
    /// the path of an inode and a flag that is `true` if the inode is a directory.
    pub(super) fn replace(
        &mut self,
        now: Time,
        mut stays: impl FnMut(&[u8], bool) -> bool,
    ) -> Vec<UnlinkedInode> {
        let mut old = std::mem::replace(self, InodeTable::new(now));
        self.top.inode = std::mem::take(&mut old.top.inode);
        let (mut used, mut lost) = (Vec::new(), Vec::new());
        old.top.collect_used(&mut Vec::new(), &mut used);
        for mut found in used {
            if stays(&found.path, found.inode.is_dir) {
                self.known_mut(&found.path).inode = Arc::downgrade(&found.inode);
            } else {
                found.changed = found.changed.or(Some(old.since));
                lost.push(found);
            }
        }
        lost
    }

    /// Marks an inode as removed.
    pub(super) fn mark_removed(&self, lost: &UnlinkedInode) {
        *lost.inode.location.lock() = InodeLocation::Removed(lost.changed.unwrap_or(self.since));
    }

    fn remove_entry(&mut self, path: &[u8]) -> Option<NameEntry> {
        let (parent, name) = crate::model::tree::split(path)?;
        let parent =
            names(parent).try_fold(&mut self.top, |known, name| known.below.get_mut(name))?;
        parent.below.remove(name)
    }

    fn known_mut(&mut self, path: &[u8]) -> &mut NameEntry {
        let InodeTable { top, size, .. } = self;
        names(path).fold(top, |known, name| {
            known.below.entry(name.into()).or_insert_with(|| {
                *size = size.saturating_add(1);
                NameEntry::default()
            })
        })
    }
}

fn epoch() -> u64 {
    inode_numbers::hash_of(inode_numbers::next())
}

impl NameEntry {
    /// Removes unused entries below this entry and returns the number of remaining entries.
    fn sweep(&mut self) -> usize {
        let mut left: usize = 0;
        self.below.retain(|_, known| {
            let below = known.sweep();
            let used =
                known.number.is_some() || known.changed.is_some() || known.inode.strong_count() > 0;
            left = left.saturating_add(below).saturating_add(usize::from(below > 0 || used));
            below > 0 || used
        });
        self.below.shrink_to_fit();
        left
    }

    /// Adds to `found` all inodes in use at or below this entry. Parents are added before their
    /// children.
    fn collect_used(&self, path: &mut Vec<u8>, found: &mut Vec<UnlinkedInode>) {
        if let Some(inode) = self.inode.upgrade() {
            found.push(UnlinkedInode { inode, path: path.clone(), changed: self.changed });
        }
        for (name, known) in &self.below {
            let length = path.len();
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            known.collect_used(path, found);
            path.truncate(length);
        }
    }
}

impl Inode {
    fn new(rw: &Weak<RwTree>, number: u64, is_dir: bool, location: InodeLocation) -> Arc<Inode> {
        Arc::new(Inode {
            rw: rw.clone(),
            number,
            is_dir,
            location: Mutex::new(location),
            entry: Mutex::default(),
        })
    }

    /// Returns the inode's path. The path stays valid while the [`InodeTable`] is locked.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the node was removed. Returns [`Error::NameTooLong`] if the
    /// path has too many components.
    pub(super) fn path(&self) -> Result<Vec<u8>> {
        let (mut names, mut next) = (Vec::new(), self.up()?);
        while let Some((dir, name)) = next {
            names.push(name);
            if names.len() > MAX_DEPTH {
                return Err(Error::NameTooLong);
            }
            next = dir.up()?;
        }
        names.reverse();
        Ok(names.join(&b'/'))
    }

    /// Returns the parent directory and the name of the inode, or `None` for the root directory.
    fn up(&self) -> Result<Option<(Arc<Inode>, Name)>> {
        match &*self.location.lock() {
            InodeLocation::Top => Ok(None),
            InodeLocation::In(dir, name) => Ok(Some((dir.clone(), name.clone()))),
            InodeLocation::Removed(_) => Err(Error::NotFound),
        }
    }

    /// Returns the parent directory.
    pub(super) fn parent(&self) -> Option<Arc<Inode>> {
        self.up().ok().flatten().map(|(dir, _)| dir)
    }

    /// Returns the modification time of a removed node, or `None` if the node still exists.
    pub(super) fn removed_at(&self) -> Option<Time> {
        match &*self.location.lock() {
            InodeLocation::Removed(changed) => Some(*changed),
            _ => None,
        }
    }

    /// Records that the content of the file has changed.
    pub(super) fn touch(&self, names: &mut InodeTable, at: FileAt<'_>) {
        match at {
            FileAt::Path(path) => names.touch(path, now()),
            FileAt::Detached(_) => *self.location.lock() = InodeLocation::Removed(now()),
        }
    }

    /// Returns the entry that represents the inode in the file tree, calling `make` to create it if
    /// it does not exist.
    pub(super) fn entry(&self, make: impl FnOnce() -> Entry) -> Entry {
        let mut kept = self.entry.lock();
        kept.as_ref().and_then(WeakEntry::upgrade).unwrap_or_else(|| {
            let entry = make();
            *kept = entry.downgrade();
            entry
        })
    }

    /// Returns the name.
    pub(super) fn name(&self) -> Name {
        self.up().ok().flatten().map_or_else(|| b"rw"[..].into(), |(_, name)| name)
    }
}

impl Drop for Inode {
    /// Discards the content of a removed file. Drops the parent directories in a loop, because
    /// dropping them recursively could overflow the stack.
    fn drop(&mut self) {
        let location = self.location.get_mut();
        let mut next = match std::mem::replace(location, InodeLocation::Top) {
            InodeLocation::Removed(_) if !self.is_dir => {
                if let Some(rw) = self.rw.upgrade() {
                    rw.forget(self.number);
                }
                None
            }
            InodeLocation::In(dir, _) => Some(dir),
            _ => None,
        };
        while let Some(dir) = next {
            next = Arc::into_inner(dir).and_then(|mut dir| {
                let location = dir.location.get_mut();
                match std::mem::replace(location, InodeLocation::Top) {
                    InodeLocation::In(dir, _) => Some(dir),
                    _ => None,
                }
            });
        }
    }
}
