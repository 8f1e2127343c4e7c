//! Directories in a transaction's `rw` tree.

use std::any::Any;
use std::sync::Arc;

use datakit_core::vfs::{Create, CreateKind, Error, Name, Result, Time};

use super::file::RwFile;
use super::inodes::Inode;
use super::{RwTree, entry, file_mode, gone, home, remove};
use crate::files::ro::DIRECTORY;
use crate::files::stored_listing::is_shown;
use crate::model::tree::{TreeFile, TreeNode, join};
use crate::model::tree_entry::EntryMode;
use datakit_server::clock::now;
use datakit_server::tree::{BoxFuture, Directory, Entry, ready};

pub(super) struct RwDir(pub(super) Arc<Inode>);

impl RwDir {
    fn rw(&self) -> Result<Arc<RwTree>> {
        self.0.rw.upgrade().ok_or_else(gone)
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let rw = self.rw()?;
        let objects = rw.database.objects();
        if self.0.removed_at().is_some() {
            return Ok(Vec::new());
        }
        let mut names = rw.names.lock();
        let path = self.0.path()?;
        let list = rw
            .transaction
            .tree()?
            .dir(objects, &path)?
            .list(objects)
            .map_err(|error| error.at(&path))?;
        let shown = list.iter().filter(|(name, node)| is_shown(name, node.mode()));
        let inodes: Vec<_> = shown
            .map(|(name, node)| {
                names.inode(&self.0, &join(&path, name), name, matches!(node, TreeNode::Dir(_)))
            })
            .collect();
        drop(names);
        Ok(inodes.iter().map(entry).collect())
    }

    fn find(&self, name: &[u8]) -> Result<Entry> {
        let rw = self.rw()?;
        let mut names = rw.names.lock();
        let path = join(&self.0.path()?, name);
        let is_dir = match rw.transaction.get(&path)? {
            TreeNode::Dir(_) => true,
            TreeNode::File(_) => false,
            TreeNode::Submodule(_) => return Err(Error::NotFound),
        };
        let inode = names.inode(&self.0, &path, name, is_dir);
        drop(names);
        Ok(entry(&inode))
    }

    fn make(&self, name: &[u8], create: Create<'_>) -> Result<Entry> {
        let rw = self.rw()?;
        let mut names = rw.names.lock();
        let path = join(&self.0.path()?, name);
        let there = match rw.transaction.get(&path) {
            Ok(node) => Some(node),
            Err(crate::Error::NotFound) => None,
            Err(error) => return Err(error.into()),
        };
        if there.is_some() && create.exclusive {
            return Err(Error::Exists);
        }
        match create.kind {
            CreateKind::Dir => rw.transaction.mkdir(&path)?,
            CreateKind::File => rw.transaction.create(&path, file_mode(create.mode), b"")?,
            CreateKind::Symlink(target) => rw.transaction.create(&path, EntryMode::Link, target)?,
            CreateKind::Special(_) => return Err(Error::NotSupported),
        }
        match there {
            // If the file already exists, truncate it instead, as `open` does with `O_TRUNC`.
            Some(TreeNode::File(TreeFile {
                mode: EntryMode::Normal | EntryMode::Exec, ..
            })) if create.kind == CreateKind::File => {
                names.touch(&path, now());
            }
            replaced => {
                if let Some(replaced) = replaced {
                    rw.removed(&mut names, &path, replaced);
                }
                names.created(&path, now());
            }
        }
        let inode = names.inode(&self.0, &path, name, create.kind == CreateKind::Dir);
        drop(names);
        Ok(entry(&inode))
    }

    fn move_in(&self, child: &Entry, name: &[u8]) -> Result<()> {
        let rw = self.rw()?;
        let inode = child.as_any().and_then(inode_of).ok_or(Error::CrossDevice)?;
        if !inode.rw.ptr_eq(&self.0.rw) {
            return Err(Error::CrossDevice);
        }
        let mut names = rw.names.lock();
        let (from, to) = (inode.path()?, join(&self.0.path()?, name));
        let replaced = rw.transaction.rename_over(&from, &to)?;
        if from == to {
            return Ok(());
        }
        if let Some(replaced) = replaced {
            rw.removed(&mut names, &to, replaced);
        }
        names.rename(inode, &from, &self.0, name, &to, now());
        Ok(())
    }
}

/// Returns an entry's inode if the entry belongs to a transaction's tree.
fn inode_of(shown: &dyn Any) -> Option<&Arc<Inode>> {
    let dir = shown.downcast_ref::<RwDir>().map(|RwDir(inode)| inode);
    dir.or_else(|| shown.downcast_ref::<RwFile>().map(|RwFile(inode)| inode))
}

impl Directory for RwDir {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready(self.entries())
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        ready(self.find(name.as_bytes()))
    }

    fn create<'a>(&'a self, name: Name<'a>, create: Create<'a>) -> BoxFuture<'a, Entry> {
        ready(self.make(name.as_bytes(), create))
    }

    fn rename<'a>(&'a self, child: &'a Entry, name: Name<'a>) -> BoxFuture<'a, ()> {
        ready(self.move_in(child, name.as_bytes()))
    }

    fn move_to<'a>(
        &'a self,
        child: &'a Entry,
        dir: &'a Entry,
        name: Name<'a>,
    ) -> BoxFuture<'a, ()> {
        let dir =
            dir.as_any().and_then(|dir| dir.downcast_ref::<RwDir>()).ok_or(Error::CrossDevice);
        ready(dir.and_then(|dir| dir.move_in(child, name.as_bytes())))
    }

    /// Removes the directory and everything in it.
    fn remove(&self) -> BoxFuture<'_, ()> {
        ready(remove(&self.0))
    }

    fn unlink<'a>(&'a self, _: &'a Entry) -> BoxFuture<'a, ()> {
        ready(Ok(()))
    }

    /// Does nothing, because Git does not store directory modes.
    fn chmod(&self, _: u32) -> BoxFuture<'_, ()> {
        ready(Ok(()))
    }

    fn mode(&self) -> u32 {
        DIRECTORY
    }

    fn mtime(&self) -> Option<Time> {
        self.0.rw.upgrade()?.changed(&self.0)
    }

    fn current_parent(&self) -> Option<Entry> {
        home(&self.0)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}
