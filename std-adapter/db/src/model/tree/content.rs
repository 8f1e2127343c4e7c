//! The content of a file: a stored blob, or bytes that no commit has stored yet.

use std::sync::Arc;

use datakit_core::vfs;

use super::dir::NewObjects;
use crate::model::object::{Object, ObjectKind};
use crate::model::object_cache::ObjectCache;
use crate::{Error, Id, Result};
use datakit_server::budget::Budget;
use datakit_server::sparse_bytes::SparseBytes;

/// The bytes of a file: as they are stored, or new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// A blob.
    Stored(Id),
    /// Not stored yet. A change costs what is changed.
    Pending(Pending),
}

/// New bytes of a file, with holes. Clones share what neither changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending(pub(super) Arc<SparseBytes>);

impl FileContent {
    /// New bytes, which count against no limit.
    pub(super) fn of(bytes: &[u8]) -> FileContent {
        // Without a limit it fails when there is no memory at all.
        let content = SparseBytes::from_slice(bytes, &Budget::new(u64::MAX))
            .unwrap_or_else(|_| SparseBytes::new(Budget::new(u64::MAX)));
        FileContent::Pending(Pending(Arc::new(content)))
    }

    /// New bytes that are set aside in `space`.
    pub(crate) fn pending(content: SparseBytes) -> FileContent {
        FileContent::Pending(Pending(Arc::new(content)))
    }

    /// All bytes in one piece.
    ///
    /// # Errors
    /// [`Error::Broken`] when the blob is not in the store, or cannot be read; [`Error::NoSpace`]
    /// when there is no memory for them.
    pub fn bytes(&self, objects: &ObjectCache) -> Result<Arc<[u8]>> {
        match self {
            FileContent::Stored(id) => objects.blob(*id),
            FileContent::Pending(fresh) => fresh.whole(),
        }
    }

    /// Their number.
    ///
    /// # Errors
    /// [`Error::Broken`] when the blob is not in the store, or cannot be read.
    pub fn length(&self, objects: &ObjectCache) -> Result<u64> {
        match self {
            FileContent::Stored(id) => objects.blob_length(*id),
            FileContent::Pending(Pending(content)) => Ok(content.size()),
        }
    }

    /// The bytes, to be changed, set aside in `space`.
    ///
    /// # Errors
    /// [`Error::Broken`] when the blob is not in the store, or cannot be read; [`Error::NoSpace`].
    pub(crate) fn edit(
        &mut self,
        objects: &ObjectCache,
        space: &Arc<Budget>,
    ) -> Result<&mut SparseBytes> {
        match self {
            FileContent::Stored(id) => {
                *self = FileContent::pending(
                    SparseBytes::from_slice(&objects.blob(*id)?, space).map_err(no_space)?,
                )
            }
            FileContent::Pending(Pending(content)) if !content.is_charged_to(space) => {
                *content = Arc::new(content.copy_to(space).map_err(no_space)?);
            }
            FileContent::Pending(_) => {}
        }
        match self {
            FileContent::Pending(Pending(content)) => Ok(Arc::make_mut(content)),
            FileContent::Stored(_) => Err(Error::NotFound),
        }
    }

    /// The new bytes, if they are not those of a blob.
    pub(crate) fn as_pending(&self) -> Option<&SparseBytes> {
        match self {
            FileContent::Pending(Pending(content)) => Some(content),
            FileContent::Stored(_) => None,
        }
    }

    /// The name of the blob, whether it is stored yet or not.
    ///
    /// # Errors
    /// [`Error::Store`] if it has none.
    pub fn id(&self) -> Result<Id> {
        match self {
            FileContent::Stored(id) => Ok(*id),
            FileContent::Pending(fresh) => Ok(Object::new(ObjectKind::Blob, fresh.whole()?)?.0),
        }
    }

    pub(crate) fn write(&self, batch: &mut NewObjects) -> Result<Id> {
        match self {
            FileContent::Stored(id) => Ok(*id),
            FileContent::Pending(fresh) => {
                let (id, object) = Object::new(ObjectKind::Blob, fresh.whole()?)?;
                batch.push((id, object));
                Ok(id)
            }
        }
    }
}

impl Pending {
    fn whole(&self) -> Result<Arc<[u8]>> {
        self.0.to_bytes().map_err(no_space)
    }
}

/// What could not be set aside.
pub(crate) fn no_space(error: vfs::Error) -> Error {
    Error::NoMemory(match error {
        vfs::Error::NoSpace => "out of memory for uncommitted changes".to_owned(),
        other => other.to_string(),
    })
}
