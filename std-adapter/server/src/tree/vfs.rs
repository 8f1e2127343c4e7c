//! The dynamic tree as a [`Vfs`].

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use datakit_core::vfs::{
    Attr, Create, DirEntry, Error, FileType, Id, MutableTree, Name, OpenMode, Result, SetAttr,
    Time, User, Vfs,
};
use tokio::sync::Mutex;

use super::text::OpenBytes;
use super::{Directory, Entry, EntryKind, OpenLeaf, Tree};
use crate::clock;
use crate::memory;

/// An entry of a [`Tree`] and the way by which it was found: `..` goes back that way.
#[derive(Debug, Clone)]
pub struct Inode(Arc<Found>);

#[derive(Debug)]
struct Found {
    entry: Entry,
    parent: Option<Inode>,
    /// Who attached; at the top only, and `None` also for nobody.
    user: Option<Box<Attached>>,
}

#[derive(Debug)]
struct Attached {
    name: Box<[u8]>,
    number: Option<u32>,
}

/// An open file or directory of a [`Tree`].
#[derive(Clone)]
pub struct Open(Opened);

#[derive(Clone)]
enum Opened {
    /// EntryKind the directory had when it was opened.
    Dir(Arc<Listing>),
    File(Arc<File>),
}

/// EntryKind an entry of a listing takes, about.
const ENTRY: u64 = 256;

struct Listing {
    dir: Inode,
    entries: Vec<Entry>,
}

impl Drop for Listing {
    fn drop(&mut self) {
        memory::freed(self.entries.len() as u64 * ENTRY);
    }
}

struct File {
    leaf: Box<dyn OpenLeaf>,
    // Fair: requests on one open file take effect in the order in which they came.
    reading: Mutex<()>,
    writing: Mutex<()>,
}

impl Drop for Found {
    /// One after the other: nested calls, as deep as clients walk down, would not fit the stack.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(Inode(found)) = next {
            next = Arc::into_inner(found).and_then(|mut found| found.parent.take());
        }
    }
}

impl Inode {
    pub(super) fn root(entry: Entry) -> Inode {
        Inode(Arc::new(Found { entry, parent: None, user: None }))
    }

    fn child(&self, entry: Entry) -> Inode {
        Inode(Arc::new(Found { entry, parent: Some(self.clone()), user: None }))
    }

    /// The same at the top of a tree for a user.
    fn seen_by(&self, user: User<'_>) -> Inode {
        let user = Attached { name: user.name.into(), number: user.number };
        Inode(Arc::new(Found {
            entry: self.0.entry.clone(),
            parent: None,
            user: Some(Box::new(user)),
        }))
    }

    /// Who attached to the tree in which this was found.
    fn user(&self) -> User<'_> {
        let mut top = self;
        while let Some(parent) = &top.0.parent {
            top = parent;
        }
        let user = top.0.user.as_deref();
        user.map_or(User::default(), |user| User { name: &user.name, number: user.number })
    }

    /// EntryKind it stands for.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.0.entry
    }

    /// The directory `home`, as it is found from here: what has it may have been moved since.
    fn directory(&self, home: Entry) -> Inode {
        let (mut below, mut home) = (Vec::new(), home);
        let mut found = loop {
            let mut ways = std::iter::successors(Some(self), |inode| inode.0.parent.as_ref());
            if let Some(found) = ways.find(|inode| inode.entry().is_same(&home)) {
                break found.clone();
            }
            match home.current_parent() {
                Some(above) => below.push(std::mem::replace(&mut home, above)),
                None => break self.clone(),
            }
        };
        while let Some(entry) = below.pop() {
            found = found.child(entry);
        }
        found
    }

    fn dir(&self) -> Result<&dyn Directory> {
        match self.entry().what() {
            EntryKind::Dir(dir) => Ok(dir),
            _ => Err(Error::NotDirectory),
        }
    }
}

/// The time of all that has none of its own: when the first tree was made, as its program started.
pub(super) fn started() -> Time {
    static STARTED: OnceLock<Time> = OnceLock::new();
    *STARTED.get_or_init(clock::now)
}

impl Vfs for Tree {
    type Inode = Inode;
    type Open = Open;
    type TreeKind = MutableTree;

    fn root(&self) -> Inode {
        self.root.clone()
    }

    fn attach(&self, user: User<'_>) -> Inode {
        if user == User::default() { self.root() } else { self.root.seen_by(user) }
    }

    fn parent(&self, inode: &Inode) -> Inode {
        let Some(parent) = &inode.0.parent else { return inode.clone() };
        inode.entry().current_parent().map_or_else(|| parent.clone(), |home| parent.directory(home))
    }

    fn id(&self, inode: &Inode) -> Id {
        inode.entry().id()
    }

    fn name(&self, inode: &Inode, with: &mut dyn FnMut(&[u8])) {
        match inode.0.parent {
            Some(_) => inode.entry().with_name(with),
            None => with(b"/"),
        }
    }

    fn strict_walk(&self) -> bool {
        true
    }

    fn allows_slash(&self) -> bool {
        true
    }

    async fn lookup(&self, dir: &Inode, name: Name<'_>) -> Result<Inode> {
        Ok(dir.child(dir.dir()?.lookup(name).await?))
    }

    async fn stat(&self, inode: &Inode) -> Result<Attr> {
        let id = inode.entry().id();
        let (attr, changed) = match inode.entry().what() {
            EntryKind::Dir(dir) => (Attr::new(id, dir.mode(), 0), dir.mtime()),
            EntryKind::Symlink(target) => (Attr::new(id, 0o777, target.len() as u64), None),
            EntryKind::File(leaf) => {
                let (stat, changed) = match leaf.try_stat_now() {
                    Some(now) => now?,
                    None => (leaf.stat().await?, leaf.mtime()),
                };
                (Attr::new(Id { version: stat.version, ..id }, stat.mode, stat.length), changed)
            }
        };
        let time = changed.unwrap_or_else(started);
        Ok(Attr { atime: time, mtime: time, ctime: time, ..attr })
    }

    async fn open(&self, inode: &Inode, mode: OpenMode) -> Result<Open> {
        let leaf = match inode.entry().what() {
            EntryKind::File(leaf) => leaf.open(mode).await?,
            EntryKind::Symlink(target) => Box::new(OpenBytes(Box::<[u8]>::from(target))),
            EntryKind::Dir(dir) => {
                let entries = dir.list().await?;
                return Ok(Open(Opened::Dir(Arc::new(Listing { dir: inode.clone(), entries }))));
            }
        };
        Ok(Open(Opened::File(Arc::new(File {
            leaf,
            reading: Mutex::new(()),
            writing: Mutex::new(()),
        }))))
    }

    fn close(&self, open: &Open) {
        if let Opened::File(file) = &open.0 {
            file.leaf.close();
        }
    }

    async fn flush(&self, open: &Open) -> Result<()> {
        match &open.0 {
            Opened::File(file) => file.leaf.flush().await,
            Opened::Dir(_) => Ok(()),
        }
    }

    async fn read(&self, open: &Open, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let file = open.file()?;
        let _turn = file.reading.lock().await;
        file.leaf.read(offset, buf).await
    }

    fn may_block(&self, open: &Open) -> bool {
        match &open.0 {
            Opened::File(file) => file.leaf.may_block(),
            Opened::Dir(_) => false,
        }
    }

    fn try_read_now(&self, open: &Open, offset: u64, buf: &mut [u8]) -> Option<Result<usize>> {
        match &open.0 {
            Opened::File(file) => file.leaf.try_read_now(offset, buf),
            Opened::Dir(_) => None,
        }
    }

    async fn write(&self, open: &Open, offset: u64, data: &[u8]) -> Result<usize> {
        let file = open.file()?;
        let _turn = file.writing.lock().await;
        file.leaf.write(offset, data).await
    }

    async fn readdir(
        &self,
        dir: &Open,
        cookie: u64,
        each: &mut dyn FnMut(DirEntry<'_, Inode>) -> ControlFlow<()>,
    ) -> Result<()> {
        let Opened::Dir(listing) = &dir.0 else { return Err(Error::NotDirectory) };
        let start = usize::try_from(cookie).unwrap_or(usize::MAX);
        // Not `skip`: a read of 9P2000 asks for one entry at a time.
        let rest = listing.entries.get(start..).unwrap_or_default();
        for (next, entry) in (cookie.saturating_add(1)..).zip(rest) {
            let inode = || listing.dir.child(entry.clone());
            let flow = entry
                .with_name(|name| each(DirEntry { name, inode: &inode, id: entry.id(), next }));
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    async fn create(&self, dir: &Inode, name: Name<'_>, create: Create<'_>) -> Result<Inode> {
        Ok(dir.child(dir.dir()?.create_by(name, create, dir.user()).await?))
    }

    async fn remove(&self, inode: &Inode) -> Result<()> {
        let parent = inode.0.parent.as_ref().ok_or(Error::NotPermitted)?;
        if parent.dir()?.ignores_removal(inode.entry()) {
            return Ok(());
        }
        match inode.entry().what() {
            EntryKind::Dir(dir) => dir.remove().await?,
            EntryKind::File(leaf) => leaf.remove().await?,
            EntryKind::Symlink(_) => {}
        }
        parent.dir()?.unlink(inode.entry()).await
    }

    async fn rename(&self, inode: &Inode, dir: &Inode, name: Name<'_>) -> Result<()> {
        if inode.0.parent.is_none() {
            return Err(Error::NotPermitted.with_message("Can't rename /"));
        }
        let parent = self.parent(inode);
        if parent.entry().is_same(dir.entry()) {
            parent.dir()?.rename(inode.entry(), name).await?;
        } else {
            dir.dir()?;
            parent.dir()?.move_to(inode.entry(), dir.entry(), name).await?;
        }
        inode.entry().renamed(name.as_bytes());
        Ok(())
    }

    /// Owners and times are taken and forgotten, as DataKit always did; mode and length are the
    /// file's business.
    async fn set_attr(&self, inode: &Inode, set: SetAttr) -> Result<()> {
        let leaf = match inode.entry().what() {
            EntryKind::File(leaf) => leaf,
            EntryKind::Dir(dir) => {
                set_attr_of_other(FileType::Dir, &SetAttr { mode: None, ..set })?;
                return match set.mode {
                    Some(mode) => dir.chmod(mode).await,
                    None => Ok(()),
                };
            }
            EntryKind::Symlink(_) => return set_attr_of_other(FileType::Symlink, &set),
        };
        match (set.mode, set.size) {
            (None, None) => Ok(()),
            (Some(mode), None) => leaf.chmod(mode).await,
            (None, Some(size)) => leaf.truncate(size).await,
            // One could succeed and the other fail.
            (Some(_), Some(_)) => {
                Err(Error::Invalid.with_message("Can't rename/truncate/chmod at the same time"))
            }
        }
    }

    async fn readlink(&self, inode: &Inode, buf: &mut [u8]) -> Result<usize> {
        let target = match inode.entry().what() {
            EntryKind::Symlink(target) => target.to_vec(),
            EntryKind::File(leaf) => leaf.target().await?,
            EntryKind::Dir(_) => return Err(Error::Invalid),
        };
        buf.get_mut(..target.len()).ok_or(Error::Range)?.copy_from_slice(&target);
        Ok(target.len())
    }
}

fn set_attr_of_other(kind: FileType, set: &SetAttr) -> Result<()> {
    match set {
        SetAttr { mode: Some(_), .. } => Err(Error::NotPermitted),
        SetAttr { size: Some(1..), .. } if kind == FileType::Dir => {
            Err(Error::Invalid.with_message("Can't set length of a directory"))
        }
        SetAttr { size: Some(_), .. } if kind != FileType::Dir => Err(Error::ReadOnlyFile),
        _ => Ok(()),
    }
}

impl Open {
    fn file(&self) -> Result<&File> {
        match &self.0 {
            Opened::File(file) => Ok(file),
            Opened::Dir(_) => Err(Error::IsDirectory),
        }
    }
}
