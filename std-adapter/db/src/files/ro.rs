//! Read-only directories that show the tree of a head, a commit, a tree object or an input to a
//! merge.

use std::sync::Arc;

use datakit_core::vfs::{Error, FileStat, FileType, Name, OpenMode, Result, Time};

use crate::model::commit::Commit;
use crate::model::object_cache::ObjectCache;
use crate::model::tree::Name as NodeName;
use crate::model::tree::{FileContent, Tree, TreeDir, TreeFile, TreeNode, join};
use crate::model::tree_entry::EntryMode;
use crate::{Database, Id};
use datakit_server::inode_numbers;
use datakit_server::memory::LargeBytes;
use datakit_server::tree::{
    BoxFuture, Directory, Entry, EntryList, Leaf, Listing, OpenBytes, OpenLeaf, ready,
};

use super::stored_listing::{EntrySource, StoredListing, is_shown};

/// A function that returns the tree to show and, if known, the tree's modification time. The
/// function is called on every access.
pub(super) type TreeSource = Arc<dyn Fn() -> crate::Result<(Tree, Option<Time>)> + Send + Sync>;

/// A read-only tree.
pub(super) struct RoTree {
    database: Database,
    top: Lookup,
    /// The number from which the inode numbers of all nodes in the tree are derived.
    number: u64,
    attributes: Attributes,
}

/// How to find a directory.
enum Lookup {
    /// The directory itself, if the tree never changes.
    Found(TreeDir),
    /// The source of the current tree, if the tree can change. The directory is looked up by its
    /// path in that tree.
    Path(TreeSource),
}

impl RoTree {
    pub(super) fn new(database: &Database, source: TreeSource, number: u64) -> RoTree {
        RoTree {
            database: database.clone(),
            top: Lookup::Path(source),
            number,
            attributes: Attributes::default(),
        }
    }

    /// Creates a tree that never changes.
    pub(super) fn fixed(database: &Database, tree: &Tree, number: u64) -> RoTree {
        RoTree {
            database: database.clone(),
            top: Lookup::Found(tree.top().clone()),
            number,
            attributes: Attributes::default(),
        }
    }

    /// Sets the modification time to report for a tree that never changes.
    pub(super) fn since(mut self, time: Time) -> RoTree {
        self.attributes.since = Some(time);
        self
    }

    /// Makes removals succeed without any effect, so that tools such as `rm -r` can remove the
    /// directory that contains the tree.
    pub(super) fn ignoring_removal(mut self) -> RoTree {
        self.attributes.ignores_removal = true;
        self
    }

    /// Returns an entry with the given name for the root directory of the tree.
    pub(super) fn top(self, name: &str) -> Entry {
        let number = inode_numbers::hash_of(("ro", self.number));
        let RoTree { database, top: lookup, attributes, .. } = self;
        Entry::dir_with_ino(
            name.as_bytes().into(),
            number,
            RoDir(Arc::new(DirRef { database, lookup, path: Vec::new(), number, attributes })),
        )
    }

    /// Returns an entry for a file that never changes.
    pub(super) fn file(database: &Database, name: &[u8], file: TreeFile, number: u64) -> Entry {
        let lookup = Lookup::Found(TreeDir::empty());
        let attributes = Attributes::default();
        let dir = Arc::new(DirRef {
            database: database.clone(),
            lookup,
            path: Vec::new(),
            number,
            attributes,
        });
        dir.file(name.into(), file, number)
    }
}

/// A directory in a read-only tree.
struct RoDir(Arc<DirRef>);

/// The location of a directory, shared by the directory's entries.
struct DirRef {
    database: Database,
    lookup: Lookup,
    path: Vec<u8>,
    /// The inode number of the directory.
    number: u64,
    attributes: Attributes,
}

/// The attributes of a read-only tree.
#[derive(Clone, Copy, Default)]
struct Attributes {
    /// The modification time of the tree, if the tree never changes.
    since: Option<Time>,
    /// Whether removals succeed without any effect.
    ignores_removal: bool,
}

impl DirRef {
    fn objects(&self) -> &ObjectCache {
        self.database.objects()
    }

    fn dir(&self) -> crate::Result<TreeDir> {
        Ok(self.resolve()?.0)
    }

    /// Returns the directory and the tree's modification time.
    fn resolve(&self) -> crate::Result<(TreeDir, Option<Time>)> {
        match &self.lookup {
            Lookup::Found(dir) => Ok((dir.clone(), self.attributes.since)),
            Lookup::Path(source) => {
                let (tree, since) = source()?;
                Ok((tree.dir(self.objects(), &self.path)?, since))
            }
        }
    }

    fn since(&self) -> Option<Time> {
        match &self.lookup {
            Lookup::Found(_) => self.attributes.since,
            Lookup::Path(source) => source().ok()?.1,
        }
    }

    /// Returns the location of the subdirectory `name`, whose current content is `dir`.
    fn below(&self, name: &[u8], dir: &TreeDir, number: u64) -> DirRef {
        let lookup = match &self.lookup {
            Lookup::Found(_) => Lookup::Found(dir.clone()),
            Lookup::Path(source) => Lookup::Path(source.clone()),
        };
        DirRef {
            database: self.database.clone(),
            lookup,
            path: join(&self.path, name),
            number,
            attributes: self.attributes,
        }
    }

    fn file(self: &Arc<DirRef>, name: NodeName, file: TreeFile, number: u64) -> Entry {
        let link = file.mode == EntryMode::Link;
        let lookup = match &self.lookup {
            Lookup::Found(_) => FileLookup::Found(file),
            Lookup::Path(..) => FileLookup::ByName,
        };
        Entry::file_with_ino(name.clone(), number, RoFile { dir: self.clone(), name, lookup, link })
    }
}

impl EntrySource for Arc<DirRef> {
    fn kind_and_number(&self, name: &[u8], mode: EntryMode) -> (FileType, u64) {
        let (kind, letter) = match mode {
            EntryMode::Dir => (FileType::Dir, b'D'),
            EntryMode::Link => (FileType::Symlink, b'L'),
            _ => (FileType::File, b'F'),
        };
        (kind, inode_numbers::hash_of_child(self.number, letter, name))
    }

    /// Reads no objects below the node, so a missing object affects only clients that read it.
    fn entry(&self, name: NodeName, node: TreeNode) -> Option<Entry> {
        if !is_shown(&name, node.mode()) {
            return None;
        }
        let (_, number) = self.kind_and_number(&name, node.mode());
        match node {
            TreeNode::Submodule(_) => None,
            TreeNode::Dir(dir) => {
                let place = self.below(&name, &dir, number);
                Some(Entry::dir_with_ino(name, number, RoDir(Arc::new(place))))
            }
            TreeNode::File(file) => Some(self.file(name, file, number)),
        }
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
        self.0.attributes.ignores_removal
    }

    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready((|| {
            let mut entries = Vec::new();
            let see = |name: &NodeName, node| entries.extend(self.0.entry(name.clone(), node));
            self.0.dir()?.each(self.0.objects(), see).map_err(|error| error.at(&self.0.path))?;
            Ok(entries)
        })())
    }

    fn open(&self) -> BoxFuture<'_, Box<dyn Listing>> {
        Box::pin(async {
            let listing: Box<dyn Listing> = match self.0.dir()? {
                TreeDir::Stored(id) => {
                    let entries = self.0.objects().tree(id);
                    let entries = entries.map_err(|error| error.at(&self.0.path))?;
                    Box::new(StoredListing::new(self.0.clone(), entries))
                }
                TreeDir::Edited(_) => Box::new(EntryList::from(self.list().await?)),
            };
            Ok(listing)
        })
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
    dir: Arc<DirRef>,
    name: NodeName,
    lookup: FileLookup,
    link: bool,
}

/// How to find a file. The corresponding type for directories is [`Lookup`].
enum FileLookup {
    Found(TreeFile),
    ByName,
}

impl RoFile {
    fn file(&self) -> Result<TreeFile> {
        Ok(self.resolve()?.0)
    }

    /// Returns the file and the tree's modification time.
    fn resolve(&self) -> Result<(TreeFile, Option<Time>)> {
        if let FileLookup::Found(file) = &self.lookup {
            return Ok((file.clone(), self.dir.attributes.since));
        }
        let (dir, since) = self.dir.resolve()?;
        match dir.get(self.dir.objects(), &self.name).map_err(|error| error.at(&self.dir.path))? {
            Some(TreeNode::File(file)) => Ok((file, since)),
            _ => Err(Error::NotFound),
        }
    }

    fn stat_and_time(&self) -> Result<(FileStat, Option<Time>)> {
        let (file, since) = self.resolve()?;
        let length = self.at(file.content.length(self.dir.objects()))?;
        let version = match &file.content {
            FileContent::Stored(id) => version(id),
            FileContent::Pending(_) => 0,
        };
        Ok((FileStat { version, ..stat(file.mode, length) }, since))
    }

    /// Adds the file's path to an error.
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
            TreeFile { mode: EntryMode::Link, content } => {
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
                FileContent::Stored(id) => self.at(self.dir.database.blob(id).await)?,
                fresh => self.at(fresh.bytes(self.dir.objects()))?,
            };
            Ok(Box::new(OpenBytes(LargeBytes(content))) as Box<dyn OpenLeaf>)
        })
    }
}

/// Returns a commit's time.
pub(super) fn time_of(commit: &Commit) -> Time {
    Time { sec: commit.time, nsec: 0 }
}

/// The permission bits of the directories that Git creates in a checkout.
pub(super) const DIRECTORY: u32 = 0o755;

/// Returns the attributes that the file would have in a Git checkout.
pub(super) fn stat(mode: EntryMode, length: u64) -> FileStat {
    let bits = match mode {
        EntryMode::Normal => 0o644,
        EntryMode::Link => 0o777,
        _ => 0o755,
    };
    FileStat { mode: bits, ..FileStat::new(length) }
}

/// Returns the qid version of a blob. Equal versions mean equal content, so clients may cache the
/// content and read ahead. The version is never 0, because version 0 means that the content may
/// change even though the version stays the same.
fn version(id: &Id) -> u32 {
    let [a, b, c, d, ..] = *id.as_bytes();
    u32::from_be_bytes([a, b, c, d]) | 1
}
