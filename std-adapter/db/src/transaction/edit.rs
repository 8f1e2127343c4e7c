//! Changes of the tree of a transaction.

use super::state::is_at_or_below;
use super::{FileAt, Transaction};
use crate::model::entry_name::check_name;
use crate::model::object::EntryMode;
use crate::model::tree::{FileContent, TreeDir, TreeFile, TreeNode, cost, names, no_space, split};
use crate::{Error, Id, Result};
use datakit_server::sparse_bytes::SparseBytes;

impl Transaction {
    /// Makes an empty file, in place of a file that is there.
    ///
    /// # Errors
    /// [`Error::IsDirectory`] where a directory is; [`Error::InvalidName`]; those of
    /// [`Tree::put`](crate::model::tree::Tree::put).
    pub fn create(&self, path: &[u8], mode: EntryMode, content: &[u8]) -> Result<()> {
        let (_, name) = split(path).ok_or(Error::IsDirectory)?;
        check_name(name, mode)?;
        let mut state = self.open_mut()?;
        let new = match state.rw.get(self.objects(), path) {
            Ok(TreeNode::File(_)) => 0,
            Err(Error::NotFound) => cost(name),
            Ok(TreeNode::Dir(_) | TreeNode::Submodule(_)) => return Err(Error::IsDirectory),
            Err(error) => return Err(error),
        };
        let content =
            FileContent::pending(SparseBytes::from_slice(content, &self.space).map_err(no_space)?);
        state.reserve(self.objects(), path, new)?;
        let put = state.rw.put(self.objects(), path, TreeNode::File(TreeFile { mode, content }));
        put.inspect_err(|_| state.release(new))?;
        state.resolved(path);
        Ok(())
    }

    /// Makes a directory. It is gone after the commit if nothing was put into it.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::InvalidName`]; those of
    /// [`Tree::put`](crate::model::tree::Tree::put).
    pub fn mkdir(&self, path: &[u8]) -> Result<()> {
        let (_, name) = split(path).ok_or(Error::Exists)?;
        check_name(name, EntryMode::Dir)?;
        let mut state = self.open_mut()?;
        match state.rw.get(self.objects(), path) {
            Ok(_) => return Err(Error::Exists),
            Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
        state.reserve(self.objects(), path, cost(name))?;
        let put = state.rw.put(self.objects(), path, TreeNode::Dir(TreeDir::empty()));
        put.inspect_err(|_| state.release(cost(name)))?;
        state.resolved(path);
        Ok(())
    }

    /// Removes what is at `path`, a directory with everything in it: what it was.
    ///
    /// # Errors
    /// Those of [`Tree::take`](crate::model::tree::Tree::take).
    pub fn remove(&self, path: &[u8]) -> Result<TreeNode> {
        let mut state = self.open_mut()?;
        state.reserve(self.objects(), path, 0)?;
        let node = state.rw.take(self.objects(), path)?;
        state.release(weight_of(path, &node));
        state.retain_conflicts(|conflict| !is_at_or_below(conflict, path));
        Ok(node)
    }

    /// Moves what is at `from` to `to`, in place of a file, or of an empty directory if it is a
    /// directory: what was there.
    ///
    /// # Errors
    /// [`Error::IsDirectory`] and [`Error::NotDirectory`] if one of the two is a directory and the
    /// other is none; [`Error::NotEmpty`]; [`Error::BelowItself`]; [`Error::TooDeep`];
    /// [`Error::InvalidName`]; those of [`Tree::take`](crate::model::tree::Tree::take).
    pub fn rename(&self, from: &[u8], to: &[u8]) -> Result<Option<TreeNode>> {
        let (parent, name) = split(to).ok_or(Error::IsDirectory)?;
        let mut state = self.open_mut()?;
        let node = state.rw.get(self.objects(), from)?;
        check_name(name, node.mode())?;
        if from == to {
            return Ok(None);
        }
        if is_at_or_below(parent, from) {
            return Err(Error::BelowItself);
        }
        let replaced = match state.rw.get(self.objects(), to) {
            Ok(there) => Some(there),
            Err(Error::NotFound) => None,
            Err(error) => return Err(error),
        };
        match (&node, &replaced) {
            (TreeNode::Dir(_), Some(TreeNode::Dir(there))) if !there.is_empty() => {
                return Err(Error::NotEmpty);
            }
            (TreeNode::Dir(_), Some(TreeNode::File(_) | TreeNode::Submodule(_))) => {
                return Err(Error::NotDirectory);
            }
            (TreeNode::File(_) | TreeNode::Submodule(_), Some(TreeNode::Dir(_))) => {
                return Err(Error::IsDirectory);
            }
            _ => {}
        }
        if let TreeNode::Dir(dir) = &node {
            dir.check_depth(names(to).count())?;
        }
        let new = if replaced.is_some() { 0 } else { cost(name) };
        state.reserve(self.objects(), from, 0)?;
        state.reserve(self.objects(), to, new)?;
        state.rw.put(self.objects(), to, node).inspect_err(|_| state.release(new))?;
        if let Err(error) = state.rw.take(self.objects(), from) {
            state.release(new);
            match replaced {
                Some(there) => state.rw.put(self.objects(), to, there)?,
                None => drop(state.rw.take(self.objects(), to)?),
            }
            return Err(error);
        }
        state.release(split(from).map_or(0, |(_, name)| cost(name)));
        state.move_conflicts(from, to);
        Ok(replaced)
    }

    /// Has `change` change the bytes of a file, which are set aside in the memory of the
    /// transaction.
    ///
    /// # Errors
    /// Those of `change`, after which nothing has changed; those of
    /// [`Tree::file_mut`](crate::model::tree::Tree::file_mut).
    pub(crate) fn change<E: From<Error>>(
        &self,
        at: FileAt<'_>,
        change: impl FnOnce(&mut SparseBytes) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut state = self.open_mut()?;
        change(state.file_mut(self.objects(), at)?.content.edit(self.objects(), &self.space)?)?;
        if let FileAt::Path(path) = at {
            state.resolved(path);
        }
        Ok(())
    }

    /// Drops the content of a file.
    ///
    /// # Errors
    /// Those of [`Tree::file_mut`](crate::model::tree::Tree::file_mut).
    pub(crate) fn empty(&self, at: FileAt<'_>) -> Result<()> {
        let mut state = self.open_mut()?;
        state.file_mut(self.objects(), at)?.content =
            FileContent::pending(SparseBytes::new(self.space.clone()));
        if let FileAt::Path(path) = at {
            state.resolved(path);
        }
        Ok(())
    }

    /// Gives a file the content that was made of the blob `of` for it. If it has another one by
    /// now, nothing changes.
    ///
    /// # Errors
    /// Those of [`Tree::file_mut`](crate::model::tree::Tree::file_mut).
    pub(crate) fn load(&self, at: FileAt<'_>, of: Id, content: SparseBytes) -> Result<()> {
        let mut state = self.open_mut()?;
        let file = state.file_mut(self.objects(), at)?;
        if file.content == FileContent::Stored(of) {
            file.content = FileContent::pending(content);
        }
        Ok(())
    }

    /// Makes a file a normal one or a program; of a link, its target is the content then.
    ///
    /// # Errors
    /// Those of [`Tree::file_mut`](crate::model::tree::Tree::file_mut); [`Error::InvalidName`] for a
    /// link where there must be none.
    pub fn chmod(&self, at: FileAt<'_>, mode: EntryMode) -> Result<()> {
        if let FileAt::Path(path) = at {
            check_name(split(path).ok_or(Error::IsDirectory)?.1, mode)?;
        }
        let mut state = self.open_mut()?;
        state.file_mut(self.objects(), at)?.mode = mode;
        Ok(())
    }
}

/// What is at `path` takes of the memory for names.
fn weight_of(path: &[u8], node: &TreeNode) -> u64 {
    let name = split(path).map_or(0, |(_, name)| cost(name));
    match node {
        TreeNode::Dir(dir) => name.saturating_add(dir.weight().0),
        _ => name,
    }
}
