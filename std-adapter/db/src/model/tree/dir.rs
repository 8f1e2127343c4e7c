//! Directories and the nodes that they contain.

use std::sync::Arc;

use super::content::{FileContent, Pending};
use super::edited::EditedDir;
use crate::model::object::NewObjects;
use crate::model::object_cache::ObjectCache;
use crate::model::tree_entry::find;
use crate::model::tree_entry::{EntryMode, TreeEntry};
use crate::{Error, Id, Result};

/// The maximum number of components in the path of a changed node. The limit is needed because
/// changed directories are written and dropped recursively.
pub const MAX_DEPTH: usize = 512;

/// The name of a directory entry, which can contain any bytes except `/` and NUL.
pub type Name = Arc<[u8]>;

/// A node in a tree: a directory, a file, or a submodule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeNode {
    /// A directory.
    Dir(TreeDir),
    /// A file or symbolic link.
    File(TreeFile),
    /// A submodule, which refers to a commit in another repository. The reference is preserved but
    /// not followed.
    Submodule(Id),
}

/// A directory, which is either stored or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeDir {
    /// A tree in the store.
    Stored(Id),
    /// A directory with uncommitted changes.
    Edited(Arc<EditedDir>),
}

/// A file or symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFile {
    /// The mode, which is [`Normal`](EntryMode::Normal), [`Exec`](EntryMode::Exec) or
    /// [`Link`](EntryMode::Link).
    pub mode: EntryMode,
    /// The content of the file, or the target of the symbolic link.
    pub content: FileContent,
}

impl TreeNode {
    /// Converts an entry in a stored tree to a node.
    #[must_use]
    pub fn of(entry: &TreeEntry) -> TreeNode {
        match entry.mode {
            EntryMode::Dir => TreeNode::Dir(TreeDir::Stored(entry.id)),
            EntryMode::Submodule => TreeNode::Submodule(entry.id),
            mode => TreeNode::File(TreeFile { mode, content: FileContent::Stored(entry.id) }),
        }
    }

    /// Creates a file with uncommitted content.
    #[must_use]
    pub fn file(mode: EntryMode, content: impl Into<Vec<u8>>) -> TreeNode {
        TreeNode::File(TreeFile { mode, content: FileContent::of(&content.into()) })
    }

    /// Returns the mode of the node's entry in its parent tree.
    #[must_use]
    pub fn mode(&self) -> EntryMode {
        match self {
            TreeNode::Dir(_) => EntryMode::Dir,
            TreeNode::File(file) => file.mode,
            TreeNode::Submodule(_) => EntryMode::Submodule,
        }
    }
}

impl TreeDir {
    /// Creates an empty directory.
    #[must_use]
    pub fn empty() -> TreeDir {
        TreeDir::Edited(Arc::default())
    }

    /// Returns the node named `name`, or `None` if there is no such node.
    ///
    /// # Errors
    /// Returns [`Error::Broken`] if the directory is missing from the store or cannot be read.
    pub fn get(&self, objects: &ObjectCache, name: &[u8]) -> Result<Option<TreeNode>> {
        match self {
            TreeDir::Edited(entries) => Ok(entries.get(name)),
            TreeDir::Stored(id) => {
                let entries = objects.tree(*id)?;
                Ok(find(&entries, name).map(TreeNode::of))
            }
        }
    }

    /// Returns all entries, sorted by the bytes of their names.
    ///
    /// # Errors
    /// Returns [`Error::Broken`] if the directory is missing from the store or cannot be read.
    pub fn list(&self, objects: &ObjectCache) -> Result<Vec<(Name, TreeNode)>> {
        let mut list = Vec::new();
        self.each(objects, |name, node| list.push((name.clone(), node)))?;
        Ok(list)
    }

    /// Calls `see` with each entry, sorted by the bytes of the names.
    ///
    /// # Errors
    /// Returns [`Error::Broken`] if the directory is missing from the store or cannot be read.
    pub fn each(&self, objects: &ObjectCache, mut see: impl FnMut(&Name, TreeNode)) -> Result<()> {
        match self {
            TreeDir::Edited(entries) => entries.each(&mut see),
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

    /// Checks that the directory can be placed at a path with `names` components.
    ///
    /// # Errors
    /// Returns [`Error::TooDeep`] if a changed directory would be nested too deeply.
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

    /// Returns `true` if the directory has no entries. Until the tree is written, empty
    /// subdirectories count as entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            TreeDir::Edited(entries) => entries.is_empty(),
            TreeDir::Stored(id) => *id == Id::EMPTY_TREE,
        }
    }

    /// Returns the approximate number of bytes of memory used by uncommitted names, and the total
    /// length of uncommitted files. Both numbers include all subdirectories.
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

    pub(super) fn entries_mut(&mut self, objects: &ObjectCache) -> Result<&mut EditedDir> {
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

    /// Encodes the directory and everything below it, in the same way as
    /// [`Tree::write`](super::Tree::write).
    ///
    /// # Errors
    /// Returns [`Error::NoMemory`] if there is not enough memory for a copy of a file. Returns
    /// [`Error::Store`] if an object cannot be encoded.
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

/// Returns the approximate number of bytes that a name takes up in a changed directory.
pub(crate) fn cost(name: &[u8]) -> u64 {
    (name.len() as u64).saturating_mul(2).saturating_add(256)
}
