//! A tree of files that is changed piece by piece, and shares all that is not changed.

mod content;
mod dir;
mod edited;
mod path;

pub(crate) use content::no_space;
pub use content::{FileContent, Pending};
pub(crate) use dir::cost;
pub use dir::{MAX_DEPTH, Name, NewObjects, TreeDir, TreeFile, TreeNode};
pub use edited::EditedDir;
pub(crate) use path::above;
pub use path::{join, names, split};

use crate::model::object_cache::ObjectCache;
use crate::{Error, Id, Result};

/// A directory with everything below it. A clone costs nothing; a change costs the directories on
/// its way, and what was not looked into was not even read.
///
/// Paths are names joined by `/`, without one at the start; the empty path is the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree(TreeDir);

impl Tree {
    /// The tree that is stored under this name; nobody looks whether there is one.
    #[must_use]
    pub fn stored(id: Id) -> Tree {
        Tree(TreeDir::Stored(id))
    }

    /// Returns the tree of `commit`, or the empty tree for `None`.
    ///
    /// # Errors
    /// [`Error::Broken`] if the store has no such commit or cannot read it.
    pub fn of_commit(objects: &ObjectCache, commit: Option<Id>) -> Result<Tree> {
        Ok(Tree::stored(match commit {
            Some(commit) => objects.commit(commit)?.tree,
            None => Id::EMPTY_TREE,
        }))
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Fault;
    use crate::model::object::{EntryMode, TreeEntry, encode_tree};
    use crate::store::Memory;
    use datakit_server::budget::Budget;

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
