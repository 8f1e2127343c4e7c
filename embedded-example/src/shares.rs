//! Open files, shared out among the clients.

use core::cell::Cell;
use core::ops::ControlFlow;

use datakit_core::Decimal;
use datakit_core::vfs::{
    Attr, DirEntry, Error, FileType, Handle, Id, ImmutableTree, Name, OpenMode, Path, Result,
    SetAttr, StaticTree, Vfs,
};

/// How many files each of `SEATS` clients has open, of `OPENS` that there is room for. `RESERVED`
/// are kept free for each: so many it can always open, whatever the others do.
pub struct Shares<const SEATS: usize, const OPENS: usize, const RESERVED: usize> {
    open: [Cell<usize>; SEATS],
}

impl<const SEATS: usize, const OPENS: usize, const RESERVED: usize> Shares<SEATS, OPENS, RESERVED> {
    /// Nobody has any.
    pub const fn new() -> Self {
        const { assert!(SEATS * RESERVED <= OPENS, "there is not so much to keep free") };
        Shares { open: [const { Cell::new(0) }; SEATS] }
    }

    fn seat(&self, seat: usize) -> Option<&Cell<usize>> {
        self.open.get(seat)
    }

    /// Takes room for one more.
    fn take(&self, seat: usize) -> Result<()> {
        let own = self.seat(seat).ok_or(Error::TooManyOpen)?;
        let taken: usize = self.open.iter().map(|open| open.get().max(RESERVED)).sum();
        if own.get() >= RESERVED && taken >= OPENS {
            let own = Decimal::from(own.get());
            return Err(Error::TooManyOpen.with_message(format_args!(
                "this connection has {own} files open, the rest is kept for others"
            )));
        }
        own.set(own.get() + 1);
        Ok(())
    }

    fn give(&self, seat: usize) {
        if let Some(own) = self.seat(seat) {
            own.set(own.get().saturating_sub(1));
        }
    }
}

impl<const SEATS: usize, const OPENS: usize, const RESERVED: usize> Default
    for Shares<SEATS, OPENS, RESERVED>
{
    fn default() -> Self {
        Self::new()
    }
}

/// The tree as one client sees it.
pub struct Share<
    't,
    const SEATS: usize,
    const OPENS: usize,
    const RESERVED: usize,
    const TEXT: usize,
> {
    tree: &'t StaticTree<OPENS, TEXT>,
    shares: &'t Shares<SEATS, OPENS, RESERVED>,
    seat: usize,
}

impl<'t, const SEATS: usize, const OPENS: usize, const RESERVED: usize, const TEXT: usize>
    Share<'t, SEATS, OPENS, RESERVED, TEXT>
{
    /// For the client in this seat.
    pub fn new(
        tree: &'t StaticTree<OPENS, TEXT>,
        shares: &'t Shares<SEATS, OPENS, RESERVED>,
        seat: usize,
    ) -> Self {
        Share { tree, shares, seat }
    }
}

impl<const SEATS: usize, const OPENS: usize, const RESERVED: usize, const TEXT: usize> Vfs
    for Share<'_, SEATS, OPENS, RESERVED, TEXT>
{
    type Inode = Path;
    type Open = Handle;
    type TreeKind = ImmutableTree;

    fn root(&self) -> Path {
        self.tree.root()
    }

    fn parent(&self, inode: &Path) -> Path {
        self.tree.parent(inode)
    }

    fn id(&self, inode: &Path) -> Id {
        self.tree.id(inode)
    }

    fn name(&self, inode: &Path, with: &mut dyn FnMut(&[u8])) {
        self.tree.name(inode, with);
    }

    fn strict_walk(&self) -> bool {
        self.tree.strict_walk()
    }

    async fn lookup(&self, dir: &Path, name: Name<'_>) -> Result<Path> {
        self.tree.lookup(dir, name).await
    }

    async fn stat(&self, inode: &Path) -> Result<Attr> {
        self.tree.stat(inode).await
    }

    async fn open(&self, inode: &Path, mode: OpenMode) -> Result<Handle> {
        let file = self.tree.id(inode).kind != FileType::Dir;
        if file {
            self.shares.take(self.seat)?;
        }
        let open = self.tree.open(inode, mode).await;
        if file && open.is_err() {
            self.shares.give(self.seat);
        }
        open
    }

    fn close(&self, open: &Handle) {
        self.tree.close(open);
        if open.is_file() {
            self.shares.give(self.seat);
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
        each: &mut dyn FnMut(DirEntry<'_, Path>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.tree.readdir(dir, cookie, each).await
    }

    async fn remove(&self, inode: &Path) -> Result<()> {
        self.tree.remove(inode).await
    }

    async fn set_attr(&self, inode: &Path, set: SetAttr) -> Result<()> {
        self.tree.set_attr(inode, set).await
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;

    #[test]
    fn a_client_leaves_the_others_their_share() {
        let shares = Shares::<3, 24, 4>::new();
        let most = |seat| (0..).find(|_| shares.take(seat).is_err()).unwrap();
        assert_eq!((most(0), most(1), most(2)), (16, 4, 4));
        let why = shares.take(0).unwrap_err();
        assert_eq!(
            (why.errno(), why.to_string().as_str()),
            (24, "this connection has 16 files open, the rest is kept for others")
        );
        // What one gives back goes to whoever wants more than is kept for it.
        (0..10).for_each(|_| shares.give(0));
        assert_eq!((most(2), most(0)), (10, 0));
    }
}
