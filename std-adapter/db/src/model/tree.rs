//! A tree of files that is changed piece by piece, and shares all that is not changed.

use std::sync::Arc;

use datakit_core::vfs;

use crate::model::edited::EditedDir;
use crate::model::object::{EntryMode, Object, ObjectKind, TreeEntry};
use crate::model::object_cache::ObjectCache;
use crate::model::tree_text::find;
use crate::{Error, Id, Result};
use datakit_server::budget::Budget;
use datakit_server::sparse_bytes::SparseBytes;

/// The most names of a path in which something is changed. Directories with changes are written,
/// and dropped, one within the other, and the stack has an end.
pub const MAX_DEPTH: usize = 512;

/// A name in a directory, which is any bytes but `/` and NUL.
pub type Name = Arc<[u8]>;

/// What is written at the end, in the order in which it can be kept.
pub type NewObjects = Vec<(Id, Object)>;

/// A directory with everything below it. A clone costs nothing; a change costs the directories on
/// its way, and what was not looked into was not even read.
///
/// Paths are names joined by `/`, without one at the start; the empty path is the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree(TreeDir);

/// What a path stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeNode {
    /// A directory.
    Dir(TreeDir),
    /// A file or a link.
    File(TreeFile),
    /// A commit of another repository: kept, and not looked into.
    Submodule(Id),
}

/// A directory: as it is stored, or with changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeDir {
    /// Nothing was changed in it.
    Stored(Id),
    /// What it has now.
    Edited(Arc<EditedDir>),
}

/// A file: what it is and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFile {
    /// [`Normal`](EntryMode::Normal), [`Exec`](EntryMode::Exec) or [`Link`](EntryMode::Link).
    pub mode: EntryMode,
    /// Its bytes; of a link, the target.
    pub content: FileContent,
}

/// The bytes of a file: as they are stored, or new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// A blob.
    Stored(Id),
    /// Not stored yet. A change costs what is changed.
    Pending(Pending),
}

/// New bytes of a file, with holes. Clones share what neither changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending(Arc<SparseBytes>);

impl Tree {
    /// The tree that is stored under this name; nobody looks whether there is one.
    #[must_use]
    pub fn stored(id: Id) -> Tree {
        Tree(TreeDir::Stored(id))
    }

    /// The tree with this directory at the top.
    #[must_use]
    pub fn of(top: TreeDir) -> Tree {
        Tree(top)
    }

    /// The directory at the top.
    #[must_use]
    pub fn top(&self) -> &TreeDir {
        &self.0
    }

    /// What is at `path`.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotDirectory`] when a file is on the way.
    pub fn get(&self, objects: &ObjectCache, path: &[u8]) -> Result<TreeNode> {
        let mut node = TreeNode::Dir(self.0.clone());
        for (depth, name) in names(path).enumerate() {
            let TreeNode::Dir(dir) = &node else { return Err(Error::NotDirectory) };
            let found = dir.get(objects, name).map_err(|error| error.at(above(path, depth)))?;
            node = found.ok_or(Error::NotFound)?;
        }
        Ok(node)
    }

    /// The directory at `path`.
    ///
    /// # Errors
    /// Those of [`get`](Tree::get), [`Error::NotDirectory`] also for something else at its end.
    pub fn dir(&self, objects: &ObjectCache, path: &[u8]) -> Result<TreeDir> {
        match self.get(objects, path)? {
            TreeNode::Dir(dir) => Ok(dir),
            _ => Err(Error::NotDirectory),
        }
    }

    /// Puts `node` at `path`, in place of what is there. The directory that has it must be there.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotDirectory`]; [`Error::IsDirectory`] for the top.
    pub fn put(&mut self, objects: &ObjectCache, path: &[u8], node: TreeNode) -> Result<()> {
        let (parent, name) = split(path).ok_or(Error::IsDirectory)?;
        self.entries_mut(objects, parent)?.insert(name.into(), node);
        Ok(())
    }

    /// Takes out what is at `path`. A directory that has nothing else stays, empty, until the tree
    /// is written.
    ///
    /// # Errors
    /// Those of [`put`](Tree::put).
    pub fn take(&mut self, objects: &ObjectCache, path: &[u8]) -> Result<TreeNode> {
        let (parent, name) = split(path).ok_or(Error::IsDirectory)?;
        // Looked at first: a directory that has no such name is not made a changed one.
        self.get(objects, path)?;
        self.entries_mut(objects, parent)?.remove(name).ok_or(Error::NotFound)
    }

    /// The file at `path`, to be changed.
    ///
    /// # Errors
    /// Those of [`put`](Tree::put); [`Error::IsDirectory`] also for a directory or submodule.
    pub fn file_mut(&mut self, objects: &ObjectCache, path: &[u8]) -> Result<&mut TreeFile> {
        let (parent, name) = split(path).ok_or(Error::IsDirectory)?;
        match self.entries_mut(objects, parent)?.get_mut(name) {
            Some(TreeNode::File(file)) => Ok(file),
            Some(_) => Err(Error::IsDirectory),
            None => Err(Error::NotFound),
        }
    }

    /// The directories without entries that nobody has written yet, and which writing leaves out.
    #[must_use]
    pub fn empty_dirs(&self) -> Vec<Vec<u8>> {
        let (mut empty, mut left) = (Vec::new(), vec![(Vec::new(), &self.0)]);
        while let Some((path, dir)) = left.pop() {
            let TreeDir::Edited(entries) = dir else { continue };
            if entries.is_empty() {
                empty.push(path);
                continue;
            }
            left.extend(entries.changed().filter_map(|(name, node)| match node {
                TreeNode::Dir(dir) => Some((join(&path, name), dir)),
                _ => None,
            }));
        }
        empty
    }

    /// Makes a directory at `path`, and those above it that are not there. False, and nothing is
    /// made: a file is in its place or on the way.
    ///
    /// # Errors
    /// Those of [`put`](Tree::put) but for [`Error::NotDirectory`].
    pub fn make_dirs(&mut self, objects: &ObjectCache, path: &[u8]) -> Result<bool> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for dir in
            ends.chain([path.len()]).filter_map(|end| path.get(..end)).filter(|dir| !dir.is_empty())
        {
            match self.get(objects, dir) {
                Ok(TreeNode::Dir(_)) => {}
                Err(Error::NotFound) => self.put(objects, dir, TreeNode::Dir(TreeDir::empty()))?,
                Ok(_) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// What the memory of the directories above `path` would grow by if something were changed
    /// there, in bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`] when a directory is not in the store.
    pub(crate) fn growth(&self, objects: &ObjectCache, path: &[u8]) -> Result<u64> {
        let Some((parent, _)) = split(path) else { return Ok(0) };
        let (mut dir, mut growth) = (self.0.clone(), 0_u64);
        let mut below = names(parent);
        loop {
            if let TreeDir::Stored(id) = dir {
                let entries = objects.tree(id)?;
                growth = growth.saturating_add(entries.weight());
            }
            let Some(name) = below.next() else { return Ok(growth) };
            dir = match dir.get(objects, name)? {
                Some(TreeNode::Dir(dir)) => dir,
                // The change will say so.
                _ => return Ok(growth),
            };
        }
    }

    fn entries_mut(&mut self, objects: &ObjectCache, path: &[u8]) -> Result<&mut EditedDir> {
        if names(path).count() >= MAX_DEPTH {
            return Err(Error::TooDeep(MAX_DEPTH));
        }
        let mut dir = &mut self.0;
        for (depth, name) in names(path).enumerate() {
            let below = dir;
            let entries =
                below.entries_mut(objects).map_err(|error| error.at(above(path, depth)))?;
            dir = match entries.get_mut(name) {
                Some(TreeNode::Dir(dir)) => dir,
                Some(_) => return Err(Error::NotDirectory),
                None => return Err(Error::NotFound),
            };
        }
        dir.entries_mut(objects).map_err(|error| error.at(path))
    }

    /// Its name in the store, and what must be written for that: empty directories are left out, at
    /// any depth.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn write(&self, batch: &mut NewObjects) -> Result<Id> {
        self.0.write(batch)
    }
}

impl TreeDir {
    /// A directory without entries.
    #[must_use]
    pub fn empty() -> TreeDir {
        TreeDir::Edited(Arc::default())
    }

    /// What `name` stands for.
    ///
    /// # Errors
    /// [`Error::Broken`] when the directory itself is not in the store, or cannot be read.
    pub fn get(&self, objects: &ObjectCache, name: &[u8]) -> Result<Option<TreeNode>> {
        match self {
            TreeDir::Edited(entries) => Ok(entries.get(name)),
            TreeDir::Stored(id) => {
                let entries = objects.tree(*id)?;
                Ok(find(&entries, name).map(TreeNode::of))
            }
        }
    }

    /// All names, in the order of their bytes.
    ///
    /// # Errors
    /// [`Error::Broken`] when the directory itself is not in the store, or cannot be read.
    pub fn list(&self, objects: &ObjectCache) -> Result<Vec<(Name, TreeNode)>> {
        let mut list = Vec::new();
        self.each(objects, |name, node| list.push((name.clone(), node)))?;
        Ok(list)
    }

    /// Has `see` see all names, in the order of their bytes.
    ///
    /// # Errors
    /// Those of [`list`](TreeDir::list).
    pub fn each(&self, objects: &ObjectCache, mut see: impl FnMut(&Name, TreeNode)) -> Result<()> {
        match self {
            TreeDir::Edited(entries) => entries.each(see),
            TreeDir::Stored(id) => {
                let entries = objects.tree(*id)?;
                entries
                    .by_name()
                    .into_iter()
                    .for_each(|entry| see(&entry.name, TreeNode::of(entry)));
            }
        }
        Ok(())
    }

    /// Refuses a directory that would be too deep at a path of so many names: what has changes in
    /// it is visited by recursion.
    ///
    /// # Errors
    /// [`Error::TooDeep`].
    pub fn check_depth(&self, names: usize) -> Result<()> {
        let mut rest = vec![(self, names)];
        while let Some((dir, depth)) = rest.pop() {
            let TreeDir::Edited(entries) = dir else { continue };
            if depth >= MAX_DEPTH {
                return Err(Error::TooDeep(MAX_DEPTH));
            }
            rest.extend(entries.changed().filter_map(|(_, node)| match node {
                TreeNode::Dir(dir) => Some((dir, depth.saturating_add(1))),
                _ => None,
            }));
        }
        Ok(())
    }

    /// Whether it has no entry. One that has only empty directories is not empty yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            TreeDir::Edited(entries) => entries.is_empty(),
            TreeDir::Stored(id) => *id == Id::EMPTY_TREE,
        }
    }

    /// About what the names in it and below it take that nobody has written yet, in bytes, and the
    /// sum of the lengths of such files.
    pub(crate) fn weight(&self) -> (u64, u64) {
        let (mut names, mut bytes) = (0_u64, 0_u64);
        let mut rest = vec![self];
        while let Some(dir) = rest.pop() {
            let TreeDir::Edited(entries) = dir else { continue };
            names = names.saturating_add(entries.weight());
            for (name, node) in entries.changed() {
                names = names.saturating_add(cost(name));
                match node {
                    TreeNode::Dir(dir) => rest.push(dir),
                    TreeNode::File(TreeFile {
                        content: FileContent::Pending(Pending(content)),
                        ..
                    }) => {
                        bytes = bytes.saturating_add(content.size());
                    }
                    _ => {}
                }
            }
        }
        (names, bytes)
    }

    fn entries_mut(&mut self, objects: &ObjectCache) -> Result<&mut EditedDir> {
        if let TreeDir::Stored(id) = self {
            let entries = objects.tree(*id)?;
            entries.check_whole()?;
            *self = EditedDir::of(entries).into();
        }
        match self {
            TreeDir::Edited(entries) => Ok(Arc::make_mut(entries)),
            TreeDir::Stored(_) => Err(Error::NotFound),
        }
    }

    /// As [`Tree::write`].
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn write(&self, batch: &mut NewObjects) -> Result<Id> {
        match self {
            TreeDir::Stored(id) => Ok(*id),
            TreeDir::Edited(edited) => {
                let (id, object) = edited.write(batch)?;
                batch.push((id, object));
                Ok(id)
            }
        }
    }
}

/// About what a name takes that was changed, or is beside such a one, in bytes.
pub(crate) fn cost(name: &[u8]) -> u64 {
    (name.len() as u64).saturating_mul(2).saturating_add(256)
}

impl TreeNode {
    /// A stored one.
    #[must_use]
    pub fn of(entry: &TreeEntry) -> TreeNode {
        match entry.mode {
            EntryMode::Dir => TreeNode::Dir(TreeDir::Stored(entry.id)),
            EntryMode::Submodule => TreeNode::Submodule(entry.id),
            mode => TreeNode::File(TreeFile { mode, content: FileContent::Stored(entry.id) }),
        }
    }

    /// A new file.
    #[must_use]
    pub fn file(mode: EntryMode, content: impl Into<Vec<u8>>) -> TreeNode {
        TreeNode::File(TreeFile { mode, content: FileContent::of(&content.into()) })
    }

    /// Its mode in a tree.
    #[must_use]
    pub fn mode(&self) -> EntryMode {
        match self {
            TreeNode::Dir(_) => EntryMode::Dir,
            TreeNode::File(file) => file.mode,
            TreeNode::Submodule(_) => EntryMode::Submodule,
        }
    }
}

impl FileContent {
    /// New bytes, which count against no limit.
    fn of(bytes: &[u8]) -> FileContent {
        // Without a limit it fails when there is no memory at all.
        let content = SparseBytes::from_slice(bytes, &Budget::new(u64::MAX))
            .unwrap_or_else(|_| SparseBytes::new(Budget::new(u64::MAX)));
        FileContent::Pending(Pending(Arc::new(content)))
    }

    /// New bytes that are set aside in `space`.
    pub(crate) fn pending(content: SparseBytes) -> FileContent {
        FileContent::Pending(Pending(Arc::new(content)))
    }

    /// All bytes in one piece.
    ///
    /// # Errors
    /// [`Error::Broken`] when the blob is not in the store, or cannot be read; [`Error::NoSpace`]
    /// when there is no memory for them.
    pub fn bytes(&self, objects: &ObjectCache) -> Result<Arc<[u8]>> {
        match self {
            FileContent::Stored(id) => objects.blob(*id),
            FileContent::Pending(fresh) => fresh.whole(),
        }
    }

    /// Their number.
    ///
    /// # Errors
    /// [`Error::Broken`] when the blob is not in the store, or cannot be read.
    pub fn length(&self, objects: &ObjectCache) -> Result<u64> {
        match self {
            FileContent::Stored(id) => objects.blob_length(*id),
            FileContent::Pending(Pending(content)) => Ok(content.size()),
        }
    }

    /// The bytes, to be changed, set aside in `space`.
    ///
    /// # Errors
    /// [`Error::Broken`] when the blob is not in the store, or cannot be read; [`Error::NoSpace`].
    pub(crate) fn edit(
        &mut self,
        objects: &ObjectCache,
        space: &Arc<Budget>,
    ) -> Result<&mut SparseBytes> {
        match self {
            FileContent::Stored(id) => {
                *self = FileContent::pending(
                    SparseBytes::from_slice(&objects.blob(*id)?, space).map_err(no_space)?,
                )
            }
            FileContent::Pending(Pending(content)) if !content.is_charged_to(space) => {
                *content = Arc::new(content.copy_to(space).map_err(no_space)?);
            }
            FileContent::Pending(_) => {}
        }
        match self {
            FileContent::Pending(Pending(content)) => Ok(Arc::make_mut(content)),
            FileContent::Stored(_) => Err(Error::NotFound),
        }
    }

    /// The new bytes, if they are not those of a blob.
    pub(crate) fn as_pending(&self) -> Option<&SparseBytes> {
        match self {
            FileContent::Pending(Pending(content)) => Some(content),
            FileContent::Stored(_) => None,
        }
    }

    /// The name of the blob, whether it is stored yet or not.
    ///
    /// # Errors
    /// [`Error::Store`] if it has none.
    pub fn id(&self) -> Result<Id> {
        match self {
            FileContent::Stored(id) => Ok(*id),
            FileContent::Pending(fresh) => Ok(Object::new(ObjectKind::Blob, fresh.whole()?)?.0),
        }
    }

    pub(crate) fn write(&self, batch: &mut NewObjects) -> Result<Id> {
        match self {
            FileContent::Stored(id) => Ok(*id),
            FileContent::Pending(fresh) => {
                let (id, object) = Object::new(ObjectKind::Blob, fresh.whole()?)?;
                batch.push((id, object));
                Ok(id)
            }
        }
    }
}

impl Pending {
    fn whole(&self) -> Result<Arc<[u8]>> {
        self.0.to_bytes().map_err(no_space)
    }
}

/// What could not be set aside.
pub(crate) fn no_space(error: vfs::Error) -> Error {
    Error::NoSpace(match error {
        vfs::Error::NoSpace => "no memory is left for what is not committed yet".to_owned(),
        other => other.to_string(),
    })
}

/// The names of a path.
pub fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

/// The first names of a path, as many as `depth`.
fn above(path: &[u8], depth: usize) -> &[u8] {
    let mut ends = path
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| at)
        .chain([path.len()]);
    match depth.checked_sub(1).and_then(|last| ends.nth(last)) {
        Some(end) => path.get(..end).unwrap_or_default(),
        None => b"",
    }
}

/// A path and its last name; `None` for the top.
#[must_use]
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    let at = path.iter().rposition(|byte| *byte == b'/');
    Some(at.and_then(|at| Some((path.get(..at)?, path.get(at + 1..)?))).unwrap_or((b"", path)))
}

/// The path of `name` in the directory `dir`.
#[must_use]
pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fault;
    use crate::model::object::encode_tree;
    use crate::store::Memory;

    fn objects() -> ObjectCache {
        ObjectCache::new(Arc::new(Memory::new()))
    }

    fn keep(objects: &ObjectCache, tree: &Tree) -> Id {
        let mut batch = NewObjects::new();
        let id = tree.write(&mut batch).unwrap();
        objects.store().write(&batch).unwrap();
        id
    }

    #[test]
    fn what_is_written_is_read_back() {
        let objects = objects();
        let mut tree = Tree::stored(Id::EMPTY_TREE);
        for dir in ["a", "a/b", "empty", "empty/er"] {
            tree.put(&objects, dir.as_bytes(), TreeNode::Dir(TreeDir::empty())).unwrap();
        }
        tree.put(&objects, b"a/b/file", TreeNode::file(EntryMode::Exec, "x")).unwrap();
        tree.put(&objects, b"a.c", TreeNode::file(EntryMode::Normal, "y")).unwrap();
        let id = keep(&objects, &tree);
        let tree = Tree::stored(id);
        let list = tree.top().list(&objects).unwrap();
        // Empty directories are gone; `a` comes before `a.c` here, after it in Git.
        assert_eq!(
            list.iter().map(|(name, _)| &**name).collect::<Vec<_>>(),
            [b"a".as_slice(), b"a.c"]
        );
        let TreeNode::File(file) = tree.get(&objects, b"a/b/file").unwrap() else {
            panic!("a file")
        };
        assert_eq!(
            (file.mode, &*file.content.bytes(&objects).unwrap()),
            (EntryMode::Exec, b"x".as_slice())
        );
        assert_eq!(tree.get(&objects, b"a/b/no"), Err(Error::NotFound));
        assert_eq!(tree.get(&objects, b"a.c/no"), Err(Error::NotDirectory));
    }

    #[test]
    fn a_change_leaves_snapshots_alone() {
        let objects = objects();
        let mut tree = Tree::stored(Id::EMPTY_TREE);
        tree.put(&objects, b"f", TreeNode::file(EntryMode::Normal, "one")).unwrap();
        let before = tree.clone();
        let space = Budget::new(u64::MAX);
        tree.file_mut(&objects, b"f")
            .unwrap()
            .content
            .edit(&objects, &space)
            .unwrap()
            .write(3, b" two")
            .unwrap();
        let content = |tree: &Tree| match tree.get(&objects, b"f").unwrap() {
            TreeNode::File(file) => file.content.bytes(&objects).unwrap().to_vec(),
            other => panic!("{other:?}"),
        };
        assert_eq!((content(&before), content(&tree)), (b"one".to_vec(), b"one two".to_vec()));
    }

    #[test]
    fn what_is_not_looked_into_is_not_read() {
        let objects = objects();
        let mut tree = Tree::stored(Id::EMPTY_TREE);
        // A tree that is in no store.
        let nowhere = encode_tree([TreeEntry {
            name: (*b"x").into(),
            mode: EntryMode::Dir,
            id: Id::EMPTY_TREE,
        }])
        .unwrap()
        .0;
        tree.put(&objects, b"far", TreeNode::Dir(TreeDir::Stored(nowhere))).unwrap();
        tree.put(&objects, b"near", TreeNode::file(EntryMode::Normal, "")).unwrap();
        keep(&objects, &tree);
        let missing = Error::Broken { id: nowhere, fault: Fault::Missing, path: b"far".to_vec() };
        assert_eq!(tree.get(&objects, b"far/x"), Err(missing.clone()));
        assert_eq!(missing.to_string(), format!("object {nowhere} is missing: far"));
    }

    #[test]
    fn a_path_is_so_deep_and_no_deeper() {
        let objects = objects();
        let mut tree = Tree::stored(Id::EMPTY_TREE);
        let mut path = b"d".to_vec();
        for _ in 1..MAX_DEPTH {
            tree.put(&objects, &path, TreeNode::Dir(TreeDir::empty())).unwrap();
            path.extend(b"/d");
        }
        tree.put(&objects, &path, TreeNode::file(EntryMode::Normal, "deep")).unwrap();
        let below = join(&path, b"x");
        assert_eq!(
            tree.put(&objects, &below, TreeNode::file(EntryMode::Normal, "")),
            Err(Error::TooDeep(MAX_DEPTH))
        );
        tree = Tree::stored(keep(&objects, &tree));
        tree.get(&objects, &path).unwrap();
    }

    #[test]
    fn a_directory_is_found_in_gits_order() {
        let objects = objects();
        let mut tree = Tree::stored(Id::EMPTY_TREE);
        for name in ["b-", "b", "b.c", "b0", "a"] {
            let node = if name == "b" {
                TreeNode::Dir(TreeDir::empty())
            } else {
                TreeNode::file(EntryMode::Normal, name)
            };
            tree.put(&objects, name.as_bytes(), node).unwrap();
        }
        tree.put(&objects, b"b/x", TreeNode::file(EntryMode::Normal, "")).unwrap();
        let tree = Tree::stored(keep(&objects, &tree));
        for name in ["a", "b", "b-", "b.c", "b0", "b/x"] {
            tree.get(&objects, name.as_bytes()).unwrap();
        }
        assert_eq!(tree.get(&objects, b"b."), Err(Error::NotFound));
    }
}
