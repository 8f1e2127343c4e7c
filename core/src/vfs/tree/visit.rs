//! Visits all files in a directory of a static tree, including its subdirectories.

use core::fmt::{self, Write};

use super::{EntryTable, Node};

/// The path of a file, relative to the directory where the visit started. The path is a linked list
/// that starts with the file name. The list is short, because directories are nested at most eight
/// levels deep.
#[derive(Debug, Clone, Copy)]
pub struct FilePath<'a> {
    name: &'a str,
    parent: Option<&'a FilePath<'a>>,
}

impl FilePath<'_> {
    /// Returns `true` if `path` is the path of this file or of a directory that contains it. The
    /// empty path is the directory where the visit started.
    #[must_use]
    pub fn is_within(&self, path: &[u8]) -> bool {
        let mut at = Some(self);
        while let Some(name) = at {
            if name.strip_from(path) == Some(b"") {
                return true;
            }
            at = name.parent;
        }
        path.is_empty()
    }

    /// Calls `each` for each name in the path. The file's own name comes last.
    pub fn visit_names(&self, each: &mut dyn FnMut(&[u8])) {
        if let Some(parent) = self.parent {
            parent.visit_names(each);
        }
        each(self.name.as_bytes());
    }

    /// Removes this path from the start of `path` and returns the remainder.
    fn strip_from<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        let rest = match self.parent {
            Some(parent) => parent.strip_from(path)?.strip_prefix(b"/")?,
            None => path,
        };
        rest.strip_prefix(self.name.as_bytes())
    }
}

impl FilePath<'_> {
    /// Writes the path.
    pub(crate) fn write(&self, out: &mut dyn Write) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.write(out)?;
            out.write_str("/")?;
        }
        out.write_str(self.name)
    }
}

impl fmt::Display for FilePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

/// Calls `each` for every file in `dir` and its subdirectories, in the order in which the tables
/// list them, until `each` returns an error. For a mirror or a directory that changes at run time,
/// calls `each` for the directory itself instead of for its files.
///
/// # Errors
/// Returns the error that `each` returns.
pub fn visit_files(
    dir: &'static dyn EntryTable,
    each: &mut dyn FnMut(&FilePath<'_>, Node) -> fmt::Result,
) -> fmt::Result {
    visit(dir, None, each)
}

fn visit(
    dir: &'static dyn EntryTable,
    parent: Option<&FilePath<'_>>,
    each: &mut dyn FnMut(&FilePath<'_>, Node) -> fmt::Result,
) -> fmt::Result {
    let mut from = Some(0);
    while let Some(key) = from.and_then(|from| dir.next(from)) {
        if let Some(node) = dir.node(key) {
            let mut result = Ok(());
            dir.name(key, &mut |name| {
                let path = FilePath { name, parent };
                result = match node {
                    Node::Dir(below) => visit(below, Some(&path), each),
                    Node::Table(below, _) => visit(below, Some(&path), each),
                    Node::File(_) | Node::Indexed(..) | Node::DynamicDir(_) => each(&path, node),
                    #[cfg(feature = "params")]
                    Node::Mirror(..) => each(&path, node),
                };
            });
            result?;
        }
        from = key.index().and_then(|index| index.checked_add(1));
    }
    Ok(())
}
