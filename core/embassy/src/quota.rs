//! Limits the number of files that each client can have open.

use core::cell::Cell;
use core::fmt;
use core::future::{Future, ready};
use core::ops::ControlFlow;

use datakit_core::Decimal;
use datakit_core::vfs::{
    Attr, Client, DirEntry, Error, Handle, Id, Name, OpenMode, PackedPath, Result, SetAttr,
    StaticTree, Vfs,
};

/// A tree that is shared by several clients and has a fixed number of open files.
pub trait SharedTree: Vfs<Open = Handle> {
    /// The number of files that can be open at the same time.
    const OPENS: usize;

    /// Like [`Vfs::open`], but opens the file or directory on behalf of `client`.
    ///
    /// # Errors
    /// Returns the same errors as [`Vfs::open`].
    fn open_as(&self, client: Client, inode: &Self::Inode, mode: OpenMode) -> Result<Handle>;

    /// Like [`Vfs::remove`], but removes the file on behalf of `client`.
    ///
    /// # Errors
    /// Returns the same errors as [`Vfs::remove`].
    fn remove_as(&self, client: Client, inode: &Self::Inode) -> Result<()>;

    /// Like [`Vfs::set_attr`], but changes the attributes on behalf of `client`.
    ///
    /// # Errors
    /// Returns the same errors as [`Vfs::set_attr`].
    fn set_attr_as(&self, client: Client, inode: &Self::Inode, set: SetAttr) -> Result<()>;

    /// Called if a request from `client` is refused before it reaches the tree. The default
    /// implementation does nothing.
    fn report_refusal(&self, client: Client, error: &Error) {
        let _ = (client, error);
    }
}

impl<const OPENS: usize, const TEXT: usize, K> SharedTree for StaticTree<OPENS, TEXT, K>
where
    StaticTree<OPENS, TEXT, K>: Vfs<Open = Handle, Inode = PackedPath>,
{
    const OPENS: usize = OPENS;

    fn open_as(&self, client: Client, inode: &Self::Inode, mode: OpenMode) -> Result<Handle> {
        StaticTree::open_as(self, client, inode, mode)
    }

    fn remove_as(&self, client: Client, inode: &Self::Inode) -> Result<()> {
        StaticTree::remove_as(self, client, inode)
    }

    fn set_attr_as(&self, client: Client, inode: &Self::Inode, set: SetAttr) -> Result<()> {
        StaticTree::set_attr_as(self, client, inode, set)
    }

    fn report_refusal(&self, client: Client, error: &Error) {
        StaticTree::report_refusal(self, client, error);
    }
}

/// A limit on the number of files that each of `CLIENTS` clients can have open. The clients share
/// one tree's open files. A fixed number of open files is reserved for each client, regardless of
/// how many the other clients have open.
#[derive(Debug)]
pub struct OpenQuota<const CLIENTS: usize> {
    open: [Cell<usize>; CLIENTS],
    opens: usize,
    reserved: usize,
}

impl<const CLIENTS: usize> OpenQuota<CLIENTS> {
    /// Creates a quota for a tree with room for `opens` open files, and reserves `reserved` of them
    /// for each client. If `opens` is too small for this, each client gets an equal share of the
    /// open files.
    #[must_use]
    pub const fn new(opens: usize, reserved: usize) -> Self {
        let share = match opens.checked_div(CLIENTS) {
            Some(share) => share,
            None => opens,
        };
        let reserved = if reserved < share { reserved } else { share };
        OpenQuota { open: [const { Cell::new(0) }; CLIENTS], opens, reserved }
    }

    /// Reserves room for one more open file.
    fn acquire(&self, client: usize) -> Result<()> {
        let own = self.open.get(client).ok_or(Error::TooManyOpen)?;
        let taken: usize = self.open.iter().map(|open| open.get().max(self.reserved)).sum();
        if own.get() >= self.reserved && taken >= self.opens {
            let own = Decimal::from(own.get());
            return Err(Error::TooManyOpen.with_message(format_args!(
                "this connection has {own} open files; the rest is reserved for other clients"
            )));
        }
        own.set(own.get() + 1);
        Ok(())
    }

    fn release(&self, client: usize) {
        if let Some(own) = self.open.get(client) {
            own.set(own.get().saturating_sub(1));
        }
    }
}

/// A client's view of the tree. The view limits how many files the client can have open, and passes
/// the client's number to each file that it opens.
pub struct QuotaTree<'t, T, const CLIENTS: usize> {
    tree: &'t T,
    quota: &'t OpenQuota<CLIENTS>,
    index: usize,
    client: Client,
}

impl<'t, T: SharedTree, const CLIENTS: usize> QuotaTree<'t, T, CLIENTS> {
    /// Creates the view for the client with this number. `index` identifies the client in the
    /// quota. If `index` is not less than `CLIENTS`, the client cannot open files.
    pub const fn new(
        tree: &'t T,
        quota: &'t OpenQuota<CLIENTS>,
        index: usize,
        client: Client,
    ) -> Self {
        QuotaTree { tree, quota, index, client }
    }
}

impl<T, const CLIENTS: usize> fmt::Debug for QuotaTree<'_, T, CLIENTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotaTree").field("client", &self.client).finish_non_exhaustive()
    }
}

impl<T: SharedTree, const CLIENTS: usize> Vfs for QuotaTree<'_, T, CLIENTS> {
    type Inode = T::Inode;
    type Open = Handle;
    type TreeKind = T::TreeKind;

    fn root(&self) -> T::Inode {
        self.tree.root()
    }

    fn parent(&self, inode: &T::Inode) -> T::Inode {
        self.tree.parent(inode)
    }

    #[inline(always)]
    fn id(&self, inode: &T::Inode) -> Id {
        self.tree.id(inode)
    }

    fn name(&self, inode: &T::Inode, with: &mut dyn FnMut(&[u8])) {
        self.tree.name(inode, with);
    }

    fn strict_walk(&self) -> bool {
        self.tree.strict_walk()
    }

    // The methods return the tree's own futures, because a future that awaits another future takes
    // up more flash.
    fn lookup(&self, dir: &T::Inode, name: Name<'_>) -> impl Future<Output = Result<T::Inode>> {
        self.tree.lookup(dir, name)
    }

    #[inline(always)]
    fn stat(&self, inode: &T::Inode) -> impl Future<Output = Result<Attr>> {
        self.tree.stat(inode)
    }

    fn open(&self, inode: &T::Inode, mode: OpenMode) -> impl Future<Output = Result<Handle>> {
        ready(self.open_file(inode, mode))
    }

    fn close(&self, open: &Handle) {
        self.tree.close(open);
        if open.is_file() {
            self.quota.release(self.index);
        }
    }

    fn flush(&self, open: &Handle) -> impl Future<Output = Result<()>> {
        self.tree.flush(open)
    }

    fn read(
        &self,
        open: &Handle,
        offset: u64,
        buf: &mut [u8],
    ) -> impl Future<Output = Result<usize>> {
        self.tree.read(open, offset, buf)
    }

    fn may_block(&self, open: &Handle) -> bool {
        self.tree.may_block(open)
    }

    fn write(
        &self,
        open: &Handle,
        offset: u64,
        data: &[u8],
    ) -> impl Future<Output = Result<usize>> {
        self.tree.write(open, offset, data)
    }

    fn readdir(
        &self,
        dir: &Handle,
        cookie: u64,
        each: &mut dyn FnMut(DirEntry<'_, T::Inode>) -> ControlFlow<()>,
    ) -> impl Future<Output = Result<()>> {
        self.tree.readdir(dir, cookie, each)
    }

    fn refused(&self, error: &Error) {
        self.tree.report_refusal(self.client, error);
    }

    fn remove(&self, inode: &T::Inode) -> impl Future<Output = Result<()>> {
        ready(self.tree.remove_as(self.client, inode))
    }

    fn set_attr(&self, inode: &T::Inode, set: SetAttr) -> impl Future<Output = Result<()>> {
        ready(self.tree.set_attr_as(self.client, inode, set))
    }
}

impl<T: SharedTree, const CLIENTS: usize> QuotaTree<'_, T, CLIENTS> {
    fn open_file(&self, inode: &T::Inode, mode: OpenMode) -> Result<Handle> {
        let file = !self.tree.id(inode).kind.is_dir();
        if file {
            let acquired = self.quota.acquire(self.index);
            acquired.inspect_err(|error| self.tree.report_refusal(self.client, error))?;
        }
        let open = self.tree.open_as(self.client, inode, mode);
        if file && open.is_err() {
            self.quota.release(self.index);
        }
        open
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn client_leaves_the_reserved_files_to_others() {
        let quota = OpenQuota::<3>::new(24, 4);
        let acquire_all = |client| (0..).find(|_| quota.acquire(client).is_err()).unwrap();
        assert_eq!((acquire_all(0), acquire_all(1), acquire_all(2)), (16, 4, 4));
        let error = quota.acquire(0).unwrap_err();
        assert_eq!(
            (error.errno(), error.to_string().as_str()),
            (24, "this connection has 16 open files; the rest is reserved for other clients")
        );
        // When another client has closed files, even a client that has used up its reserved files
        // can open more.
        (0..10).for_each(|_| quota.release(0));
        assert_eq!((acquire_all(2), acquire_all(0)), (10, 0));
    }

    #[test]
    fn reserved_files_never_exceed_the_open_files_of_the_tree() {
        let quota = OpenQuota::<3>::new(8, 4);
        let acquire_all = |client| (0..).find(|_| quota.acquire(client).is_err()).unwrap();
        assert_eq!((acquire_all(0), acquire_all(1), acquire_all(2)), (4, 2, 2));
    }
}
