//! Blobs, trees and commits in Git's format.

use std::sync::Arc;

use gix::date::Time;
use gix::objs::WriteTo;

use crate::model::commit_text;
use crate::model::identity::{AUTHOR, Authorship};
pub use crate::model::tree_text::TreeEntries;
use crate::model::tree_text::order;
use crate::{Error, Id, Result};

/// The kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// The content of a file or the target of a symbolic link.
    Blob,
    /// A directory.
    Tree,
    /// A commit: a tree with a message and parents.
    Commit,
}

impl ObjectKind {
    /// Returns the corresponding gix kind.
    pub(crate) fn as_git(self) -> gix::objs::Kind {
        match self {
            ObjectKind::Blob => gix::objs::Kind::Blob,
            ObjectKind::Tree => gix::objs::Kind::Tree,
            ObjectKind::Commit => gix::objs::Kind::Commit,
        }
    }

    /// Converts from a gix kind. Returns `None` for a tag, which the database does not support.
    pub(crate) fn of_git(kind: gix::objs::Kind) -> Option<ObjectKind> {
        match kind {
            gix::objs::Kind::Blob => Some(ObjectKind::Blob),
            gix::objs::Kind::Tree => Some(ObjectKind::Tree),
            gix::objs::Kind::Commit => Some(ObjectKind::Commit),
            gix::objs::Kind::Tag => None,
        }
    }
}

/// Writes Git's name for the kind.
impl std::fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ObjectKind::Blob => "blob",
            ObjectKind::Tree => "tree",
            ObjectKind::Commit => "commit",
        })
    }
}

/// An uncompressed object without its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The kind of the object.
    pub kind: ObjectKind,
    /// The encoded object.
    pub data: Arc<[u8]>,
}

impl Object {
    /// Creates an object and returns it with its hash.
    ///
    /// # Errors
    /// [`Error::Store`] if the content is part of a SHA-1 collision attack.
    pub fn new(kind: ObjectKind, data: impl Into<Arc<[u8]>>) -> Result<(Id, Object)> {
        let data = data.into();
        let id = gix::objs::compute_hash(gix::hash::Kind::Sha1, kind.as_git(), &data)
            .map_err(|error| Error::store_from("cannot hash the object", error))?;
        Ok((id_of(&id), Object { kind, data }))
    }
}

/// Converts an id to a gix id.
pub(crate) fn object_id(id: Id) -> gix::ObjectId {
    gix::ObjectId::Sha1(*id.as_bytes())
}

/// Converts a gix id, which has 20 bytes because only SHA-1 repositories are opened.
pub(crate) fn id_of(id: &gix::oid) -> Id {
    let mut hash = [0; 20];
    hash.iter_mut().zip(id.as_bytes()).for_each(|(to, from)| *to = *from);
    Id::from_bytes(hash)
}

/// The kind of a tree entry, as encoded in its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryMode {
    /// 100644: a file.
    Normal,
    /// 100755: an executable file.
    Exec,
    /// 120000: a symbolic link. The blob contains the link's target.
    Link,
    /// 40000: a directory.
    Dir,
    /// 160000: a commit in another repository, or an entry with an unknown mode. Submodule entries
    /// are hidden but preserved.
    Submodule,
}

impl EntryMode {
    /// Returns the mode as encoded in a tree.
    fn octal(self) -> &'static [u8] {
        match self {
            EntryMode::Normal => b"100644",
            EntryMode::Exec => b"100755",
            EntryMode::Link => b"120000",
            EntryMode::Dir => b"40000",
            EntryMode::Submodule => b"160000",
        }
    }

    /// Returns the letter for this mode in `tree.live` and `/trees`, or `None` for a submodule.
    #[must_use]
    pub fn letter(self) -> Option<char> {
        match self {
            EntryMode::Normal => Some('F'),
            EntryMode::Exec => Some('X'),
            EntryMode::Link => Some('L'),
            EntryMode::Dir => Some('D'),
            EntryMode::Submodule => None,
        }
    }
}

/// An entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// The name: any bytes except `/` and NUL.
    pub name: Arc<[u8]>,
    /// The mode, which determines the kind of entry.
    pub mode: EntryMode,
    /// The hash of the object.
    pub id: Id,
}

/// Encodes a tree from `entries`, which may be in any order.
///
/// # Errors
/// [`Error::Store`] if a name is not valid in a tree.
pub fn encode_tree(entries: impl IntoIterator<Item = TreeEntry>) -> Result<(Id, Object)> {
    let mut entries: Vec<_> = entries.into_iter().collect();
    entries.sort_by(order);
    encode_sorted(&entries.iter().collect::<Vec<_>>())
}

/// Encodes a tree whose entries are already in Git's order.
pub(crate) fn encode_sorted(entries: &[&TreeEntry]) -> Result<(Id, Object)> {
    let mut bytes = Vec::with_capacity(entries.iter().map(|entry| 28 + entry.name.len()).sum());
    for TreeEntry { name, mode, id } in entries {
        if name.is_empty() || name.contains(&0) {
            return Err(Error::store(format!(
                "a tree entry cannot have the name {:?}",
                String::from_utf8_lossy(name)
            )));
        }
        bytes.extend_from_slice(mode.octal());
        bytes.push(b' ');
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(id.as_bytes());
    }
    Object::new(ObjectKind::Tree, bytes)
}

fn written(object: &dyn WriteTo) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    object
        .write_to(&mut bytes)
        .map_err(|error| Error::store_from("cannot encode the object", error))?;
    Ok(bytes)
}

/// A decoded commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The tree.
    pub tree: Id,
    /// The parents. The first parent is the previous commit on the branch.
    pub parents: Vec<Id>,
    /// The author as `NAME <EMAIL>` in UTF-8. If the commit lacks the name or the email address,
    /// the missing part is omitted.
    pub author: String,
    /// The author's date, if the commit has one.
    pub(crate) written: Option<Time>,
    /// The committer's date in seconds since 1970, or 0 if the commit has none. Histories are
    /// sorted by the committer's date.
    pub time: i64,
    /// The message, which is converted to UTF-8 if its encoding is known.
    pub message: Vec<u8>,
}

impl Commit {
    /// Decodes a commit as leniently as Git does.
    ///
    /// # Errors
    /// [`Error::Store`] if the tree is missing or a parent is not a hash.
    pub fn decode(data: &[u8]) -> Result<Commit> {
        commit_text::parse(data)
    }

    /// Returns the author's date in RFC 3339 format, in the author's time zone. Returns an empty
    /// string if the commit has no author date.
    #[must_use]
    pub fn date(&self) -> String {
        let format = gix::date::time::format::ISO8601_STRICT;
        self.written.and_then(|written| written.format(format).ok()).unwrap_or_default()
    }

    /// Encodes a commit whose author and committer are the database itself. The date is `time`, in
    /// seconds since 1970, and the time zone is UTC.
    ///
    /// # Errors
    /// [`Error::InvalidMessage`] if the message contains a NUL byte.
    pub fn encode(tree: Id, parents: &[Id], message: &[u8], time: i64) -> Result<(Id, Object)> {
        let (name, email) = AUTHOR;
        let by = gix::actor::Signature {
            name: name.into(),
            email: email.into(),
            time: gix::date::Time { seconds: time, offset: 0 },
        };
        Commit::encode_by(tree, parents, message, &Authorship { author: by.clone(), committer: by })
    }

    /// Encodes a commit.
    ///
    /// # Errors
    /// [`Error::InvalidMessage`] if the message contains a NUL byte.
    pub fn encode_by(
        tree: Id,
        parents: &[Id],
        message: &[u8],
        by: &Authorship,
    ) -> Result<(Id, Object)> {
        if let Some(at) = message.iter().position(|byte| *byte == 0) {
            return Err(Error::InvalidMessage(at));
        }
        let commit = gix::objs::Commit {
            tree: object_id(tree),
            parents: parents.iter().copied().map(object_id).collect(),
            author: by.author.clone(),
            committer: by.committer.clone(),
            encoding: None,
            message: message.into(),
            extra_headers: Vec::new(),
        };
        Object::new(ObjectKind::Commit, written(&commit)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_trees_in_gits_order() {
        let entry =
            |name: &str, mode| TreeEntry { name: name.as_bytes().into(), mode, id: Id::EMPTY_TREE };
        let (_, object) = encode_tree([
            entry("b", EntryMode::Dir),
            entry("b.c", EntryMode::Normal),
            entry("b-", EntryMode::Submodule),
            entry("a", EntryMode::Link),
        ])
        .unwrap();
        let names = TreeEntries::parse(&object.data).unwrap();
        let names: Vec<_> = names.iter().map(|entry| (&*entry.name, entry.mode)).collect();
        // The directory `b` sorts as if it were named `b/`.
        let expected: [(&[u8], EntryMode); 4] = [
            (b"a", EntryMode::Link),
            (b"b-", EntryMode::Submodule),
            (b"b.c", EntryMode::Normal),
            (b"b", EntryMode::Dir),
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn empty_tree_has_its_known_hash() {
        assert_eq!(encode_tree([]).unwrap().0, Id::EMPTY_TREE);
    }

    #[test]
    fn decodes_an_encoded_commit() {
        let (id, object) =
            Commit::encode(Id::EMPTY_TREE, &[Id::EMPTY_TREE], b"no newline", 1_700_000_000)
                .unwrap();
        let commit = Commit::decode(&object.data).unwrap();
        assert_eq!(commit.author, "datakit <datakit@mobyproject.org>");
        assert_eq!(
            (commit.message.as_slice(), commit.time),
            (b"no newline".as_slice(), 1_700_000_000)
        );
        assert_eq!(commit.parents, [Id::EMPTY_TREE]);
        assert_ne!(id, Id::EMPTY_TREE);
    }
}
