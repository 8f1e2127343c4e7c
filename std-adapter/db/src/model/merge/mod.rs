//! Three-way merges of trees.

mod base;
mod conflict;
#[cfg(test)]
mod tests;

pub use base::base_tree;
pub use conflict::{Conflict, ConflictKind, Conflicts};

use crate::model::entry_name::check_name;
use crate::model::object_cache::ObjectCache;
use crate::model::side_by_side::{dir, same, side_by_side};
use crate::model::tree::{Tree, TreeDir, TreeNode, join, split};
use crate::model::tree_entry::EntryMode;
use crate::{Error, Id, Result};

/// The result of a merge.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The merged tree. At each path with a conflict, the tree contains a file that describes the
    /// conflict.
    pub tree: Tree,
    /// The conflicts, sorted by the bytes of their paths.
    pub conflicts: Vec<Conflict>,
}

/// Merges `ours` and `theirs`, both of which are derived from `base`. Does not read directories
/// that are identical on both sides. Removes directories that become empty.
///
/// # Errors
/// Returns [`Error::Broken`] if a tree is missing or cannot be read. Returns [`Error::InvalidName`]
/// if `theirs` adds a name that Git does not allow.
pub fn merge(objects: &ObjectCache, base: &Tree, ours: &Tree, theirs: &Tree) -> Result<Merged> {
    merge_with(NameCheck::Check, objects, base, ours, theirs)
}

/// Whether a merge checks the names that it adds from `theirs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NameCheck {
    Check,
    /// Do not check the names, because the result is a base tree, which is never committed.
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
    // Use a loop instead of recursion, because directories may be nested to any depth.
    while let Some((path, dirs)) = merge.left.pop() {
        merge.names(&path, &dirs)?;
    }
    merge.merged.conflicts.sort();
    Ok(merge.merged)
}

struct Merge<'o> {
    objects: &'o ObjectCache,
    names: NameCheck,
    /// The result so far. Initially, the merged tree is our tree.
    merged: Merged,
    /// The directories that have not been merged yet.
    left: Vec<(Vec<u8>, Dirs)>,
}

/// The three versions of a directory: the base version, our version and their version.
type Dirs = [TreeDir; 3];

/// The mode and hash of a file or submodule. Two versions are identical if they have the same mode
/// and hash.
type FileId = (EntryMode, Id);

impl Merge<'_> {
    fn dirs(
        &mut self,
        path: Vec<u8>,
        base: &TreeDir,
        ours: &TreeDir,
        theirs: &TreeDir,
    ) -> Result<()> {
        // If both sides have the directory, compare its entries even if one side has not changed
        // it, because a file on one side can conflict with a directory on the other side. If only
        // one side has the directory, no such conflict is possible.
        let one = ours.is_empty() || theirs.is_empty();
        if same(ours, theirs) || one && same(theirs, base) {
            return Ok(());
        }
        if one && same(ours, base) {
            return if theirs.is_empty() {
                self.remove_node(&path)
            } else {
                self.put_node(&path, TreeNode::Dir(theirs.clone()))
            };
        }
        self.left.push((path, [base.clone(), ours.clone(), theirs.clone()]));
        Ok(())
    }

    fn names(&mut self, path: &[u8], dirs: &Dirs) -> Result<()> {
        // Read each directory only once, because a very large directory does not fit in the cache.
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
                Some(theirs) => self.put_node(path, theirs.clone()),
                None => self.remove_node(path),
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
        self.put_node(
            &path,
            TreeNode::file(EntryMode::Normal, format!("** Conflict **\n{kind}\n")),
        )?;
        self.merged.conflicts.push(Conflict { path, kind });
        Ok(())
    }

    /// Puts `node` at `path`, creating missing parent directories.
    fn put_node(&mut self, path: &[u8], node: TreeNode) -> Result<()> {
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
        tree.put_node(self.objects, path, node)
    }

    /// Removes the node at `path` and any parent directories that become empty.
    fn remove_node(&mut self, path: &[u8]) -> Result<()> {
        let (tree, mut path) = (&mut self.merged.tree, path);
        while let Some((parent, _)) = split(path) {
            tree.remove_node(self.objects, path)?;
            if !tree.dir(self.objects, parent)?.is_empty() {
                return Ok(());
            }
            path = parent;
        }
        *tree = Tree::of(TreeDir::empty());
        Ok(())
    }
}

/// Returns an error if Git does not allow the name of `node`, or of any node below `node`.
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
