//! EntryKind a directory of the dynamic tree is, and the ready-made ones.

use parking_lot::RwLock;
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use datakit_core::vfs::{Create, Error, FileType, Name, New, Result, Time, User};

use super::{BoxFuture, Entry, ready};

/// The permission bits of a directory in which nothing can be made or removed.
pub const READ_ONLY_DIR_MODE: u32 = 0o555;

/// A directory: create your own.
///
/// Refusals that are not overridden are those of a read-only directory.
pub trait Directory: Send + Sync {
    /// The entries, in the order in which they are shown. Asked when the directory is opened.
    fn list(&self) -> BoxFuture<'_, Vec<Entry>>;

    /// The entry called `name`; unless it is overridden, the first of that name in the list.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        Box::pin(async move { find(self.list().await?, name) })
    }

    /// Makes a file, a directory or a symbolic link. An existing name is [`Error::Exists`]; one
    /// that is not [exclusive](Create::exclusive) may empty the file that has it instead.
    fn create<'a>(&'a self, name: Name<'a>, create: Create<'a>) -> BoxFuture<'a, Entry> {
        let _ = (name, create);
        ready(Err(Error::ReadOnlyDirectory))
    }

    /// [`create`](Directory::create) by the user who attached, for directories to which that makes
    /// a difference.
    fn create_by<'a>(
        &'a self,
        name: Name<'a>,
        create: Create<'a>,
        user: User<'a>,
    ) -> BoxFuture<'a, Entry> {
        let _ = user;
        self.create(name, create)
    }

    /// Gives `child` another name. The entry's own name is changed by the tree afterwards.
    fn rename<'a>(&'a self, child: &'a Entry, name: Name<'a>) -> BoxFuture<'a, ()> {
        let _ = (child, name);
        ready(Err(Error::ReadOnlyDirectory))
    }

    /// Moves `child` to `name` in `dir`, another directory of this tree. The entry's own name is
    /// changed by the tree afterwards.
    ///
    /// # Errors
    /// [`Error::CrossDevice`], after which clients copy and remove.
    fn move_to<'a>(
        &'a self,
        child: &'a Entry,
        dir: &'a Entry,
        name: Name<'a>,
    ) -> BoxFuture<'a, ()> {
        let _ = (child, dir, name);
        ready(Err(Error::CrossDevice))
    }

    /// Sets the permission bits.
    fn chmod(&self, mode: u32) -> BoxFuture<'_, ()> {
        let _ = mode;
        ready(Err(Error::NotPermitted))
    }

    /// The permission bits.
    fn mode(&self) -> u32 {
        0o775
    }

    /// When its names changed; `None` where that is not known.
    fn mtime(&self) -> Option<Time> {
        None
    }

    /// The directory that has it now, where it may have been moved since it was found.
    fn current_parent(&self) -> Option<Entry> {
        None
    }

    /// Itself, for directories that know their own kind.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// Whether `child` goes with this directory only: a removal of it is taken and changes nothing,
    /// as `rm -r` removes what is in a directory before the directory itself.
    fn ignores_removal(&self, child: &Entry) -> bool {
        let _ = child;
        false
    }

    /// Removes this directory itself.
    fn remove(&self) -> BoxFuture<'_, ()> {
        ready(Err(Error::ReadOnlyDirectory))
    }

    /// `child` agreed to be removed and is to be shown no more. Nothing to be done where its own
    /// `remove` did that; a symbolic link is not asked itself, so that it is this directory's to
    /// refuse.
    fn unlink<'a>(&'a self, child: &'a Entry) -> BoxFuture<'a, ()> {
        ready(if child.kind() == FileType::Symlink {
            Err(Error::ReadOnlyDirectory)
        } else {
            Ok(())
        })
    }
}

fn find(entries: Vec<Entry>, name: Name<'_>) -> Result<Entry> {
    entries.into_iter().find(|entry| *entry.name() == *name.as_bytes()).ok_or(Error::NotFound)
}

/// A directory without entries.
#[derive(Debug, Clone, Copy, Default)]
pub struct Empty;

impl Directory for Empty {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready(Ok(Vec::new()))
    }
}

/// A directory whose entries are asked for at every listing and every lookup.
pub struct ListDir<F>(F);

impl<F: Fn() -> Vec<Entry> + Send + Sync> ListDir<F> {
    /// `list` returns the same entries for the same things: a fresh one has a fresh inode number.
    pub fn new(list: F) -> ListDir<F> {
        ListDir(list)
    }
}

impl<F: Fn() -> Vec<Entry> + Send + Sync> Directory for ListDir<F> {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready(Ok((self.0)()))
    }
}

/// A directory that the program changes, shown in the order of the names. Clones are the same
/// directory.
///
/// Clients make and rename nothing here; they remove what agrees to be removed.
#[derive(Debug, Clone, Default)]
pub struct Dir(Arc<RwLock<BTreeMap<Arc<[u8]>, Entry>>>);

impl Dir {
    /// A directory without entries.
    #[must_use]
    pub fn new() -> Dir {
        Dir::default()
    }

    /// Adds `entry` under its name: what had that name before. Lookups see it from now on.
    pub fn insert(&self, entry: Entry) -> Option<Entry> {
        self.0.write().insert(entry.name(), entry)
    }

    /// Takes the entry called `name` out. Open files of it go on.
    pub fn remove(&self, name: impl AsRef<[u8]>) -> Option<Entry> {
        self.0.write().remove(name.as_ref())
    }

    /// The entry called `name`.
    #[must_use]
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<Entry> {
        self.0.read().get(name.as_ref()).cloned()
    }
}

impl FromIterator<Entry> for Dir {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Dir {
        let map = entries.into_iter().map(|entry| (entry.name(), entry)).collect();
        Dir(Arc::new(RwLock::new(map)))
    }
}

impl Directory for Dir {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready(Ok(self.0.read().values().cloned().collect()))
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        ready(self.get(name.as_bytes()).ok_or(Error::NotFound))
    }

    fn unlink<'a>(&'a self, child: &'a Entry) -> BoxFuture<'a, ()> {
        if child.kind() == FileType::Symlink {
            return ready(Err(Error::ReadOnlyDirectory));
        }
        let (name, mut entries) = (child.name(), self.0.write());
        // The name may stand for something newer by now, which stays.
        let there = entries.get(&name).is_some_and(|found| found.is_same(child));
        ready(if there { entries.remove(&name).map(drop) } else { None }.ok_or(Error::NotFound))
    }
}

/// Another directory, of which only list, lookup and removal are let through; it is shown without
/// write bits.
pub struct ReadOnly<D>(pub D);

impl<D: Directory> Directory for ReadOnly<D> {
    fn mode(&self) -> u32 {
        READ_ONLY_DIR_MODE
    }

    fn mtime(&self) -> Option<Time> {
        self.0.mtime()
    }

    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        self.0.list()
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        self.0.lookup(name)
    }

    fn remove(&self) -> BoxFuture<'_, ()> {
        self.0.remove()
    }

    fn unlink<'a>(&'a self, child: &'a Entry) -> BoxFuture<'a, ()> {
        self.0.unlink(child)
    }
}

/// Another directory, in which nothing but directories can be made.
pub struct DirOnly<D>(pub D);

impl<D: Directory> Directory for DirOnly<D> {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        self.0.list()
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        self.0.lookup(name)
    }

    fn create<'a>(&'a self, name: Name<'a>, create: Create<'a>) -> BoxFuture<'a, Entry> {
        self.create_by(name, create, User::default())
    }

    fn create_by<'a>(
        &'a self,
        name: Name<'a>,
        create: Create<'a>,
        user: User<'a>,
    ) -> BoxFuture<'a, Entry> {
        if create.new == New::Dir {
            self.0.create_by(name, create, user)
        } else {
            ready(Err(Error::OnlyDirectories))
        }
    }

    fn rename<'a>(&'a self, child: &'a Entry, name: Name<'a>) -> BoxFuture<'a, ()> {
        self.0.rename(child, name)
    }

    fn remove(&self) -> BoxFuture<'_, ()> {
        self.0.remove()
    }

    fn unlink<'a>(&'a self, child: &'a Entry) -> BoxFuture<'a, ()> {
        self.0.unlink(child)
    }
}
