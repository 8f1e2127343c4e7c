//! The interface between a session and a file tree.
//!
//! Inodes have attributes, and directories map names to inodes. The module is independent of 9P: a
//! tree can be served over 9P or walked directly by code in the same process.
//!
//! [`Vfs`] is the trait for whole trees. This crate implements it for [`StaticTree`], and the
//! server crate implements it for the dynamic tree and the scratch tree. [`File`] is the trait for
//! single files. Most programs implement only this trait, because both [`StaticTree`] and the
//! dynamic tree can serve any [`File`].

mod async_file;
mod attr;
mod call;
mod compare;
mod error;
mod file;
mod name;
mod text;
mod tree;
mod tree_kind;
mod wait;

use core::fmt;
use core::ops::ControlFlow;

pub use async_file::{AsyncFile, PendingRequest, Transfer};
pub use attr::{
    Attr, Create, CreateKind, FileType, Id, Lock, LockKind, OpenMode, SetAttr, SetTime, StatFs,
    Time, User, without_set_id,
};
#[cfg(feature = "params")]
pub use call::WithParameter;
pub(crate) use call::WithText;
pub use call::{Call, WithFile, WithName};
pub(crate) use compare::Compare;
#[cfg(feature = "params")]
pub(crate) use error::truncated;
pub use error::{ERROR_MESSAGE_MAX, Error, Result};
pub use file::{Client, File, FileStat, OpenFile, OpenState, mark_follows};
pub use name::{NAME_MAX, Name};
pub use text::{
    FixedText, Text, Window, beyond_end, check_offset, check_write_offset, read_at, write_char,
};
#[cfg(feature = "params")]
pub use tree::Mirror;
pub use tree::{
    DEPTH_MAX, Dir, DynamicDir, Entry, EntryTable, FilePath, FileTable, Handle, Key, Node,
    PackedPath, StaticTree, async_file, dir, dynamic_dir, file, table, visit_files,
};
pub(crate) use tree_kind::poll_now;
pub use tree_kind::{
    AsyncTree, FidRecord, ImmutableRecord, ImmutableTree, MutableRecord, MutableTree, Outlined,
    TreeKind,
};
pub use wait::{Waiter, Waiters};

/// One entry in a directory listing.
pub struct DirEntry<'a, I> {
    /// The name.
    pub name: &'a [u8],
    /// A closure that creates a handle to the inode. Most listings need only the inode's identity
    /// and do not call the closure.
    pub inode: &'a dyn Fn() -> I,
    /// The identity of the inode.
    pub id: Id,
    /// The cookie at which a listing resumes after this entry.
    pub next: u64,
}

impl<I> fmt::Debug for DirEntry<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DirEntry { name, inode: _, id, next } = self;
        f.debug_struct("DirEntry")
            .field("name", name)
            .field("id", id)
            .field("next", next)
            .finish_non_exhaustive()
    }
}

/// A tree of files.
///
/// The `async` methods may have to wait. **A request is cancelled by dropping its future**, at any
/// await point. A cancelled read consumes no data, and a cancelled write writes no more data. A
/// change to the tree is complete when the future of the method that makes the change returns
/// `Ready`. If that future is dropped earlier, the tree must be in either its old state or its new
/// state.
///
/// The default implementations of optional methods return [`Error::NotSupported`] or the error for
/// a read-only tree.
pub trait Vfs {
    /// A handle to a file or directory. Handles are cheap to clone. The handle stays valid after
    /// the file or directory is removed.
    type Inode: Clone;
    /// A handle to an open file or directory. Handles are cheap to clone. All clones refer to the
    /// same open file.
    type Open: Clone;
    /// The kind of this tree. Use [`ImmutableTree`] if the structure never changes and only reads
    /// wait, [`AsyncTree`] if the structure never changes and writes wait as well, and
    /// [`MutableTree`] otherwise.
    type TreeKind: TreeKind;

    /// Returns the root directory.
    fn root(&self) -> Self::Inode;

    /// Returns the root directory of the tree that is served to `user`. The session calls this
    /// method once for each Tattach.
    fn attach(&self, user: User<'_>) -> Self::Inode {
        let _ = user;
        self.root()
    }

    /// Returns the directory that contains `inode`. The root is its own parent.
    fn parent(&self, inode: &Self::Inode) -> Self::Inode;

    /// Returns the identity of `inode`. This method never waits, because a walk calls it for every
    /// name.
    fn id(&self, inode: &Self::Inode) -> Id;

    /// Calls `with` exactly once, passing the name of `inode` in its parent, or `/` for the root.
    fn name(&self, inode: &Self::Inode, with: &mut dyn FnMut(&[u8]));

    /// Returns whether a walk must fail unless all of its names are found. According to `walk(5)`,
    /// a walk succeeds partially if its first name is found but a later name is not. However,
    /// DataKit clients treat every successful reply as a complete walk.
    fn strict_walk(&self) -> bool {
        false
    }

    /// Returns whether names may contain slashes. Some user-space clients send names with slashes,
    /// but operating system kernels never do.
    fn allows_slash(&self) -> bool {
        false
    }

    /// Looks up `name` in `dir`.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if `dir` has no entry with this name, and
    /// [`Error::NotDirectory`] if `dir` is not a directory.
    async fn lookup(&self, dir: &Self::Inode, name: Name<'_>) -> Result<Self::Inode>;

    /// Returns the attributes of `inode`.
    async fn stat(&self, inode: &Self::Inode) -> Result<Attr>;

    /// Opens a file or a directory. `mode` indicates whether the client intends to read, write, or
    /// truncate the file. This method does not check permissions: opening a read-only file for
    /// writing succeeds, and only the write fails.
    async fn open(&self, inode: &Self::Inode, mode: OpenMode) -> Result<Self::Open>;

    /// Closes an open file. This method is called exactly once for each successful
    /// [`open`](Vfs::open), even if the connection is lost.
    fn close(&self, open: &Self::Open) {
        let _ = open;
    }

    /// Applies the data that has been written to the open file. Trees that apply writes immediately
    /// need not implement this method. The session calls this method before [`close`](Vfs::close)
    /// when the client clunks the file, but not when the connection is lost. The session returns
    /// any error to the client.
    async fn flush(&self, open: &Self::Open) -> Result<()> {
        let _ = open;
        Ok(())
    }

    /// Reads data at `offset` into `buf` and returns the number of bytes read. A result of 0 marks
    /// the end of the file or, in a stream, the end of a value. A read can wait for the first byte,
    /// but never waits to fill `buf`.
    async fn read(&self, open: &Self::Open, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// Returns whether reads of this open file may have to wait for an event, for example because
    /// the file is a stream. The session allocates only a small buffer for such reads.
    fn may_block(&self, open: &Self::Open) -> bool {
        let _ = open;
        false
    }

    /// Reads without waiting, with the same arguments and results as [`read`](Vfs::read). Returns
    /// `None` if the caller must call `read` instead.
    fn try_read_now(
        &self,
        open: &Self::Open,
        offset: u64,
        buf: &mut [u8],
    ) -> Option<Result<usize>> {
        let _ = (open, offset, buf);
        None
    }

    /// Writes `data` at `offset` and returns the number of bytes written.
    async fn write(&self, open: &Self::Open, offset: u64, data: &[u8]) -> Result<usize> {
        let _ = (open, offset, data);
        Err(Error::ReadOnlyFile)
    }

    /// Writes without waiting, with the same arguments and results as [`write`](Vfs::write).
    /// Returns `None` and writes nothing if the caller must call `write` instead.
    fn try_write_now(&self, open: &Self::Open, offset: u64, data: &[u8]) -> Option<Result<usize>> {
        let _ = (open, offset, data);
        None
    }

    /// Calls `each` for the entries of an open directory, starting at `cookie`, until `each`
    /// returns `Break` or there are no more entries. The cookie must be 0 or the [`DirEntry::next`]
    /// value of an earlier entry. Entries that exist throughout the listing are listed exactly
    /// once, even if other entries are added or removed in the meantime. The `.` and `..` entries
    /// are not listed.
    async fn readdir(
        &self,
        dir: &Self::Open,
        cookie: u64,
        each: &mut dyn FnMut(DirEntry<'_, Self::Inode>) -> ControlFlow<()>,
    ) -> Result<()>;

    /// Creates `name` in `dir`. If [`Create::exclusive`] is false, the tree may truncate an
    /// existing file with that name instead.
    ///
    /// # Errors
    /// Returns [`Error::Exists`] if `dir` already has an entry with this name. The default
    /// implementation always returns [`Error::ReadOnlyDirectory`].
    async fn create(
        &self,
        dir: &Self::Inode,
        name: Name<'_>,
        create: Create<'_>,
    ) -> Result<Self::Inode> {
        let _ = (dir, name, create);
        Err(Error::ReadOnlyDirectory)
    }

    /// Called when a request to create or rename an entry is refused without a call to
    /// [`create`](Vfs::create) or [`rename`](Vfs::rename), because the tree is
    /// [immutable](ImmutableTree).
    fn refused(&self, error: &Error) {
        let _ = error;
    }

    /// Removes `inode` from its parent. Files that are already open stay usable.
    ///
    /// # Errors
    /// Returns [`Error::NotEmpty`] if `inode` is a directory with entries. The default
    /// implementation always returns [`Error::ReadOnlyFile`].
    async fn remove(&self, inode: &Self::Inode) -> Result<()> {
        let _ = inode;
        Err(Error::ReadOnlyFile)
    }

    /// Moves `inode` to `name` in `dir`, replacing any existing object with that name
    /// (`rename(2)`).
    async fn rename(&self, inode: &Self::Inode, dir: &Self::Inode, name: Name<'_>) -> Result<()> {
        let _ = (inode, dir, name);
        Err(Error::ReadOnlyDirectory)
    }

    /// Creates an entry named `name` in `dir` that is a hard link to `inode` (`link(2)`).
    async fn link(&self, inode: &Self::Inode, dir: &Self::Inode, name: Name<'_>) -> Result<()> {
        let _ = (inode, dir, name);
        Err(Error::NotSupported)
    }

    /// Changes either all of the given attributes or none of them.
    async fn set_attr(&self, inode: &Self::Inode, set: SetAttr) -> Result<()> {
        let _ = (inode, set);
        Err(Error::ReadOnlyFile)
    }

    /// Copies the target of a symbolic link into `buf` and returns its length.
    ///
    /// # Errors
    /// Returns [`Error::Range`] if the target does not fit into `buf`, and [`Error::Invalid`] if
    /// `inode` is not a symbolic link.
    async fn readlink(&self, inode: &Self::Inode, buf: &mut [u8]) -> Result<usize> {
        let _ = (inode, buf);
        Err(Error::Invalid)
    }

    /// Returns the size and usage of the tree (`statfs(2)`).
    async fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs { block_size: 4096, ..StatFs::default() })
    }

    /// If the tree uses stable storage, flushes written data to it. If `data_only` is `true`,
    /// attributes are not flushed (`fdatasync(2)`).
    async fn fsync(&self, inode: &Self::Inode, data_only: bool) -> Result<()> {
        let _ = (inode, data_only);
        Ok(())
    }

    /// Opens the extended attribute `name` for reading, or, if `name` is `None`, a list of all
    /// attribute names, each followed by a NUL byte. Returns the open attribute or list and its
    /// length in bytes.
    async fn open_xattr(
        &self,
        inode: &Self::Inode,
        name: Option<Name<'_>>,
    ) -> Result<(Self::Open, u64)> {
        let _ = (inode, name);
        Err(Error::NotSupported)
    }

    /// Opens an extended attribute for writing `size` bytes. The value is set by
    /// [`flush`](Vfs::flush). If `create` is `true`, the attribute must not exist yet. If `replace`
    /// is `true`, the attribute must already exist. As in 9P2000.L, a `size` of 0 removes the
    /// attribute if `replace` is `true` and `create` is `false`. If the flags have any other
    /// values, a `size` of 0 sets an empty value. An attribute name is not a path component and
    /// [may contain slashes](Name::for_xattr).
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

    /// Acquires or releases a lock and returns whether the lock was granted. This method never
    /// waits for a lock. If the lock is not granted, the client must retry.
    async fn lock(&self, open: &Self::Open, lock: Lock<'_>) -> Result<bool> {
        let _ = (open, lock);
        Err(Error::NotSupported)
    }

    /// Calls `with`, passing an existing lock that conflicts with `lock`, or `None` if `lock` would
    /// be granted. This method corresponds to `F_GETLK` in `fcntl(2)`.
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
