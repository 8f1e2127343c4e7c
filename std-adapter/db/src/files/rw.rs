//! `rw/`: the tree of a transaction, to be changed.
//!
//! An open file is a file, not a name: what is removed or replaced lives on, unseen, for as long as
//! somebody holds it, and what is made in its place is another file. A tree that replaces this one,
//! by a reset or a merge, gives files new content; those that are in it no more are removed ones.

mod names;

use parking_lot::Mutex;
use std::any::Any;
use std::sync::{Arc, Weak};

use datakit_core::vfs::{
    Create, Error, FileStat, FileType, NAME_MAX, Name, New, OpenMode, Result, Time, read_at,
};

use self::names::{Inode, InodeTable, UnlinkedInode};
use super::ro::{DIRECTORY, stat, time_of};
use crate::database::MAX_INLINE_BYTES;
use crate::model::identity::Authorship;
use crate::model::object::EntryMode;
use crate::model::tree::{FileContent, Tree, TreeFile, TreeNode, join, no_space};
use crate::transaction::{FileAt, Transaction};
use crate::{Database, Id};
use datakit_server::clock::now;
use datakit_server::sparse_bytes::SparseBytes;
use datakit_server::tree::{BoxFuture, Directory, Entry, Leaf, OpenLeaf, ready};

/// The largest file that clients can make, in bytes.
const MAX_FILE_SIZE: u64 = 1 << 30;

/// The tree of a transaction with its inodes.
pub(super) struct RwTree {
    database: Database,
    transaction: Arc<Transaction>,
    /// Locked before the transaction's own lock.
    names: Mutex<InodeTable>,
    me: Weak<RwTree>,
}

impl RwTree {
    /// The tree of a transaction that began at `head`.
    pub(super) fn new(
        database: &Database,
        transaction: Arc<Transaction>,
        head: Option<Id>,
    ) -> Arc<RwTree> {
        let since = head
            .and_then(|head| database.objects().commit(head).ok())
            .map_or_else(now, |commit| time_of(&commit));
        Arc::new_cyclic(|me| RwTree {
            database: database.clone(),
            transaction,
            names: Mutex::new(InodeTable::new(since)),
            me: me.clone(),
        })
    }

    /// All of it.
    pub(super) fn top(&self) -> Entry {
        let top = self.names.lock().top(&self.me);
        entry(&top)
    }

    /// As [`Transaction::reset`].
    pub(super) fn reset(&self, to: Id) -> crate::Result<()> {
        // Not read while others wait.
        self.database.objects().named_commit(to)?;
        self.replace(|transaction| transaction.reset(to))
    }

    /// As [`Transaction::merge`].
    pub(super) fn merge(
        &self,
        theirs: Id,
        parents: &[Id],
        message: &[u8],
        by: &Authorship,
    ) -> crate::Result<()> {
        let merged = self.transaction.prepare_merge(theirs, parents, message, by)?;
        self.replace(|_| merged.apply())
    }

    fn replace(
        &self,
        replace: impl FnOnce(&Transaction) -> crate::Result<()>,
    ) -> crate::Result<()> {
        let objects = self.database.objects();
        let mut names = self.names.lock();
        let before = self.transaction.tree()?;
        replace(&self.transaction)?;
        let after = self.transaction.tree()?;
        let stays = |path: &[u8], is_dir: bool| {
            path.is_empty()
                || after
                    .get(objects, path)
                    .is_ok_and(|node| is_dir == matches!(node, TreeNode::Dir(_)))
        };
        let lost = names.replace(now(), stays);
        self.bury(&names, &before, lost);
        Ok(())
    }

    /// What is `lost` has no name any more; files have the content still that they had in `tree`.
    fn bury(&self, names: &InodeTable, tree: &Tree, lost: Vec<UnlinkedInode>) {
        for lost in lost {
            if let Ok(TreeNode::File(file)) = tree.get(self.database.objects(), &lost.path) {
                self.transaction.detach(lost.inode.number, file);
            }
            names.bury(&lost);
        }
    }

    fn remove(&self, names: &mut InodeTable, path: &[u8]) -> Result<()> {
        let node = self.transaction.remove(path)?;
        self.removed(names, path, node);
        Ok(())
    }

    /// `node` is no more at `path`.
    fn removed(&self, names: &mut InodeTable, path: &[u8], node: TreeNode) {
        let lost = names.remove(path, now());
        match node {
            TreeNode::Dir(dir) => self.bury(names, &Tree::of(dir), lost),
            TreeNode::File(file) => {
                for lost in lost {
                    self.transaction.detach(lost.inode.number, file.clone());
                    names.bury(&lost);
                }
            }
            TreeNode::Submodule(_) => {}
        }
    }

    /// Nobody holds the file without a name any more.
    fn forget(&self, number: u64) {
        self.transaction.forget(number);
    }

    /// Does `work` with what is open of the file, wherever it is, while nothing moves.
    fn with_file<R>(
        &self,
        inode: &Inode,
        work: impl FnOnce(&mut InodeTable, FileAt<'_>) -> Result<R>,
    ) -> Result<R> {
        let mut names = self.names.lock();
        if inode.gone().is_some() {
            return work(&mut names, FileAt::Detached(inode.number));
        }
        let path = inode.path()?;
        work(&mut names, FileAt::Path(&path))
    }

    fn changed(&self, inode: &Inode) -> Option<Time> {
        let names = self.names.lock();
        inode.gone().or_else(|| Some(names.changed(&inode.path().ok()?)))
    }
}

/// What the tree shows of an inode.
fn entry(inode: &Arc<Inode>) -> Entry {
    inode.entry(|| {
        let (name, number) = (inode.name(), inode.number);
        match inode.is_dir {
            true => Entry::dir_with_ino(name, number, RwDir(inode.clone())),
            false => Entry::file_with_ino(name, number, RwFile(inode.clone())),
        }
    })
}

fn file_mode(mode: u32) -> EntryMode {
    if mode & 0o100 == 0 { EntryMode::Normal } else { EntryMode::Exec }
}

fn gone() -> Error {
    Error::NotFound
}

struct RwDir(Arc<Inode>);

impl RwDir {
    fn rw(&self) -> Result<Arc<RwTree>> {
        self.0.rw.upgrade().ok_or_else(gone)
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let rw = self.rw()?;
        let objects = rw.database.objects();
        if self.0.gone().is_some() {
            return Ok(Vec::new());
        }
        let mut names = rw.names.lock();
        let path = self.0.path()?;
        let list = rw
            .transaction
            .tree()?
            .dir(objects, &path)?
            .list(objects)
            .map_err(|error| error.at(&path))?;
        // Of names that are too long clients cannot be told.
        let can_be_shown = |name: &[u8], node: &TreeNode| {
            name.len() <= NAME_MAX && !matches!(node, TreeNode::Submodule(_))
        };
        let shown = list.iter().filter(|(name, node)| can_be_shown(name, node));
        let inodes: Vec<_> = shown
            .map(|(name, node)| {
                names.inode(&self.0, &join(&path, name), name, matches!(node, TreeNode::Dir(_)))
            })
            .collect();
        drop(names);
        Ok(inodes.iter().map(entry).collect())
    }

    fn find(&self, name: &[u8]) -> Result<Entry> {
        let rw = self.rw()?;
        let mut names = rw.names.lock();
        let path = join(&self.0.path()?, name);
        let is_dir = match rw.transaction.get(&path)? {
            TreeNode::Dir(_) => true,
            TreeNode::File(_) => false,
            TreeNode::Submodule(_) => return Err(Error::NotFound),
        };
        let inode = names.inode(&self.0, &path, name, is_dir);
        drop(names);
        Ok(entry(&inode))
    }

    fn make(&self, name: &[u8], create: Create<'_>) -> Result<Entry> {
        let rw = self.rw()?;
        let mut names = rw.names.lock();
        let path = join(&self.0.path()?, name);
        let there = match rw.transaction.get(&path) {
            Ok(node) => Some(node),
            Err(crate::Error::NotFound) => None,
            Err(error) => return Err(error.into()),
        };
        if there.is_some() && create.exclusive {
            return Err(Error::Exists);
        }
        match create.new {
            New::Dir => rw.transaction.mkdir(&path)?,
            New::File => rw.transaction.create(&path, file_mode(create.mode), b"")?,
            New::Symlink(target) => rw.transaction.create(&path, EntryMode::Link, target)?,
            New::Special(_) => return Err(Error::NotSupported),
        }
        match there {
            // The same file, emptied, as `open` with O_TRUNC does it.
            Some(TreeNode::File(TreeFile {
                mode: EntryMode::Normal | EntryMode::Exec, ..
            })) if create.new == New::File => {
                names.touch(&path, now());
            }
            replaced => {
                if let Some(replaced) = replaced {
                    rw.removed(&mut names, &path, replaced);
                }
                names.made(&path, now());
            }
        }
        let inode = names.inode(&self.0, &path, name, create.new == New::Dir);
        drop(names);
        Ok(entry(&inode))
    }

    fn move_in(&self, child: &Entry, name: &[u8]) -> Result<()> {
        let rw = self.rw()?;
        let inode = child.as_any().and_then(inode_of).ok_or(Error::CrossDevice)?;
        if !inode.rw.ptr_eq(&self.0.rw) {
            return Err(Error::CrossDevice);
        }
        let mut names = rw.names.lock();
        let (from, to) = (inode.path()?, join(&self.0.path()?, name));
        let replaced = rw.transaction.rename(&from, &to)?;
        if from == to {
            return Ok(());
        }
        if let Some(replaced) = replaced {
            rw.removed(&mut names, &to, replaced);
        }
        names.rename(inode, &from, &self.0, name, &to, now());
        Ok(())
    }
}

/// The inode of what a tree shows, if it is of such a tree.
fn inode_of(shown: &dyn Any) -> Option<&Arc<Inode>> {
    let dir = shown.downcast_ref::<RwDir>().map(|RwDir(inode)| inode);
    dir.or_else(|| shown.downcast_ref::<RwFile>().map(|RwFile(inode)| inode))
}

fn remove(inode: &Inode) -> Result<()> {
    let rw = inode.rw.upgrade().ok_or_else(gone)?;
    let mut names = rw.names.lock();
    let path = inode.path()?;
    if !path.is_empty() {
        return rw.remove(&mut names, &path);
    }
    // The top stays, empty.
    let objects = rw.database.objects();
    for (name, _) in rw.transaction.tree()?.top().list(objects)? {
        rw.remove(&mut names, &name)?;
    }
    Ok(())
}

fn home(inode: &Inode) -> Option<Entry> {
    inode.parent().map(|parent| entry(&parent))
}

impl Directory for RwDir {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready(self.entries())
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        ready(self.find(name.as_bytes()))
    }

    fn create<'a>(&'a self, name: Name<'a>, create: Create<'a>) -> BoxFuture<'a, Entry> {
        ready(self.make(name.as_bytes(), create))
    }

    fn rename<'a>(&'a self, child: &'a Entry, name: Name<'a>) -> BoxFuture<'a, ()> {
        ready(self.move_in(child, name.as_bytes()))
    }

    fn move_to<'a>(
        &'a self,
        child: &'a Entry,
        dir: &'a Entry,
        name: Name<'a>,
    ) -> BoxFuture<'a, ()> {
        let dir =
            dir.as_any().and_then(|dir| dir.downcast_ref::<RwDir>()).ok_or(Error::CrossDevice);
        ready(dir.and_then(|dir| dir.move_in(child, name.as_bytes())))
    }

    /// With everything in it.
    fn remove(&self) -> BoxFuture<'_, ()> {
        ready(remove(&self.0))
    }

    fn unlink<'a>(&'a self, _: &'a Entry) -> BoxFuture<'a, ()> {
        ready(Ok(()))
    }

    /// Git keeps no modes of directories.
    fn chmod(&self, _: u32) -> BoxFuture<'_, ()> {
        ready(Ok(()))
    }

    fn mode(&self) -> u32 {
        DIRECTORY
    }

    fn mtime(&self) -> Option<Time> {
        self.0.rw.upgrade()?.changed(&self.0)
    }

    fn current_parent(&self) -> Option<Entry> {
        home(&self.0)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

/// A file, or a symbolic link: a change of mode makes one the other.
struct RwFile(Arc<Inode>);

impl RwFile {
    fn file(&self) -> Result<(Arc<RwTree>, TreeFile)> {
        let rw = self.0.rw.upgrade().ok_or_else(gone)?;
        let file = rw.with_file(&self.0, |_, at| Ok(rw.transaction.file(at)?))?;
        Ok((rw, file))
    }

    /// With the path in its errors.
    fn at<T>(&self, done: crate::Result<T>) -> Result<T> {
        Ok(done.map_err(|error| error.at(&self.0.path().unwrap_or_default()))?)
    }
}

impl RwFile {
    /// Drops the content, which need not be read for that.
    fn empty(&self) -> Result<()> {
        let rw = self.0.rw.upgrade().ok_or_else(gone)?;
        rw.with_file(&self.0, |names, at| {
            rw.transaction.empty(at)?;
            self.0.touch(names, at);
            Ok(())
        })
    }
}

/// Has `change` change the content of a file.
fn change(inode: &Inode, change: impl FnOnce(&mut SparseBytes) -> Result<()>) -> Result<()> {
    let rw = inode.rw.upgrade().ok_or_else(gone)?;
    rw.with_file(inode, |names, at| {
        let changed = rw
            .transaction
            .change(at, |content| change(content).map_err(|error| Failed(named(error))));
        changed.map_err(|Failed(error)| error)?;
        inode.touch(names, at);
        Ok(())
    })
}

/// Where memory is missing it says for what.
fn named(error: Error) -> Error {
    if matches!(error, Error::NoSpace | Error::NoMemory) { no_space(error).into() } else { error }
}

/// An error of the tree's through a call of the database's.
struct Failed(Error);

impl From<crate::Error> for Failed {
    fn from(error: crate::Error) -> Failed {
        Failed(error.into())
    }
}

impl Leaf for RwFile {
    fn kind(&self) -> FileType {
        match self.file() {
            Ok((_, TreeFile { mode: EntryMode::Link, .. })) => FileType::Symlink,
            _ => FileType::File,
        }
    }

    fn target(&self) -> BoxFuture<'_, Vec<u8>> {
        ready(self.file().and_then(|(rw, file)| match file {
            TreeFile { mode: EntryMode::Link, content } => {
                Ok(self.at(content.bytes(rw.database.objects()))?.to_vec())
            }
            _ => Err(Error::Invalid),
        }))
    }

    fn stat(&self) -> BoxFuture<'_, FileStat> {
        ready(self.file().and_then(|(rw, file)| {
            let length = self.at(file.content.length(rw.database.objects()))?;
            Ok(stat(file.mode, length))
        }))
    }

    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        let opened = match mode.truncate {
            true => self.empty(),
            false => self.file().map(drop),
        };
        let open = OpenRw { inode: self.0.clone(), append: mode.append, blob: Mutex::default() };
        ready(opened.map(|()| Box::new(open) as Box<dyn OpenLeaf>))
    }

    fn truncate(&self, length: u64) -> BoxFuture<'_, ()> {
        if length == 0 {
            return ready(self.empty());
        }
        Box::pin(async move {
            let length = checked(length)?;
            load(&self.0).await?;
            change(&self.0, |content| content.set_size(length))
        })
    }

    fn chmod(&self, mode: u32) -> BoxFuture<'_, ()> {
        ready((|| {
            let rw = self.0.rw.upgrade().ok_or_else(gone)?;
            rw.with_file(&self.0, |_, at| Ok(rw.transaction.chmod(at, file_mode(mode))?))
        })())
    }

    fn remove(&self) -> BoxFuture<'_, ()> {
        ready(remove(&self.0))
    }

    fn mtime(&self) -> Option<Time> {
        self.0.rw.upgrade()?.changed(&self.0)
    }

    fn current_parent(&self) -> Option<Entry> {
        home(&self.0)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

/// A file that is open. Large content is read from the store, and made one that can be changed, on
/// a thread of its own.
struct OpenRw {
    inode: Arc<Inode>,
    append: bool,
    /// The blob that was read last.
    blob: Mutex<Option<(Id, Arc<[u8]>)>>,
}

impl OpenLeaf for OpenRw {
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            let leaf = RwFile(self.inode.clone());
            let (rw, file) = leaf.file()?;
            match &file.content {
                FileContent::Stored(id) => {
                    read_at(&leaf.at(self.blob(&rw, *id).await)?, offset, buf)
                }
                content => read_pending(content, offset, buf),
            }
        })
    }

    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            load(&self.inode).await?;
            let mut written = 0;
            change(&self.inode, |content| {
                let offset = if self.append { content.size() } else { checked(offset)? };
                offset
                    .checked_add(data.len() as u64)
                    .filter(|end| *end <= MAX_FILE_SIZE)
                    .ok_or(Error::TooLarge)?;
                written = content.write(offset, data)?;
                Ok(())
            })?;
            Ok(written)
        })
    }
}

impl OpenRw {
    async fn blob(&self, rw: &RwTree, id: Id) -> crate::Result<Arc<[u8]>> {
        if let Some((_, blob)) = self.blob.lock().as_ref().filter(|(read, _)| *read == id) {
            return Ok(blob.clone());
        }
        let blob = rw.database.blob(id).await?;
        *self.blob.lock() = Some((id, blob.clone()));
        Ok(blob)
    }
}

/// As [`read_at`], of content with holes.
fn read_pending(content: &FileContent, offset: u64, buf: &mut [u8]) -> Result<usize> {
    let Some(content) = content.as_pending() else { return Err(Error::Io) };
    let size = content.size();
    match checked_sign(offset) {
        Ok(()) if offset <= size => Ok(content.read(offset, buf)),
        Ok(()) => Err(Error::Invalid
            .with_message(format_args!("Offset {offset} beyond end-of-file (len = {size})"))),
        Err(error) => Err(error),
    }
}

/// Makes a large blob content that can be changed, before it is: other requests go on meanwhile.
async fn load(inode: &Inode) -> Result<()> {
    let rw = inode.rw.upgrade().ok_or_else(gone)?;
    let file = rw.with_file(inode, |_, at| Ok(rw.transaction.file(at)?))?;
    let FileContent::Stored(id) = file.content else { return Ok(()) };
    let at = |error: crate::Error| error.at(&inode.path().unwrap_or_default());
    if rw.database.objects().blob_length(id).map_err(at)? <= MAX_INLINE_BYTES {
        return Ok(());
    }
    let space = rw.transaction.space().clone();
    let loaded = rw.database.run_apart(move |database| {
        let blob = database.objects().blob(id)?;
        SparseBytes::from_slice(&blob, &space).map_err(no_space)
    });
    let loaded = loaded.await.map_err(at)?;
    rw.with_file(inode, |_, at| Ok(rw.transaction.load(at, id, loaded)?))
}

/// An offset, which is signed in a file system and unsigned on the wire.
fn checked_sign(offset: u64) -> Result<()> {
    if offset.cast_signed() < 0 {
        return Err(
            Error::Invalid.with_message(format_args!("Negative offset {}", offset.cast_signed()))
        );
    }
    Ok(())
}

/// An offset or length of a file that clients make.
fn checked(offset: u64) -> Result<u64> {
    checked_sign(offset)?;
    if offset <= MAX_FILE_SIZE { Ok(offset) } else { Err(Error::TooLarge) }
}
