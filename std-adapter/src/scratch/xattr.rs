//! Extended attributes (`xattr(7)`): written whole, when the file that stands for one is closed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use datakit_core::vfs::{Error, Name, Result};

use super::node::Node;
use super::space::Grant;
use crate::locked;

/// The largest value, in bytes, as on Linux.
const LARGEST: u64 = 64 * 1024;

/// The attributes of one inode, by name.
pub(super) type Xattrs = BTreeMap<Box<[u8]>, Value>;

/// The value of one.
#[derive(Debug)]
pub(super) struct Value {
    bytes: Arc<[u8]>,
    _grant: Grant,
}

/// An attribute that is being written.
#[derive(Debug)]
pub(super) struct Writing {
    node: Arc<Node>,
    name: Box<[u8]>,
    size: usize,
    create: bool,
    replace: bool,
    bytes: Mutex<Vec<u8>>,
}

/// The value of `name`, or the names with a NUL after each.
pub(super) fn read(node: &Node, name: Option<Name<'_>>) -> Result<Arc<[u8]>> {
    let xattrs = locked::lock(&node.xattrs);
    match name {
        Some(name) => xattrs.get(name.as_bytes()).map(|value| value.bytes.clone()).ok_or(Error::NoData),
        None => Ok(xattrs.keys().flat_map(|name| name.iter().copied().chain([0])).collect()),
    }
}

impl Writing {
    /// Checks what is wanted; nothing changes before [`finish`](Writing::finish).
    pub(super) fn new(node: Arc<Node>, name: Name<'_>, size: u64, create: bool, replace: bool) -> Result<Writing> {
        let size = usize::try_from(size).ok().filter(|_| size <= LARGEST).ok_or(Error::TooLarge)?;
        let writing = Writing { node, name: name.as_bytes().into(), size, create, replace, bytes: Mutex::default() };
        writing.check(&locked::lock(&writing.node.xattrs))?;
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
        let mut bytes = locked::lock(&self.bytes);
        if offset != bytes.len() as u64 {
            return Err(Error::Seek);
        }
        if bytes.len().saturating_add(data.len()) > self.size {
            return Err(Error::NoSpace.because("more than the announced size of the attribute"));
        }
        bytes.extend_from_slice(data);
        Ok(data.len())
    }

    /// Sets the attribute, or removes it where the size is 0.
    pub(super) fn finish(&self) -> Result<()> {
        let bytes = locked::lock(&self.bytes);
        if bytes.len() != self.size {
            return Err(Error::Invalid.because("less than the announced size of the attribute"));
        }
        let mut xattrs = locked::lock(&self.node.xattrs);
        self.check(&xattrs)?;
        if self.size == 0 {
            xattrs.remove(&self.name);
        } else {
            let grant = self.node.space.item(self.name.len().saturating_add(self.size))?;
            xattrs.insert(self.name.clone(), Value { bytes: bytes.as_slice().into(), _grant: grant });
        }
        Ok(())
    }
}
