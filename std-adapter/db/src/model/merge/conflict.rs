//! Conflicts, and how they are told.

use std::fmt;

/// A path that both sides changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// Where.
    pub path: Vec<u8>,
    /// How they differ.
    pub kind: ConflictKind,
}

/// How the two sides of a conflict differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConflictKind {
    /// A file on one side, a directory on the other.
    FileAndDir,
    /// One side removed what the other changed.
    RemovedAndChanged,
    /// Both made it, not in the same way.
    MadeTwice,
    /// Both changed it, not in the same way.
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

/// A merge that a branch does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflicts {
    /// At least one.
    pub conflicts: Vec<Conflict>,
    /// How the branch moved while the transaction was open.
    pub moved: String,
}

/// Paths that are named in the text of an error reply.
const MAX_LISTED_PATHS: usize = 3;
/// Bytes of an explanation.
const MAX_EXPLANATION_BYTES: usize = 64 * 1024;

impl Conflicts {
    /// A line for each path, as far as there is room, and one for the branch.
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

/// A path in one line.
fn printable(path: &[u8]) -> String {
    let plain = |char: char| {
        if char.is_control() { char.escape_default().to_string() } else { char.to_string() }
    };
    String::from_utf8_lossy(path).chars().map(plain).collect()
}
