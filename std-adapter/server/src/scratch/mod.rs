//! A writable tree in memory: what a RAM disk is to a kernel.
//!
//! Files with holes, directories, symbolic and hard links, named pipes and devices (recorded, the
//! client's host runs them), owners, times, extended attributes, advisory locks. A limit bounds all
//! of it together. The time of the last read is not kept.
//!
//! ```text
//! Inode = a name in a directory (what a fid stands for)  ->  Node = what is behind it, shared by hard links
//! ```
//!
//! Changes of names go one after the other through one lock; reads, writes and lookups only meet on
//! the same file or directory. No lock is held over an await, and no call waits.

mod lock;
mod names;
mod node;

#[cfg(test)]
mod tests;
mod xattr;

use parking_lot::Mutex;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use datakit_core::vfs::{
    Attr, Create, DirEntry, Error, Id, Lock, MutableTree, Name, New, OpenMode, Result, SetAttr,
    StatFs, Vfs,
};

use self::node::{Body, Node};
use self::xattr::{Value, Writing};
use crate::budget::{Budget, Reservation};

/// Bytes that a tree may use unless it is told otherwise.
pub const LIMIT: u64 = 1 << 30;

/// A writable tree in memory. Clones are the same tree; the content goes with the last one and the
/// last inode.
#[derive(Debug, Clone)]
pub struct Scratch(Arc<Tree>);

#[derive(Debug)]
struct Tree {
    root: Inode,
    space: Arc<Budget>,
    /// Held for every change of names.
    changes: Mutex<()>,
    opens: AtomicU64,
}

/// A name in a [`Scratch`] tree and what is behind it. Clones are the same one; it stays valid when
/// the name is removed.
#[derive(Debug, Clone)]
pub struct Inode(Arc<Dentry>);

#[derive(Debug)]
struct Dentry {
    node: Arc<Node>,
    place: Mutex<Place>,
}

/// Where a name is. Changed under [`Tree::changes`]; its own lock is taken last and alone.
#[derive(Debug)]
struct Place {
    /// Nothing for the root and for what has been removed.
    parent: Weak<Dentry>,
    name: Arc<[u8]>,
    /// What the name is charged.
    grant: Reservation,
}

/// An open file or directory of a [`Scratch`] tree. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Open(Opened);

#[derive(Debug, Clone)]
enum Opened {
    Node { node: Arc<Node>, append: bool, drops_set_id: bool, number: u64 },
    Value(Arc<Value>),
    Writing(Arc<Writing>),
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch::new()
    }
}

impl Scratch {
    /// An empty tree of at most [`LIMIT`] bytes.
    #[must_use]
    pub fn new() -> Scratch {
        Scratch::with_limit(LIMIT)
    }

    /// An empty tree of at most `limit` bytes: content, names and about 512 bytes for each of them.
    /// What does not fit is [`Error::NoSpace`].
    #[must_use]
    pub fn with_limit(limit: u64) -> Scratch {
        let space = Budget::new(limit);
        let create = Create { new: New::Dir, mode: 0o777, uid: 0, gid: 0, exclusive: true };
        // The root is not charged to the limit: there is a tree even in no space at all.
        let root = Node::new(&create, &Budget::new(u64::MAX))
            .and_then(|node| Inode::new(node, b"/", &space, true));
        let Ok(root) = root else { unreachable!("an unlimited space grants everything") };
        Scratch(Arc::new(Tree { root, space, changes: Mutex::new(()), opens: AtomicU64::new(0) }))
    }
}

impl Drop for Tree {
    /// Level by level: by recursion, a deep tree would overflow the stack.
    fn drop(&mut self) {
        let mut rest = vec![self.root.clone()];
        while let Some(inode) = rest.pop() {
            if let Body::Dir(entries) = &inode.node().body {
                rest.extend(entries.write().drain());
            }
        }
    }
}

impl Vfs for Scratch {
    type Inode = Inode;
    type Open = Open;
    type TreeKind = MutableTree;

    fn root(&self) -> Inode {
        self.0.root.clone()
    }

    fn parent(&self, inode: &Inode) -> Inode {
        inode.parent().unwrap_or_else(|| self.root())
    }

    fn id(&self, inode: &Inode) -> Id {
        inode.node().id()
    }

    fn name(&self, inode: &Inode, with: &mut dyn FnMut(&[u8])) {
        let name = inode.name();
        with(&name)
    }

    async fn lookup(&self, dir: &Inode, name: Name<'_>) -> Result<Inode> {
        dir.node().entries()?.read().get(name.as_bytes()).cloned().ok_or(Error::NotFound)
    }

    async fn stat(&self, inode: &Inode) -> Result<Attr> {
        Ok(inode.node().attr())
    }

    async fn open(&self, inode: &Inode, mode: OpenMode) -> Result<Open> {
        let node = inode.node().clone();
        match node.body {
            Body::File(_) if mode.truncate => node.truncate(0, mode.drops_set_id)?,
            Body::Special => return Err(Error::NotSupported),
            _ => {}
        }
        let number = self.0.opens.fetch_add(1, Ordering::Relaxed);
        Ok(Open(Opened::Node {
            node,
            append: mode.append,
            drops_set_id: mode.drops_set_id,
            number,
        }))
    }

    fn close(&self, open: &Open) {
        if let Opened::Node { node, number, .. } = &open.0 {
            node.locks.close(*number);
        }
    }

    async fn flush(&self, open: &Open) -> Result<()> {
        match &open.0 {
            Opened::Writing(writing) => writing.flush(),
            _ => Ok(()),
        }
    }

    async fn read(&self, open: &Open, offset: u64, buf: &mut [u8]) -> Result<usize> {
        open.read(offset, buf)
    }

    fn try_read_now(&self, open: &Open, offset: u64, buf: &mut [u8]) -> Option<Result<usize>> {
        Some(open.read(offset, buf))
    }

    async fn write(&self, open: &Open, offset: u64, data: &[u8]) -> Result<usize> {
        open.write(offset, data)
    }

    fn try_write_now(&self, open: &Open, offset: u64, data: &[u8]) -> Option<Result<usize>> {
        Some(open.write(offset, data))
    }

    async fn readdir(
        &self,
        dir: &Open,
        cookie: u64,
        each: &mut dyn FnMut(DirEntry<'_, Inode>) -> ControlFlow<()>,
    ) -> Result<()> {
        let entries = dir.node()?.entries()?.read();
        for (next, name, inode) in entries.from(cookie) {
            if each(DirEntry { name, inode: &|| inode.clone(), id: inode.node().id(), next })
                .is_break()
            {
                break;
            }
        }
        Ok(())
    }

    async fn create(&self, dir: &Inode, name: Name<'_>, create: Create<'_>) -> Result<Inode> {
        self.create_now(dir, name, &create)
    }

    async fn remove(&self, inode: &Inode) -> Result<()> {
        self.remove_now(inode)
    }

    async fn rename(&self, inode: &Inode, dir: &Inode, name: Name<'_>) -> Result<()> {
        self.rename_now(inode, dir, name)
    }

    async fn link(&self, inode: &Inode, dir: &Inode, name: Name<'_>) -> Result<()> {
        self.link_now(inode, dir, name)
    }

    async fn set_attr(&self, inode: &Inode, set: SetAttr) -> Result<()> {
        inode.node().set_attr(&set)
    }

    async fn readlink(&self, inode: &Inode, buf: &mut [u8]) -> Result<usize> {
        let Body::Symlink(target) = &inode.node().body else { return Err(Error::Invalid) };
        buf.get_mut(..target.len()).ok_or(Error::Range)?.copy_from_slice(target);
        Ok(target.len())
    }

    async fn statfs(&self) -> Result<StatFs> {
        Ok(self.0.space.statfs())
    }

    async fn open_xattr(&self, inode: &Inode, name: Option<Name<'_>>) -> Result<(Open, u64)> {
        let value = xattr::read(inode.node(), name)?;
        let length = value.bytes().len() as u64;
        Ok((Open(Opened::Value(value)), length))
    }

    async fn create_xattr(
        &self,
        inode: &Inode,
        name: Name<'_>,
        size: u64,
        create: bool,
        replace: bool,
    ) -> Result<Open> {
        let writing = Writing::new(inode.node().clone(), name, size, create, replace)?;
        Ok(Open(Opened::Writing(Arc::new(writing))))
    }

    async fn lock(&self, open: &Open, lock: Lock<'_>) -> Result<bool> {
        let Opened::Node { node, number, .. } = &open.0 else { return Err(Error::BadFile) };
        node.locks.lock(*number, &lock, &node.space)
    }

    async fn get_lock<R>(
        &self,
        open: &Open,
        lock: Lock<'_>,
        with: impl FnOnce(Option<Lock<'_>>) -> R,
    ) -> Result<R> {
        Ok(open.node()?.locks.in_the_way(&lock, with))
    }
}

impl Open {
    fn node(&self) -> Result<&Arc<Node>> {
        match &self.0 {
            Opened::Node { node, .. } => Ok(node),
            _ => Err(Error::BadFile),
        }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        match &self.0 {
            Opened::Node { node, .. } => node.read(offset, buf),
            Opened::Value(value) => datakit_core::vfs::read_at(value.bytes(), offset, buf),
            Opened::Writing(_) => Err(Error::BadFile),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<usize> {
        match &self.0 {
            Opened::Node { node, append, drops_set_id, .. } => {
                node.write(offset, data, *append, *drops_set_id)
            }
            Opened::Value(_) => Err(Error::BadFile),
            Opened::Writing(writing) => writing.write(offset, data),
        }
    }
}
