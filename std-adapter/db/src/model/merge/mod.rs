//! Three trees into one: what each side changed, unless both changed the same.

mod base;
mod conflict;
#[cfg(test)]
mod tests;

pub use base::base_tree;
pub use conflict::{Conflict, ConflictKind, Conflicts};

use crate::model::entry_name::check_name;
use crate::model::object::EntryMode;
use crate::model::object_cache::ObjectCache;
use crate::model::side_by_side::{dir, same, side_by_side};
use crate::model::tree::{Tree, TreeDir, TreeNode, join, split};
use crate::{Error, Id, Result};

/// What a merge made.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The tree. A path that could not be merged has a file that says why.
    pub tree: Tree,
    /// The paths that could not be merged, in the order of their bytes.
    pub conflicts: Vec<Conflict>,
}

/// Merges `ours` and `theirs`, which both came from `base`. Directories that are the same on both
/// are not looked into, and those in which nothing is left are dropped.
///
/// # Errors
/// [`Error::NotFound`] where one of the trees is not in the store; [`Error::InvalidName`] where
/// `theirs` brings a name that Git refuses.
pub fn merge(objects: &ObjectCache, base: &Tree, ours: &Tree, theirs: &Tree) -> Result<Merged> {
    merge_with(NameCheck::Check, objects, base, ours, theirs)
}

/// Whether names that come in are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NameCheck {
    Check,
    /// Of a base, which nobody commits.
    Skip,
}

fn merge_with(
    names: NameCheck,
    objects: &ObjectCache,
    base: &Tree,
    ours: &Tree,
    theirs: &Tree,
) -> Result<Merged> {
    let merged = Merged { tree: ours.clone(), conflicts: Vec::new() };
    let mut merge = Merge { objects, names, merged, left: Vec::new() };
    merge.dirs(Vec::new(), base.top(), ours.top(), theirs.top())?;
    // No recursion: a client or a repository may have any number of directories in each other.
    while let Some((path, dirs)) = merge.left.pop() {
        merge.names(&path, &dirs)?;
    }
    merge.merged.conflicts.sort();
    Ok(merge.merged)
}

struct Merge<'o> {
    objects: &'o ObjectCache,
    names: NameCheck,
    /// Our tree, with what is done already.
    merged: Merged,
    /// Directories to be looked into.
    left: Vec<(Vec<u8>, Dirs)>,
}

/// Base, ours, theirs.
type Dirs = [TreeDir; 3];

/// A file or submodule, as far as a merge tells one from another.
type FileId = (EntryMode, Id);

impl Merge<'_> {
    fn dirs(
        &mut self,
        path: Vec<u8>,
        base: &TreeDir,
        ours: &TreeDir,
        theirs: &TreeDir,
    ) -> Result<()> {
        // Where only one side has the directory nothing below can be a file here and a directory
        // there. Elsewhere it can, also if one side is as it was.
        let one = ours.is_empty() || theirs.is_empty();
        if same(ours, theirs) || one && same(theirs, base) {
            return Ok(());
        }
        if one && same(ours, base) {
            return if theirs.is_empty() {
                self.remove(&path)
            } else {
                self.put(&path, TreeNode::Dir(theirs.clone()))
            };
        }
        self.left.push((path, [base.clone(), ours.clone(), theirs.clone()]));
        Ok(())
    }

    fn names(&mut self, path: &[u8], dirs: &Dirs) -> Result<()> {
        // Each is read once: one of very many names is too large for the cache.
        for (name, [base, ours, theirs]) in
            side_by_side(self.objects, dirs).map_err(|error| error.at(path))?
        {
            self.nodes(join(path, &name), base.as_ref(), ours.as_ref(), theirs.as_ref())?;
        }
        Ok(())
    }

    fn nodes(
        &mut self,
        path: Vec<u8>,
        base: Option<&TreeNode>,
        ours: Option<&TreeNode>,
        theirs: Option<&TreeNode>,
    ) -> Result<()> {
        let empty = TreeDir::empty();
        let base_dir = dir(base).unwrap_or(&empty);
        match (dir(ours), dir(theirs)) {
            (None, None) => self.files(&path, file(base)?, ours, theirs),
            (Some(ours), Some(theirs)) => self.dirs(path, base_dir, ours, theirs),
            (Some(ours), None) if theirs.is_none() => self.dirs(path, base_dir, ours, &empty),
            (None, Some(theirs)) if ours.is_none() => self.dirs(path, base_dir, &empty, theirs),
            _ => self.conflict(path, ConflictKind::FileAndDir),
        }
    }

    fn files(
        &mut self,
        path: &[u8],
        base: Option<FileId>,
        ours: Option<&TreeNode>,
        theirs: Option<&TreeNode>,
    ) -> Result<()> {
        let (our, their) = (file(ours)?, file(theirs)?);
        if our == their || their == base {
            return Ok(());
        }
        if our == base {
            return match theirs {
                Some(theirs) => self.put(path, theirs.clone()),
                None => self.remove(path),
            };
        }
        let kind = match (our, their, base) {
            (None, ..) | (_, None, _) => ConflictKind::RemovedAndChanged,
            (.., None) => ConflictKind::MadeTwice,
            (.., Some(_)) => ConflictKind::ChangedTwice,
        };
        self.conflict(path.to_vec(), kind)
    }

    fn conflict(&mut self, path: Vec<u8>, kind: ConflictKind) -> Result<()> {
        self.put(&path, TreeNode::file(EntryMode::Normal, format!("** Conflict **\n{kind}\n")))?;
        self.merged.conflicts.push(Conflict { path, kind });
        Ok(())
    }

    /// Puts `node` at `path`, in directories that are made if need be.
    fn put(&mut self, path: &[u8], node: TreeNode) -> Result<()> {
        if self.names == NameCheck::Check {
            check_names(self.objects, split(path).map(|(_, name)| name), &node)?;
        }
        let tree = &mut self.merged.tree;
        let Some((parent, _)) = split(path) else {
            if let TreeNode::Dir(top) = node {
                *tree = Tree::of(top);
            }
            return Ok(());
        };
        if tree.dir(self.objects, parent) == Err(Error::NotFound) {
            tree.make_dirs(self.objects, parent)?;
        }
        tree.put(self.objects, path, node)
    }

    /// Takes out what is at `path`, and the directories that have nothing else.
    fn remove(&mut self, path: &[u8]) -> Result<()> {
        let (tree, mut path) = (&mut self.merged.tree, path);
        while let Some((parent, _)) = split(path) {
            tree.take(self.objects, path)?;
            if !tree.dir(self.objects, parent)?.is_empty() {
                return Ok(());
            }
            path = parent;
        }
        *tree = Tree::of(TreeDir::empty());
        Ok(())
    }
}

/// Refuses what has a name that Git refuses, or has something of such a name in it.
fn check_names(objects: &ObjectCache, name: Option<&[u8]>, node: &TreeNode) -> Result<()> {
    if let Some(name) = name {
        check_name(name, node.mode())?;
    }
    let mut left: Vec<_> = dir(Some(node)).into_iter().cloned().collect();
    while let Some(dir) = left.pop() {
        let mut checked = Ok(());
        dir.each(objects, |name, node| {
            if checked.is_ok() {
                checked = check_name(name, node.mode());
            }
            if let TreeNode::Dir(dir) = node {
                left.push(dir);
            }
        })?;
        checked?;
    }
    Ok(())
}

fn file(node: Option<&TreeNode>) -> Result<Option<FileId>> {
    Ok(match node {
        Some(TreeNode::File(file)) => Some((file.mode, file.content.id()?)),
        Some(TreeNode::Submodule(id)) => Some((EntryMode::Submodule, *id)),
        Some(TreeNode::Dir(_)) | None => None,
    })
}
