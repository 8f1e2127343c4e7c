//! Directories that show the same subdirectories as another directory but replace the files.

#[cfg(feature = "params")]
use core::fmt;

use super::{EntryTable, Key, Node};

/// A directory that mirrors another directory: it shows the same subdirectories, but replaces the
/// files in them. The mirror's subdirectories need no memory.
///
/// A mirror's [`EntryTable`] returns the nodes of the mirrored directory. The tree passes each of
/// these nodes, and each node in a subdirectory, to [`show`](Mirror::show).
#[cfg(feature = "params")]
pub trait Mirror: EntryTable {
    /// Returns the node that the mirror shows in place of `node`, or `None` if the mirror does not
    /// show `node`. If `node` is a directory, the result must be `node` or `None`.
    fn show(&'static self, node: Node) -> Option<Node>;

    /// Writes a one-line human-readable description, without a newline.
    ///
    /// # Errors
    /// Returns an error if writing to `out` fails.
    fn describe(&self, out: &mut dyn fmt::Write) -> fmt::Result;
}

/// The mirror, if any, that contains the file or directory at a path. Without the `params` feature,
/// this type is zero-sized and its methods compile to no code.
#[derive(Clone, Copy, Default)]
pub(super) struct PathMirror {
    #[cfg(feature = "params")]
    mirror: Option<&'static (dyn Mirror + Sync)>,
}

impl PathMirror {
    /// Returns the mirror, if any, that contains the entries of `dir`.
    #[inline(always)]
    pub(super) fn below(self, dir: Option<Node>) -> PathMirror {
        match dir {
            #[cfg(feature = "params")]
            Some(Node::Mirror(mirror, _)) => PathMirror { mirror: Some(mirror) },
            _ => self,
        }
    }

    /// Returns the node that is shown in place of `node`, or `None` if `node` is hidden.
    #[inline(always)]
    pub(super) fn show(self, node: Node) -> Option<Node> {
        #[cfg(feature = "params")]
        if let Some(mirror) = self.mirror {
            return mirror.show(node);
        }
        Some(node)
    }

    /// Returns whether the entry in `dir` with this key is hidden.
    #[inline(always)]
    pub(super) fn hides(self, dir: &'static dyn EntryTable, key: Key) -> bool {
        #[cfg(feature = "params")]
        if let Some(mirror) = self.mirror {
            return dir.node(key).and_then(|node| mirror.show(node)).is_none();
        }
        let _ = (dir, key);
        false
    }
}
