//! A tree made of constant tables. It allocates nothing, and its names and structure stay in flash.
//!
//! In this tree, an inode **is** the path of a file or directory, packed into a `u64`. The path has
//! one byte for each level, with the first level in the lowest byte. Each byte is the index of an
//! entry plus 1. Entries in a [`DynamicDir`] are an exception, because their keys take up four
//! bytes. An inode is therefore `Copy`, borrows nothing, and reveals no addresses. A file keeps its
//! inode number across restarts.

mod dynamic_dir;
mod mirror;
mod open_files;
mod static_dir;
mod transfer;
mod visit;

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::ops::ControlFlow;

use mirror::PathMirror;
use open_files::{HandleKind, OpenFiles};
use transfer::StaticTreeKind;

pub use dynamic_dir::{DynamicDir, EntryTable, Key};
#[cfg(feature = "params")]
pub use mirror::Mirror;
pub use open_files::Handle;
pub use static_dir::{
    DEPTH_MAX, Dir, Entry, FileTable, Node, async_file, dir, dynamic_dir, file, table,
};
pub use visit::{FilePath, visit_files};

use super::tree_kind::completed;
use super::{
    AsyncTree, Attr, Client, DirEntry, Error, FileStat, FileType, Id, ImmutableTree, Name,
    OpenMode, Result, SetAttr, Vfs,
};

/// The mode of every directory.
const DIR_MODE: u32 = 0o775;

/// A tree whose root directory is a [`Dir`]. The tree has room for `OPENS` open files, each with at
/// most `TEXT` bytes of rendered text.
///
/// When `OPENS` files are open, opening another file fails with [`Error::TooManyOpen`]. Open
/// directories do not count toward `OPENS`. Files longer than `TEXT` bytes must serve reads without
/// rendering, as [`Blob`](crate::files::Blob) and [`Help`](crate::files::Help) do.
///
/// The kind `K` is [`ImmutableTree`] or [`AsyncTree`]. A tree that contains an
/// [`AsyncFile`](super::AsyncFile) must have the kind [`AsyncTree`].
pub struct StaticTree<const OPENS: usize = 16, const TEXT: usize = 128, K = ImmutableTree> {
    root: &'static Dir,
    open_files: OpenFiles<OPENS, TEXT>,
    strict_walk: bool,
    client: Client,
    kind: PhantomData<fn() -> K>,
}

impl<const OPENS: usize, const TEXT: usize, K> fmt::Debug for StaticTree<OPENS, TEXT, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticTree").field("root", self.root).finish_non_exhaustive()
    }
}

/// An inode in a [`StaticTree`], represented by a path that is packed into a `u64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PackedPath([u32; 2]);

impl PackedPath {
    /// The root directory.
    const ROOT: PackedPath = PackedPath([0; 2]);

    /// Stores the path in two words, because a `u64` would align each fid to eight bytes.
    const fn new(path: u64) -> PackedPath {
        PackedPath([path as u32, (path >> 32) as u32])
    }

    const fn bits(self) -> u64 {
        let PackedPath([low, high]) = self;
        (high as u64) << 32 | low as u64
    }
}

impl<const OPENS: usize, const TEXT: usize> StaticTree<OPENS, TEXT> {
    /// Creates a tree whose root directory is `root`.
    #[must_use]
    pub const fn new(root: &'static Dir) -> Self {
        StaticTree::with_root(root)
    }
}

impl<const OPENS: usize, const TEXT: usize> StaticTree<OPENS, TEXT, AsyncTree> {
    /// Creates a tree with the root directory `root` that can contain an
    /// [`AsyncFile`](super::AsyncFile).
    #[must_use]
    pub const fn new_async(root: &'static Dir) -> Self {
        StaticTree::with_root(root)
    }
}

impl<const OPENS: usize, const TEXT: usize, K> StaticTree<OPENS, TEXT, K> {
    const fn with_root(root: &'static Dir) -> Self {
        let open_files = OpenFiles::new();
        let client = Client::PROGRAM;
        StaticTree { root, open_files, strict_walk: false, client, kind: PhantomData }
    }

    /// Makes every walk fail unless all of its names are found (see [`Vfs::strict_walk`]).
    #[must_use]
    pub const fn with_strict_walk(mut self) -> Self {
        self.strict_walk = true;
        self
    }

    /// Sets the client on whose behalf [`Vfs::open`] opens files. Use this method for a tree that
    /// serves only one connection.
    #[must_use]
    pub const fn with_client(mut self, client: Client) -> Self {
        self.client = client;
        self
    }

    /// Opens a file or a directory on behalf of `client`. The file finds the client's number in
    /// [`OpenFile::client`](super::OpenFile::client).
    ///
    /// # Errors
    /// Returns [`Error::TooManyOpen`] if `OPENS` files are open, [`Error::Stale`] if the inode was
    /// removed, and any error from the file's [`open`](super::File::open).
    pub fn open_as(&self, client: Client, inode: &PackedPath, mode: OpenMode) -> Result<Handle> {
        let node = self.node(*inode)?;
        match node.entries() {
            Some(_) => Ok(Handle::dir(*inode)),
            None => report(client, self.open_files.open(node, mode, client)),
        }
    }

    /// Removes a file on behalf of `client`.
    ///
    /// # Errors
    /// Returns the same errors as [`Vfs::remove`].
    pub fn remove_as(&self, client: Client, inode: &PackedPath) -> Result<()> {
        report(client, self.remove_file(*inode))
    }

    /// Changes the attributes of a file or a directory on behalf of `client`.
    ///
    /// # Errors
    /// Returns the same errors as [`Vfs::set_attr`].
    pub fn set_attr_as(&self, client: Client, inode: &PackedPath, set: SetAttr) -> Result<()> {
        report(client, self.change(*inode, set))
    }

    /// Notifies all observers that a request from `client` was refused. Call this method if a
    /// request is refused before it reaches the tree, so that the client can read the reason from
    /// the files of a parameter set.
    pub fn report_refusal(&self, client: Client, error: &Error) {
        #[cfg(feature = "params")]
        crate::params::notify_refusal(client, error);
        let _ = (client, error);
    }

    /// Follows a path, starting at the root.
    fn resolve(&self, path: PackedPath) -> Resolved {
        let bytes = path.bits().to_le_bytes();
        let mut resolved = Resolved {
            node: Some(Node::Dir(self.root)),
            dir: None,
            key: Key(0),
            start: 0,
            end: 0,
            mirror: PathMirror::default(),
        };
        while bytes.get(resolved.end).is_some_and(|byte| *byte != 0) {
            let dir = resolved.node.and_then(Node::entries);
            let start = resolved.end;
            let end = start.saturating_add(dir.map_or(1, |(_, bytes)| bytes));
            let part = bytes.iter().take(end).skip(start).rev();
            let key = Key(part.fold(0, |key, byte| key << 8 | u32::from(*byte)));
            let dir = dir.map(|(dir, _)| dir);
            let mirror = resolved.mirror.below(resolved.node);
            let node = dir.and_then(|dir| dir.node(key));
            resolved = Resolved { node, dir, key, start, end, mirror };
        }
        resolved
    }

    #[inline(never)]
    fn is_dir(&self, path: PackedPath) -> bool {
        self.resolve(path).node.is_some_and(Node::is_dir)
    }

    fn node(&self, path: PackedPath) -> Result<Node> {
        let resolved = self.resolve(path);
        resolved.node.and_then(|node| resolved.mirror.show(node)).ok_or(Error::Stale)
    }

    fn entries(&self, path: PackedPath) -> Result<(Resolved, &'static dyn EntryTable)> {
        let resolved = self.resolve(path);
        match resolved.node.ok_or(Error::Stale)?.entries() {
            Some((dir, _)) => Ok((resolved, dir)),
            None => Err(Error::NotDirectory),
        }
    }
}

/// The result of following a path.
struct Resolved {
    /// The node at the end of the path, or `None` if the node was removed from its directory.
    node: Option<Node>,
    /// The directory that contains the node. `key` is the node's key in this directory.
    dir: Option<&'static dyn EntryTable>,
    key: Key,
    /// The range of path bytes that the key occupies.
    start: usize,
    end: usize,
    /// The mirror that contains the node.
    mirror: PathMirror,
}

impl Resolved {
    /// Returns whether `dir`, the directory at the end of the path, hides an entry.
    fn hides(&self, dir: &'static dyn EntryTable, key: Key) -> bool {
        self.mirror.below(self.node).hides(dir, key)
    }

    /// Returns the path of the child with this key. The path fits into 64 bits because [`Dir::new`]
    /// checks the depth of the tables.
    fn child(&self, path: PackedPath, key: Key) -> PackedPath {
        let mut bytes = path.bits().to_le_bytes();
        for (byte, part) in bytes.iter_mut().skip(self.end).zip(key.0.to_le_bytes()) {
            *byte = part;
        }
        PackedPath::new(u64::from_le_bytes(bytes))
    }
}

/// Returns the identity of a file or directory.
// Inlining lets the compiler see that the version and the device numbers are constant.
#[inline(always)]
fn id(path: PackedPath, dir: bool) -> Id {
    let kind = if dir { FileType::Dir } else { FileType::File };
    // Inode numbers start at 1, because some tools treat an entry with inode number 0 as deleted.
    Id { ino: path.bits().wrapping_add(1), kind, version: 0 }
}

/// Notifies all observers of a refused request from `client` if `result` is an error. Returns
/// `result`.
fn report<T>(client: Client, result: Result<T>) -> Result<T> {
    #[cfg(feature = "params")]
    if let Err(error) = &result {
        crate::params::notify_refusal(client, error);
    }
    let _ = client;
    result
}

impl<const OPENS: usize, const TEXT: usize, K: StaticTreeKind> Vfs for StaticTree<OPENS, TEXT, K> {
    type Inode = PackedPath;
    type Open = Handle;
    type TreeKind = K;

    fn root(&self) -> PackedPath {
        PackedPath::ROOT
    }

    fn parent(&self, inode: &PackedPath) -> PackedPath {
        let above = (0..self.resolve(*inode).start).fold(0, |above, _| above << 8 | 0xff);
        PackedPath::new(inode.bits() & above)
    }

    #[inline(always)]
    fn id(&self, inode: &PackedPath) -> Id {
        id(*inode, self.is_dir(*inode))
    }

    fn name(&self, inode: &PackedPath, with: &mut dyn FnMut(&[u8])) {
        let resolved = self.resolve(*inode);
        match resolved.dir {
            Some(dir) if resolved.node.is_some() => {
                dir.name(resolved.key, &mut |name: &str| with(name.as_bytes()))
            }
            Some(_) => with(b""),
            None => with(b"/"),
        }
    }

    fn strict_walk(&self) -> bool {
        self.strict_walk
    }

    // The requests below never wait, so they are processed immediately. The session's code is
    // smaller if the futures contain only the results.
    fn lookup(&self, dir: &PackedPath, name: Name<'_>) -> impl Future<Output = Result<PackedPath>> {
        completed(self.find(*dir, name))
    }

    #[inline(always)]
    fn stat(&self, inode: &PackedPath) -> impl Future<Output = Result<Attr>> {
        completed(self.file_stat(*inode).map(|stat| {
            let id = id(*inode, stat.is_none());
            let (mode, length) = stat.map_or((DIR_MODE, 0), |stat| (stat.mode, stat.length));
            Attr::new(id, mode, length)
        }))
    }

    fn open(&self, inode: &PackedPath, mode: OpenMode) -> impl Future<Output = Result<Handle>> {
        completed(self.open_as(self.client, inode, mode))
    }

    fn close(&self, open: &Handle) {
        self.open_files.close(*open);
    }

    fn flush(&self, open: &Handle) -> impl Future<Output = Result<()>> {
        K::flush(&self.open_files, open)
    }

    fn may_block(&self, open: &Handle) -> bool {
        self.open_files
            .with_file(*open, |file, open, _| Ok(open.follows || file.may_block()))
            .unwrap_or(false)
    }

    fn read(
        &self,
        open: &Handle,
        offset: u64,
        buf: &mut [u8],
    ) -> impl Future<Output = Result<usize>> {
        K::read(&self.open_files, open, offset, buf)
    }

    fn write(
        &self,
        open: &Handle,
        offset: u64,
        data: &[u8],
    ) -> impl Future<Output = Result<usize>> {
        K::write(&self.open_files, open, offset, data)
    }

    fn readdir(
        &self,
        dir: &Handle,
        cookie: u64,
        each: &mut dyn FnMut(DirEntry<'_, PackedPath>) -> ControlFlow<()>,
    ) -> impl Future<Output = Result<()>> {
        completed(self.list(*dir, cookie, each))
    }

    fn refused(&self, error: &Error) {
        self.report_refusal(self.client, error);
    }

    fn remove(&self, inode: &PackedPath) -> impl Future<Output = Result<()>> {
        completed(self.remove_as(self.client, inode))
    }

    fn set_attr(&self, inode: &PackedPath, set: SetAttr) -> impl Future<Output = Result<()>> {
        completed(self.set_attr_as(self.client, inode, set))
    }
}

impl<const OPENS: usize, const TEXT: usize, K> StaticTree<OPENS, TEXT, K> {
    fn find(&self, dir: PackedPath, name: Name<'_>) -> Result<PackedPath> {
        let (resolved, entries) = self.entries(dir)?;
        let key = entries.find(name.as_bytes()).ok_or(Error::NotFound)?;
        if resolved.hides(entries, key) {
            return Err(Error::NotFound);
        }
        Ok(resolved.child(dir, key))
    }

    /// Returns the attributes of a file, or `None` for a directory.
    #[inline(never)]
    fn file_stat(&self, inode: PackedPath) -> Result<Option<FileStat>> {
        Ok(self.node(inode)?.with_file(|file| file.stat()))
    }

    fn list(
        &self,
        dir: Handle,
        cookie: u64,
        each: &mut dyn FnMut(DirEntry<'_, PackedPath>) -> ControlFlow<()>,
    ) -> Result<()> {
        let HandleKind::Dir(path) = dir.kind() else { return Err(Error::NotDirectory) };
        let (resolved, dir) = self.entries(path)?;
        let mut from = u8::try_from(cookie).ok();
        while let Some(key) = from.and_then(|from| dir.next(from)) {
            let inode = resolved.child(path, key);
            let id = id(inode, dir.node(key).is_some_and(Node::is_dir));
            // The lowest byte of a key is the index of the entry plus 1, which is also the index of
            // the next entry.
            let next = key.0 as u8;
            let mut flow = ControlFlow::Continue(());
            if !resolved.hides(dir, key) {
                dir.name(key, &mut |name: &str| {
                    flow = each(DirEntry {
                        name: name.as_bytes(),
                        inode: &|| inode,
                        id,
                        next: next.into(),
                    })
                });
            }
            from = Some(next).filter(|next| *next != u8::MAX && flow.is_continue());
        }
        Ok(())
    }

    fn remove_file(&self, inode: PackedPath) -> Result<()> {
        let resolved = self.resolve(inode);
        match (resolved.node.ok_or(Error::Stale)?, resolved.dir) {
            (node, Some(dir)) => node
                .with_file(|file| file.remove())
                .unwrap_or(Err(Error::ReadOnlyDirectory))
                .and_then(|()| dir.remove(resolved.key)),
            _ => Err(Error::ReadOnlyDirectory),
        }
    }

    fn change(&self, inode: PackedPath, set: SetAttr) -> Result<()> {
        let node = self.node(inode)?;
        // Owners and times are not stored. A request to set the owner or a time succeeds without
        // having any effect, because `cp -p` and `touch` would otherwise fail.
        if set.mode.is_none() && set.size.is_none() {
            return Ok(());
        }
        let changed = node.with_file(|file| {
            // The mode is changed first, so that the length is unchanged if `chmod` fails.
            set.mode.map_or(Ok(()), |mode| file.chmod(mode))?;
            set.size.map_or(Ok(()), |size| file.truncate(size))
        });
        changed.unwrap_or(match (set.mode, set.size) {
            (None, Some(0)) => Ok(()),
            (None, _) => Err(Error::IsDirectory),
            (Some(_), _) => Err(Error::NotPermitted),
        })
    }
}

#[cfg(test)]
mod tests;
