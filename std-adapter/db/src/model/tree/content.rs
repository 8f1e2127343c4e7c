//! The content of a file, which is either a stored blob or uncommitted bytes.

use std::sync::Arc;

use datakit_core::vfs;

use crate::model::object::{NewObjects, Object, ObjectKind};
use crate::model::object_cache::ObjectCache;
use crate::{Error, Id, Result};
use datakit_server::budget::Budget;
use datakit_server::sparse_bytes::SparseBytes;

/// The content of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// A blob in the store.
    Stored(Id),
    /// Uncommitted bytes.
    Pending(Pending),
}

/// Uncommitted bytes, which can contain holes. Clones share their unchanged parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending(pub(super) Arc<SparseBytes>);

impl FileContent {
    /// Creates uncommitted content that does not count toward any memory limit.
    pub(super) fn of(bytes: &[u8]) -> FileContent {
        // The budget is unlimited, so the copy fails only if the process is out of memory.
        let content = SparseBytes::from_slice(bytes, &Budget::new(u64::MAX))
            .unwrap_or_else(|_| SparseBytes::new(Budget::new(u64::MAX)));
        FileContent::Pending(Pending(Arc::new(content)))
    }

    /// Creates content from uncommitted bytes.
    pub(crate) fn pending(content: SparseBytes) -> FileContent {
        FileContent::Pending(Pending(Arc::new(content)))
    }

    /// Returns the content as contiguous bytes.
    ///
    /// # Errors
    /// Returns [`Error::Broken`] if the blob is missing or cannot be read. Returns
    /// [`Error::NoMemory`] if there is not enough memory for a copy.
    pub fn bytes(&self, objects: &ObjectCache) -> Result<Arc<[u8]>> {
        match self {
            FileContent::Stored(id) => objects.blob(*id),
            FileContent::Pending(fresh) => fresh.whole(),
        }
    }

    /// Returns the length of the content in bytes.
    ///
    /// # Errors
    /// Returns [`Error::Broken`] if the blob is missing or cannot be read.
    pub fn length(&self, objects: &ObjectCache) -> Result<u64> {
        match self {
            FileContent::Stored(id) => objects.blob_length(*id),
            FileContent::Pending(Pending(content)) => Ok(content.size()),
        }
    }

    /// Returns a mutable reference to the bytes and charges them to `space`. A blob is first loaded
    /// into memory.
    ///
    /// # Errors
    /// Returns [`Error::Broken`] if the blob is missing or cannot be read. Returns
    /// [`Error::NoMemory`] if `space` is exhausted.
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

    /// Returns the uncommitted bytes, or `None` for a blob.
    pub(crate) fn as_pending(&self) -> Option<&SparseBytes> {
        match self {
            FileContent::Pending(Pending(content)) => Some(content),
            FileContent::Stored(_) => None,
        }
    }

    /// Returns the hash of the content, even if the content is not in the store.
    ///
    /// # Errors
    /// Returns [`Error::NoMemory`] if there is not enough memory for a copy. Returns
    /// [`Error::Store`] if the content cannot be hashed.
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

/// Converts an error from a memory budget to an [`Error`].
pub(crate) fn no_space(error: vfs::Error) -> Error {
    Error::NoMemory(match error {
        vfs::Error::NoSpace => "out of memory for uncommitted changes".to_owned(),
        other => other.to_string(),
    })
}
