//! Inodes and dentries. An inode contains the attributes and content of a file. A dentry is a name
//! that refers to an inode.

use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use datakit_core::vfs::{
    Attr, Create, CreateKind, Error, FileType, Id, Result, SetAttr, SetTime, Time, without_set_id,
};

use super::lock::Locks;
use super::xattr::Xattrs;
use crate::budget::{Budget, Reservation};
use crate::clock::now;
use crate::inode_numbers;
use crate::sparse_bytes::SparseBytes;

/// A name in a [`Scratch`](super::Scratch) tree and the file to which it refers. Clones refer to
/// the same name. A dentry remains valid after its name is removed.
#[derive(Debug, Clone)]
pub struct Dentry(pub(super) Arc<DentryInner>);

#[derive(Debug)]
pub(super) struct DentryInner {
    inode: Arc<Inode>,
    pub(super) location: Mutex<DentryLocation>,
}

/// The name and the parent of a dentry, which change only while the namespace lock is held. A
/// thread acquires a location's lock after all other locks, and never holds the locks of two
/// locations at the same time.
#[derive(Debug)]
pub(super) struct DentryLocation {
    /// The parent directory. The pointer cannot be upgraded if the dentry is the root or its name
    /// has been removed.
    pub(super) parent: Weak<DentryInner>,
    pub(super) name: Arc<[u8]>,
    /// The memory reserved for the name.
    pub(super) reservation: Reservation,
}

impl Dentry {
    /// Creates a dentry that is not yet an entry in a directory.
    pub(super) fn new(inode: Arc<Inode>, name: &[u8], reservation: Reservation) -> Dentry {
        let location =
            Mutex::new(DentryLocation { parent: Weak::new(), name: name.into(), reservation });
        Dentry(Arc::new(DentryInner { inode, location }))
    }

    pub(super) fn inode(&self) -> &Arc<Inode> {
        &self.0.inode
    }

    pub(super) fn name(&self) -> Arc<[u8]> {
        self.0.location.lock().name.clone()
    }

    /// Returns the parent directory, or `None` if the dentry is the root or its name has been
    /// removed.
    pub(super) fn parent(&self) -> Option<Dentry> {
        self.0.location.lock().parent.upgrade().map(Dentry)
    }

    /// Returns whether this dentry is `other` or an ancestor of `other`.
    pub(super) fn contains(&self, other: &Dentry) -> bool {
        std::iter::successors(Some(other.clone()), Dentry::parent)
            .any(|ancestor| Arc::ptr_eq(&ancestor.0, &self.0))
    }
}

/// A file of any type, or a directory. The `number`, `kind` and `version` fields are not protected
/// by a lock, because walks and listings read them for every name.
#[derive(Debug)]
pub(super) struct Inode {
    number: u64,
    kind: FileType,
    version: AtomicU32,
    metadata: Mutex<Metadata>,
    pub(super) body: Body,
    pub(super) locks: Locks,
    pub(super) xattrs: Mutex<Xattrs>,
    pub(super) budget: Arc<Budget>,
    _reservation: Reservation,
}

/// The content of an inode.
#[derive(Debug)]
pub(super) enum Body {
    File(RwLock<SparseBytes>),
    Dir(RwLock<Entries>),
    Symlink(Box<[u8]>),
    Special,
}

#[derive(Debug)]
struct Metadata {
    mode: u32,
    /// The number of hard links to the inode. Directories do not use this field.
    nlink: u32,
    uid: u32,
    gid: u32,
    atime: Time,
    mtime: Time,
    ctime: Time,
}

/// The directory's entries in order of creation.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// The entries, keyed by cookie. A cookie is the position of an entry in a directory listing.
    /// Cookies are never reused, so a listing can be continued after any change.
    by_cookie: BTreeMap<u64, (Arc<[u8]>, Dentry)>,
    by_name: HashMap<Arc<[u8]>, (u64, Dentry)>,
    next_cookie: u64,
    subdirs: u32,
    /// Whether the directory has been removed. Nothing can be created in a removed directory.
    pub(super) is_removed: bool,
}

impl Inode {
    /// Creates an inode without a name.
    pub(super) fn new(create: &Create<'_>, budget: &Arc<Budget>) -> Result<Arc<Inode>> {
        let (kind, body, bytes) = match create.kind {
            CreateKind::File | CreateKind::Special(FileType::File) => {
                let content = SparseBytes::new(budget.clone());
                (FileType::File, Body::File(RwLock::new(content)), 0)
            }
            CreateKind::Dir => (FileType::Dir, Body::Dir(RwLock::default()), 0),
            CreateKind::Symlink(target) => {
                (FileType::Symlink, Body::Symlink(target.into()), target.len())
            }
            CreateKind::Special(FileType::Dir | FileType::Symlink) => return Err(Error::Invalid),
            CreateKind::Special(kind) => (kind, Body::Special, 0),
        };
        let reservation = budget.reserve_item(bytes)?;
        budget.add_inode();
        let now = now();
        // Use 0o777 for every symbolic link, as Linux does, because a 9P2000.u request to create a
        // symbolic link does not specify permissions.
        let mode = if kind == FileType::Symlink { 0o777 } else { create.mode & 0o7777 };
        let (uid, gid) = (create.uid, create.gid);
        let metadata = Metadata { mode, nlink: 0, uid, gid, atime: now, mtime: now, ctime: now };
        Ok(Arc::new(Inode {
            number: inode_numbers::next(),
            kind,
            version: AtomicU32::new(1),
            metadata: Mutex::new(metadata),
            body,
            locks: Locks::default(),
            xattrs: Mutex::default(),
            budget: budget.clone(),
            _reservation: reservation,
        }))
    }

    pub(super) fn id(&self) -> Id {
        // Avoid version 0, because clients do not cache files that have it.
        let version = self.version.load(Ordering::Relaxed).max(1);
        Id { ino: self.number, kind: self.kind, version }
    }

    pub(super) fn attr(&self) -> Attr {
        let (mut size, mut allocated, mut dir_nlink) = (0, 0, None);
        match &self.body {
            Body::File(content) => {
                let content = content.read();
                (size, allocated) = (content.size(), content.allocated());
            }
            Body::Dir(entries) => dir_nlink = Some(entries.read().nlink()),
            Body::Symlink(target) => size = target.len() as u64,
            Body::Special => {}
        }
        let metadata = self.metadata.lock();
        let nlink = dir_nlink.unwrap_or(metadata.nlink);
        let Metadata { mode, uid, gid, atime, mtime, ctime, .. } = *metadata;
        Attr { id: self.id(), mode, size, allocated, nlink, uid, gid, atime, mtime, ctime }
    }

    /// Returns whether at least one hard link to the inode exists. An inode without hard links is
    /// freed when the last client closes it.
    pub(super) fn has_name(&self) -> bool {
        self.metadata.lock().nlink > 0
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

    /// Reads the content starting at `offset`. As in 9P2000, the content of a symbolic link is its
    /// target.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        match &self.body {
            Body::File(content) => Ok(content.read().read(offset, buf)),
            Body::Symlink(target) => {
                let rest = usize::try_from(offset)
                    .ok()
                    .and_then(|offset| target.get(offset..))
                    .unwrap_or_default();
                let count = rest.len().min(buf.len());
                buf.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                Ok(count)
            }
            Body::Dir(_) => Err(Error::IsDirectory),
            Body::Special => Err(Error::NotSupported),
        }
    }

    /// Writes `data` at `offset`, or to the end of the file if `append` is `true`.
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
        self.content_changed_by(drops_set_id);
        Ok(count)
    }

    pub(super) fn truncate(&self, size: u64, drops_set_id: bool) -> Result<()> {
        self.content()?.write().set_size(size)?;
        self.content_changed_by(drops_set_id);
        Ok(())
    }

    fn content(&self) -> Result<&RwLock<SparseBytes>> {
        match &self.body {
            Body::File(content) => Ok(content),
            Body::Dir(_) => Err(Error::IsDirectory),
            Body::Symlink(_) | Body::Special => Err(Error::Invalid),
        }
    }

    /// Sets attributes. The size is set first, because setting it is the only step that can fail.
    pub(super) fn set_attr(&self, set: &SetAttr) -> Result<()> {
        if let Some(size) = set.size {
            self.truncate(size, false)?;
        }
        let now = now();
        let time = |to: SetTime| match to {
            SetTime::Now => now,
            SetTime::To(time) => time,
        };
        let mut metadata = self.metadata.lock();
        // Clear the set-user-id and set-group-id bits, like `chown(2)`. If the bits remained set,
        // the program would run with the new owner's privileges.
        if set.uid.or(set.gid).is_some() && self.kind != FileType::Dir {
            metadata.mode = without_set_id(metadata.mode);
        }
        metadata.mode = set.mode.map_or(metadata.mode, |mode| mode & 0o7777);
        metadata.uid = set.uid.unwrap_or(metadata.uid);
        metadata.gid = set.gid.unwrap_or(metadata.gid);
        metadata.atime = set.atime.map_or(metadata.atime, time);
        metadata.mtime = set.mtime.map_or(metadata.mtime, time);
        metadata.ctime = now;
        Ok(())
    }

    /// Records a change to the content.
    pub(super) fn content_changed(&self) {
        self.content_changed_by(false);
    }

    /// Records a change to the content. Clears the set-user-id and set-group-id bits if
    /// `drops_set_id` is `true`.
    fn content_changed_by(&self, drops_set_id: bool) {
        self.version.fetch_add(1, Ordering::Relaxed);
        let mut metadata = self.metadata.lock();
        metadata.mtime = now();
        metadata.ctime = metadata.mtime;
        if drops_set_id {
            metadata.mode = without_set_id(metadata.mode);
        }
    }

    /// Records a change to the name or to an extended attribute.
    pub(super) fn touch_ctime(&self) {
        self.metadata.lock().ctime = now();
    }

    /// Increments the number of hard links to the inode.
    pub(super) fn add_link(&self) {
        let mut metadata = self.metadata.lock();
        metadata.nlink = metadata.nlink.saturating_add(1);
        metadata.ctime = now();
    }

    /// Decrements the number of hard links to the inode.
    pub(super) fn remove_link(&self) {
        let mut metadata = self.metadata.lock();
        metadata.nlink = metadata.nlink.saturating_sub(1);
        metadata.ctime = now();
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        self.budget.remove_inode();
    }
}

impl Entries {
    pub(super) fn get(&self, name: &[u8]) -> Option<&Dentry> {
        self.by_name.get(name).map(|(_, dentry)| dentry)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Returns the directory's link count. The directory's name, its `.` entry and the `..` entry
    /// of each subdirectory count as links. Returns 0 if the directory has been removed.
    fn nlink(&self) -> u32 {
        if self.is_removed { 0 } else { self.subdirs.saturating_add(2) }
    }

    /// Returns the entries starting at `cookie`. Each entry is paired with the cookie at which a
    /// listing continues after that entry.
    pub(super) fn iter_from(&self, cookie: u64) -> impl Iterator<Item = (u64, &[u8], &Dentry)> {
        self.by_cookie
            .range(cookie..)
            .map(|(cookie, (name, dentry))| (cookie.saturating_add(1), &**name, dentry))
    }

    /// Adds an entry at the end of the directory. Its name must not be in use.
    pub(super) fn insert(&mut self, name: Arc<[u8]>, dentry: Dentry) {
        let cookie = self.next_cookie;
        self.next_cookie = self.next_cookie.saturating_add(1);
        self.insert_at(cookie, name, dentry);
    }

    /// Adds an entry at `cookie`, a position returned by [`remove`](Entries::remove).
    pub(super) fn insert_at(&mut self, cookie: u64, name: Arc<[u8]>, dentry: Dentry) {
        self.subdirs = self.subdirs.saturating_add(u32::from(dentry.inode().is_dir()));
        self.by_cookie.insert(cookie, (name.clone(), dentry.clone()));
        self.by_name.insert(name, (cookie, dentry));
    }

    /// Removes an entry and returns its cookie.
    pub(super) fn remove(&mut self, name: &[u8]) -> Option<u64> {
        let (cookie, dentry) = self.by_name.remove(name)?;
        self.by_cookie.remove(&cookie);
        // Shrink the table if it is much larger than necessary.
        if self.by_name.len() < self.by_name.capacity() / 8 {
            self.by_name.shrink_to(self.by_name.len().saturating_mul(2));
        }
        self.subdirs = self.subdirs.saturating_sub(u32::from(dentry.inode().is_dir()));
        Some(cookie)
    }

    /// Removes all entries.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Dentry> + use<> {
        self.by_name = HashMap::new();
        std::mem::take(&mut self.by_cookie).into_values().map(|(_, dentry)| dentry)
    }
}
