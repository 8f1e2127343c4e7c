//! Limits the number of files that each client can have open.

use core::cell::Cell;
use core::fmt;
use core::ops::ControlFlow;

use datakit_core::Decimal;
use datakit_core::vfs::{
    Attr, Client, DirEntry, Error, FileType, Handle, Id, ImmutableTree, Name, OpenMode, PackedPath,
    Result, SetAttr, StaticTree, Vfs,
};

/// A limit on the number of files that each of `CLIENTS` clients can have open. The clients share a
/// pool of `OPENS` open files. Each client can always open `RESERVED` files, regardless of how many
/// files the other clients have open.
#[derive(Debug)]
pub struct OpenQuota<const CLIENTS: usize, const OPENS: usize, const RESERVED: usize> {
    open: [Cell<usize>; CLIENTS],
}

impl<const CLIENTS: usize, const OPENS: usize, const RESERVED: usize>
    OpenQuota<CLIENTS, OPENS, RESERVED>
{
    /// Creates a quota with no open files.
    pub const fn new() -> Self {
        const { assert!(CLIENTS * RESERVED <= OPENS, "the reserved files exceed OPENS") };
        OpenQuota { open: [const { Cell::new(0) }; CLIENTS] }
    }

    fn open_files(&self, client: usize) -> Option<&Cell<usize>> {
        self.open.get(client)
    }

    /// Reserves room for one more open file.
    fn acquire(&self, client: usize) -> Result<()> {
        let own = self.open_files(client).ok_or(Error::TooManyOpen)?;
        let taken: usize = self.open.iter().map(|open| open.get().max(RESERVED)).sum();
        if own.get() >= RESERVED && taken >= OPENS {
            let own = Decimal::from(own.get());
            return Err(Error::TooManyOpen.with_message(format_args!(
                "this connection has {own} open files; the rest is reserved for others"
            )));
        }
        own.set(own.get() + 1);
        Ok(())
    }

    fn release(&self, client: usize) {
        if let Some(own) = self.open_files(client) {
            own.set(own.get().saturating_sub(1));
        }
    }
}

impl<const CLIENTS: usize, const OPENS: usize, const RESERVED: usize> Default
    for OpenQuota<CLIENTS, OPENS, RESERVED>
{
    fn default() -> Self {
        Self::new()
    }
}

/// A client's view of the tree. The view limits the number of files that the client can have open.
pub struct QuotaTree<
    't,
    const CLIENTS: usize,
    const OPENS: usize,
    const RESERVED: usize,
    const TEXT: usize,
> {
    tree: &'t StaticTree<OPENS, TEXT>,
    quota: &'t OpenQuota<CLIENTS, OPENS, RESERVED>,
    client: usize,
}

impl<'t, const CLIENTS: usize, const OPENS: usize, const RESERVED: usize, const TEXT: usize>
    QuotaTree<'t, CLIENTS, OPENS, RESERVED, TEXT>
{
    /// Creates the tree for client number `client`.
    pub fn new(
        tree: &'t StaticTree<OPENS, TEXT>,
        quota: &'t OpenQuota<CLIENTS, OPENS, RESERVED>,
        client: usize,
    ) -> Self {
        QuotaTree { tree, quota, client }
    }
}

impl<const CLIENTS: usize, const OPENS: usize, const RESERVED: usize, const TEXT: usize> fmt::Debug
    for QuotaTree<'_, CLIENTS, OPENS, RESERVED, TEXT>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotaTree").field("client", &self.client).finish_non_exhaustive()
    }
}

impl<const CLIENTS: usize, const OPENS: usize, const RESERVED: usize, const TEXT: usize> Vfs
    for QuotaTree<'_, CLIENTS, OPENS, RESERVED, TEXT>
{
    type Inode = PackedPath;
    type Open = Handle;
    type TreeKind = ImmutableTree;

    fn root(&self) -> PackedPath {
        self.tree.root()
    }

    fn parent(&self, inode: &PackedPath) -> PackedPath {
        self.tree.parent(inode)
    }

    fn id(&self, inode: &PackedPath) -> Id {
        self.tree.id(inode)
    }

    fn name(&self, inode: &PackedPath, with: &mut dyn FnMut(&[u8])) {
        self.tree.name(inode, with);
    }

    fn strict_walk(&self) -> bool {
        self.tree.strict_walk()
    }

    async fn lookup(&self, dir: &PackedPath, name: Name<'_>) -> Result<PackedPath> {
        self.tree.lookup(dir, name).await
    }

    async fn stat(&self, inode: &PackedPath) -> Result<Attr> {
        self.tree.stat(inode).await
    }

    async fn open(&self, inode: &PackedPath, mode: OpenMode) -> Result<Handle> {
        let file = self.tree.id(inode).kind != FileType::Dir;
        if file {
            self.quota.acquire(self.client)?;
        }
        let open = self.tree.open_as(Client(self.client as u8), inode, mode);
        if file && open.is_err() {
            self.quota.release(self.client);
        }
        open
    }

    fn close(&self, open: &Handle) {
        self.tree.close(open);
        if open.is_file() {
            self.quota.release(self.client);
        }
    }

    async fn flush(&self, open: &Handle) -> Result<()> {
        self.tree.flush(open).await
    }

    async fn read(&self, open: &Handle, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.tree.read(open, offset, buf).await
    }

    fn may_block(&self, open: &Handle) -> bool {
        self.tree.may_block(open)
    }

    async fn write(&self, open: &Handle, offset: u64, data: &[u8]) -> Result<usize> {
        self.tree.write(open, offset, data).await
    }

    async fn readdir(
        &self,
        dir: &Handle,
        cookie: u64,
        each: &mut dyn FnMut(DirEntry<'_, PackedPath>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.tree.readdir(dir, cookie, each).await
    }

    async fn remove(&self, inode: &PackedPath) -> Result<()> {
        self.tree.remove(inode).await
    }

    async fn set_attr(&self, inode: &PackedPath, set: SetAttr) -> Result<()> {
        self.tree.set_attr(inode, set).await
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;

    #[test]
    fn client_leaves_the_reserved_files_to_others() {
        let quota = OpenQuota::<3, 24, 4>::new();
        let acquire_all = |client| (0..).find(|_| quota.acquire(client).is_err()).unwrap();
        assert_eq!((acquire_all(0), acquire_all(1), acquire_all(2)), (16, 4, 4));
        let error = quota.acquire(0).unwrap_err();
        assert_eq!(
            (error.errno(), error.to_string().as_str()),
            (24, "this connection has 16 open files; the rest is reserved for others")
        );
        // The room freed by closing a file is available even to clients that have used up their
        // reserved files.
        (0..10).for_each(|_| quota.release(0));
        assert_eq!((acquire_all(2), acquire_all(0)), (10, 0));
    }
}
