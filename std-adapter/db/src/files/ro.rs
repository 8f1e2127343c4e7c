//! Read-only trees: of a head, a commit, a tree object, or one side of a merge.

use std::sync::Arc;

use datakit_core::vfs::{Error, FileStat, FileType, NAME_MAX, Name, OpenMode, Result, Time};

use crate::Database;
use crate::model::object::{Commit, Mode};
use crate::model::object_cache::Objects;
use crate::model::tree::{Content, Dir, File, Node, Tree, join};
use datakit_server::ino;
use datakit_server::memory::Shared;
use datakit_server::tree::{BoxFuture, Directory, Entry, Leaf, OpenBytes, OpenLeaf, ready};

/// The tree to be shown and when it came to be, as far as that is known; asked for at every access.
pub(super) type Source = Arc<dyn Fn() -> crate::Result<(Tree, Option<Time>)> + Send + Sync>;

/// A tree that is shown.
pub(super) struct Ro {
    database: Database,
    top: Way,
    /// Inodes have a number for each place of this, path and kind.
    number: u64,
    shown: Shown,
}

/// How a directory is found.
enum Way {
    /// It was, in a tree that never changes.
    Found(Dir),
    /// By its path, in what the tree is at that time.
    Path(Source),
}

impl Ro {
    pub(super) fn new(database: &Database, source: Source, number: u64) -> Ro {
        Ro { database: database.clone(), top: Way::Path(source), number, shown: Shown::default() }
    }

    /// The same tree for ever.
    pub(super) fn fixed(database: &Database, tree: &Tree, number: u64) -> Ro {
        Ro {
            database: database.clone(),
            top: Way::Found(tree.top().clone()),
            number,
            shown: Shown::default(),
        }
    }

    /// The same, shown as of that time.
    pub(super) fn since(mut self, time: Time) -> Ro {
        self.shown.since = Some(time);
        self
    }

    /// The same where removals are taken and change nothing: it goes with the directory that has
    /// it.
    pub(super) fn kept(mut self) -> Ro {
        self.shown.kept = true;
        self
    }

    /// All of it, under a name.
    pub(super) fn top(self, name: &str) -> Entry {
        let number = ino::of(("ro", self.number));
        let Ro { database, top: way, shown, .. } = self;
        Entry::dir_with_ino(
            name.as_bytes().into(),
            number,
            RoDir(Arc::new(Place { database, way, path: Vec::new(), number, shown })),
        )
    }

    /// One file that never changes.
    pub(super) fn file(database: &Database, name: &[u8], file: File, number: u64) -> Entry {
        let way = Way::Found(Dir::empty());
        let shown = Shown::default();
        let dir =
            Arc::new(Place { database: database.clone(), way, path: Vec::new(), number, shown });
        dir.file(name.into(), file, number)
    }
}

/// A directory of such a tree.
struct RoDir(Arc<Place>);

/// Where a directory is, shared with the entries of it that were looked at.
struct Place {
    database: Database,
    way: Way,
    path: Vec<u8>,
    /// The inode of the directory.
    number: u64,
    shown: Shown,
}

/// What is shown of a tree beside what is in it.
#[derive(Clone, Copy, Default)]
struct Shown {
    /// When it came to be what it is, of a tree that never changes.
    since: Option<Time>,
    /// Whether removals are taken and change nothing.
    kept: bool,
}

impl Place {
    fn objects(&self) -> &Objects {
        self.database.objects()
    }

    fn dir(&self) -> crate::Result<Dir> {
        Ok(self.look()?.0)
    }

    /// The directory, and when the tree came to be what it is.
    fn look(&self) -> crate::Result<(Dir, Option<Time>)> {
        match &self.way {
            Way::Found(dir) => Ok((dir.clone(), self.shown.since)),
            Way::Path(source) => {
                let (tree, since) = source()?;
                Ok((tree.dir(self.objects(), &self.path)?, since))
            }
        }
    }

    fn since(&self) -> Option<Time> {
        match &self.way {
            Way::Found(_) => self.shown.since,
            Way::Path(source) => source().ok()?.1,
        }
    }

    /// The directory `name` in this one, which is `dir` now.
    fn below(&self, name: &[u8], dir: &Dir, number: u64) -> Place {
        let way = match &self.way {
            Way::Found(_) => Way::Found(dir.clone()),
            Way::Path(source) => Way::Path(source.clone()),
        };
        Place {
            database: self.database.clone(),
            way,
            path: join(&self.path, name),
            number,
            shown: self.shown,
        }
    }

    /// What `node`, which `name` stands for here, is shown as. Nothing below it is read for that:
    /// an object that is missing is in nobody's way but that of its own readers. Submodules are not
    /// shown, nor are names for which clients have no room.
    fn entry(self: &Arc<Place>, name: crate::model::tree::Name, node: Node) -> Option<Entry> {
        if name.len() > NAME_MAX {
            return None;
        }
        let number = |kind: u8| ino::below(self.number, kind, &name);
        match node {
            Node::Submodule(_) => None,
            Node::Dir(dir) => {
                let number = number(b'D');
                let place = self.below(&name, &dir, number);
                Some(Entry::dir_with_ino(name, number, RoDir(Arc::new(place))))
            }
            Node::File(file) => {
                let number = number(if file.mode == Mode::Link { b'L' } else { b'F' });
                Some(self.file(name, file, number))
            }
        }
    }

    fn file(self: &Arc<Place>, name: crate::model::tree::Name, file: File, number: u64) -> Entry {
        let link = file.mode == Mode::Link;
        let way = match &self.way {
            Way::Found(_) => FileWay::Found(file),
            Way::Path(..) => FileWay::Looked,
        };
        Entry::file_with_ino(name.clone(), number, RoFile { dir: self.clone(), name, way, link })
    }
}

impl Directory for RoDir {
    fn mode(&self) -> u32 {
        DIRECTORY
    }

    fn mtime(&self) -> Option<Time> {
        self.0.since()
    }

    fn ignores_removal(&self, _: &Entry) -> bool {
        self.0.shown.kept
    }

    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready((|| {
            let mut entries = Vec::new();
            let see = |name: &crate::model::tree::Name, node| {
                entries.extend(self.0.entry(name.clone(), node))
            };
            self.0.dir()?.each(self.0.objects(), see).map_err(|error| error.at(&self.0.path))?;
            Ok(entries)
        })())
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        ready((|| {
            let node = self
                .0
                .dir()?
                .get(self.0.objects(), name.as_bytes())
                .map_err(|error| error.at(&self.0.path))?;
            self.0
                .entry(name.as_bytes().into(), node.ok_or(Error::NotFound)?)
                .ok_or(Error::NotFound)
        })())
    }
}

struct RoFile {
    dir: Arc<Place>,
    name: crate::model::tree::Name,
    way: FileWay,
    link: bool,
}

/// As [`Way`], of a file.
enum FileWay {
    Found(File),
    Looked,
}

impl RoFile {
    fn file(&self) -> Result<File> {
        Ok(self.look()?.0)
    }

    /// The file, and when the tree came to be what it is.
    fn look(&self) -> Result<(File, Option<Time>)> {
        if let FileWay::Found(file) = &self.way {
            return Ok((file.clone(), self.dir.shown.since));
        }
        let (dir, since) = self.dir.look()?;
        match dir.get(self.dir.objects(), &self.name).map_err(|error| error.at(&self.dir.path))? {
            Some(Node::File(file)) => Ok((file, since)),
            _ => Err(Error::NotFound),
        }
    }

    fn stat_and_time(&self) -> Result<(FileStat, Option<Time>)> {
        let (file, since) = self.look()?;
        Ok((stat(file.mode, self.at(file.content.length(self.dir.objects()))?), since))
    }

    /// With the path in its errors.
    fn at<T>(&self, done: crate::Result<T>) -> Result<T> {
        Ok(done.map_err(|error| error.at(&join(&self.dir.path, &self.name)))?)
    }
}

impl Leaf for RoFile {
    fn mtime(&self) -> Option<Time> {
        self.dir.since()
    }

    fn kind(&self) -> FileType {
        if self.link { FileType::Symlink } else { FileType::File }
    }

    fn target(&self) -> BoxFuture<'_, Vec<u8>> {
        ready((|| match self.file()? {
            File { mode: Mode::Link, content } => {
                Ok(self.at(content.bytes(self.dir.objects()))?.to_vec())
            }
            _ => Err(Error::Invalid),
        })())
    }

    fn stat(&self) -> BoxFuture<'_, FileStat> {
        ready(self.stat_and_time().map(|(stat, _)| stat))
    }

    fn try_stat_now(&self) -> Option<Result<(FileStat, Option<Time>)>> {
        Some(self.stat_and_time())
    }

    fn open(&self, _: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        Box::pin(async move {
            let content = match self.file()?.content {
                Content::Stored(id) => self.at(self.dir.database.blob(id).await)?,
                fresh => self.at(fresh.bytes(self.dir.objects()))?,
            };
            Ok(Box::new(OpenBytes(Shared(content))) as Box<dyn OpenLeaf>)
        })
    }
}

/// When a commit was made.
pub(super) fn time_of(commit: &Commit) -> Time {
    Time { sec: commit.time, nsec: 0 }
}

/// The permission bits of a directory, as Git checks one out.
pub(super) const DIRECTORY: u32 = 0o755;

/// What a file of this mode is shown as: as Git checks it out.
pub(super) fn stat(mode: Mode, length: u64) -> FileStat {
    let bits = match mode {
        Mode::Normal => 0o644,
        Mode::Link => 0o777,
        _ => 0o755,
    };
    FileStat { mode: bits, ..FileStat::new(length) }
}
