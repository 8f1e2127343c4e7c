//! The paths of repositories, commits, pull requests, refs and statuses in the metadata branch.
//!
//! | path below `USER/REPO/` | content |
//! |---|---|
//! | `.monitor` | empty: the repository is monitored |
//! | `.clone-url` | the URL from which the repository can be cloned, if a bridge knows it |
//! | `.dirty`, `pr/N/.dirty`, `ref/KIND/NAME/.dirty` | empty: read the object again |
//! | `pr/N/{head,state,title,owner,base}` | a pull request |
//! | `pr/N/comments/I/{id,user,body}` | a comment |
//! | `commit/HASH/status/CONTEXT/{state,description,target_url}` | a status |
//! | `ref/KIND/NAME/head` | a branch (`heads`) or a tag (`tags`) |
//!
//! Each component of NAME and CONTEXT is a directory.

use datakit_client::ByteString;
use datakit_client::db::Path;

use crate::context::STATUS_FILES;
use crate::{
    Commit, Context, DirtyId, ElementId, Hash, PrId, RefId, RefKind, RefName, Repo, StatusId,
};

/// The name of the file that marks a repository as monitored.
pub const MONITOR: &str = ".monitor";
/// The name of the file that contains the URL from which a repository can be cloned.
pub const CLONE_URL: &str = ".clone-url";
/// The name of the file that asks the bridge to read a repository, pull request or ref again.
pub const DIRTY: &str = ".dirty";
/// The name of the file that contains the hash of a ref's head.
pub(crate) const HEAD: &str = "head";

/// Returns the directory of a repository.
#[must_use]
pub fn repo(repo: &Repo) -> Path {
    path([repo.user(), repo.name()])
}

/// Returns the path of the file that marks a repository as monitored.
#[must_use]
pub fn monitor(of: &Repo) -> Path {
    path([of.user(), of.name(), MONITOR])
}

/// Returns the path of the file that contains the URL from which a repository can be cloned.
#[must_use]
pub fn clone_url(of: &Repo) -> Path {
    path([of.user(), of.name(), CLONE_URL])
}

/// Returns the directory of a commit.
#[must_use]
pub fn commit(commit: &Commit) -> Path {
    path([commit.repo.user(), commit.repo.name(), "commit", &commit.hash.to_string()])
}

/// Returns the directory of a pull request.
#[must_use]
pub fn pr(pr: &PrId) -> Path {
    path([pr.repo.user(), pr.repo.name(), "pr", &pr.number.to_string()])
}

/// Returns the directory of a branch or tag.
#[must_use]
pub fn reference(reference: &RefId) -> Path {
    let RefId { repo: of, name } = reference;
    repo(of).concat(&path(["ref", name.kind().as_str()])).concat(&path(name.components()))
}

/// Returns the directory of a status.
#[must_use]
pub fn status(status: &StatusId) -> Path {
    commit(&status.commit).concat(&path(["status"])).concat(&path(status.context.components()))
}

/// Returns the directory of a metadata element, such as a pull request or a status. The directory
/// of a status may contain the directories of other statuses.
#[must_use]
pub fn dir(id: &ElementId) -> Path {
    match id {
        ElementId::Repo(id) => repo(id),
        ElementId::Commit(id) => commit(id),
        ElementId::Pr(id) => pr(id),
        ElementId::Ref(id) => reference(id),
        ElementId::Status(id) => status(id),
    }
}

/// Returns the path of the file that asks the bridge to read a repository, pull request or ref
/// again.
#[must_use]
pub fn dirty(id: &DirtyId) -> Path {
    let dir = match id {
        DirtyId::Repo(id) => repo(id),
        DirtyId::Pr(id) => pr(id),
        DirtyId::Ref(id) => reference(id),
    };
    dir.concat(&path([DIRTY]))
}

/// Creates a path from its components. Every name has a type that accepts only valid path
/// components.
pub(crate) fn path<N: AsRef<[u8]>>(names: impl IntoIterator<Item = N>) -> Path {
    Path::from_names(names).unwrap_or_default()
}

/// The object to which a file in the branch belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location<'p> {
    /// The `.monitor` file, or a file at the path of the repository's directory.
    Repo(Repo),
    Dirty(DirtyId),
    /// A pull request file, identified by its path relative to the pull request's directory.
    Pr(PrId, &'p [ByteString]),
    /// A file in a ref's directory, such as `head`.
    Ref(RefId, &'p ByteString),
    /// A file in a status's directory.
    Status(StatusId, &'p ByteString),
    /// A file that is in a commit's directory but does not belong to a status.
    Commit(Commit),
}

impl Location<'_> {
    /// Returns the metadata element to which the file belongs, or `None` for a `.dirty` file.
    pub(crate) fn element(self) -> Option<ElementId> {
        match self {
            Location::Repo(id) => Some(id.into()),
            Location::Pr(id, _) => Some(id.into()),
            Location::Ref(id, _) => Some(id.into()),
            Location::Status(id, _) => Some(id.into()),
            Location::Commit(id) => Some(id.into()),
            Location::Dirty(_) => None,
        }
    }
}

/// Returns the object to which the file at the path `names` belongs, or `None` if there is no such
/// object.
pub(crate) fn locate(names: &[ByteString]) -> Option<Location<'_>> {
    let [user, name, rest @ ..] = names else { return None };
    let repo = Repo::new(user.to_str()?, name.to_str()?).ok()?;
    // The constructor strips white space, so reject any name that begins or ends with white space.
    // Otherwise, two directories could represent the same repository.
    if repo.user() != user.to_str()? || repo.name() != name.to_str()? {
        return None;
    }
    let (kind, rest) = match rest {
        [] => return Some(Location::Repo(repo)),
        [file] if *file == MONITOR => return Some(Location::Repo(repo)),
        [file] if *file == DIRTY => return Some(Location::Dirty(DirtyId::Repo(repo))),
        [kind, rest @ ..] => (kind, rest),
    };
    match kind.as_bytes() {
        b"pr" => locate_pr(repo, rest),
        b"commit" => locate_commit(repo, rest),
        b"ref" => locate_ref(repo, rest),
        _ => None,
    }
}

fn locate_pr(repo: Repo, names: &[ByteString]) -> Option<Location<'_>> {
    let (number, rest) = names.split_first()?;
    let id = PrId { repo, number: number_of(number)? };
    match rest {
        [] => None,
        [file] if *file == DIRTY => Some(Location::Dirty(DirtyId::Pr(id))),
        rest => Some(Location::Pr(id, rest)),
    }
}

/// Parses a decimal number without a sign or leading zeros.
pub(crate) fn number_of(name: &ByteString) -> Option<u64> {
    let number: u64 = name.to_str()?.parse().ok()?;
    (number.to_string() == name.to_str()?).then_some(number)
}

fn locate_commit(repo: Repo, names: &[ByteString]) -> Option<Location<'_>> {
    let (hash, rest) = names.split_first()?;
    let commit = Commit { repo, hash: Hash::parse(hash).ok()? };
    let context = match rest {
        [status, rest @ ..] if *status == "status" => rest.split_last(),
        _ => None,
    };
    let context = context.and_then(|(file, context)| {
        let is_known = STATUS_FILES.iter().any(|name| *file == **name);
        Some((file, context_of(context)?)).filter(|_| is_known)
    });
    Some(match context {
        Some((file, context)) => Location::Status(StatusId { commit, context }, file),
        None => Location::Commit(commit),
    })
}

fn context_of(names: &[ByteString]) -> Option<Context> {
    let names: Option<Vec<&str>> = names.iter().map(ByteString::to_str).collect();
    let names = names.filter(|names| !names.is_empty())?;
    Context::new(&names.join("/")).ok()
}

fn locate_ref(repo: Repo, names: &[ByteString]) -> Option<Location<'_>> {
    let (kind, rest) = names.split_first()?;
    let (file, short) = rest.split_last()?;
    let short: Vec<&[u8]> = short.iter().map(ByteString::as_bytes).collect();
    let name = RefName::new(RefKind::parse(kind.as_bytes())?, short.join(&b'/')).ok()?;
    let id = RefId { repo, name };
    if *file == DIRTY {
        return Some(Location::Dirty(DirtyId::Ref(id)));
    }
    Some(Location::Ref(id, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(text: &str) -> Option<(String, String)> {
        let path: Path = text.parse().unwrap();
        let names: Vec<ByteString> = path.names().cloned().collect();
        let (id, rest) = match locate(&names)? {
            Location::Repo(id) => (ElementId::from(id), String::new()),
            Location::Dirty(id) => return Some((dirty(&id).to_string(), "dirty".to_owned())),
            Location::Pr(id, rest) => (id.into(), path_of(rest)),
            Location::Ref(id, file) => (id.into(), file.to_string()),
            Location::Status(id, file) => (id.into(), file.to_string()),
            Location::Commit(id) => (id.into(), String::new()),
        };
        assert_eq!(dir(&id).to_string(), id.to_string());
        Some((id.to_string(), rest))
    }

    fn path_of(names: &[ByteString]) -> String {
        Path::from_names(names).unwrap().to_string()
    }

    #[test]
    fn files_belong_to_elements() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        let commit = format!("a/b/commit/{hash}");
        for (path, id, rest) in [
            ("a/b/.monitor", "a/b", ""),
            ("a/b", "a/b", ""),
            ("a/b/.dirty", "a/b/.dirty", "dirty"),
            ("a/b/pr/7/.dirty", "a/b/pr/7/.dirty", "dirty"),
            ("a/b/ref/heads/x/y/.dirty", "a/b/ref/heads/x/y/.dirty", "dirty"),
            ("a/b/pr/7/head", "a/b/pr/7", "head"),
            ("a/b/pr/7/comments/0/id", "a/b/pr/7", "comments/0/id"),
            ("a/b/ref/heads/head/head", "a/b/ref/heads/head", "head"),
            ("a/b/ref/tags/x/y/head", "a/b/ref/tags/x/y", "head"),
            (&commit, &commit, ""),
            (&format!("{commit}/x"), &commit, ""),
            (&format!("{commit}/status/state"), &commit, ""),
            (&format!("{commit}/status/x/other"), &commit, ""),
            (&format!("{commit}/status/x/state"), &format!("{commit}/status/x"), "state"),
            (&format!("{commit}/status/x/y/state"), &format!("{commit}/status/x/y"), "state"),
            (
                &format!("{commit}/status/description/description"),
                &format!("{commit}/status/description"),
                "description",
            ),
        ] {
            assert_eq!(located(path), Some((id.to_owned(), rest.to_owned())), "{path}");
        }
    }

    #[test]
    fn other_files_have_no_meaning() {
        for path in [
            "README.md",
            "a/b/other",
            "a/b/pr/7",
            "a/b/pr/07/head",
            "a/b/pr/+7/head",
            "a/b/pr/x/head",
            "a/b/ref/heads/head",
            "a/b/ref/notes/x/head",
            "a/b/ref/heads/x..y/head",
            "a/b/commit/abc/status/x/state",
            " a/b/.monitor",
            "a/b c/.monitor",
        ] {
            assert_eq!(located(path), None, "{path}");
        }
    }
}
