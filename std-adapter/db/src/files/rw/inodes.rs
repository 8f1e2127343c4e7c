//! What is known of the names in a transaction's tree beyond the tree itself: inode numbers, times,
//! and the inodes in use.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use datakit_core::vfs::{Error, Result, Time};

use super::RwTree;
use crate::model::tree::{Name, names};
use crate::transaction::FileAt;
use datakit_server::clock::now;
use datakit_server::inode_numbers;
use datakit_server::tree::{Entry, WeakEntry};

/// The most names of a path. The names below a directory are visited by recursion.
const MAX_DEPTH: usize = 1024;

/// Names that are kept at least before those that nobody needs are looked for.
const MIN_SWEEP: usize = 1024;

/// The names of one transaction. Locked before the transaction itself, and held while both change.
pub(super) struct InodeTable {
    top: NameEntry,
    /// Part of all numbers that follow from a name: a tree that replaces another one has new ones.
    epoch: u64,
    /// When the content began to be what it is where nothing was changed since.
    since: Time,
    /// About how many names there are, and at how many those that nobody needs are looked for.
    size: usize,
    sweep_at: usize,
}

/// What is known of one name.
#[derive(Default)]
struct NameEntry {
    /// Its inode number where that does not follow from its name: it was made, or moved here.
    number: Option<u64>,
    /// When it was made or changed.
    changed: Option<Time>,
    inode: Weak<Inode>,
    below: BTreeMap<Name, NameEntry>,
}

/// A file or directory that somebody holds. It stays what it is when its name is removed, moved, or
/// given to another one.
pub(super) struct Inode {
    pub(super) rw: Weak<RwTree>,
    pub(super) number: u64,
    pub(super) is_dir: bool,
    /// Changed under the lock of [`InodeTable`].
    place: Mutex<Location>,
    /// What the tree has of it, while the tree has it.
    entry: Mutex<Option<WeakEntry>>,
}

/// Where an inode is.
enum Location {
    /// The directory at the top.
    Top,
    /// Under this name.
    In(Arc<Inode>, Name),
    /// It has no name any more. A file has its content still, changed at this time.
    Gone(Time),
}

/// An inode that has lost its name, where it was, and when it was changed.
pub(super) struct UnlinkedInode {
    pub(super) inode: Arc<Inode>,
    /// Below the path that was removed.
    pub(super) path: Vec<u8>,
    changed: Option<Time>,
}

impl InodeTable {
    /// Those of a tree that was made at `since`.
    pub(super) fn new(since: Time) -> InodeTable {
        InodeTable {
            top: NameEntry::default(),
            epoch: epoch(),
            since,
            size: 0,
            sweep_at: MIN_SWEEP,
        }
    }

    /// The inode of the directory at the top.
    pub(super) fn top(&mut self, rw: &Weak<RwTree>) -> Arc<Inode> {
        if let Some(top) = self.top.inode.upgrade() {
            return top;
        }
        let top = Inode::new(rw, inode_numbers::next(), true, Location::Top);
        self.top.inode = Arc::downgrade(&top);
        top
    }

    /// The inode of `name` in `dir`, which is at `path`.
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
        let inode = Inode::new(&dir.rw, number, is_dir, Location::In(dir.clone(), name.into()));
        known.inode = Arc::downgrade(&inode);
        if self.size > self.sweep_at {
            self.size = self.top.sweep();
            self.sweep_at = self.size.saturating_mul(2).max(MIN_SWEEP);
        }
        inode
    }

    /// What is at `path` was made just now, in place of nothing.
    pub(super) fn made(&mut self, path: &[u8], now: Time) {
        *self.known_mut(path) = NameEntry {
            number: Some(inode_numbers::next()),
            changed: Some(now),
            ..NameEntry::default()
        };
        self.touch_parent(path, now);
    }

    /// What is at `path` changed.
    pub(super) fn touch(&mut self, path: &[u8], now: Time) {
        self.known_mut(path).changed = Some(now);
    }

    fn touch_parent(&mut self, path: &[u8], now: Time) {
        if let Some((parent, _)) = crate::model::tree::split(path) {
            self.touch(parent, now);
        }
    }

    /// When what is at `path` changed.
    pub(super) fn changed(&self, path: &[u8]) -> Time {
        let known = names(path).try_fold(&self.top, |known, name| known.below.get(name));
        known.and_then(|known| known.changed).unwrap_or(self.since)
    }

    /// What was at and below `path` is there no more: the inodes of it that somebody holds.
    pub(super) fn remove(&mut self, path: &[u8], now: Time) -> Vec<UnlinkedInode> {
        let mut lost = Vec::new();
        if let Some(known) = self.take(path) {
            known.in_use(&mut Vec::new(), &mut lost);
        }
        self.touch_parent(path, now);
        lost
    }

    /// `inode` is called `name` in `dir` from now on, with all that is below it. Nothing is at
    /// `to`.
    pub(super) fn rename(
        &mut self,
        inode: &Inode,
        from: &[u8],
        dir: &Arc<Inode>,
        name: &[u8],
        to: &[u8],
        now: Time,
    ) {
        let mut known = self.take(from).unwrap_or_default();
        known.number = Some(inode.number);
        *self.known_mut(to) = known;
        *inode.place.lock() = Location::In(dir.clone(), name.into());
        self.touch_parent(from, now);
        self.touch_parent(to, now);
    }

    /// Another tree is in place of this one. An inode is that of its path still where `stays` says
    /// so of path and kind; those that are not.
    pub(super) fn replace(
        &mut self,
        now: Time,
        mut stays: impl FnMut(&[u8], bool) -> bool,
    ) -> Vec<UnlinkedInode> {
        let mut old = std::mem::replace(self, InodeTable::new(now));
        self.top.inode = std::mem::take(&mut old.top.inode);
        let (mut used, mut lost) = (Vec::new(), Vec::new());
        old.top.in_use(&mut Vec::new(), &mut used);
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

    /// `lost` is nowhere.
    pub(super) fn bury(&self, lost: &UnlinkedInode) {
        *lost.inode.place.lock() = Location::Gone(lost.changed.unwrap_or(self.since));
    }

    fn take(&mut self, path: &[u8]) -> Option<NameEntry> {
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
    /// Drops the names below it that nobody needs: how many are left.
    fn sweep(&mut self) -> usize {
        let mut left: usize = 0;
        self.below.retain(|_, known| {
            let below = known.sweep();
            let used =
                known.number.is_some() || known.changed.is_some() || known.inode.strong_count() > 0;
            left = left.saturating_add(below).saturating_add(usize::from(below > 0 || used));
            below > 0 || used
        });
        left
    }

    /// Adds the inodes at and below it that somebody holds, those above before those below.
    fn in_use(&self, path: &mut Vec<u8>, found: &mut Vec<UnlinkedInode>) {
        if let Some(inode) = self.inode.upgrade() {
            found.push(UnlinkedInode { inode, path: path.clone(), changed: self.changed });
        }
        for (name, known) in &self.below {
            let length = path.len();
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            known.in_use(path, found);
            path.truncate(length);
        }
    }
}

impl Inode {
    fn new(rw: &Weak<RwTree>, number: u64, is_dir: bool, place: Location) -> Arc<Inode> {
        Arc::new(Inode {
            rw: rw.clone(),
            number,
            is_dir,
            place: Mutex::new(place),
            entry: Mutex::default(),
        })
    }

    /// Its path. Under the lock of [`InodeTable`] it stays that.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it has none any more; [`Error::NameTooLong`].
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

    /// The directory that has it, and its name there; `None` for the top.
    fn up(&self) -> Result<Option<(Arc<Inode>, Name)>> {
        match &*self.place.lock() {
            Location::Top => Ok(None),
            Location::In(dir, name) => Ok(Some((dir.clone(), name.clone()))),
            Location::Gone(_) => Err(Error::NotFound),
        }
    }

    /// The directory that has it.
    pub(super) fn parent(&self) -> Option<Arc<Inode>> {
        self.up().ok().flatten().map(|(dir, _)| dir)
    }

    /// When it was changed, if it has no name any more.
    pub(super) fn gone(&self) -> Option<Time> {
        match &*self.place.lock() {
            Location::Gone(changed) => Some(*changed),
            _ => None,
        }
    }

    /// Its content was changed where it is.
    pub(super) fn touch(&self, names: &mut InodeTable, at: FileAt<'_>) {
        match at {
            FileAt::Path(path) => names.touch(path, now()),
            FileAt::Detached(_) => *self.place.lock() = Location::Gone(now()),
        }
    }

    /// What the tree has of it, made if it has nothing.
    pub(super) fn entry(&self, make: impl FnOnce() -> Entry) -> Entry {
        let mut kept = self.entry.lock();
        kept.as_ref().and_then(WeakEntry::upgrade).unwrap_or_else(|| {
            let entry = make();
            *kept = entry.downgrade();
            entry
        })
    }

    /// Its name.
    pub(super) fn name(&self) -> Name {
        self.up().ok().flatten().map_or_else(|| b"rw"[..].into(), |(_, name)| name)
    }
}

impl Drop for Inode {
    /// The content of a file without a name goes with it. Directories above are dropped one after
    /// the other, not one within the other.
    fn drop(&mut self) {
        let place = self.place.get_mut();
        let mut next = match std::mem::replace(place, Location::Top) {
            Location::Gone(_) if !self.is_dir => {
                if let Some(rw) = self.rw.upgrade() {
                    rw.forget(self.number);
                }
                None
            }
            Location::In(dir, _) => Some(dir),
            _ => None,
        };
        while let Some(dir) = next {
            next = Arc::into_inner(dir).and_then(|mut dir| {
                let place = dir.place.get_mut();
                match std::mem::replace(place, Location::Top) {
                    Location::In(dir, _) => Some(dir),
                    _ => None,
                }
            });
        }
    }
}
