//! Read-only trees: of a head, a commit, a tree object, or one side of a merge.

use std::sync::Arc;

use datakit_core::vfs::{Error, FileStat, Name, OpenMode, Result};

use crate::db::object::Mode;
use crate::db::objects::Objects;
use crate::db::tree::{Dir, File, Node, Tree, join};
use crate::db::{self, Database};
use crate::ino;
use crate::tree::{Directory, Entry, Leaf, OpenLeaf, Snapshot, Wait, ready};

/// The tree to be shown, asked for at every access.
pub(super) type Source = Arc<dyn Fn() -> db::Result<Tree> + Send + Sync>;

/// A tree that is shown. Clones are the same.
#[derive(Clone)]
pub(super) struct Ro {
    database: Database,
    source: Source,
    /// Inodes have a number for each place of this, path and kind.
    number: u64,
}

impl Ro {
    pub(super) fn new(database: &Database, source: Source, number: u64) -> Ro {
        Ro { database: database.clone(), source, number }
    }

    /// The same tree for ever.
    pub(super) fn fixed(database: &Database, tree: Tree, number: u64) -> Ro {
        Ro::new(database, Arc::new(move || Ok(tree.clone())), number)
    }

    /// All of it, under a name.
    pub(super) fn top(self, name: &str) -> Entry {
        let number = ino::of(("ro", self.number));
        Entry::dir(name, RoDir(Arc::new(Place { ro: self, path: Vec::new(), number }))).numbered(number)
    }
}

/// A directory of such a tree.
struct RoDir(Arc<Place>);

/// Where a directory is, shared with the entries of it that were looked at.
struct Place {
    ro: Ro,
    path: Vec<u8>,
    /// The inode of the directory.
    number: u64,
}

impl Place {
    fn objects(&self) -> &Objects {
        self.ro.database.objects()
    }

    fn dir(&self) -> db::Result<Dir> {
        (self.ro.source)()?.dir(self.objects(), &self.path)
    }

    /// What `node`, which `name` stands for here, is shown as; submodules are not.
    fn entry(self: &Arc<Place>, name: db::tree::Name, node: &Node) -> Result<Option<Entry>> {
        let number = |kind: u8| ino::below(self.number, kind, &name);
        Ok(match node {
            Node::Submodule(_) => None,
            Node::Dir(_) => {
                let number = number(b'D');
                let place = Place { ro: self.ro.clone(), path: join(&self.path, &name), number };
                Some(Entry::dir_of(name, number, RoDir(Arc::new(place))))
            }
            Node::File(File { mode: Mode::Link, content }) => {
                let target = content.bytes(self.objects())?;
                Some(Entry::symlink(&name, &*target).numbered(number(b'L')))
            }
            Node::File(_) => {
                let number = number(b'F');
                Some(Entry::file_of(name.clone(), number, RoFile { dir: self.clone(), name }))
            }
        })
    }
}

impl Directory for RoDir {
    fn list(&self) -> Wait<'_, Vec<Entry>> {
        ready((|| {
            let names = self.0.dir()?.list(self.0.objects())?;
            let entries = names.into_iter().map(|(name, node)| self.0.entry(name, &node));
            entries.filter_map(Result::transpose).collect()
        })())
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> Wait<'a, Entry> {
        ready((|| {
            let node = self.0.dir()?.get(self.0.objects(), name.as_bytes())?.ok_or(Error::NotFound)?;
            self.0.entry(name.as_bytes().into(), &node)?.ok_or(Error::NotFound)
        })())
    }
}

struct RoFile {
    dir: Arc<Place>,
    name: db::tree::Name,
}

impl RoFile {
    fn file(&self) -> Result<File> {
        match self.dir.dir()?.get(self.dir.objects(), &self.name)? {
            Some(Node::File(file)) => Ok(file),
            _ => Err(Error::NotFound),
        }
    }
}

impl Leaf for RoFile {
    fn stat(&self) -> Wait<'_, FileStat> {
        ready((|| {
            let file = self.file()?;
            Ok(stat(file.mode, file.content.length(self.dir.objects())?))
        })())
    }

    fn open(&self, _: OpenMode) -> Wait<'_, Box<dyn OpenLeaf>> {
        ready((|| {
            let content = self.file()?.content.bytes(self.dir.objects())?;
            Ok(Box::new(Snapshot(content)) as Box<dyn OpenLeaf>)
        })())
    }
}

/// What a file of this mode is shown as.
pub(super) fn stat(mode: Mode, length: u64) -> FileStat {
    let bits = if mode == Mode::Normal { 0o664 } else { 0o775 };
    FileStat { mode: bits, ..FileStat::new(length) }
}
