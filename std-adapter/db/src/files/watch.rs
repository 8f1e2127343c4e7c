//! The `watch/` directory, which contains a nested directory `X.node` for each component `X` of a
//! path. Each of these directories contains a `tree.live` file.

use std::sync::Arc;

use datakit_core::vfs::{Error, NAME_MAX, Name, Result};

use super::branch_handle::BranchHandle;
use super::streams::TreeLive;
use crate::model::tree::{TreeNode, join};
use datakit_server::inode_numbers;
use datakit_server::tree::{BoxFuture, Directory, Entry, READ_ONLY_DIR_MODE, ready};

/// The directory for one path in a branch. The path need not exist.
pub(super) struct WatchDir {
    handle: Arc<BranchHandle>,
    path: Vec<u8>,
}

const LIVE: &[u8] = b"tree.live";
const NODE: &[u8] = b".node";

impl WatchDir {
    pub(super) fn new(handle: Arc<BranchHandle>, path: Vec<u8>) -> WatchDir {
        WatchDir { handle, path }
    }

    fn live(&self) -> Entry {
        let file = TreeLive { handle: self.handle.clone(), path: self.path.clone() };
        Entry::file(LIVE, file).with_ino(inode_numbers::hash_of((
            "tree.live",
            self.handle.number,
            &self.path,
        )))
    }

    fn below(&self, name: &[u8]) -> Entry {
        let path = join(&self.path, name);
        let number = inode_numbers::hash_of(("watch", self.handle.number, &path));
        Entry::dir([name, NODE].concat(), WatchDir::new(self.handle.clone(), path)).with_ino(number)
    }

    /// Lists the names that currently exist. A lookup also succeeds for names that do not exist.
    fn names(&self) -> Result<Vec<Entry>> {
        let objects = self.handle.database.objects();
        let dir = match self.handle.tree()?.dir(objects, &self.path) {
            Ok(dir) => dir,
            Err(crate::Error::NotFound | crate::Error::NotDirectory) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let names = dir.list(objects).map_err(|error| error.at(&self.path))?;
        // Omit names that would exceed the maximum length once the suffix is appended.
        let shown = names.iter().filter(|(name, node)| {
            !matches!(node, TreeNode::Submodule(_))
                && name.len().saturating_add(NODE.len()) <= NAME_MAX
        });
        Ok(shown.map(|(name, _)| self.below(name)).collect())
    }
}

impl Directory for WatchDir {
    fn mode(&self) -> u32 {
        READ_ONLY_DIR_MODE
    }

    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready(self.names().map(|mut entries| {
            entries.insert(0, self.live());
            entries
        }))
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        let name = name.as_bytes();
        ready(match name.strip_suffix(NODE) {
            _ if name == LIVE => Ok(self.live()),
            Some(name) if !name.is_empty() => Ok(self.below(name)),
            _ => Err(Error::NotFound),
        })
    }
}
