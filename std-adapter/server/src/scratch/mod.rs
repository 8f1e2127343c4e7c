//! A writable in-memory tree, similar to a RAM disk.
//!
//! The tree supports sparse files, directories, symbolic links, hard links, owners, times, extended
//! attributes and advisory locks. For named pipes and devices, the tree stores only metadata,
//! because the client's host performs all reads and writes. The tree's memory use is limited. Reads
//! do not update access times.
//!
//! ```text
//! Dentry = a name in a directory, to which a fid refers  ->  Inode = the file, shared by its hard links
//! ```
//!
//! A single lock serializes all changes to names. Reads, writes and lookups contend only with
//! operations on the same file or directory. No operation waits for an event, and no lock is held
//! across an `await`.

mod inode;
mod lock;
mod namespace;
mod xattr;
mod xattr_writer;

#[cfg(test)]
mod tests;

use parking_lot::Mutex;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datakit_core::vfs::{
    Attr, Create, CreateKind, DirEntry, Error, Id, Lock, MutableTree, Name, OpenMode, Result,
    SetAttr, StatFs, Vfs,
};

pub use self::inode::Dentry;
use self::inode::{Body, Inode};
use self::xattr::XattrValue;
use self::xattr_writer::XattrWriter;
use crate::budget::Budget;

/// A writable in-memory tree. Clones share the tree, which is freed when the last clone is dropped.
/// A file exists while a [`Dentry`] or an [`OpenFile`] refers to it.
///
/// The tree does not check permissions, because the clients' hosts check them.
#[derive(Debug, Clone)]
pub struct Scratch(Arc<ScratchInner>);

#[derive(Debug)]
struct ScratchInner {
    root: Dentry,
    budget: Arc<Budget>,
    /// The namespace lock, which is held while names are being changed.
    namespace_lock: Mutex<()>,
    next_open: AtomicU64,
}

/// An open file or directory in a [`Scratch`] tree. Clones refer to the same open file.
#[derive(Debug, Clone)]
pub struct OpenFile(OpenKind);

#[derive(Debug, Clone)]
enum OpenKind {
    Inode { inode: Arc<Inode>, append: bool, drops_set_id: bool, number: u64 },
    Xattr(Arc<XattrValue>),
    XattrWriter(Arc<XattrWriter>),
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch::new()
    }
}

impl Scratch {
    /// The memory limit, in bytes, of a tree created with [`new`](Scratch::new).
    pub const DEFAULT_LIMIT: u64 = 1 << 30;

    /// Creates an empty tree with a memory limit of 1 GiB.
    #[must_use]
    pub fn new() -> Scratch {
        Scratch::with_limit(Scratch::DEFAULT_LIMIT)
    }

    /// Creates an empty tree with the given memory limit in bytes. Content and names count towards
    /// the limit, as does an overhead of about 512 bytes for each file and each name. Operations
    /// that would exceed the limit fail with [`Error::NoSpace`].
    #[must_use]
    pub fn with_limit(limit: u64) -> Scratch {
        let budget = Budget::new(limit);
        let create = Create { kind: CreateKind::Dir, mode: 0o777, uid: 0, gid: 0, exclusive: true };
        // The root is not charged to the tree's budget, because even a tree with a limit of 0 needs
        // a root.
        let Ok(inode) = Inode::new(&create, &Budget::new(u64::MAX)) else {
            unreachable!("an unlimited budget is never exhausted")
        };
        Scratch(Arc::new(ScratchInner {
            root: Dentry::new(inode, b"/", budget.empty_reservation()),
            budget,
            namespace_lock: Mutex::new(()),
            next_open: AtomicU64::new(0),
        }))
    }
}

impl Drop for ScratchInner {
    /// Frees the tree iteratively, because recursion in a deep tree could overflow the stack.
    fn drop(&mut self) {
        let mut rest = vec![self.root.clone()];
        while let Some(dentry) = rest.pop() {
            if let Body::Dir(entries) = &dentry.inode().body {
                rest.extend(entries.write().drain());
            }
        }
    }
}

impl Vfs for Scratch {
    type Inode = Dentry;
    type Open = OpenFile;
    type TreeKind = MutableTree;

    fn root(&self) -> Dentry {
        self.0.root.clone()
    }

    fn parent(&self, dentry: &Dentry) -> Dentry {
        dentry.parent().unwrap_or_else(|| self.root())
    }

    fn id(&self, dentry: &Dentry) -> Id {
        dentry.inode().id()
    }

    fn name(&self, dentry: &Dentry, with: &mut dyn FnMut(&[u8])) {
        let name = dentry.name();
        with(&name)
    }

    async fn lookup(&self, dir: &Dentry, name: Name<'_>) -> Result<Dentry> {
        dir.inode().entries()?.read().get(name.as_bytes()).cloned().ok_or(Error::NotFound)
    }

    async fn stat(&self, dentry: &Dentry) -> Result<Attr> {
        Ok(dentry.inode().attr())
    }

    async fn open(&self, dentry: &Dentry, mode: OpenMode) -> Result<OpenFile> {
        let inode = dentry.inode().clone();
        match inode.body {
            Body::File(_) if mode.truncate => inode.truncate(0, mode.drops_set_id)?,
            Body::Special => return Err(Error::NotSupported),
            _ => {}
        }
        let number = self.0.next_open.fetch_add(1, Ordering::Relaxed);
        let OpenMode { append, drops_set_id, .. } = mode;
        Ok(OpenFile(OpenKind::Inode { inode, append, drops_set_id, number }))
    }

    fn close(&self, open: &OpenFile) {
        if let OpenKind::Inode { inode, number, .. } = &open.0 {
            inode.locks.close(*number);
        }
    }

    async fn flush(&self, open: &OpenFile) -> Result<()> {
        match &open.0 {
            OpenKind::XattrWriter(writer) => writer.finish(),
            _ => Ok(()),
        }
    }

    async fn read(&self, open: &OpenFile, offset: u64, buf: &mut [u8]) -> Result<usize> {
        open.read(offset, buf)
    }

    fn try_read_now(&self, open: &OpenFile, offset: u64, buf: &mut [u8]) -> Option<Result<usize>> {
        Some(open.read(offset, buf))
    }

    async fn write(&self, open: &OpenFile, offset: u64, data: &[u8]) -> Result<usize> {
        open.write(offset, data)
    }

    fn try_write_now(&self, open: &OpenFile, offset: u64, data: &[u8]) -> Option<Result<usize>> {
        Some(open.write(offset, data))
    }

    async fn readdir(
        &self,
        dir: &OpenFile,
        cookie: u64,
        each: &mut dyn FnMut(DirEntry<'_, Dentry>) -> ControlFlow<()>,
    ) -> Result<()> {
        let entries = dir.inode()?.entries()?.read();
        for (next, name, dentry) in entries.iter_from(cookie) {
            if each(DirEntry { name, inode: &|| dentry.clone(), id: dentry.inode().id(), next })
                .is_break()
            {
                break;
            }
        }
        Ok(())
    }

    async fn create(&self, dir: &Dentry, name: Name<'_>, create: Create<'_>) -> Result<Dentry> {
        self.create_now(dir, name, &create)
    }

    async fn remove(&self, dentry: &Dentry) -> Result<()> {
        self.remove_now(dentry)
    }

    async fn rename(&self, dentry: &Dentry, dir: &Dentry, name: Name<'_>) -> Result<()> {
        self.rename_now(dentry, dir, name)
    }

    async fn link(&self, dentry: &Dentry, dir: &Dentry, name: Name<'_>) -> Result<()> {
        self.link_now(dentry, dir, name)
    }

    async fn set_attr(&self, dentry: &Dentry, set: SetAttr) -> Result<()> {
        dentry.inode().set_attr(&set)
    }

    async fn readlink(&self, dentry: &Dentry, buf: &mut [u8]) -> Result<usize> {
        let Body::Symlink(target) = &dentry.inode().body else { return Err(Error::Invalid) };
        buf.get_mut(..target.len()).ok_or(Error::Range)?.copy_from_slice(target);
        Ok(target.len())
    }

    async fn statfs(&self) -> Result<StatFs> {
        Ok(self.0.budget.statfs())
    }

    async fn open_xattr(&self, dentry: &Dentry, name: Option<Name<'_>>) -> Result<(OpenFile, u64)> {
        let inode = dentry.inode();
        let xattrs = inode.xattrs.lock();
        let value = match name {
            Some(name) => xattrs.get(name)?,
            None => xattrs.list(&inode.budget)?,
        };
        let length = value.bytes().len() as u64;
        Ok((OpenFile(OpenKind::Xattr(value)), length))
    }

    async fn create_xattr(
        &self,
        dentry: &Dentry,
        name: Name<'_>,
        size: u64,
        create: bool,
        replace: bool,
    ) -> Result<OpenFile> {
        let writer = XattrWriter::new(dentry.inode().clone(), name, size, create, replace)?;
        Ok(OpenFile(OpenKind::XattrWriter(Arc::new(writer))))
    }

    async fn lock(&self, open: &OpenFile, lock: Lock<'_>) -> Result<bool> {
        let OpenKind::Inode { inode, number, .. } = &open.0 else { return Err(Error::BadFile) };
        inode.locks.lock(*number, &lock, &inode.budget)
    }

    async fn get_lock<R>(
        &self,
        open: &OpenFile,
        lock: Lock<'_>,
        with: impl FnOnce(Option<Lock<'_>>) -> R,
    ) -> Result<R> {
        Ok(open.inode()?.locks.get_lock(&lock, with))
    }
}

impl OpenFile {
    fn inode(&self) -> Result<&Arc<Inode>> {
        match &self.0 {
            OpenKind::Inode { inode, .. } => Ok(inode),
            _ => Err(Error::BadFile),
        }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        match &self.0 {
            OpenKind::Inode { inode, .. } => inode.read(offset, buf),
            OpenKind::Xattr(value) => datakit_core::vfs::read_at(value.bytes(), offset, buf),
            OpenKind::XattrWriter(_) => Err(Error::BadFile),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<usize> {
        match &self.0 {
            OpenKind::Inode { inode, append, drops_set_id, .. } => {
                inode.write(offset, data, *append, *drops_set_id)
            }
            OpenKind::Xattr(_) => Err(Error::BadFile),
            OpenKind::XattrWriter(writer) => writer.write(offset, data),
        }
    }
}
