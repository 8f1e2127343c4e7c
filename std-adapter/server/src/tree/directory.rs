//! The trait for directories in the dynamic tree, and the types that implement it.

use std::any::Any;
use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::sync::Arc;

use datakit_core::vfs::{Create, CreateKind, Error, FileType, Name, Result, Time, User};
use parking_lot::RwLock;

use super::{BoxFuture, Entry, EntryList, Listing, ready};

/// The permission bits of a directory in which nothing can be created or removed.
pub const READ_ONLY_DIR_MODE: u32 = 0o555;

/// A directory. Implement this trait for directories that the existing types do not cover, or build
/// a directory from closures with [`CallbackDir`](super::CallbackDir).
///
/// By default, the directory is read-only, because methods that change it return an error.
pub trait Directory: Send + Sync {
    /// Returns the entries in listing order.
    fn list(&self) -> BoxFuture<'_, Vec<Entry>>;

    /// Returns the entries in listing order, for a client that opens the directory. The default
    /// implementation returns the entries from [`list`](Directory::list). Override this method if
    /// creating all entries is expensive. See [`Listing`].
    fn open(&self) -> BoxFuture<'_, Box<dyn Listing>> {
        Box::pin(open_list(self.list()))
    }

    /// Returns the entry called `name`. The default implementation searches the listing and returns
    /// the first match.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no entry with this name.
    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        Box::pin(find_listed(self.list(), name))
    }

    /// Creates a file, directory or symbolic link in this directory.
    ///
    /// # Errors
    /// Returns [`Error::Exists`] if the name already exists. A directory may truncate an existing
    /// file instead of failing, unless [`exclusive`](Create::exclusive) is set.
    fn create<'a>(&'a self, name: Name<'a>, create: Create<'a>) -> BoxFuture<'a, Entry> {
        let _ = (name, create);
        ready(Err(Error::ReadOnlyDirectory))
    }

    /// Performs [`create`](Directory::create) on behalf of the attached user. Override this method
    /// if the new entry depends on the user.
    fn create_by<'a>(
        &'a self,
        name: Name<'a>,
        create: Create<'a>,
        user: User<'a>,
    ) -> BoxFuture<'a, Entry> {
        let _ = user;
        self.create(name, create)
    }

    /// Renames `child` within this directory. On success, the tree changes the entry's name.
    fn rename<'a>(&'a self, child: &'a Entry, name: Name<'a>) -> BoxFuture<'a, ()> {
        let _ = (child, name);
        ready(Err(Error::ReadOnlyDirectory))
    }

    /// Moves `child` to `dir`, another directory in the same tree, and renames it to `name`. On
    /// success, the tree changes the entry's name.
    ///
    /// # Errors
    /// Returns [`Error::CrossDevice`] by default. Clients that receive this error copy the entry
    /// and remove the original.
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

    /// Returns the permission bits.
    fn mode(&self) -> u32 {
        0o775
    }

    /// Returns the time at which an entry was last added, removed or renamed, if known.
    fn mtime(&self) -> Option<Time> {
        None
    }

    /// Returns the current parent directory, or `None` if this directory never moves.
    fn current_parent(&self) -> Option<Entry> {
        None
    }

    /// Returns `self` for downcasting, which lets a directory recognize other directories of the
    /// same type.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// Returns `true` if a request to remove `child` should succeed without having any effect. The
    /// child is then removed along with the directory, so `rm -r` can remove the directory.
    fn ignores_removal(&self, child: &Entry) -> bool {
        let _ = child;
        false
    }

    /// Removes `child` from this directory. The default implementation calls [`Entry::remove`] on
    /// the child and then calls [`unlink`](Directory::unlink). Override this method if the
    /// directory, rather than the child, decides whether an entry can be removed.
    fn remove_child<'a>(&'a self, child: &'a Entry) -> BoxFuture<'a, ()> {
        Box::pin(remove_and_unlink(child, Box::new(move || self.unlink(child))))
    }

    /// Removes this directory. The default implementation returns [`Error::ReadOnlyDirectory`].
    fn remove(&self) -> BoxFuture<'_, ()> {
        ready(Err(Error::ReadOnlyDirectory))
    }

    /// Removes `child` from the listing after the child has removed itself. For a file or
    /// directory, the default implementation does nothing, because the child's own `remove` must
    /// already have updated the listing. For a symbolic link, which has no `remove` method, the
    /// default implementation returns an error.
    fn unlink<'a>(&'a self, child: &'a Entry) -> BoxFuture<'a, ()> {
        ready(if child.kind() == FileType::Symlink {
            Err(Error::ReadOnlyDirectory)
        } else {
            Ok(())
        })
    }
}

async fn open_list(entries: BoxFuture<'_, Vec<Entry>>) -> Result<Box<dyn Listing>> {
    Ok(Box::new(EntryList::from(entries.await?)))
}

async fn find_listed(entries: BoxFuture<'_, Vec<Entry>>, name: Name<'_>) -> Result<Entry> {
    find(entries.await?, name)
}

/// Removes `child` and then calls `unlink`. The closure is boxed so that this function is compiled
/// once and not for each type of directory.
async fn remove_and_unlink<'a>(
    child: &'a Entry,
    unlink: Box<dyn FnOnce() -> BoxFuture<'a, ()> + Send + 'a>,
) -> Result<()> {
    child.remove().await?;
    unlink().await
}

/// Returns the first entry called `name`.
///
/// # Errors
/// Returns [`Error::NotFound`] if there is no entry with this name.
pub(super) fn find(entries: Vec<Entry>, name: Name<'_>) -> Result<Entry> {
    let called = |entry: &Entry| entry.with_name(|found| found == name.as_bytes());
    entries.into_iter().find(called).ok_or(Error::NotFound)
}

/// An empty directory.
#[derive(Debug, Clone, Copy, Default)]
pub struct Empty;

impl Directory for Empty {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready(Ok(Vec::new()))
    }
}

/// A directory that calls a function on every listing and lookup to obtain its entries.
pub struct ListDir<F>(F);

impl<F: Fn() -> Vec<Entry> + Send + Sync> ListDir<F> {
    /// Creates a directory with the entries returned by `list`. `list` should return clones of the
    /// same entries on each call. Otherwise, the inode numbers would change, because each new entry
    /// gets a new inode number.
    pub fn new(list: F) -> ListDir<F> {
        ListDir(list)
    }
}

impl<F: Fn() -> Vec<Entry> + Send + Sync> Directory for ListDir<F> {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready(Ok((self.0)()))
    }
}

impl<F> fmt::Debug for ListDir<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListDir").finish_non_exhaustive()
    }
}

/// A directory whose entries the program adds and removes. Listings are sorted by name. Clones
/// refer to the same directory.
///
/// Clients cannot create or rename entries in this directory. Clients can remove an entry if the
/// entry's own `remove` method succeeds.
#[derive(Debug, Clone, Default)]
pub struct Dir(Arc<RwLock<BTreeMap<Arc<[u8]>, Entry>>>);

impl Dir {
    /// Creates an empty directory.
    #[must_use]
    pub fn new() -> Dir {
        Dir::default()
    }

    /// Adds `entry` under its name. Returns the entry that previously had this name, if any.
    pub fn insert(&self, entry: Entry) -> Option<Entry> {
        self.0.write().insert(entry.name(), entry)
    }

    /// Adds `entry` under its name and returns the entry.
    ///
    /// # Errors
    /// Returns [`Error::Exists`] if the name already exists.
    pub fn try_insert(&self, entry: Entry) -> Result<Entry> {
        match self.0.write().entry(entry.name()) {
            btree_map::Entry::Occupied(_) => Err(Error::Exists),
            btree_map::Entry::Vacant(free) => Ok(free.insert(entry).clone()),
        }
    }

    /// Renames `entry` to `name` and adds it. Returns the entry that previously had this name, if
    /// any.
    pub fn insert_as(&self, name: impl AsRef<[u8]>, entry: Entry) -> Option<Entry> {
        entry.set_name(name.as_ref());
        self.insert(entry)
    }

    /// Removes and returns the entry called `name`. Files that are already open remain usable.
    pub fn remove(&self, name: impl AsRef<[u8]>) -> Option<Entry> {
        self.0.write().remove(name.as_ref())
    }

    /// Returns the entry called `name`.
    #[must_use]
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<Entry> {
        self.0.read().get(name.as_ref()).cloned()
    }

    /// Returns the number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.read().len()
    }

    /// Returns `true` if the directory has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.read().is_empty()
    }
}

impl FromIterator<Entry> for Dir {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Dir {
        let dir = Dir::new();
        for entry in entries {
            dir.insert(entry);
        }
        dir
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
        // Do not remove a newer entry with the same name.
        let there = entries.get(&name).is_some_and(|found| found.is_same(child));
        ready(if there { entries.remove(&name).map(drop) } else { None }.ok_or(Error::NotFound))
    }
}

/// A view of another directory. Clients cannot create or rename entries in the view. The view's
/// mode has no write permission bits. Clients can remove an entry if the other directory allows the
/// removal.
#[derive(Debug, Clone, Copy, Default)]
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

    fn open(&self) -> BoxFuture<'_, Box<dyn Listing>> {
        self.0.open()
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        self.0.lookup(name)
    }

    fn remove_child<'a>(&'a self, child: &'a Entry) -> BoxFuture<'a, ()> {
        self.0.remove_child(child)
    }

    fn remove(&self) -> BoxFuture<'_, ()> {
        self.0.remove()
    }

    fn unlink<'a>(&'a self, child: &'a Entry) -> BoxFuture<'a, ()> {
        self.0.unlink(child)
    }
}

/// A view of another directory. Clients can create directories in the view but no other entries.
#[derive(Debug, Clone, Copy, Default)]
pub struct DirOnly<D>(pub D);

impl<D: Directory> Directory for DirOnly<D> {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        self.0.list()
    }

    fn open(&self) -> BoxFuture<'_, Box<dyn Listing>> {
        self.0.open()
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
        if create.kind == CreateKind::Dir {
            self.0.create_by(name, create, user)
        } else {
            ready(Err(Error::OnlyDirectories))
        }
    }

    fn rename<'a>(&'a self, child: &'a Entry, name: Name<'a>) -> BoxFuture<'a, ()> {
        self.0.rename(child, name)
    }

    fn remove_child<'a>(&'a self, child: &'a Entry) -> BoxFuture<'a, ()> {
        self.0.remove_child(child)
    }

    fn remove(&self) -> BoxFuture<'_, ()> {
        self.0.remove()
    }

    fn unlink<'a>(&'a self, child: &'a Entry) -> BoxFuture<'a, ()> {
        self.0.unlink(child)
    }
}
