//! Attributes with which the author of a tree overrides the attributes of files and directories.

use datakit_core::vfs::{Attr, Time};

/// The attributes of an [`Entry`](super::Entry) that were set by the author of the tree.
///
/// Attributes that are not set are taken from the file or directory itself. The server does not
/// enforce permission bits, but a client's kernel may.
///
/// ```
/// use datakit_core::vfs::Time;
/// use datakit_server::tree::{Attributes, Entry, ReadOnlyText};
///
/// let day = Time { sec: 86_400, nsec: 0 };
/// let secret = Attributes::new().mode(0o400).owner(1000, 1000).times(day);
/// let entry = Entry::file("token", ReadOnlyText::new("s3cret\n")).with_attributes(secret);
/// entry.set_attributes(secret.mode(0o440));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    mode: Option<u32>,
    size: Option<u64>,
    owner: Option<(u32, u32)>,
    atime: Option<Time>,
    mtime: Option<Time>,
    ctime: Option<Time>,
}

impl Attributes {
    /// Creates an empty set, which does not override any attributes.
    #[must_use]
    pub fn new() -> Attributes {
        Attributes::default()
    }

    /// Sets the permission bits to the lowest twelve bits of `mode`. Higher bits are ignored.
    #[must_use]
    pub fn mode(self, mode: u32) -> Attributes {
        Attributes { mode: Some(mode & 0o7777), ..self }
    }

    /// Sets the length in bytes that a stat reports. The reported length does not affect reads.
    #[must_use]
    pub fn size(self, bytes: u64) -> Attributes {
        Attributes { size: Some(bytes), ..self }
    }

    /// Sets the numeric user and group ids.
    #[must_use]
    pub fn owner(self, uid: u32, gid: u32) -> Attributes {
        Attributes { owner: Some((uid, gid)), ..self }
    }

    /// Sets the time of last access.
    #[must_use]
    pub fn atime(self, time: Time) -> Attributes {
        Attributes { atime: Some(time), ..self }
    }

    /// Sets the time of last modification.
    #[must_use]
    pub fn mtime(self, time: Time) -> Attributes {
        Attributes { mtime: Some(time), ..self }
    }

    /// Sets the time of the last attribute change.
    #[must_use]
    pub fn ctime(self, time: Time) -> Attributes {
        Attributes { ctime: Some(time), ..self }
    }

    /// Sets the access, modification and attribute change times to `time`.
    #[must_use]
    pub fn times(self, time: Time) -> Attributes {
        self.atime(time).mtime(time).ctime(time)
    }

    /// Returns `attr` with these attributes applied.
    pub(super) fn apply(&self, attr: Attr) -> Attr {
        let (uid, gid) = self.owner.unwrap_or((attr.uid, attr.gid));
        let size = self.size.unwrap_or(attr.size);
        Attr {
            mode: self.mode.unwrap_or(attr.mode),
            size,
            allocated: if self.size.is_some() { size } else { attr.allocated },
            uid,
            gid,
            atime: self.atime.unwrap_or(attr.atime),
            mtime: self.mtime.unwrap_or(attr.mtime),
            ctime: self.ctime.unwrap_or(attr.ctime),
            ..attr
        }
    }
}
