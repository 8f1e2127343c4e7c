//! One tree under a name at the top of another: `tmp/`, a scratch tree, in the tree of a server's
//! own parameters.

use std::ops::ControlFlow;

use datakit_core::vfs::{
    AnyTree, Attr, Create, DirEntry, Error, Id, Lock, Name, OpenMode, Result, SetAttr, StatFs,
    User, Vfs,
};

/// The tree `outer` with the root of `inner` as one more directory of its root. Inode numbers must
/// differ between the two; those of this crate's trees do.
#[derive(Clone)]
pub struct Mount<A, B> {
    outer: A,
    name: &'static str,
    inner: B,
}

/// An inode, or an open file, of one tree or the other.
#[derive(Clone)]
pub enum Side<X, Y> {
    /// Of the tree that has the other one.
    Outer(X),
    /// Of the tree under the name.
    Inner(Y),
}

/// An open file of the outer tree, and whether it is the listing that has one name more.
#[derive(Clone)]
pub struct Outer<O> {
    open: O,
    root: bool,
}

/// Where a listing of the root goes on after the mounted name: nowhere.
const END: u64 = u64::MAX;

use Side::{Inner, Outer as Out};

impl<A: Vfs, B: Vfs> Mount<A, B> {
    /// Shows `inner` as `name`, in place of what `outer` has under that name.
    pub fn new(outer: A, name: &'static str, inner: B) -> Mount<A, B> {
        Mount { outer, name, inner }
    }

    fn is_root(&self, inode: &A::Inode) -> bool {
        self.outer.id(inode).ino == self.outer.id(&self.outer.root()).ino
    }

    fn is_mounted(&self, inode: &B::Inode) -> bool {
        self.inner.id(inode).ino == self.inner.id(&self.inner.root()).ino
    }
}

impl<A: Vfs, B: Vfs> Vfs for Mount<A, B> {
    type Inode = Side<A::Inode, B::Inode>;
    type Open = Side<Outer<A::Open>, B::Open>;
    type Nature = AnyTree;

    fn root(&self) -> Self::Inode {
        Out(self.outer.root())
    }

    fn attach(&self, user: User<'_>) -> Self::Inode {
        Out(self.outer.attach(user))
    }

    fn parent(&self, inode: &Self::Inode) -> Self::Inode {
        match inode {
            Out(inode) => Out(self.outer.parent(inode)),
            Inner(inode) if self.is_mounted(inode) => self.root(),
            Inner(inode) => Inner(self.inner.parent(inode)),
        }
    }

    fn id(&self, inode: &Self::Inode) -> Id {
        match inode {
            Out(inode) => self.outer.id(inode),
            Inner(inode) => self.inner.id(inode),
        }
    }

    fn name(&self, inode: &Self::Inode, with: &mut dyn FnMut(&[u8])) {
        match inode {
            Out(inode) => self.outer.name(inode, with),
            Inner(inode) if self.is_mounted(inode) => with(self.name.as_bytes()),
            Inner(inode) => self.inner.name(inode, with),
        }
    }

    fn walks_whole(&self) -> bool {
        self.outer.walks_whole()
    }

    async fn lookup(&self, dir: &Self::Inode, name: Name<'_>) -> Result<Self::Inode> {
        match dir {
            Out(dir) if name == self.name && self.is_root(dir) => Ok(Inner(self.inner.root())),
            Out(dir) => self.outer.lookup(dir, name).await.map(Out),
            Inner(dir) => self.inner.lookup(dir, name).await.map(Inner),
        }
    }

    async fn stat(&self, inode: &Self::Inode) -> Result<Attr> {
        match inode {
            Out(inode) => self.outer.stat(inode).await,
            Inner(inode) => self.inner.stat(inode).await,
        }
    }

    async fn open(&self, inode: &Self::Inode, mode: OpenMode) -> Result<Self::Open> {
        match inode {
            Out(inode) => Ok(Out(Outer {
                open: self.outer.open(inode, mode).await?,
                root: self.is_root(inode),
            })),
            Inner(inode) => self.inner.open(inode, mode).await.map(Inner),
        }
    }

    fn close(&self, open: &Self::Open) {
        match open {
            Out(outer) => self.outer.close(&outer.open),
            Inner(open) => self.inner.close(open),
        }
    }

    async fn finish(&self, open: &Self::Open) -> Result<()> {
        match open {
            Out(outer) => self.outer.finish(&outer.open).await,
            Inner(open) => self.inner.finish(open).await,
        }
    }

    async fn read(&self, open: &Self::Open, offset: u64, buf: &mut [u8]) -> Result<usize> {
        match open {
            Out(outer) => self.outer.read(&outer.open, offset, buf).await,
            Inner(open) => self.inner.read(open, offset, buf).await,
        }
    }

    fn waits(&self, open: &Self::Open) -> bool {
        match open {
            Out(outer) => self.outer.waits(&outer.open),
            Inner(open) => self.inner.waits(open),
        }
    }

    fn read_now(&self, open: &Self::Open, offset: u64, buf: &mut [u8]) -> Option<Result<usize>> {
        match open {
            Out(outer) => self.outer.read_now(&outer.open, offset, buf),
            Inner(open) => self.inner.read_now(open, offset, buf),
        }
    }

    async fn write(&self, open: &Self::Open, offset: u64, data: &[u8]) -> Result<usize> {
        match open {
            Out(outer) => self.outer.write(&outer.open, offset, data).await,
            Inner(open) => self.inner.write(open, offset, data).await,
        }
    }

    fn write_now(&self, open: &Self::Open, offset: u64, data: &[u8]) -> Option<Result<usize>> {
        match open {
            Out(outer) => self.outer.write_now(&outer.open, offset, data),
            Inner(open) => self.inner.write_now(open, offset, data),
        }
    }

    async fn readdir(
        &self,
        dir: &Self::Open,
        cookie: u64,
        each: &mut dyn FnMut(DirEntry<'_, Self::Inode>) -> ControlFlow<()>,
    ) -> Result<()> {
        let outer = match dir {
            Inner(dir) => {
                let mut each = |entry: DirEntry<'_, B::Inode>| {
                    let DirEntry { name, id, next, .. } = entry;
                    each(DirEntry { name, inode: &|| Inner((entry.inode)()), id, next })
                };
                return self.inner.readdir(dir, cookie, &mut each).await;
            }
            Out(_) if cookie == END => return Ok(()),
            Out(outer) => outer,
        };
        let mut flow = ControlFlow::Continue(());
        let mut wrapped = |entry: DirEntry<'_, A::Inode>| {
            let DirEntry { name, id, next, .. } = entry;
            if outer.root && name == self.name.as_bytes() {
                return ControlFlow::Continue(());
            }
            flow = each(DirEntry { name, inode: &|| Out((entry.inode)()), id, next });
            flow
        };
        self.outer.readdir(&outer.open, cookie, &mut wrapped).await?;
        if outer.root && flow.is_continue() {
            let inode = Inner(self.inner.root());
            let id = self.id(&inode);
            // The listing ends here, whatever the caller wants of it.
            let _ = each(DirEntry {
                name: self.name.as_bytes(),
                inode: &|| inode.clone(),
                id,
                next: END,
            });
        }
        Ok(())
    }

    async fn create(
        &self,
        dir: &Self::Inode,
        name: Name<'_>,
        create: Create<'_>,
    ) -> Result<Self::Inode> {
        match dir {
            Out(dir) if name == self.name && self.is_root(dir) => Err(Error::Exists),
            Out(dir) => self.outer.create(dir, name, create).await.map(Out),
            Inner(dir) => self.inner.create(dir, name, create).await.map(Inner),
        }
    }

    async fn remove(&self, inode: &Self::Inode) -> Result<()> {
        match inode {
            Out(inode) => self.outer.remove(inode).await,
            Inner(inode) if self.is_mounted(inode) => Err(Error::Busy),
            Inner(inode) => self.inner.remove(inode).await,
        }
    }

    async fn rename(&self, inode: &Self::Inode, dir: &Self::Inode, name: Name<'_>) -> Result<()> {
        match (inode, dir) {
            (Inner(inode), _) if self.is_mounted(inode) => Err(Error::Busy),
            (Out(inode), Out(dir)) => self.outer.rename(inode, dir, name).await,
            (Inner(inode), Inner(dir)) => self.inner.rename(inode, dir, name).await,
            _ => Err(Error::CrossDevice),
        }
    }

    async fn link(&self, inode: &Self::Inode, dir: &Self::Inode, name: Name<'_>) -> Result<()> {
        match (inode, dir) {
            (Out(inode), Out(dir)) => self.outer.link(inode, dir, name).await,
            (Inner(inode), Inner(dir)) => self.inner.link(inode, dir, name).await,
            _ => Err(Error::CrossDevice),
        }
    }

    async fn set_attr(&self, inode: &Self::Inode, set: SetAttr) -> Result<()> {
        match inode {
            Out(inode) => self.outer.set_attr(inode, set).await,
            Inner(inode) => self.inner.set_attr(inode, set).await,
        }
    }

    async fn readlink(&self, inode: &Self::Inode, buf: &mut [u8]) -> Result<usize> {
        match inode {
            Out(inode) => self.outer.readlink(inode, buf).await,
            Inner(inode) => self.inner.readlink(inode, buf).await,
        }
    }

    async fn statfs(&self) -> Result<StatFs> {
        self.inner.statfs().await
    }

    async fn fsync(&self, inode: &Self::Inode, data_only: bool) -> Result<()> {
        match inode {
            Out(inode) => self.outer.fsync(inode, data_only).await,
            Inner(inode) => self.inner.fsync(inode, data_only).await,
        }
    }

    async fn open_xattr(
        &self,
        inode: &Self::Inode,
        name: Option<Name<'_>>,
    ) -> Result<(Self::Open, u64)> {
        match inode {
            Out(inode) => {
                let (open, size) = self.outer.open_xattr(inode, name).await?;
                Ok((Out(Outer { open, root: false }), size))
            }
            Inner(inode) => {
                self.inner.open_xattr(inode, name).await.map(|(open, size)| (Inner(open), size))
            }
        }
    }

    async fn create_xattr(
        &self,
        inode: &Self::Inode,
        name: Name<'_>,
        size: u64,
        create: bool,
        replace: bool,
    ) -> Result<Self::Open> {
        match inode {
            Out(inode) => {
                let open = self.outer.create_xattr(inode, name, size, create, replace).await?;
                Ok(Out(Outer { open, root: false }))
            }
            Inner(inode) => {
                self.inner.create_xattr(inode, name, size, create, replace).await.map(Inner)
            }
        }
    }

    async fn lock(&self, open: &Self::Open, lock: Lock<'_>) -> Result<bool> {
        match open {
            Out(outer) => self.outer.lock(&outer.open, lock).await,
            Inner(open) => self.inner.lock(open, lock).await,
        }
    }

    async fn lock_in_the_way<R>(
        &self,
        open: &Self::Open,
        lock: Lock<'_>,
        with: impl FnOnce(Option<Lock<'_>>) -> R,
    ) -> Result<R> {
        match open {
            Out(outer) => self.outer.lock_in_the_way(&outer.open, lock, with).await,
            Inner(open) => self.inner.lock_in_the_way(open, lock, with).await,
        }
    }
}
