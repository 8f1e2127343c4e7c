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

/// A tree that is shown.
pub(super) struct Ro {
    database: Database,
    top: Way,
    /// Inodes have a number for each place of this, path and kind.
    number: u64,
}

/// How a directory is found.
enum Way {
    /// It was, in a tree that never changes.
    Found(Dir),
    /// By its path, in what the tree is at that time.
    Path(Source, Vec<u8>),
}

impl Ro {
    pub(super) fn new(database: &Database, source: Source, number: u64) -> Ro {
        Ro { database: database.clone(), top: Way::Path(source, Vec::new()), number }
    }

    /// The same tree for ever.
    pub(super) fn fixed(database: &Database, tree: &Tree, number: u64) -> Ro {
        Ro { database: database.clone(), top: Way::Found(tree.top().clone()), number }
    }

    /// All of it, under a name.
    pub(super) fn top(self, name: &str) -> Entry {
        let number = ino::of(("ro", self.number));
        let Ro { database, top: way, .. } = self;
        Entry::dir_of(name.as_bytes().into(), number, RoDir(Arc::new(Place { database, way, number })))
    }
}

/// A directory of such a tree.
struct RoDir(Arc<Place>);

/// Where a directory is, shared with the entries of it that were looked at.
struct Place {
    database: Database,
    way: Way,
    /// The inode of the directory.
    number: u64,
}

impl Place {
    fn objects(&self) -> &Objects {
        self.database.objects()
    }

    fn dir(&self) -> db::Result<Dir> {
        match &self.way {
            Way::Found(dir) => Ok(dir.clone()),
            Way::Path(source, path) => source()?.dir(self.objects(), path),
        }
    }

    /// The directory `name` in this one, which is `dir` now.
    fn below(&self, name: &[u8], dir: &Dir, number: u64) -> Place {
        let way = match &self.way {
            Way::Found(_) => Way::Found(dir.clone()),
            Way::Path(source, path) => Way::Path(source.clone(), join(path, name)),
        };
        Place { database: self.database.clone(), way, number }
    }

    /// What `node`, which `name` stands for here, is shown as; submodules are not.
    fn entry(self: &Arc<Place>, name: db::tree::Name, node: Node) -> Result<Option<Entry>> {
        let number = |kind: u8| ino::below(self.number, kind, &name);
        Ok(match node {
            Node::Submodule(_) => None,
            Node::Dir(dir) => {
                let number = number(b'D');
                let place = self.below(&name, &dir, number);
                Some(Entry::dir_of(name, number, RoDir(Arc::new(place))))
            }
            Node::File(File { mode: Mode::Link, content }) => {
                let target = content.bytes(self.objects())?;
                Some(Entry::symlink(&name, &*target).numbered(number(b'L')))
            }
            Node::File(file) => {
                let number = number(b'F');
                let way = match &self.way {
                    Way::Found(_) => FileWay::Found(file),
                    Way::Path(..) => FileWay::Name(name.clone()),
                };
                Some(Entry::file_of(name, number, RoFile { dir: self.clone(), way }))
            }
        })
    }
}

impl Directory for RoDir {
    fn list(&self) -> Wait<'_, Vec<Entry>> {
        ready((|| {
            let mut entries = Vec::new();
            let mut failed = None;
            self.0.dir()?.each(self.0.objects(), |name, node| match self.0.entry(name.clone(), node) {
                Ok(entry) => entries.extend(entry),
                Err(error) => failed = Some(error),
            })?;
            failed.map_or(Ok(entries), Err)
        })())
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> Wait<'a, Entry> {
        ready((|| {
            let node = self.0.dir()?.get(self.0.objects(), name.as_bytes())?.ok_or(Error::NotFound)?;
            self.0.entry(name.as_bytes().into(), node)?.ok_or(Error::NotFound)
        })())
    }
}

struct RoFile {
    dir: Arc<Place>,
    way: FileWay,
}

/// As [`Way`], of a file.
enum FileWay {
    Found(File),
    Name(db::tree::Name),
}

impl RoFile {
    fn file(&self) -> Result<File> {
        let name = match &self.way {
            FileWay::Found(file) => return Ok(file.clone()),
            FileWay::Name(name) => name,
        };
        match self.dir.dir()?.get(self.dir.objects(), name)? {
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
