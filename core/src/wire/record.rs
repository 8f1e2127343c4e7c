//! The names of things on a connection: tag, fid, qid.

use core::fmt;

use super::{Field, Reader, Writer};

/// Names a request among those in flight on a connection; chosen by the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Tag(pub u16);

impl Tag {
    /// NOTAG, the tag of Tversion.
    pub const NONE: Self = Self(!0);
}

/// Names a file a client holds on a connection; chosen by the client, 0 is a fid like any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Fid(pub u32);

impl Fid {
    /// NOFID, the afid of who does not authenticate.
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

        /// The number, or `none`.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                if *self == Self::NONE { f.write_str("none") } else { fmt::Display::fmt(&self.0, f) }
            }
        }
    )* };
}

number! { Tag: u16  Fid: u32 }

/// `type[1] version[4] path[8]`: names a file for the life of the server. Two files with the same
/// path are the same file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Qid {
    /// Bits of [`DIR`](Qid::DIR) and the following; equal to the top byte of a mode.
    pub kind: u8,
    /// Changes when the content does; 0 tells Linux not to cache.
    pub version: u32,
    /// Unique to the file.
    pub path: u64,
}

impl Qid {
    /// Bytes of a qid.
    pub const SIZE: usize = 13;
    /// A plain file: no bit.
    pub const FILE: u8 = 0;
    /// A directory.
    pub const DIR: u8 = 0x80;
    /// Writes go to the end, whatever their offset.
    pub const APPEND: u8 = 0x40;
    /// One open at a time.
    pub const EXCL: u8 = 0x20;
    /// A mounted channel.
    pub const MOUNT: u8 = 0x10;
    /// An authentication file.
    pub const AUTH: u8 = 0x08;
    /// Not backed up.
    pub const TMP: u8 = 0x04;
    /// A symbolic link (.u, .L).
    pub const SYMLINK: u8 = 0x02;
    /// A hard link (.u).
    pub const LINK: u8 = 0x01;
}

impl<'a> Field<'a> for Qid {
    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Self {
        Self { kind: u8::decode(reader), version: u32::decode(reader), path: u64::decode(reader) }
    }

    #[inline]
    fn encode(&self, writer: &mut Writer<'_>) {
        self.kind.encode(writer);
        self.version.encode(writer);
        self.path.encode(writer);
    }

    fn trace(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `80.5.12`: kind in hexadecimal, version, path.
impl fmt::Display for Qid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}.{}.{}", self.kind, self.version, self.path)
    }
}
