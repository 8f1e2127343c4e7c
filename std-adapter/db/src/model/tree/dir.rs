//! Directories of a tree, and what their names stand for.

use std::sync::Arc;

use super::content::{FileContent, Pending};
use super::edited::EditedDir;
use crate::model::object::{EntryMode, Object, TreeEntry};
use crate::model::object_cache::ObjectCache;
use crate::model::tree_text::find;
use crate::{Error, Id, Result};

/// The most names of a path in which something is changed. Directories with changes are written,
/// and dropped, one within the other, and the stack has an end.
pub const MAX_DEPTH: usize = 512;

/// A name in a directory, which is any bytes but `/` and NUL.
pub type Name = Arc<[u8]>;

/// What is written at the end, in the order in which it can be kept.
pub type NewObjects = Vec<(Id, Object)>;

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
