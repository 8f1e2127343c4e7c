//! Merge conflicts and their descriptions.

use std::fmt;

/// A path at which two changes conflict.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// The path.
    pub path: Vec<u8>,
    /// The kind of conflict.
    pub kind: ConflictKind,
}

/// A kind of conflict between two changes to the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConflictKind {
    /// One side has a file at the path, and the other side has a directory.
    FileAndDir,
    /// One side removed a file that the other side changed.
    RemovedAndChanged,
    /// Both sides created the file, with different content or modes.
    MadeTwice,
    /// Both sides changed the file, in different ways.
    ChangedTwice,
}

impl fmt::Display for ConflictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConflictKind::FileAndDir => "File vs dir",
            ConflictKind::RemovedAndChanged => "option: add/del",
            ConflictKind::MadeTwice => "default: add/add and no common ancestor",
            ConflictKind::ChangedTwice => "Changed on both branches",
        })
    }
}

/// The conflicts that caused a commit to fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflicts {
    /// The conflicts. The list is never empty.
    pub conflicts: Vec<Conflict>,
    /// A description of how the branch moved while the transaction was open.
    pub moved: String,
}

/// The maximum number of paths listed in an error reply.
const MAX_LISTED_PATHS: usize = 3;
/// The approximate maximum length, in bytes, of an explanation.
const MAX_EXPLANATION_BYTES: usize = 64 * 1024;

impl Conflicts {
    /// Returns a line that describes how the branch moved, followed by one line for each
    /// conflicting path. A very long list is truncated.
    #[must_use]
    pub fn explain(&self) -> String {
        let mut text = format!("{}\n", self.moved);
        for (count, conflict) in self.conflicts.iter().enumerate() {
            if text.len() > MAX_EXPLANATION_BYTES {
                text += &format!("and {} more\n", self.conflicts.len() - count);
                break;
            }
            text += &format!("Merge conflict: {}: {}\n", conflict.kind, printable(&conflict.path));
        }
        text
    }
}

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut paths: Vec<_> =
            self.conflicts.iter().map(|conflict| printable(&conflict.path)).collect();
        let more = paths.len().saturating_sub(MAX_LISTED_PATHS);
        paths.truncate(MAX_LISTED_PATHS);
        let kind =
            self.conflicts.first().map(|conflict| conflict.kind.to_string()).unwrap_or_default();
        write!(f, "{kind}: {}", paths.join(", "))?;
        if more > 0 { write!(f, " and {more} more") } else { Ok(()) }
    }
}

/// Escapes control characters in a path.
fn printable(path: &[u8]) -> String {
    let plain = |char: char| {
        if char.is_control() { char.escape_default().to_string() } else { char.to_string() }
    };
    String::from_utf8_lossy(path).chars().map(plain).collect()
}
