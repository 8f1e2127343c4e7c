//! What is behind a name: an inode with its attributes and what it holds.

use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use datakit_core::vfs::{
    Attr, Create, Error, FileType, Id, New, Result, SetAttr, SetTime, Time, without_set_id,
};

use super::Inode;
use super::lock::Locks;
use super::xattr::Xattrs;
use crate::budget::{Budget, Reservation};
use crate::clock::now;
use crate::inode_numbers;
use crate::sparse_bytes::SparseBytes;

/// An inode. `ino`, `kind` and `version` are outside of all locks: a walk or a listing asks them
/// for every name.
#[derive(Debug)]
pub(super) struct Node {
    ino: u64,
    kind: FileType,
    version: AtomicU32,
    meta: Mutex<Meta>,
    pub(super) body: Body,
    pub(super) locks: Locks,
    pub(super) xattrs: Mutex<Xattrs>,
    pub(super) space: Arc<Budget>,
    _grant: Reservation,
}

/// What an inode holds.
#[derive(Debug)]
pub(super) enum Body {
    File(RwLock<SparseBytes>),
    Dir(RwLock<Entries>),
    Symlink(Box<[u8]>),
    Special,
}

#[derive(Debug)]
struct Meta {
    mode: u32,
    /// Of anything but a directory.
    nlink: u32,
    uid: u32,
    gid: u32,
    atime: Time,
    mtime: Time,
    ctime: Time,
}

/// The names of a directory, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// By the number that a listing counts in: it never goes down, so a listing survives any
    /// change.
    order: BTreeMap<u64, (Arc<[u8]>, Inode)>,
    names: HashMap<Arc<[u8]>, (u64, Inode)>,
    next: u64,
    subdirs: u32,
    /// The directory has been removed: nothing can be made in it.
    pub(super) dead: bool,
}

impl Node {
    /// An inode as `create` wants it, without a name yet.
    pub(super) fn new(create: &Create<'_>, space: &Arc<Budget>) -> Result<Arc<Node>> {
        let (kind, body, bytes) = match create.new {
            New::File | New::Special(FileType::File) => {
                (FileType::File, Body::File(RwLock::new(SparseBytes::new(space.clone()))), 0)
            }
            New::Dir => (FileType::Dir, Body::Dir(RwLock::default()), 0),
            New::Symlink(target) => (FileType::Symlink, Body::Symlink(target.into()), target.len()),
            New::Special(FileType::Dir | FileType::Symlink) => return Err(Error::Invalid),
            New::Special(kind) => (kind, Body::Special, 0),
        };
        let grant = space.reserve_item(bytes)?;
        space.add_inode();
        let now = now();
        // .u carries no permissions of a link, and Linux shows the same for each.
        let mode = if kind == FileType::Symlink { 0o777 } else { create.mode & 0o7777 };
        let meta = Meta {
            mode,
            nlink: 0,
            uid: create.uid,
            gid: create.gid,
            atime: now,
            mtime: now,
            ctime: now,
        };
        Ok(Arc::new(Node {
            ino: inode_numbers::next(),
            kind,
            version: AtomicU32::new(1),
            meta: Mutex::new(meta),
            body,
            locks: Locks::default(),
            xattrs: Mutex::default(),
            space: space.clone(),
            _grant: grant,
        }))
    }

    pub(super) fn id(&self) -> Id {
        // 0 would mean "never cache this".
        Id { ino: self.ino, kind: self.kind, version: self.version.load(Ordering::Relaxed).max(1) }
    }

    pub(super) fn attr(&self) -> Attr {
        let (mut size, mut allocated, mut names) = (0, 0, None);
        match &self.body {
            Body::File(content) => {
                let content = content.read();
                (size, allocated) = (content.size(), content.allocated());
            }
            Body::Dir(entries) => names = Some(entries.read().nlink()),
            Body::Symlink(target) => size = target.len() as u64,
            Body::Special => {}
        }
        let meta = self.meta.lock();
        let nlink = names.unwrap_or(meta.nlink);
        let (mode, uid, gid) = (meta.mode, meta.uid, meta.gid);
        let (atime, mtime, ctime) = (meta.atime, meta.mtime, meta.ctime);
        Attr { id: self.id(), mode, size, allocated, nlink, uid, gid, atime, mtime, ctime }
    }

    /// Whether it has a name: what has none is gone as soon as nobody has it open.
    pub(super) fn has_name(&self) -> bool {
        self.meta.lock().nlink > 0
    }

    pub(super) fn entries(&self) -> Result<&RwLock<Entries>> {
        match &self.body {
            Body::Dir(entries) => Ok(entries),
            _ => Err(Error::NotDirectory),
        }
    }

    pub(super) fn is_dir(&self) -> bool {
        self.kind == FileType::Dir
    }

    /// Copies content at `offset`; of a symbolic link, its target, which is how 9P2000 reads one.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        match &self.body {
            Body::File(content) => Ok(content.read().read(offset, buf)),
            Body::Symlink(target) => {
                let rest = usize::try_from(offset)
                    .ok()
                    .and_then(|at| target.get(at..))
                    .unwrap_or_default();
                let count = rest.len().min(buf.len());
                buf.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                Ok(count)
            }
            Body::Dir(_) => Err(Error::IsDirectory),
            Body::Special => Err(Error::NotSupported),
        }
    }

    /// Puts `data` at `offset`, or at the end.
    pub(super) fn write(
        &self,
        offset: u64,
        data: &[u8],
        append: bool,
        drops_set_id: bool,
    ) -> Result<usize> {
        let mut content = self.content()?.write();
        let offset = if append { content.size() } else { offset };
        let count = content.write(offset, data)?;
        drop(content);
        self.changed_by(drops_set_id);
        Ok(count)
    }

    pub(super) fn truncate(&self, size: u64, drops_set_id: bool) -> Result<()> {
        self.content()?.write().set_size(size)?;
        self.changed_by(drops_set_id);
        Ok(())
    }

    fn content(&self) -> Result<&RwLock<SparseBytes>> {
        match &self.body {
            Body::File(content) => Ok(content),
            Body::Dir(_) => Err(Error::IsDirectory),
            Body::Symlink(_) | Body::Special => Err(Error::Invalid),
        }
    }

    /// Changes attributes. The size comes first: it is the only one that can be refused.
    pub(super) fn set_attr(&self, set: &SetAttr) -> Result<()> {
        if let Some(size) = set.size {
            self.truncate(size, false)?;
        }
        let now = now();
        let time = |to: SetTime| match to {
            SetTime::Now => now,
            SetTime::To(time) => time,
        };
        let mut meta = self.meta.lock();
        // chown(2): another owner's program does not run as the old one's.
        if set.uid.or(set.gid).is_some() && self.kind != FileType::Dir {
            meta.mode = without_set_id(meta.mode);
        }
        meta.mode = set.mode.map_or(meta.mode, |mode| mode & 0o7777);
        meta.uid = set.uid.unwrap_or(meta.uid);
        meta.gid = set.gid.unwrap_or(meta.gid);
        meta.atime = set.atime.map_or(meta.atime, time);
        meta.mtime = set.mtime.map_or(meta.mtime, time);
        meta.ctime = now;
        Ok(())
    }

    /// The content has changed.
    pub(super) fn changed(&self) {
        self.changed_by(false);
    }

    /// The content has changed, by a user who has no right to keep the set-id bits.
    fn changed_by(&self, drops_set_id: bool) {
        self.version.fetch_add(1, Ordering::Relaxed);
        let mut meta = self.meta.lock();
        meta.mtime = now();
        meta.ctime = meta.mtime;
        if drops_set_id {
            meta.mode = without_set_id(meta.mode);
        }
    }

    /// The attributes have changed, the extended ones or the name.
    pub(super) fn touched(&self) {
        self.meta.lock().ctime = now();
    }

    /// One name more.
    pub(super) fn linked(&self) {
        let mut meta = self.meta.lock();
        meta.nlink = meta.nlink.saturating_add(1);
        meta.ctime = now();
    }

    /// One name less.
    pub(super) fn unlinked(&self) {
        let mut meta = self.meta.lock();
        meta.nlink = meta.nlink.saturating_sub(1);
        meta.ctime = now();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.space.remove_inode();
    }
}

impl Entries {
    pub(super) fn get(&self, name: &[u8]) -> Option<&Inode> {
        self.names.get(name).map(|(_, inode)| inode)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The names of the directory: its own, `.`, and the `..` of each directory in it; none once it
    /// was removed.
    fn nlink(&self) -> u32 {
        if self.dead { 0 } else { self.subdirs.saturating_add(2) }
    }

    /// The entries from `cookie` on: where the listing goes on after it, name, inode.
    pub(super) fn from(&self, cookie: u64) -> impl Iterator<Item = (u64, &[u8], &Inode)> {
        self.order
            .range(cookie..)
            .map(|(number, (name, inode))| (number.saturating_add(1), &**name, inode))
    }

    /// Adds `name`, which must not be there.
    pub(super) fn insert(&mut self, name: Arc<[u8]>, inode: Inode) {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        self.insert_at(number, name, inode);
    }

    /// Adds `name` in the place that [`remove`](Entries::remove) told.
    pub(super) fn insert_at(&mut self, number: u64, name: Arc<[u8]>, inode: Inode) {
        self.subdirs = self.subdirs.saturating_add(u32::from(inode.node().is_dir()));
        self.order.insert(number, (name.clone(), inode.clone()));
        self.names.insert(name, (number, inode));
    }

    /// Takes `name` out: the place it had.
    pub(super) fn remove(&mut self, name: &[u8]) -> Option<u64> {
        let (number, inode) = self.names.remove(name)?;
        self.order.remove(&number);
        // What was once full of names is not to keep the room for them.
        if self.names.len() < self.names.capacity() / 8 {
            self.names.shrink_to(self.names.len().saturating_mul(2));
        }
        self.subdirs = self.subdirs.saturating_sub(u32::from(inode.node().is_dir()));
        Some(number)
    }

    /// Takes everything out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Inode> + use<> {
        self.names = HashMap::new();
        std::mem::take(&mut self.order).into_values().map(|(_, inode)| inode)
    }
}
