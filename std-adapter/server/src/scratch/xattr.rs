//! The extended attributes of an inode (`xattr(7)`).

use std::sync::Arc;

use datakit_core::vfs::{Error, Name, Result};

use crate::budget::{Budget, Reservation};

/// The maximum size, in bytes, of an attribute value and of the list of names. Linux has the same
/// limit.
pub(super) const MAX_XATTR_SIZE: u64 = 64 * 1024;

/// The names and values of one inode's extended attributes, sorted by name. The list is short,
/// because the total size of the names is limited.
#[derive(Debug, Default)]
pub(super) struct Xattrs(Vec<(Box<[u8]>, Arc<XattrValue>)>);

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
        let found = self.position(name.as_bytes()).ok().and_then(|at| self.0.get(at));
        found.map(|(_, value)| value.clone()).ok_or(Error::NoData)
    }

    /// Returns all names, each followed by a NUL byte.
    pub(super) fn list(&self, budget: &Arc<Budget>) -> Result<Arc<XattrValue>> {
        let bytes: Vec<u8> =
            self.0.iter().flat_map(|(name, _)| name.iter().copied().chain([0])).collect();
        let mut reservation = budget.empty_reservation();
        reservation.resize(bytes.len() as u64).map_err(|_| Error::NoMemory)?;
        Ok(Arc::new(XattrValue::new(bytes, reservation)))
    }

    pub(super) fn contains(&self, name: &[u8]) -> bool {
        self.position(name).is_ok()
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        if let Ok(position) = self.position(name) {
            self.0.remove(position);
        }
    }

    /// Checks that adding `name` would not make the list of names too long.
    pub(super) fn check_list_size(&self, name: &[u8]) -> Result<()> {
        let others = self.0.iter().map(|(name, _)| name).filter(|other| ***other != *name);
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
        self.remove(&name);
        let (Ok(position) | Err(position)) = self.position(&name);
        self.0.insert(position, (name, Arc::new(value)));
    }

    /// Returns the position of `name`, or the position at which to insert it.
    fn position(&self, name: &[u8]) -> std::result::Result<usize, usize> {
        self.0.binary_search_by(|(found, _)| (**found).cmp(name))
    }
}
