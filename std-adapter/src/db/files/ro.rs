//! Read-only trees: of a head, a commit, a tree object, or one side of a merge.

use std::sync::Arc;

use datakit_core::vfs::{Error, FileStat, Name, OpenMode, Result};

use crate::db::object::Mode;
use crate::db::tree::{File, Node, Tree, join};
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
        let number = self.inode(b"", "D");
        Entry::dir(name, RoDir { ro: self, path: Vec::new() }).numbered(number)
    }

    fn inode(&self, path: &[u8], kind: &str) -> u64 {
        ino::of(("ro", self.number, kind, path))
    }

    /// What `node`, found at `path`, is shown as; submodules are not.
    fn entry(&self, path: Vec<u8>, name: &[u8], node: &Node) -> Result<Option<Entry>> {
        Ok(match node {
            Node::Submodule(_) => None,
            Node::Dir(_) => {
                let number = self.inode(&path, "D");
                Some(Entry::dir(name, RoDir { ro: self.clone(), path }).numbered(number))
            }
            Node::File(File { mode: Mode::Link, content }) => {
                let number = self.inode(&path, "L");
                let target = content.bytes(self.database.objects())?;
                Some(Entry::symlink(name, &*target).numbered(number))
            }
            Node::File(_) => {
                let number = self.inode(&path, "F");
                Some(Entry::file(name, RoFile { ro: self.clone(), path }).numbered(number))
            }
        })
    }
}

struct RoDir {
    ro: Ro,
    path: Vec<u8>,
}

impl Directory for RoDir {
    fn list(&self) -> Wait<'_, Vec<Entry>> {
        ready((|| {
            let objects = self.ro.database.objects();
            let names = (self.ro.source)()?.dir(objects, &self.path)?.list(objects)?;
            let entries = names.iter().map(|(name, node)| self.ro.entry(join(&self.path, name), name, node));
            entries.filter_map(Result::transpose).collect()
        })())
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> Wait<'a, Entry> {
        ready((|| {
            let objects = self.ro.database.objects();
            let dir = (self.ro.source)()?.dir(objects, &self.path)?;
            let node = dir.get(objects, name.as_bytes())?.ok_or(Error::NotFound)?;
            self.ro.entry(join(&self.path, name.as_bytes()), name.as_bytes(), &node)?.ok_or(Error::NotFound)
        })())
    }
}

struct RoFile {
    ro: Ro,
    path: Vec<u8>,
}

impl RoFile {
    fn file(&self) -> Result<File> {
        match (self.ro.source)()?.get(self.ro.database.objects(), &self.path)? {
            Node::File(file) => Ok(file),
            _ => Err(Error::NotFound),
        }
    }
}

impl Leaf for RoFile {
    fn stat(&self) -> Wait<'_, FileStat> {
        ready((|| {
            let file = self.file()?;
            Ok(stat(file.mode, file.content.length(self.ro.database.objects())?))
        })())
    }

    fn open(&self, _: OpenMode) -> Wait<'_, Box<dyn OpenLeaf>> {
        ready((|| {
            let content = self.file()?.content.bytes(self.ro.database.objects())?;
            Ok(Box::new(Snapshot(content)) as Box<dyn OpenLeaf>)
        })())
    }
}

/// What a file of this mode is shown as.
pub(super) fn stat(mode: Mode, length: u64) -> FileStat {
    let bits = if mode == Mode::Normal { 0o664 } else { 0o775 };
    FileStat { mode: bits, ..FileStat::new(length) }
}
