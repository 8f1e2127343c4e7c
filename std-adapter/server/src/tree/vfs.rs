//! The [`Vfs`] implementation for the dynamic tree.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use datakit_core::params::notify_refusal;
use datakit_core::vfs::{
    Attr, Create, DirEntry, Error, FileType, Id, MutableTree, Name, OpenMode, Result, SetAttr,
    Time, User, Vfs,
};
use tokio::sync::Mutex;

use super::{Directory, Entry, EntryContent, Listing, OpenBytes, OpenLeaf, Tree};
use crate::clock;

/// An entry in a [`Tree`] and the path through which it was found. A walk to `..` returns to the
/// previous entry on the path.
#[derive(Debug, Clone)]
pub struct EntryPath(Arc<PathElement>);

#[derive(Debug)]
struct PathElement {
    entry: Entry,
    parent: Option<EntryPath>,
    /// The attached user, or `None` below the root and for anonymous users.
    user: Option<Box<AttachedUser>>,
}

#[derive(Debug)]
struct AttachedUser {
    name: Box<[u8]>,
    number: Option<u32>,
}

/// An open file or directory in a [`Tree`].
#[derive(Clone)]
pub struct Open(OpenEntry);

#[derive(Clone)]
enum OpenEntry {
    Dir(Arc<OpenDir>),
    File(Arc<SerialFile>),
}

/// An open directory.
struct OpenDir {
    dir: EntryPath,
    listing: Box<dyn Listing>,
}

/// An open file that runs at most one read and one write at a time.
struct SerialFile {
    leaf: Box<dyn OpenLeaf>,
    // Tokio's mutex is fair, so requests take effect in order of arrival.
    reading: Mutex<()>,
    writing: Mutex<()>,
}

impl Drop for PathElement {
    /// Drops the ancestors in a loop, because recursion could overflow the stack if the path is
    /// long.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(EntryPath(element)) = next {
            next = Arc::into_inner(element).and_then(|mut element| element.parent.take());
        }
    }
}

impl EntryPath {
    pub(super) fn root(entry: Entry) -> EntryPath {
        EntryPath(Arc::new(PathElement { entry, parent: None, user: None }))
    }

    fn child(&self, entry: Entry) -> EntryPath {
        EntryPath(Arc::new(PathElement { entry, parent: Some(self.clone()), user: None }))
    }

    /// Returns a path that starts at this entry and records `user` as the attached user.
    fn attached_by(&self, user: User<'_>) -> EntryPath {
        let user = AttachedUser { name: user.name.into(), number: user.number };
        EntryPath(Arc::new(PathElement {
            entry: self.0.entry.clone(),
            parent: None,
            user: Some(Box::new(user)),
        }))
    }

    /// Returns the user who attached to the root of this path.
    fn user(&self) -> User<'_> {
        let mut root = self;
        while let Some(parent) = &root.0.parent {
            root = parent;
        }
        let user = root.0.user.as_deref();
        user.map_or(User::default(), |user| User { name: &user.name, number: user.number })
    }

    /// Returns the entry.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.0.entry
    }

    /// Returns the path of `dir`, the directory that currently contains this entry. Normally, `dir`
    /// is part of this entry's path. If the entry has been moved, the path of `dir` is built from
    /// the nearest common ancestor.
    fn ancestor_or_moved(&self, dir: Entry) -> EntryPath {
        let (mut below, mut dir) = (Vec::new(), dir);
        let mut inode = loop {
            let mut path = std::iter::successors(Some(self), |inode| inode.0.parent.as_ref());
            if let Some(ancestor) = path.find(|inode| inode.entry().is_same(&dir)) {
                break ancestor.clone();
            }
            match dir.current_parent() {
                Some(above) => below.push(std::mem::replace(&mut dir, above)),
                None => break self.clone(),
            }
        };
        while let Some(entry) = below.pop() {
            inode = inode.child(entry);
        }
        inode
    }

    fn dir(&self) -> Result<&dyn Directory> {
        match self.entry().content() {
            EntryContent::Dir(dir) => Ok(dir),
            _ => Err(Error::NotDirectory),
        }
    }
}

/// Returns the time at which the first tree in this process was created. An entry without a known
/// modification time reports this time instead.
pub(super) fn start_time() -> Time {
    static START: OnceLock<Time> = OnceLock::new();
    *START.get_or_init(clock::now)
}

impl Vfs for Tree {
    type Inode = EntryPath;
    type Open = Open;
    type TreeKind = MutableTree;

    fn root(&self) -> EntryPath {
        self.root.clone()
    }

    fn attach(&self, user: User<'_>) -> EntryPath {
        if user == User::default() { self.root() } else { self.root.attached_by(user) }
    }

    fn parent(&self, inode: &EntryPath) -> EntryPath {
        let Some(parent) = &inode.0.parent else { return inode.clone() };
        inode
            .entry()
            .current_parent()
            .map_or_else(|| parent.clone(), |dir| parent.ancestor_or_moved(dir))
    }

    fn id(&self, inode: &EntryPath) -> Id {
        inode.entry().id()
    }

    fn name(&self, inode: &EntryPath, with: &mut dyn FnMut(&[u8])) {
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

    async fn lookup(&self, dir: &EntryPath, name: Name<'_>) -> Result<EntryPath> {
        Ok(dir.child(dir.dir()?.lookup(name).await?))
    }

    async fn stat(&self, inode: &EntryPath) -> Result<Attr> {
        let id = inode.entry().id();
        let (attr, mtime) = match inode.entry().content() {
            EntryContent::Dir(dir) => (Attr::new(id, dir.mode(), 0), dir.mtime()),
            EntryContent::Symlink(target) => (Attr::new(id, 0o777, target.len() as u64), None),
            EntryContent::File(leaf) => {
                let (stat, mtime) = match leaf.try_stat_now() {
                    Some(now) => now?,
                    None => (leaf.stat().await?, leaf.mtime()),
                };
                (Attr::new(Id { version: stat.version, ..id }, stat.mode, stat.length), mtime)
            }
        };
        let time = mtime.unwrap_or_else(start_time);
        let attr = Attr { atime: time, mtime: time, ctime: time, ..attr };
        Ok(inode.entry().attributes().map_or(attr, |attributes| attributes.apply(attr)))
    }

    async fn open(&self, inode: &EntryPath, mode: OpenMode) -> Result<Open> {
        let leaf = match inode.entry().content() {
            EntryContent::File(leaf) => self.report(leaf.open_by(mode, &self.client).await)?,
            EntryContent::Symlink(target) => Box::new(OpenBytes(Box::<[u8]>::from(target))),
            EntryContent::Dir(dir) => {
                let listing = dir.open().await?;
                return Ok(Open(OpenEntry::Dir(Arc::new(OpenDir { dir: inode.clone(), listing }))));
            }
        };
        Ok(Open(OpenEntry::File(Arc::new(SerialFile {
            leaf,
            reading: Mutex::new(()),
            writing: Mutex::new(()),
        }))))
    }

    fn close(&self, open: &Open) {
        if let OpenEntry::File(file) = &open.0 {
            file.leaf.close();
        }
    }

    async fn flush(&self, open: &Open) -> Result<()> {
        match &open.0 {
            OpenEntry::File(file) => self.report(file.leaf.flush().await),
            OpenEntry::Dir(_) => Ok(()),
        }
    }

    async fn read(&self, open: &Open, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let file = open.file()?;
        let _turn = file.reading.lock().await;
        self.report(file.leaf.read(offset, buf).await)
    }

    fn may_block(&self, open: &Open) -> bool {
        match &open.0 {
            OpenEntry::File(file) => file.leaf.may_block(),
            OpenEntry::Dir(_) => false,
        }
    }

    fn try_read_now(&self, open: &Open, offset: u64, buf: &mut [u8]) -> Option<Result<usize>> {
        match &open.0 {
            OpenEntry::File(file) => file.leaf.try_read_now(offset, buf),
            OpenEntry::Dir(_) => None,
        }
    }

    async fn write(&self, open: &Open, offset: u64, data: &[u8]) -> Result<usize> {
        let file = open.file()?;
        let _turn = file.writing.lock().await;
        self.report(file.leaf.write(offset, data).await)
    }

    async fn readdir(
        &self,
        dir: &Open,
        cookie: u64,
        each: &mut dyn FnMut(DirEntry<'_, EntryPath>) -> ControlFlow<()>,
    ) -> Result<()> {
        let OpenEntry::Dir(open) = &dir.0 else { return Err(Error::NotDirectory) };
        let (mut next, mut flow) = (cookie, ControlFlow::Continue(()));
        // Find the first entry by its index instead of skipping earlier entries. In 9P2000, this
        // function is called once for each entry, so skipping would take quadratic time.
        while let Ok(index) = usize::try_from(next) {
            next = next.saturating_add(1);
            // The entry exists, because its listing has just described it.
            let inode =
                || open.listing.entry(index).map_or(open.dir.clone(), |it| open.dir.child(it));
            let mut is_described = false;
            open.listing.describe(index, &mut |name, id| {
                is_described = true;
                flow = each(DirEntry { name, inode: &inode, id, next });
            });
            if !is_described || flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    async fn create(
        &self,
        dir: &EntryPath,
        name: Name<'_>,
        create: Create<'_>,
    ) -> Result<EntryPath> {
        let created = dir.dir()?.create_by(name, create, dir.user()).await;
        Ok(dir.child(self.report(created)?))
    }

    async fn remove(&self, inode: &EntryPath) -> Result<()> {
        let parent = inode.0.parent.as_ref().ok_or(Error::NotPermitted)?;
        if parent.dir()?.ignores_removal(inode.entry()) {
            return Ok(());
        }
        self.report(parent.dir()?.remove_child(inode.entry()).await)
    }

    async fn rename(&self, inode: &EntryPath, dir: &EntryPath, name: Name<'_>) -> Result<()> {
        if inode.0.parent.is_none() {
            return Err(Error::NotPermitted.with_message("Can't rename /"));
        }
        let parent = self.parent(inode);
        let renamed = if parent.entry().is_same(dir.entry()) {
            parent.dir()?.rename(inode.entry(), name).await
        } else {
            dir.dir()?;
            parent.dir()?.move_to(inode.entry(), dir.entry(), name).await
        };
        self.report(renamed)?;
        inode.entry().set_name(name.as_bytes());
        Ok(())
    }

    async fn set_attr(&self, inode: &EntryPath, set: SetAttr) -> Result<()> {
        self.report(set_attr(inode.entry(), set).await)
    }

    async fn readlink(&self, inode: &EntryPath, buf: &mut [u8]) -> Result<usize> {
        let target = match inode.entry().content() {
            EntryContent::Symlink(target) => target.to_vec(),
            EntryContent::File(leaf) => leaf.target().await?,
            EntryContent::Dir(_) => return Err(Error::Invalid),
        };
        buf.get_mut(..target.len()).ok_or(Error::Range)?.copy_from_slice(&target);
        Ok(target.len())
    }
}

impl Tree {
    /// Notifies the parameter observers of a refused request from this tree's client if `result` is
    /// an error. Returns `result`.
    fn report<T>(&self, result: Result<T>) -> Result<T> {
        // If all numbers are in use, this connection cannot open the file with the refusal.
        if let Err(error) = &result
            && let Ok(client) = self.client.get()
        {
            notify_refusal(client, error);
        }
        result
    }
}

/// Passes the mode and the length to the file. Owners and times are accepted but ignored, as in the
/// original DataKit.
async fn set_attr(entry: &Entry, set: SetAttr) -> Result<()> {
    let leaf = match entry.content() {
        EntryContent::File(leaf) => leaf,
        EntryContent::Dir(dir) => {
            check_set_attr(FileType::Dir, &SetAttr { mode: None, ..set })?;
            return match set.mode {
                Some(mode) => dir.chmod(mode).await,
                None => Ok(()),
            };
        }
        EntryContent::Symlink(_) => return check_set_attr(FileType::Symlink, &set),
    };
    match (set.mode, set.size) {
        (None, None) => Ok(()),
        (Some(mode), None) => leaf.chmod(mode).await,
        (None, Some(size)) => leaf.truncate(size).await,
        // A request to change both the mode and the length is refused, because the second change
        // could fail after the first one has succeeded.
        (Some(_), Some(_)) => {
            Err(Error::Invalid.with_message("Can't rename/truncate/chmod at the same time"))
        }
    }
}

/// Checks an attribute change for a directory or symbolic link. Refuses to change the mode or size,
/// but accepts a request to set a directory's size to 0.
fn check_set_attr(kind: FileType, set: &SetAttr) -> Result<()> {
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
    fn file(&self) -> Result<&SerialFile> {
        match &self.0 {
            OpenEntry::File(file) => Ok(file),
            OpenEntry::Dir(_) => Err(Error::IsDirectory),
        }
    }
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            OpenEntry::Dir(open) => f.debug_tuple("OpenDir").field(open.dir.entry()).finish(),
            OpenEntry::File(_) => f.debug_struct("OpenFile").finish_non_exhaustive(),
        }
    }
}
