//! Collects writes to an extended attribute. The writes take effect when the client closes the file
//! that represents the attribute.

use parking_lot::Mutex;
use std::sync::Arc;

use datakit_core::vfs::{Error, Name, Result};

use super::inode::Inode;
use super::xattr::{MAX_XATTR_SIZE, XattrValue, Xattrs};
use crate::budget::Reservation;

/// An open file that collects an attribute's new value.
#[derive(Debug)]
pub(super) struct XattrWriter {
    inode: Arc<Inode>,
    name: Box<[u8]>,
    size: usize,
    create: bool,
    replace: bool,
    /// Whether to remove the attribute instead of setting it.
    is_removal: bool,
    /// The bytes written so far, and the reservation for the size announced by the client.
    value: Mutex<(Vec<u8>, Option<Reservation>)>,
}

impl XattrWriter {
    /// Checks the request and reserves memory. The attribute does not change until
    /// [`finish`](XattrWriter::finish) is called.
    pub(super) fn new(
        inode: Arc<Inode>,
        name: Name<'_>,
        size: u64,
        create: bool,
        replace: bool,
    ) -> Result<XattrWriter> {
        let size =
            usize::try_from(size).ok().filter(|_| size <= MAX_XATTR_SIZE).ok_or_else(too_big)?;
        let name = name.as_bytes();
        // 9P2000.L has no separate request for `removexattr(2)`, so size 0 with the `replace` flag
        // removes the attribute. Without the `replace` flag, size 0 sets an empty value.
        let is_removal = size == 0 && replace && !create;
        // A removal does not reserve memory, because it must succeed even if the tree is full.
        let reservation = if is_removal {
            inode.budget.empty_reservation()
        } else {
            inode.budget.reserve_item(name.len().saturating_add(size))?
        };
        let value = Mutex::new((Vec::new(), Some(reservation)));
        let writer =
            XattrWriter { inode, name: name.into(), size, create, replace, is_removal, value };
        writer.check_flags(&writer.inode.xattrs.lock())?;
        Ok(writer)
    }

    fn check_flags(&self, xattrs: &Xattrs) -> Result<()> {
        match xattrs.contains(&self.name) {
            true if self.create => Err(Error::Exists),
            false if self.replace => Err(Error::NoData),
            _ => Ok(()),
        }
    }

    /// Appends data to the value. The client must write the data in order and without gaps.
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

    /// Sets or removes the attribute.
    pub(super) fn finish(&self) -> Result<()> {
        let (bytes, reservation) = &mut *self.value.lock();
        if bytes.len() != self.size {
            return Err(
                Error::Invalid.with_message("less than the announced size of the attribute")
            );
        }
        let mut xattrs = self.inode.xattrs.lock();
        self.check_flags(&xattrs)?;
        if self.is_removal {
            xattrs.remove(&self.name);
        } else {
            xattrs.check_list_size(&self.name)?;
            // The attribute takes over the reservation, so `finish` can succeed only once.
            let reservation = reservation.take().ok_or(Error::BadFile)?;
            let value = XattrValue::new(std::mem::take(bytes), reservation);
            xattrs.insert(self.name.clone(), value);
        }
        self.inode.touch_ctime();
        Ok(())
    }
}

/// Returns E2BIG, like `setxattr(2)`.
fn too_big() -> Error {
    Error::from_errno(
        7,
        format_args!("the value of an attribute has at most {MAX_XATTR_SIZE} bytes"),
    )
}
