//! Methods that change a transaction's tree.

use super::state::is_at_or_below;
use super::{FileAt, Transaction};
use crate::model::entry_name::check_name;
use crate::model::tree::{FileContent, TreeDir, TreeFile, TreeNode, cost, names, no_space, split};
use crate::model::tree_entry::EntryMode;
use crate::{Error, Id, Result};
use datakit_server::sparse_bytes::SparseBytes;

impl Transaction {
    /// Creates a file with the given content at `path`, replacing any existing file.
    ///
    /// # Errors
    /// - Returns [`Error::IsDirectory`] if `path` is a directory.
    /// - Returns [`Error::InvalidName`] if the name is not valid in a Git tree.
    /// - Returns [`Error::NotFound`] if the parent does not exist, or [`Error::NotDirectory`] if
    ///   the parent is not a directory.
    /// - Returns [`Error::NoMemory`] if the memory limit is reached.
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
        let put =
            state.rw.put_node(self.objects(), path, TreeNode::File(TreeFile { mode, content }));
        put.inspect_err(|_| state.release(new))?;
        state.resolved(path);
        Ok(())
    }

    /// Creates a directory. If the directory is still empty when the transaction is committed, the
    /// commit does not contain it.
    ///
    /// # Errors
    /// - Returns [`Error::Exists`] if `path` exists.
    /// - Returns [`Error::InvalidName`] if the name is not valid in a Git tree.
    /// - Returns [`Error::NotFound`] if the parent does not exist, or [`Error::NotDirectory`] if
    ///   the parent is not a directory.
    /// - Returns [`Error::NoMemory`] if the memory limit is reached.
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
        let put = state.rw.put_node(self.objects(), path, TreeNode::Dir(TreeDir::empty()));
        put.inspect_err(|_| state.release(cost(name)))?;
        state.resolved(path);
        Ok(())
    }

    /// Removes the node at `path`, along with everything below it.
    ///
    /// # Errors
    /// - Returns [`Error::NotFound`] if there is no such node.
    /// - Returns [`Error::NotDirectory`] if a parent of `path` is a file.
    /// - Returns [`Error::IsDirectory`] if `path` is the root directory.
    /// - Returns [`Error::Busy`] if a commit or merge is in progress.
    pub fn remove(&self, path: &[u8]) -> Result<()> {
        self.take_node(path).map(drop)
    }

    /// Moves the node at `from` to `to`. If `to` exists, it is replaced. A directory can replace
    /// only an empty directory, and a file can replace only a file.
    ///
    /// # Errors
    /// - Returns [`Error::IsDirectory`] if `to` is a directory but `from` is not, or
    ///   [`Error::NotDirectory`] if `from` is a directory but `to` is not.
    /// - Returns [`Error::NotEmpty`] if `to` is a directory that is not empty.
    /// - Returns [`Error::IntoItself`] if `to` is below `from`.
    /// - Returns [`Error::TooDeep`] if the new path of any node has too many components.
    /// - Returns [`Error::InvalidName`] if the new name is not valid in a Git tree.
    /// - Returns [`Error::NotFound`] if `from` does not exist.
    pub fn rename(&self, from: &[u8], to: &[u8]) -> Result<()> {
        self.rename_over(from, to).map(drop)
    }

    /// Like [`remove`](Transaction::remove), but returns the removed node.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such node. Returns [`Error::NotDirectory`] if a
    /// parent of `path` is a file. Returns [`Error::IsDirectory`] if `path` is the root directory.
    pub(crate) fn take_node(&self, path: &[u8]) -> Result<TreeNode> {
        let mut state = self.open_mut()?;
        state.reserve(self.objects(), path, 0)?;
        let node = state.rw.remove_node(self.objects(), path)?;
        state.release(weight_of(path, &node));
        state.retain_conflicts(|conflict| !is_at_or_below(conflict, path));
        Ok(node)
    }

    /// Like [`rename`](Transaction::rename), but returns the replaced node.
    ///
    /// # Errors
    /// Returns the same errors as [`rename`](Transaction::rename).
    pub(crate) fn rename_over(&self, from: &[u8], to: &[u8]) -> Result<Option<TreeNode>> {
        let (parent, name) = split(to).ok_or(Error::IsDirectory)?;
        let mut state = self.open_mut()?;
        let node = state.rw.get(self.objects(), from)?;
        check_name(name, node.mode())?;
        if from == to {
            return Ok(None);
        }
        if is_at_or_below(parent, from) {
            return Err(Error::IntoItself);
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
        state.rw.put_node(self.objects(), to, node).inspect_err(|_| state.release(new))?;
        if let Err(error) = state.rw.remove_node(self.objects(), from) {
            state.release(new);
            match replaced {
                Some(there) => state.rw.put_node(self.objects(), to, there)?,
                None => drop(state.rw.remove_node(self.objects(), to)?),
            }
            return Err(error);
        }
        state.release(split(from).map_or(0, |(_, name)| cost(name)));
        state.move_conflicts(from, to);
        Ok(replaced)
    }

    /// Calls `change` with the content of a file. The content is charged to the transaction's
    /// budget.
    ///
    /// # Errors
    /// Returns any error from `change`. Returns [`Error::NotFound`] if there is no such file.
    /// Returns [`Error::IsDirectory`] if the node is a directory.
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

    /// Truncates a file to length zero.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such file. Returns [`Error::IsDirectory`] if the
    /// node is a directory.
    pub(crate) fn empty(&self, at: FileAt<'_>) -> Result<()> {
        let mut state = self.open_mut()?;
        state.file_mut(self.objects(), at)?.content =
            FileContent::pending(SparseBytes::new(self.space.clone()));
        if let FileAt::Path(path) = at {
            state.resolved(path);
        }
        Ok(())
    }

    /// Replaces a file's reference to a stored blob with `content`, an in-memory copy of that blob.
    /// Does nothing if the file no longer refers to the blob `of`.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such file. Returns [`Error::IsDirectory`] if the
    /// node is a directory.
    pub(crate) fn load(&self, at: FileAt<'_>, of: Id, content: SparseBytes) -> Result<()> {
        let mut state = self.open_mut()?;
        let file = state.file_mut(self.objects(), at)?;
        if file.content == FileContent::Stored(of) {
            file.content = FileContent::pending(content);
        }
        Ok(())
    }

    /// Sets the mode of a file. If a symbolic link is changed to a regular file, the link's target
    /// becomes the file's content.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such file. Returns [`Error::IsDirectory`] if the
    /// node is a directory. Returns [`Error::InvalidName`] if the name is not valid for a symbolic
    /// link in a Git tree.
    pub(crate) fn chmod(&self, at: FileAt<'_>, mode: EntryMode) -> Result<()> {
        if let FileAt::Path(path) = at {
            check_name(split(path).ok_or(Error::IsDirectory)?.1, mode)?;
        }
        let mut state = self.open_mut()?;
        state.file_mut(self.objects(), at)?.mode = mode;
        Ok(())
    }
}

/// Returns the number of bytes reserved for the name of the node at `path` and the names of all
/// nodes below it.
fn weight_of(path: &[u8], node: &TreeNode) -> u64 {
    let name = split(path).map_or(0, |(_, name)| cost(name));
    match node {
        TreeNode::Dir(dir) => name.saturating_add(dir.weight().0),
        _ => name,
    }
}
