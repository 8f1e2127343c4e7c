//! Extended attributes (`xattr(7)`): written whole, when the file that stands for one is closed.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

use datakit_core::vfs::{Error, Name, Result};

use super::node::Node;
use crate::budget::Reservation;

/// The largest value, and the longest list of names, in bytes, as on Linux.
const LARGEST: u64 = 64 * 1024;

/// The attributes of one inode, by name.
pub(super) type Xattrs = BTreeMap<Box<[u8]>, Arc<Value>>;

/// The value of one, or the list of all names. Charged as long as anybody reads it.
#[derive(Debug)]
pub(super) struct Value {
    bytes: Vec<u8>,
    _grant: Reservation,
}

impl Value {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// An attribute that is being written.
#[derive(Debug)]
pub(super) struct Writing {
    node: Arc<Node>,
    name: Box<[u8]>,
    size: usize,
    create: bool,
    replace: bool,
    /// Nothing is to be written: the attribute goes.
    removal: bool,
    /// What has come so far, and the announced size set aside.
    value: Mutex<(Vec<u8>, Option<Reservation>)>,
}

/// The value of `name`, or the names with a NUL after each.
pub(super) fn read(node: &Node, name: Option<Name<'_>>) -> Result<Arc<Value>> {
    let xattrs = node.xattrs.lock();
    if let Some(name) = name {
        return xattrs.get(name.as_bytes()).cloned().ok_or(Error::NoData);
    }
    let bytes: Vec<u8> = xattrs.keys().flat_map(|name| name.iter().copied().chain([0])).collect();
    let mut grant = node.space.empty_reservation();
    grant.resize(bytes.len() as u64).map_err(|_| Error::NoMemory)?;
    Ok(Arc::new(Value { bytes, _grant: grant }))
}

impl Writing {
    /// Checks what is wanted and sets the space aside; nothing else changes before
    /// [`flush`](Writing::flush).
    pub(super) fn new(
        node: Arc<Node>,
        name: Name<'_>,
        size: u64,
        create: bool,
        replace: bool,
    ) -> Result<Writing> {
        let size = usize::try_from(size).ok().filter(|_| size <= LARGEST).ok_or_else(too_big)?;
        let name = name.as_bytes();
        // .L has no other word for it (`removexattr(2)`); without the flag it is an empty value.
        let removal = size == 0 && replace && !create;
        // A removal is possible in a full tree, too.
        let grant = if removal {
            node.space.empty_reservation()
        } else {
            node.space.reserve_item(name.len().saturating_add(size))?
        };
        let value = Mutex::new((Vec::new(), Some(grant)));
        let writing = Writing { node, name: name.into(), size, create, replace, removal, value };
        writing.check(&writing.node.xattrs.lock())?;
        Ok(writing)
    }

    fn check(&self, xattrs: &Xattrs) -> Result<()> {
        match xattrs.contains_key(&self.name) {
            true if self.create => Err(Error::Exists),
            false if self.replace => Err(Error::NoData),
            _ => Ok(()),
        }
    }

    /// Takes a part of the value; parts come in order.
    pub(super) fn write(&self, offset: u64, data: &[u8]) -> Result<usize> {
        let (bytes, _) = &mut *self.value.lock();
        if offset != bytes.len() as u64 {
            return Err(Error::Seek);
        }
        if bytes.len().saturating_add(data.len()) > self.size {
            return Err(
                Error::NoSpace.with_message("more than the announced size of the attribute")
            );
        }
        bytes.extend_from_slice(data);
        Ok(data.len())
    }

    /// Sets the attribute, or removes it.
    pub(super) fn flush(&self) -> Result<()> {
        let (bytes, grant) = &mut *self.value.lock();
        if bytes.len() != self.size {
            return Err(
                Error::Invalid.with_message("less than the announced size of the attribute")
            );
        }
        let mut xattrs = self.node.xattrs.lock();
        self.check(&xattrs)?;
        if self.removal {
            xattrs.remove(&self.name);
            self.node.touched();
            return Ok(());
        }
        let others = xattrs.keys().filter(|name| **name != self.name);
        let list = others
            .fold(self.name.len(), |sum, name| sum.saturating_add(name.len()).saturating_add(1));
        if list as u64 >= LARGEST {
            return Err(
                Error::NoSpace.with_message("the names of the attributes are too long in all")
            );
        }
        // An open file is finished once: then its space is the attribute's.
        let grant = grant.take().ok_or(Error::BadFile)?;
        xattrs.insert(
            self.name.clone(),
            Arc::new(Value { bytes: std::mem::take(bytes), _grant: grant }),
        );
        self.node.touched();
        Ok(())
    }
}

/// E2BIG, as `setxattr(2)` has it.
fn too_big() -> Error {
    Error::from_errno(7, format_args!("the value of an attribute has at most {LARGEST} bytes"))
}
