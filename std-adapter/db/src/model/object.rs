//! Encoded objects and their hashes.

use std::sync::Arc;

use crate::{Error, Id, Result};

/// The kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// A blob, which is the content of a file or the target of a symbolic link.
    Blob,
    /// A tree, which contains the entries of a directory.
    Tree,
    /// A commit, which contains a message and refers to a tree and to parent commits.
    Commit,
}

impl ObjectKind {
    /// Converts the kind to the corresponding gix kind.
    pub(crate) fn as_git(self) -> gix_object::Kind {
        match self {
            ObjectKind::Blob => gix_object::Kind::Blob,
            ObjectKind::Tree => gix_object::Kind::Tree,
            ObjectKind::Commit => gix_object::Kind::Commit,
        }
    }

    /// Converts a gix kind to an `ObjectKind`. Returns `None` for tags, which the database does not
    /// support.
    pub(crate) fn of_git(kind: gix_object::Kind) -> Option<ObjectKind> {
        match kind {
            gix_object::Kind::Blob => Some(ObjectKind::Blob),
            gix_object::Kind::Tree => Some(ObjectKind::Tree),
            gix_object::Kind::Commit => Some(ObjectKind::Commit),
            gix_object::Kind::Tag => None,
        }
    }
}

/// Writes the name that Git uses for the kind.
impl std::fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ObjectKind::Blob => "blob",
            ObjectKind::Tree => "tree",
            ObjectKind::Commit => "commit",
        })
    }
}

/// An object in uncompressed form, without the header that Git stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The kind of the object.
    pub kind: ObjectKind,
    /// The encoded object.
    pub data: Arc<[u8]>,
}

impl Object {
    /// Creates an object and returns it along with its hash.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the content shows signs of a SHA-1 collision attack.
    pub fn new(kind: ObjectKind, data: impl Into<Arc<[u8]>>) -> Result<(Id, Object)> {
        let data = data.into();
        let id = gix_object::compute_hash(gix_hash::Kind::Sha1, kind.as_git(), &data)
            .map_err(|error| Error::store_from("cannot hash the object", error))?;
        Ok((id_of(&id), Object { kind, data }))
    }
}

/// New objects to be written to the store. Each object comes after the objects that it refers to.
pub type NewObjects = Vec<(Id, Object)>;

/// Converts an [`Id`] to a gix object id.
pub(crate) fn object_id(id: Id) -> gix_hash::ObjectId {
    gix_hash::ObjectId::Sha1(*id.as_bytes())
}

/// Converts a gix object id to an [`Id`]. The gix id always has 20 bytes, because only SHA-1
/// repositories are opened.
pub(crate) fn id_of(id: &gix_hash::oid) -> Id {
    let mut hash = [0; 20];
    hash.iter_mut().zip(id.as_bytes()).for_each(|(to, from)| *to = *from);
    Id::from_bytes(hash)
}
