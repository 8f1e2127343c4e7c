//! The structures of .L: attributes, what of them to set, directory entries, the file system.

use super::{Dialect, Field, Full, Malformed, Qid, Reader, Str, Writer};

record! {
    /// A moment: since 1970.
    pub struct Time {
        /// Seconds.
        pub sec: u64,
        /// Nanoseconds on top.
        pub nsec: u64,
    }
}

record! {
    /// The body of Rgetattr.
    pub struct Attr {
        /// Which of the fields mean something: bits of the constants, as in the mask of Tgetattr.
        pub valid: u64,
        /// Which file.
        pub qid: Qid,
        /// Linux mode, file type included.
        pub mode: u32,
        /// Owner.
        pub uid: u32,
        /// Group.
        pub gid: u32,
        /// Number of names.
        pub nlink: u64,
        /// Device number of a device.
        pub rdev: u64,
        /// Bytes.
        pub size: u64,
        /// Bytes of a good transfer.
        pub blksize: u64,
        /// Units of 512 bytes in use.
        pub blocks: u64,
        /// Last read.
        pub atime: Time,
        /// Last write.
        pub mtime: Time,
        /// Last change of attributes.
        pub ctime: Time,
        /// Creation.
        pub btime: Time,
        /// Tells files apart that had the same inode number, `gen` in the protocol.
        pub generation: u64,
        /// Changes with the content.
        pub data_version: u64,
    }
}

impl Attr {
    /// `mode` is asked for or given.
    pub const MODE: u64 = 0x1;
    /// `nlink`.
    pub const NLINK: u64 = 0x2;
    /// `uid`.
    pub const UID: u64 = 0x4;
    /// `gid`.
    pub const GID: u64 = 0x8;
    /// `rdev`.
    pub const RDEV: u64 = 0x10;
    /// `atime`.
    pub const ATIME: u64 = 0x20;
    /// `mtime`.
    pub const MTIME: u64 = 0x40;
    /// `ctime`.
    pub const CTIME: u64 = 0x80;
    /// The inode number, which is the qid's path.
    pub const INO: u64 = 0x100;
    /// `size`.
    pub const SIZE: u64 = 0x200;
    /// `blocks`.
    pub const BLOCKS: u64 = 0x400;
    /// `btime`.
    pub const BTIME: u64 = 0x800;
    /// `generation`.
    pub const GENERATION: u64 = 0x1000;
    /// `data_version`.
    pub const DATA_VERSION: u64 = 0x2000;
    /// All that stat(2) tells.
    pub const BASIC: u64 = 0x7ff;
    /// All there is.
    pub const ALL: u64 = 0x3fff;
}

record! {
    /// The body of Tsetattr behind its fid.
    pub struct SetAttr {
        /// Which of the fields to set: bits of the constants.
        pub valid: u32,
        /// Permissions.
        pub mode: u32,
        /// Owner.
        pub uid: u32,
        /// Group.
        pub gid: u32,
        /// Bytes.
        pub size: u64,
        /// Last read.
        pub atime: Time,
        /// Last write.
        pub mtime: Time,
    }
}

impl SetAttr {
    /// Set `mode`.
    pub const MODE: u32 = 0x1;
    /// Set `uid`.
    pub const UID: u32 = 0x2;
    /// Set `gid`.
    pub const GID: u32 = 0x4;
    /// Set `size`: truncate or extend.
    pub const SIZE: u32 = 0x8;
    /// Set the last read, to the server's now unless [`ATIME_SET`](SetAttr::ATIME_SET).
    pub const ATIME: u32 = 0x10;
    /// Set the last write, to the server's now unless [`MTIME_SET`](SetAttr::MTIME_SET).
    pub const MTIME: u32 = 0x20;
    /// Set the last change to the server's now.
    pub const CTIME: u32 = 0x40;
    /// The last read is `atime`.
    pub const ATIME_SET: u32 = 0x80;
    /// The last write is `mtime`.
    pub const MTIME_SET: u32 = 0x100;
}

record! {
    /// The body of Rstatfs.
    pub struct StatFs {
        /// Number that tells the kind of file system, `type` in the protocol.
        pub kind: u32,
        /// Bytes of a block.
        pub bsize: u32,
        /// Blocks.
        pub blocks: u64,
        /// Free blocks.
        pub bfree: u64,
        /// Free blocks for everybody.
        pub bavail: u64,
        /// Inodes.
        pub files: u64,
        /// Free inodes.
        pub ffree: u64,
        /// Names the file system.
        pub fsid: u64,
        /// Bytes of the longest name.
        pub namelen: u32,
    }
}

record! {
    /// An entry in the data of Rreaddir.
    pub struct Dirent<'a> {
        /// Which file.
        pub qid: Qid,
        /// What a Treaddir sends to go on behind this entry; opaque to the client, never 0.
        pub offset: u64,
        /// Linux `d_type`: 4 directory, 8 file, 10 symbolic link; 0 unknown.
        pub kind: u8,
        /// Its name in the directory.
        pub name: Str<'a>,
    }
}

impl<'a> Dirent<'a> {
    /// Writes the entry at the start of `buf`, returns its length in bytes.
    ///
    /// # Errors
    /// `Full` if `buf` has no room for all of it; its bytes are then of no use.
    pub fn encode_into(&self, buf: &mut [u8]) -> Result<usize, Full> {
        let mut writer = Writer::new(buf, Dialect::Linux);
        self.encode(&mut writer);
        writer.finish()
    }

    /// The entries in the data of one Rreaddir.
    pub fn decode_all(data: &'a [u8]) -> Dirents<'a> {
        Dirents(Reader::new(data, Dialect::Linux))
    }
}

/// The entries of a directory; ends after the first malformed one.
#[derive(Clone, Debug)]
pub struct Dirents<'a>(Reader<'a>);

impl<'a> Iterator for Dirents<'a> {
    type Item = Result<Dirent<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = Dirent::decode(&mut self.0);
        Some(self.0.sound().map(|()| entry))
    }
}
