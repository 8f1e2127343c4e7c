//! The extended attributes of an inode (`xattr(7)`).

use std::collections::BTreeMap;
use std::sync::Arc;

use datakit_core::vfs::{Error, Name, Result};

use crate::budget::{Budget, Reservation};

/// The maximum size, in bytes, of an attribute value and of the list of names. Linux has the same
/// limit.
pub(super) const MAX_XATTR_SIZE: u64 = 64 * 1024;

/// The extended attributes of one inode, keyed by name.
#[derive(Debug, Default)]
pub(super) struct Xattrs(BTreeMap<Box<[u8]>, Arc<XattrValue>>);

/// The value of an attribute, or the list of all names. The memory remains reserved while a client
/// is reading the value or list.
#[derive(Debug)]
pub(super) struct XattrValue {
    bytes: Vec<u8>,
    _reservation: Reservation,
}

impl XattrValue {
    pub(super) fn new(bytes: Vec<u8>, reservation: Reservation) -> XattrValue {
        XattrValue { bytes, _reservation: reservation }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Xattrs {
    /// Returns the value of `name`.
    pub(super) fn get(&self, name: Name<'_>) -> Result<Arc<XattrValue>> {
        self.0.get(name.as_bytes()).cloned().ok_or(Error::NoData)
    }

    /// Returns all names, each followed by a NUL byte.
    pub(super) fn list(&self, budget: &Arc<Budget>) -> Result<Arc<XattrValue>> {
        let bytes: Vec<u8> =
            self.0.keys().flat_map(|name| name.iter().copied().chain([0])).collect();
        let mut reservation = budget.empty_reservation();
        reservation.resize(bytes.len() as u64).map_err(|_| Error::NoMemory)?;
        Ok(Arc::new(XattrValue::new(bytes, reservation)))
    }

    pub(super) fn contains(&self, name: &[u8]) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        self.0.remove(name);
    }

    /// Checks that adding `name` would not make the list of names too long.
    pub(super) fn check_list_size(&self, name: &[u8]) -> Result<()> {
        let others = self.0.keys().filter(|other| ***other != *name);
        let size =
            others.fold(name.len(), |sum, other| sum.saturating_add(other.len()).saturating_add(1));
        if size as u64 >= MAX_XATTR_SIZE {
            return Err(
                Error::NoSpace.with_message("the names of the attributes are too long in total")
            );
        }
        Ok(())
    }

    pub(super) fn insert(&mut self, name: Box<[u8]>, value: XattrValue) {
        self.0.insert(name, Arc::new(value));
    }
}
