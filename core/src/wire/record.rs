//! The protocol's identifiers, which are tags, fids and qids.

use core::fmt;

use super::{Field, Reader, Writer};

/// The identifier of a request in flight, chosen by the client and unique within its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Tag(pub u16);

impl Tag {
    /// NOTAG, which is used only by Tversion.
    pub const NONE: Self = Self(!0);
}

/// The identifier of a file, chosen by the client and unique within its connection. The number 0 is
/// a valid fid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Fid(pub u32);

impl Fid {
    /// NOFID, which is sent as the afid by clients that do not authenticate.
    pub const NONE: Self = Self(!0);
}

macro_rules! number {
    ($($name:ident: $type:ty)*) => { $(
        impl<'a> Field<'a> for $name {
            #[inline]
            fn decode(reader: &mut Reader<'a>) -> Self {
                $name(<$type>::decode(reader))
            }

            #[inline]
            fn encode(&self, writer: &mut Writer<'_>) {
                self.0.encode(writer);
            }

            fn trace(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        /// Formats the number, or `none` if the identifier is `NONE`.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                if *self == Self::NONE { f.write_str("none") } else { fmt::Display::fmt(&self.0, f) }
            }
        }
    )* };
}

number! { Tag: u16  Fid: u32 }

/// The identifier of a file on a server: `type[1] version[4] path[8]`. Two qids with the same path
/// refer to the same file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Qid {
    /// A set of bits, such as [`DIR`](Qid::DIR), that describe the file. The same bits form the top
    /// byte of the mode in a stat record.
    pub kind: u8,
    /// A version number that changes whenever the content changes. The value 0 tells Linux not to
    /// cache the file.
    pub version: u32,
    /// A number that is unique to the file.
    pub path: u64,
}

impl Qid {
    /// The encoded size, in bytes.
    pub const SIZE: usize = 13;
    /// The kind of a plain file, which has no bits set.
    pub const FILE: u8 = 0;
    /// A directory.
    pub const DIR: u8 = 0x80;
    /// A file to which all writes are appended, regardless of their offset.
    pub const APPEND: u8 = 0x40;
    /// A file that only one client can have open at a time.
    pub const EXCL: u8 = 0x20;
    /// A mounted channel.
    pub const MOUNT: u8 = 0x10;
    /// An authentication file.
    pub const AUTH: u8 = 0x08;
    /// A file that is excluded from backups.
    pub const TMP: u8 = 0x04;
    /// A symbolic link (9P2000.u and 9P2000.L).
    pub const SYMLINK: u8 = 0x02;
    /// A hard link (9P2000.u).
    pub const LINK: u8 = 0x01;
}

impl<'a> Field<'a> for Qid {
    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Self {
        Self { kind: u8::decode(reader), version: u32::decode(reader), path: u64::decode(reader) }
    }

    // Without inlining, the caller would have to store the qid, and the record that contains it, in
    // memory.
    #[inline(always)]
    fn encode(&self, writer: &mut Writer<'_>) {
        self.kind.encode(writer);
        self.version.encode(writer);
        self.path.encode(writer);
    }

    fn trace(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Formats the kind in hexadecimal, followed by the version and the path, for example `80.5.12`.
impl fmt::Display for Qid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}.{}.{}", self.kind, self.version, self.path)
    }
}
