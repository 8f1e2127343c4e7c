//! Visits all files in a directory of a static tree, including its subdirectories.

use core::fmt::{self, Write};

use super::{EntryTable, Key, Node};
use crate::vfs::Compare;

/// The path of a file, relative to the directory where the visit started. The path is a linked list
/// that starts with the file's entry. The list is short, because directories are nested at most
/// eight levels deep. The names are looked up when the path is written.
#[derive(Clone, Copy)]
pub struct FilePath<'a> {
    dir: &'static dyn EntryTable,
    key: Key,
    parent: Option<&'a FilePath<'a>>,
}

impl FilePath<'_> {
    /// Returns `true` if `path` is the path of this file or of a directory that contains it. The
    /// empty path is the directory where the visit started.
    #[must_use]
    pub fn is_within(&self, path: &[u8]) -> bool {
        let mut compare = Compare::new(path);
        path.is_empty() || self.write(&mut compare).and_then(|()| compare.write_str("/")).is_err()
    }

    /// Writes the path. The names and the slashes between them are written one by one.
    ///
    /// # Errors
    /// Returns an error if writing to `out` fails.
    pub fn write(&self, out: &mut dyn Write) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.write(out)?;
            out.write_str("/")?;
        }
        let mut written = Ok(());
        self.dir.name(self.key, &mut |name: &str| written = out.write_str(name));
        written
    }
}

impl fmt::Display for FilePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

impl fmt::Debug for FilePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

/// A function that is called for each file. It is not a `dyn FnMut`, for the reason given
/// for [`Call`](crate::vfs::Call).
trait VisitFile {
    fn visit(&mut self, path: &FilePath<'_>, node: &Node) -> fmt::Result;
}

impl<F: FnMut(&FilePath<'_>, &Node) -> fmt::Result> VisitFile for F {
    fn visit(&mut self, path: &FilePath<'_>, node: &Node) -> fmt::Result {
        self(path, node)
    }
}

/// Calls `each` for every file in `dir` and its subdirectories, in table order, until `each`
/// returns an error. For a mirror or a directory that changes at run time, calls `each` for the
/// directory itself instead of for its files.
///
/// # Errors
/// Returns the first error that `each` returns.
pub fn visit_files(
    dir: &'static dyn EntryTable,
    mut each: impl FnMut(&FilePath<'_>, &Node) -> fmt::Result,
) -> fmt::Result {
    visit(dir, None, &mut each)
}

fn visit(
    dir: &'static dyn EntryTable,
    parent: Option<&FilePath<'_>>,
    each: &mut dyn VisitFile,
) -> fmt::Result {
    let mut from = 0;
    while let Some(key) = dir.next(from) {
        let path = FilePath { dir, key, parent };
        match dir.node(key) {
            Some(Node::Dir(below)) => visit(below, Some(&path), each)?,
            Some(Node::Table(below, _)) => visit(below, Some(&path), each)?,
            Some(node) => each.visit(&path, &node)?,
            None => {}
        }
        let Some(index) = key.index() else { break };
        // The index of an entry is at most 254.
        from = index + 1;
    }
    Ok(())
}
