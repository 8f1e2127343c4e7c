//! Trees that can be changed. Copies of a tree share their unchanged parts.

mod content;
mod dir;
mod edited;
mod path;

pub use content::FileContent;
pub(crate) use content::no_space;
pub(crate) use dir::cost;
pub use dir::{MAX_DEPTH, Name, TreeDir, TreeFile, TreeNode};
pub use edited::EditedDir;
pub(crate) use path::above;
pub use path::{join, names, split};

use crate::model::object::NewObjects;
use crate::model::object_cache::ObjectCache;
use crate::{Error, Id, Result};

/// A directory tree. Cloning a tree is cheap. When a node is changed, only its parent directories
/// are copied. Directories are read on demand.
///
/// A path consists of components joined by `/`, without a leading `/`. The empty path refers to the
/// root directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree(TreeDir);

impl Tree {
    /// Returns the stored tree with this hash. Does not check whether the tree exists.
    #[must_use]
    pub fn stored(id: Id) -> Tree {
        Tree(TreeDir::Stored(id))
    }

    /// Returns the tree of `commit`, or the empty tree if `commit` is `None`.
    ///
    /// # Errors
    /// Returns [`Error::Broken`] if the commit does not exist or cannot be read.
    pub fn of_commit(objects: &ObjectCache, commit: Option<Id>) -> Result<Tree> {
        Ok(Tree::stored(match commit {
            Some(commit) => objects.commit(commit)?.tree,
            None => Id::EMPTY_TREE,
        }))
    }

    /// Creates a tree with this root directory.
    #[must_use]
    pub fn of(top: TreeDir) -> Tree {
        Tree(top)
    }

    /// Returns the root directory.
    #[must_use]
    pub fn top(&self) -> &TreeDir {
        &self.0
    }

    /// Returns the node at `path`.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such node. Returns [`Error::NotDirectory`] if a
    /// parent of `path` is a file. Returns [`Error::Broken`] if a directory cannot be read.
    pub fn get(&self, objects: &ObjectCache, path: &[u8]) -> Result<TreeNode> {
        let mut node = TreeNode::Dir(self.0.clone());
        for (depth, name) in names(path).enumerate() {
            let TreeNode::Dir(dir) = &node else { return Err(Error::NotDirectory) };
            let found = dir.get(objects, name).map_err(|error| error.at(above(path, depth)))?;
            node = found.ok_or(Error::NotFound)?;
        }
        Ok(node)
    }

    /// Returns the directory at `path`.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no node at `path`. Returns [`Error::NotDirectory`]
    /// if the node is not a directory. Returns [`Error::Broken`] if a directory cannot be read.
    pub fn dir(&self, objects: &ObjectCache, path: &[u8]) -> Result<TreeDir> {
        match self.get(objects, path)? {
            TreeNode::Dir(dir) => Ok(dir),
            _ => Err(Error::NotDirectory),
        }
    }

    /// Puts `node` at `path`, replacing any existing node. The parent directory must exist.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the parent does not exist. Returns [`Error::NotDirectory`] if
    /// the parent is not a directory. Returns [`Error::IsDirectory`] if `path` is the root
    /// directory. Returns [`Error::TooDeep`] if the path has too many components.
    pub fn put_node(&mut self, objects: &ObjectCache, path: &[u8], node: TreeNode) -> Result<()> {
        let (parent, name) = split(path).ok_or(Error::IsDirectory)?;
        self.entries_mut(objects, parent)?.insert(name.into(), node);
        Ok(())
    }

    /// Removes and returns the node at `path`. A parent directory that becomes empty is not removed
    /// until the tree is written.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such node. Returns [`Error::NotDirectory`] if a
    /// parent of `path` is a file. Returns [`Error::IsDirectory`] if `path` is the root directory.
    pub fn remove_node(&mut self, objects: &ObjectCache, path: &[u8]) -> Result<TreeNode> {
        let (parent, name) = split(path).ok_or(Error::IsDirectory)?;
        // Check first that the node exists, so that a failed removal does not mark the directory as
        // changed.
        self.get(objects, path)?;
        self.entries_mut(objects, parent)?.remove(name).ok_or(Error::NotFound)
    }

    /// Returns a mutable reference to the file at `path`.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such node. Returns [`Error::IsDirectory`] if the
    /// node is a directory or submodule. Returns [`Error::TooDeep`] if the path has too many
    /// components.
    pub fn file_mut(&mut self, objects: &ObjectCache, path: &[u8]) -> Result<&mut TreeFile> {
        let (parent, name) = split(path).ok_or(Error::IsDirectory)?;
        match self.entries_mut(objects, parent)?.get_mut(name) {
            Some(TreeNode::File(file)) => Ok(file),
            Some(_) => Err(Error::IsDirectory),
            None => Err(Error::NotFound),
        }
    }

    /// Returns the paths of all empty directories, which are left out when the tree is written.
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

    /// Creates a directory at `path` and any missing parent directories. Returns `false` without
    /// creating anything if there is a file at `path` or at the path of one of its ancestors.
    ///
    /// # Errors
    /// Returns [`Error::TooDeep`] if the path has too many components. Returns [`Error::Broken`] if
    /// a directory cannot be read.
    pub fn make_dirs(&mut self, objects: &ObjectCache, path: &[u8]) -> Result<bool> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for dir in
            ends.chain([path.len()]).filter_map(|end| path.get(..end)).filter(|dir| !dir.is_empty())
        {
            match self.get(objects, dir) {
                Ok(TreeNode::Dir(_)) => {}
                Err(Error::NotFound) => {
                    self.put_node(objects, dir, TreeNode::Dir(TreeDir::empty()))?
                }
                Ok(_) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Returns the approximate number of additional bytes of memory that the parent directories use
    /// once the node at `path` has been changed.
    ///
    /// # Errors
    /// Returns [`Error::Broken`] if a directory cannot be read.
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
                // Ignore an error here, because the change itself will then fail with the
                // appropriate error.
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

    /// Encodes the tree, adds the new objects to `batch`, and returns the hash of the tree. Leaves
    /// out empty directories.
    ///
    /// # Errors
    /// Returns [`Error::NoMemory`] if there is not enough memory for a copy of a file. Returns
    /// [`Error::Store`] if an object cannot be encoded.
    pub fn write(&self, batch: &mut NewObjects) -> Result<Id> {
        self.0.write(batch)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Fault;
    use crate::model::tree_entry::{EntryMode, TreeEntry};
    use crate::model::tree_text::encode_tree;
    use crate::store::MemoryStore;
    use datakit_server::budget::Budget;

    fn objects() -> ObjectCache {
        ObjectCache::new(Arc::new(MemoryStore::new()))
    }

    fn write_tree(objects: &ObjectCache, tree: &Tree) -> Id {
        let mut batch = NewObjects::new();
        let id = tree.write(&mut batch).unwrap();
        objects.store().write(&batch).unwrap();
        id
    }

    #[test]
    fn written_trees_read_back_equal() {
        let objects = objects();
        let mut tree = Tree::stored(Id::EMPTY_TREE);
        for dir in ["a", "a/b", "empty", "empty/er"] {
            tree.put_node(&objects, dir.as_bytes(), TreeNode::Dir(TreeDir::empty())).unwrap();
        }
        tree.put_node(&objects, b"a/b/file", TreeNode::file(EntryMode::Exec, "x")).unwrap();
        tree.put_node(&objects, b"a.c", TreeNode::file(EntryMode::Normal, "y")).unwrap();
        let id = write_tree(&objects, &tree);
        let tree = Tree::stored(id);
        let list = tree.top().list(&objects).unwrap();
        // The list contains no empty directories and is sorted by the bytes of the names, so `a`
        // comes before `a.c`. In Git's order, the `a` directory would come after `a.c`.
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
    fn changes_do_not_affect_clones() {
        let objects = objects();
        let mut tree = Tree::stored(Id::EMPTY_TREE);
        tree.put_node(&objects, b"f", TreeNode::file(EntryMode::Normal, "one")).unwrap();
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
    fn unused_directories_are_not_read() {
        let objects = objects();
        let mut tree = Tree::stored(Id::EMPTY_TREE);
        // The subdirectory `x` refers to a tree that is not in the store.
        let nowhere = encode_tree([TreeEntry {
            name: (*b"x").into(),
            mode: EntryMode::Dir,
            id: Id::EMPTY_TREE,
        }])
        .unwrap()
        .0;
        tree.put_node(&objects, b"far", TreeNode::Dir(TreeDir::Stored(nowhere))).unwrap();
        tree.put_node(&objects, b"near", TreeNode::file(EntryMode::Normal, "")).unwrap();
        write_tree(&objects, &tree);
        let missing = Error::Broken { id: nowhere, fault: Fault::Missing, path: b"far".to_vec() };
        assert_eq!(tree.get(&objects, b"far/x"), Err(missing.clone()));
        assert_eq!(missing.to_string(), format!("object {nowhere} is missing: far"));
    }

    #[test]
    fn depth_of_changed_paths_is_limited() {
        let objects = objects();
        let mut tree = Tree::stored(Id::EMPTY_TREE);
        let mut path = b"d".to_vec();
        for _ in 1..MAX_DEPTH {
            tree.put_node(&objects, &path, TreeNode::Dir(TreeDir::empty())).unwrap();
            path.extend(b"/d");
        }
        tree.put_node(&objects, &path, TreeNode::file(EntryMode::Normal, "deep")).unwrap();
        let below = join(&path, b"x");
        assert_eq!(
            tree.put_node(&objects, &below, TreeNode::file(EntryMode::Normal, "")),
            Err(Error::TooDeep(MAX_DEPTH))
        );
        tree = Tree::stored(write_tree(&objects, &tree));
        tree.get(&objects, &path).unwrap();
    }

    #[test]
    fn lookup_finds_every_name_in_gits_order() {
        let objects = objects();
        let mut tree = Tree::stored(Id::EMPTY_TREE);
        for name in ["b-", "b", "b.c", "b0", "a"] {
            let node = if name == "b" {
                TreeNode::Dir(TreeDir::empty())
            } else {
                TreeNode::file(EntryMode::Normal, name)
            };
            tree.put_node(&objects, name.as_bytes(), node).unwrap();
        }
        tree.put_node(&objects, b"b/x", TreeNode::file(EntryMode::Normal, "")).unwrap();
        let tree = Tree::stored(write_tree(&objects, &tree));
        for name in ["a", "b", "b-", "b.c", "b0", "b/x"] {
            tree.get(&objects, name.as_bytes()).unwrap();
        }
        assert_eq!(tree.get(&objects, b"b."), Err(Error::NotFound));
    }
}
