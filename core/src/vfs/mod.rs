//! The contract between a session and a tree of files.
//!
//! An inode has attributes; a directory has names. Nothing here knows how the tree is reached: the
//! same tree is served over 9P, walked in the same process, or both.
//!
//! [`Vfs`] is what a whole tree implements: three do in this project, [`StaticTree`] here, the
//! dynamic tree and the scratch tree of the desktop. [`File`] is what most people implement: one
//! leaf, that either tree takes.

mod attr;
mod error;
mod file;
mod name;
mod nature;
mod text;
mod tree;
mod wait;
mod why;

use core::ops::ControlFlow;

pub use attr::{
    Attr, Create, FileType, Id, Lock, LockKind, New, OpenMode, SetAttr, SetTime, StatFs, Time,
    User, without_set_id,
};
pub use error::{Error, Result};
pub use file::{File, FileStat, OpenFile, OpenState, mark_follows};
pub use name::{NAME_MAX, Name};
pub(crate) use nature::outlined;
pub use nature::{ImmutableTree, MutableTree, Outlined, TreeKind};
pub(crate) use text::beyond_end;
pub use text::{FixedText, Text, Window, read_at};
pub use tree::{
    DEPTH, Dir, Entries, Entry, Handle, Key, Node, Path, Slots, StaticTree, dir, file, slots,
};
pub use wait::{Waiter, Waiters};
pub use why::{ERROR_MESSAGE_MAX, ErrorMessage};

/// One name of a directory, as a listing has it.
pub struct DirEntry<'a, I> {
    /// The name.
    pub name: &'a [u8],
    /// The inode behind it, made when it is asked for: most listings need no more than its
    /// identity.
    pub inode: &'a dyn Fn() -> I,
    /// Identity of that inode.
    pub id: Id,
    /// Where a listing goes on after this entry.
    pub next: u64,
}

/// A tree of files.
///
/// Calls that are `async` may wait. **Dropping such a future is how a request is cancelled**, at
/// any await point of it: what was read stays to be read, what was not written is not written
/// later. Calls that change the tree are done when they return `Ready`, and a tree that awaits
/// halfway through a change leaves either the old or the new state behind when it is dropped.
///
/// Operations that are not overridden refuse with [`Error::NotSupported`], or as a read-only tree
/// would.
pub trait Vfs {
    /// What stands for a file or directory: a small handle, cheap to clone. It stays valid when its
    /// name is removed.
    type Inode: Clone;
    /// What stands for an opened file or directory: a small handle as well. Clones are the same
    /// open file.
    type Open: Clone;
    /// What a session may take for granted: nothing, [`MutableTree`], or what a [`ImmutableTree`] promises.
    type TreeKind: TreeKind;

    /// The directory at the top.
    fn root(&self) -> Self::Inode;

    /// The directory at the top, as a user sees it. Asked once for each attach(5).
    fn attach(&self, user: User<'_>) -> Self::Inode {
        let _ = user;
        self.root()
    }

    /// The directory that has `inode`; the root is its own parent.
    fn parent(&self, inode: &Self::Inode) -> Self::Inode;

    /// What tells `inode` from all others. Never waits: a walk asks it for every name.
    fn id(&self, inode: &Self::Inode) -> Id;

    /// Calls `with`, once, with the name that `inode` has in its parent; `/` for the root.
    fn name(&self, inode: &Self::Inode, with: &mut dyn FnMut(&[u8]));

    /// Whether a walk that fails at a later name is an error as a whole. The manual wants the names
    /// found so far (`walk(5)`); DataKit's clients take any success for the whole way.
    fn strict_walk(&self) -> bool {
        false
    }

    /// Whether a name may have slashes in it: some clients send them, those that are kernels
    /// cannot.
    fn allows_slash(&self) -> bool {
        false
    }

    /// The inode called `name` in `dir`.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotDirectory`] when `dir` is not one.
    async fn lookup(&self, dir: &Self::Inode, name: Name<'_>) -> Result<Self::Inode>;

    /// The attributes of `inode`.
    async fn stat(&self, inode: &Self::Inode) -> Result<Attr>;

    /// OpenFiles a file or a directory. The mode is a promise of the client's, not a check: opening a
    /// read-only file for writing succeeds, the write fails.
    async fn open(&self, inode: &Self::Inode, mode: OpenMode) -> Result<Self::Open>;

    /// Gives an open file up. Called exactly once for what [`open`](Vfs::open) gave, also when the
    /// connection is lost.
    fn close(&self, open: &Self::Open) {
        let _ = open;
    }

    /// Makes what was written so far take effect, for files where that is a step of its own; called
    /// before [`close`](Vfs::close) when a client closes the file in order, which then sees the
    /// error.
    async fn flush(&self, open: &Self::Open) -> Result<()> {
        let _ = open;
        Ok(())
    }

    /// Reads at `offset` into `buf`: how many bytes. 0 is the end, or the flush mark of a stream.
    /// May wait for the first byte, never for the rest of `buf`.
    async fn read(&self, open: &Self::Open, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// Whether reads of an open file wait for something to happen, as those of a stream do. They
    /// are given a small buffer.
    fn may_block(&self, open: &Self::Open) -> bool {
        let _ = open;
        false
    }

    /// [`read`](Vfs::read) where the answer is at hand: memory, without a wait. `None`: ask `read`.
    fn try_read_now(
        &self,
        open: &Self::Open,
        offset: u64,
        buf: &mut [u8],
    ) -> Option<Result<usize>> {
        let _ = (open, offset, buf);
        None
    }

    /// Writes `data` at `offset`: how many bytes were taken.
    async fn write(&self, open: &Self::Open, offset: u64, data: &[u8]) -> Result<usize> {
        let _ = (open, offset, data);
        Err(Error::ReadOnlyFile)
    }

    /// [`write`](Vfs::write) where it can be done at once. `None`: ask `write`, nothing has
    /// happened.
    fn try_write_now(&self, open: &Self::Open, offset: u64, data: &[u8]) -> Option<Result<usize>> {
        let _ = (open, offset, data);
        None
    }

    /// Calls `each` for the entries of an open directory, from `cookie` on (0, or a
    /// [`DirEntry::next`]) until it breaks or there are no more. Entries that stay are shown
    /// exactly once, whatever comes and goes meanwhile. `.` and `..` are not listed.
    async fn readdir(
        &self,
        dir: &Self::Open,
        cookie: u64,
        each: &mut dyn FnMut(DirEntry<'_, Self::Inode>) -> ControlFlow<()>,
    ) -> Result<()>;

    /// Makes `name` in `dir`. A name that is there is an error; where [`Create::exclusive`] allows
    /// it, a directory may empty the file that has it instead.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::ReadOnlyDirectory`], the default.
    async fn create(
        &self,
        dir: &Self::Inode,
        name: Name<'_>,
        create: Create<'_>,
    ) -> Result<Self::Inode> {
        let _ = (dir, name, create);
        Err(Error::ReadOnlyDirectory)
    }

    /// Removes `inode` from its parent. Open files of it go on.
    ///
    /// # Errors
    /// [`Error::NotEmpty`] for a directory with entries.
    async fn remove(&self, inode: &Self::Inode) -> Result<()> {
        let _ = inode;
        Err(Error::ReadOnlyFile)
    }

    /// Moves `inode` to `name` in `dir`, in place of what has that name (`rename(2)`).
    async fn rename(&self, inode: &Self::Inode, dir: &Self::Inode, name: Name<'_>) -> Result<()> {
        let _ = (inode, dir, name);
        Err(Error::ReadOnlyDirectory)
    }

    /// Gives `inode` a second name.
    async fn link(&self, inode: &Self::Inode, dir: &Self::Inode, name: Name<'_>) -> Result<()> {
        let _ = (inode, dir, name);
        Err(Error::NotSupported)
    }

    /// Changes attributes, all that are given or none.
    async fn set_attr(&self, inode: &Self::Inode, set: SetAttr) -> Result<()> {
        let _ = (inode, set);
        Err(Error::ReadOnlyFile)
    }

    /// Copies the target of a symbolic link into `buf`: its length. A target that does not fit is
    /// [`Error::Range`].
    async fn readlink(&self, inode: &Self::Inode, buf: &mut [u8]) -> Result<usize> {
        let _ = (inode, buf);
        Err(Error::Invalid)
    }

    /// What is known of the whole tree.
    async fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs { block_size: 4096, ..StatFs::default() })
    }

    /// Brings what was written to stable storage, if there is one. `data_only` leaves out the
    /// attributes (`fdatasync(2)`).
    async fn fsync(&self, inode: &Self::Inode, data_only: bool) -> Result<()> {
        let _ = (inode, data_only);
        Ok(())
    }

    /// OpenFiles an extended attribute for reading, or the NUL-separated list of their names for
    /// `None`: the open file and its length in bytes.
    async fn open_xattr(
        &self,
        inode: &Self::Inode,
        name: Option<Name<'_>>,
    ) -> Result<(Self::Open, u64)> {
        let _ = (inode, name);
        Err(Error::NotSupported)
    }

    /// OpenFiles an extended attribute for writing `size` bytes, which take effect at
    /// [`flush`](Vfs::flush). `create`: it must be new; `replace`: it must exist. A `size` of 0
    /// with `replace` alone removes it, which is how .L says that; any other is an empty value. The
    /// name is not an element of a path: it [may have slashes](Name::for_xattr).
    async fn create_xattr(
        &self,
        inode: &Self::Inode,
        name: Name<'_>,
        size: u64,
        create: bool,
        replace: bool,
    ) -> Result<Self::Open> {
        let _ = (inode, name, size, create, replace);
        Err(Error::NotSupported)
    }

    /// Takes or gives up a lock: whether it was granted. Never waits, the client asks again.
    async fn lock(&self, open: &Self::Open, lock: Lock<'_>) -> Result<bool> {
        let _ = (open, lock);
        Err(Error::NotSupported)
    }

    /// Tells `with` the lock that stands in the way of `lock`; `None` where it would be granted.
    async fn get_lock<R>(
        &self,
        open: &Self::Open,
        lock: Lock<'_>,
        with: impl FnOnce(Option<Lock<'_>>) -> R,
    ) -> Result<R> {
        let _ = (open, lock, with);
        Err(Error::NotSupported)
    }
}
