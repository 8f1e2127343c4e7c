//! Directories built from closures.

use std::fmt;

use datakit_core::vfs::{Create, CreateKind, Error, Name, Result, Time, User};

use super::{BoxFuture, Directory, Entry, READ_ONLY_DIR_MODE, ready};

/// The return type of a callback: either a [`Result`] or a boxed future of a [`Result`].
pub trait IntoBoxFuture<T> {
    /// Converts `self` to a boxed future. A [`Result`] becomes a future that is immediately ready.
    fn into_box_future(self) -> BoxFuture<'static, T>;
}

impl<T: Send + 'static> IntoBoxFuture<T> for Result<T> {
    fn into_box_future(self) -> BoxFuture<'static, T> {
        ready(self)
    }
}

impl<T> IntoBoxFuture<T> for BoxFuture<'static, T> {
    fn into_box_future(self) -> BoxFuture<'static, T> {
        self
    }
}

impl<T, F> IntoBoxFuture<T> for std::pin::Pin<Box<F>>
where
    F: Future<Output = Result<T>> + Send + 'static,
{
    fn into_box_future(self) -> BoxFuture<'static, T> {
        self
    }
}

type ReadDir = dyn Fn() -> BoxFuture<'static, Vec<Entry>> + Send + Sync;
type Lookup = dyn Fn(Name<'_>) -> BoxFuture<'static, Entry> + Send + Sync;
type Make = dyn Fn(Name<'_>, Create<'_>) -> BoxFuture<'static, Entry> + Send + Sync;
type Remove = dyn Fn(&Entry) -> BoxFuture<'static, ()> + Send + Sync;
type Rename = dyn Fn(&Entry, Name<'_>) -> BoxFuture<'static, ()> + Send + Sync;

/// A directory whose operations are implemented by closures.
///
/// If the directory was created with [`over`](CallbackDir::over), operations without a callback are
/// passed to the underlying directory. If the directory was created with [`new`](CallbackDir::new),
/// operations without a callback are refused. A callback returns a [`Result`], or a boxed future of
/// a [`Result`] if it has to wait. Callbacks run in the connections' tasks and must not block.
///
/// ```
/// use datakit_core::vfs::Error;
/// use datakit_server::tree::{CallbackDir, Dir, Entry, Text, Tree};
///
/// // Clients make notes with `mkdir`, and remove them with `rmdir`.
/// let notes = Dir::new();
/// let (made, removed) = (notes.clone(), notes.clone());
/// let root = CallbackDir::over(notes)
///     .mkdir(move |name, _| {
///         let text: Dir = [Entry::file("text", Text::new(""))].into_iter().collect();
///         made.try_insert(Entry::dir(name.as_bytes(), text))
///     })
///     .remove(move |note| removed.remove(note.name()).map(drop).ok_or(Error::NotFound));
/// let tree = Tree::new(root);
/// # let _ = tree;
/// ```
#[derive(Default)]
pub struct CallbackDir {
    base: Option<Box<dyn Directory>>,
    read_dir: Option<Box<ReadDir>>,
    lookup: Option<Box<Lookup>>,
    create: Option<Box<Make>>,
    mkdir: Option<Box<Make>>,
    remove: Option<Box<Remove>>,
    rename: Option<Box<Rename>>,
}

impl CallbackDir {
    /// Creates a directory that has no callbacks. The directory is empty and refuses all changes.
    #[must_use]
    pub fn new() -> CallbackDir {
        CallbackDir::default()
    }

    /// Creates a directory that has no callbacks and passes all operations to `base`.
    #[must_use]
    pub fn over(base: impl Directory + 'static) -> CallbackDir {
        CallbackDir { base: Some(Box::new(base)), ..CallbackDir::default() }
    }

    /// Sets the callback that lists the entries. The callback is called when a client opens the
    /// directory. The callback is also called for lookups if there is no lookup callback. The
    /// callback should return clones of the same entries on each call. Otherwise, the inode numbers
    /// would change, because each new entry gets a new inode number.
    #[must_use]
    pub fn read_dir<R>(mut self, callback: impl Fn() -> R + Send + Sync + 'static) -> CallbackDir
    where
        R: IntoBoxFuture<Vec<Entry>>,
    {
        self.read_dir = Some(Box::new(move || callback().into_box_future()));
        self
    }

    /// Sets the callback that finds an entry by name. The callback may return entries that do not
    /// appear in listings. The callback should return [`Error::NotFound`] if the entry does not
    /// exist.
    #[must_use]
    pub fn lookup<R>(
        mut self,
        callback: impl Fn(Name<'_>) -> R + Send + Sync + 'static,
    ) -> CallbackDir
    where
        R: IntoBoxFuture<Entry>,
    {
        self.lookup = Some(Box::new(move |name| callback(name).into_box_future()));
        self
    }

    /// Sets the callback that creates a file or a symbolic link, depending on [`Create::kind`]. The
    /// callback should return [`Error::Exists`] if the name already exists.
    #[must_use]
    pub fn create<R>(
        mut self,
        callback: impl Fn(Name<'_>, Create<'_>) -> R + Send + Sync + 'static,
    ) -> CallbackDir
    where
        R: IntoBoxFuture<Entry>,
    {
        self.create = Some(Box::new(move |name, new| callback(name, new).into_box_future()));
        self
    }

    /// Sets the callback that creates a directory. The callback should return [`Error::Exists`] if
    /// the name already exists.
    #[must_use]
    pub fn mkdir<R>(
        mut self,
        callback: impl Fn(Name<'_>, Create<'_>) -> R + Send + Sync + 'static,
    ) -> CallbackDir
    where
        R: IntoBoxFuture<Entry>,
    {
        self.mkdir = Some(Box::new(move |name, new| callback(name, new).into_box_future()));
        self
    }

    /// Sets the callback that removes an entry. If this callback is set, the tree does not call the
    /// `remove` methods of files and directories.
    #[must_use]
    pub fn remove<R>(
        mut self,
        callback: impl Fn(&Entry) -> R + Send + Sync + 'static,
    ) -> CallbackDir
    where
        R: IntoBoxFuture<()>,
    {
        self.remove = Some(Box::new(move |entry| callback(entry).into_box_future()));
        self
    }

    /// Sets the callback that renames an entry within this directory. If the callback succeeds, the
    /// tree changes the entry's name.
    #[must_use]
    pub fn rename<R>(
        mut self,
        callback: impl Fn(&Entry, Name<'_>) -> R + Send + Sync + 'static,
    ) -> CallbackDir
    where
        R: IntoBoxFuture<()>,
    {
        self.rename = Some(Box::new(move |entry, name| callback(entry, name).into_box_future()));
        self
    }

    fn base(&self) -> &dyn Directory {
        self.base.as_deref().unwrap_or(&super::Empty)
    }

    fn takes_changes(&self) -> bool {
        let creates = self.create.is_some() || self.mkdir.is_some();
        creates || self.remove.is_some() || self.rename.is_some()
    }
}

impl Directory for CallbackDir {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        match &self.read_dir {
            Some(read_dir) => read_dir(),
            None => self.base().list(),
        }
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        match (&self.lookup, &self.read_dir) {
            (Some(lookup), _) => lookup(name),
            (None, Some(read_dir)) => Box::pin(async move {
                let entries = read_dir().await?;
                super::directory::find(entries, name)
            }),
            (None, None) => self.base().lookup(name),
        }
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
        let is_dir = create.kind == CreateKind::Dir;
        match if is_dir { &self.mkdir } else { &self.create } {
            Some(make) => make(name, create),
            None if !is_dir && self.base.is_none() && self.mkdir.is_some() => {
                ready(Err(Error::OnlyDirectories))
            }
            None => self.base().create_by(name, create, user),
        }
    }

    fn rename<'a>(&'a self, child: &'a Entry, name: Name<'a>) -> BoxFuture<'a, ()> {
        match &self.rename {
            Some(rename) => rename(child, name),
            None => self.base().rename(child, name),
        }
    }

    fn move_to<'a>(
        &'a self,
        child: &'a Entry,
        dir: &'a Entry,
        name: Name<'a>,
    ) -> BoxFuture<'a, ()> {
        self.base().move_to(child, dir, name)
    }

    fn remove_child<'a>(&'a self, child: &'a Entry) -> BoxFuture<'a, ()> {
        match &self.remove {
            Some(remove) => remove(child),
            None => self.base().remove_child(child),
        }
    }

    fn ignores_removal(&self, child: &Entry) -> bool {
        self.remove.is_none() && self.base().ignores_removal(child)
    }

    fn unlink<'a>(&'a self, child: &'a Entry) -> BoxFuture<'a, ()> {
        self.base().unlink(child)
    }

    fn remove(&self) -> BoxFuture<'_, ()> {
        self.base().remove()
    }

    fn chmod(&self, mode: u32) -> BoxFuture<'_, ()> {
        self.base().chmod(mode)
    }

    fn mode(&self) -> u32 {
        match &self.base {
            Some(base) => base.mode(),
            None if self.takes_changes() => super::Empty.mode(),
            None => READ_ONLY_DIR_MODE,
        }
    }

    fn mtime(&self) -> Option<Time> {
        self.base().mtime()
    }

    fn current_parent(&self) -> Option<Entry> {
        self.base().current_parent()
    }
}

impl fmt::Debug for CallbackDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackDir")
            .field("over", &self.base.is_some())
            .field("read_dir", &self.read_dir.is_some())
            .field("lookup", &self.lookup.is_some())
            .field("create", &self.create.is_some())
            .field("mkdir", &self.mkdir.is_some())
            .field("remove", &self.remove.is_some())
            .field("rename", &self.rename.is_some())
            .finish()
    }
}
