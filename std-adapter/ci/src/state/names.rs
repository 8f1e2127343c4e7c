//! Branch names and file names.

use std::fmt::Write;

use datakit_client::db::{Path, Result};
use datakit_github::{Commit, PrId, RefId, RefName, Repo};
use sha2::{Digest, Sha256};

use crate::Target;

/// The maximum length of a name. A file name can be at most 255 bytes long, and Git appends
/// `.lock`.
pub(crate) const NAME_MAX: usize = 190;

/// The branch that contains the index.
pub const INDEX_BRANCH: &str = "commit-index";

/// Returns the name of the branch that contains the history of a target.
///
/// ```
/// # use datakit_ci::state::history_branch;
/// let target = "me/app/heads/fix/c++".parse()?;
/// assert_eq!(history_branch(&target), "status-me-app-ref-heads-fix_2fc_2b_2b");
/// # Ok::<(), datakit_ci::InvalidTarget>(())
/// ```
#[must_use]
pub fn history_branch(target: &Target) -> String {
    let (user, name) = (target.repo().user(), target.repo().name());
    limited(format!(
        "status-{}-{}-{}",
        escape(user.as_bytes()),
        escape(name.as_bytes()),
        target_suffix(target)
    ))
}

/// Truncates a name that is too long to be a file name. The truncated name ends with a hash of the
/// whole name.
pub(crate) fn limited(name: String) -> String {
    if name.len() <= NAME_MAX {
        return name;
    }
    let hash = hex(&Sha256::digest(name.as_bytes()), 20);
    // Escaped names are ASCII.
    let start = name.get(..NAME_MAX - hash.len() - 1).unwrap_or_default();
    format!("{start}-{hash}")
}

/// Returns the first `length` hexadecimal digits of a hash.
pub(crate) fn hex(hash: &[u8], length: usize) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>().chars().take(length).collect()
}

/// Returns a path in [`INDEX_BRANCH`]. The file at this path contains the hash of the last history
/// commit for a commit under test.
///
/// # Errors
/// Returns an error if the path contains a name that is not valid in the database.
pub fn index_path(commit: &Commit, target: &Target) -> Result<Path> {
    let (user, name) = (commit.repo.user(), commit.repo.name());
    let hash = commit.hash.to_string();
    let file = limited(target_suffix(target));
    Path::from_names([user, name, "commit", &hash, &file])
}

/// Returns `pr-N` or `ref-KIND-NAME`.
pub(crate) fn target_suffix(target: &Target) -> String {
    match target {
        Target::Pr(id) => format!("pr-{}", id.number),
        Target::Ref(id) => {
            let name: Vec<&[u8]> = id.name.components().collect();
            format!("ref-{}-{}", id.name.kind().as_str(), escape(&name.join(&b'/')))
        }
    }
}

/// Returns the target for a file name in a commit's directory in [`INDEX_BRANCH`], or `None` if the
/// file name is not `pr-N` or `ref-KIND-NAME`.
#[must_use]
pub fn target_of_index(repo: &Repo, file: &str) -> Option<Target> {
    let repo = repo.clone();
    if let Some(number) = file.strip_prefix("pr-") {
        return Some(Target::Pr(PrId { repo, number: number.parse().ok()? }));
    }
    let (kind, name) = file.strip_prefix("ref-")?.split_once('-')?;
    let name = RefName::parse([kind.as_bytes(), b"/", &unescape(name)?].concat()).ok()?;
    Some(Target::Ref(RefId { repo, name }))
}

/// Replaces each `_` followed by two hexadecimal digits with the byte.
fn unescape(name: &str) -> Option<Vec<u8>> {
    let mut pieces = name.split('_');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    Some(bytes)
}

/// Replaces every byte other than a letter, a digit or `.` with `_` followed by two hexadecimal
/// digits.
pub(crate) fn escape(name: &[u8]) -> String {
    let mut escaped = String::new();
    for byte in name {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' => escaped.push(char::from(*byte)),
            // Writing to a string never fails.
            other => drop(write!(escaped, "_{other:02x}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_truncated_and_differ() {
        let branch = |end: char| {
            let name = format!("me/app/heads/{}{end}", "a/".repeat(120));
            let target: Target = name.parse().unwrap();
            history_branch(&target)
        };
        let (first, second) = (branch('b'), branch('c'));
        assert_eq!((first.len(), second.len()), (NAME_MAX, NAME_MAX));
        assert_ne!(first, second);
    }

    #[test]
    fn targets_are_found_by_the_names_of_their_index_files() {
        for text in ["me/app/prs/7", "me/app/heads/fix/c++-_1", "me/app/tags/v1.0<\u{fc}>"] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target_of_index(target.repo(), &target_suffix(&target)), Some(target));
        }
        let repo: Repo = "me/app".parse().unwrap();
        for file in ["", "pr-x", "ref-heads", "ref-x-y", "ref-heads-_1", "ref-heads-_\u{20ac}"] {
            assert_eq!(target_of_index(&repo, file), None, "{file}");
        }
    }
}
