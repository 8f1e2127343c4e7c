//! Structures specific to 9P2000.L: attributes, attribute changes, directory entries, and file
//! system statistics.

use super::{Dialect, Field, Full, Malformed, Qid, Reader, Str, Writer};

record! {
    /// A point in time, measured from the Unix epoch.
    pub struct Time {
        /// Seconds.
        pub sec: u64,
        /// The number of nanoseconds since the start of the second.
        pub nsec: u64,
    }
}

record! {
    /// The body of Rgetattr.
    pub struct Attr {
        /// Bit mask of the valid fields, with the same bits as the mask in Tgetattr.
        pub valid: u64,
        /// The qid of the file.
        pub qid: Qid,
        /// The Linux mode, including the file type.
        pub mode: u32,
        /// Owner.
        pub uid: u32,
        /// Group.
        pub gid: u32,
        /// Number of hard links.
        pub nlink: u64,
        /// Device number, if the file is a device.
        pub rdev: u64,
        /// Length in bytes.
        pub size: u64,
        /// Preferred transfer size in bytes.
        pub blksize: u64,
        /// Number of allocated 512-byte units.
        pub blocks: u64,
        /// Time of the last read.
        pub atime: Time,
        /// Time of the last write.
        pub mtime: Time,
        /// Time of the last attribute change.
        pub ctime: Time,
        /// Time of creation.
        pub btime: Time,
        /// A number that distinguishes successive files with the same inode number. The protocol
        /// calls this field `gen`.
        pub generation: u64,
        /// A version number that changes whenever the content changes.
        pub data_version: u64,
    }
}

impl Attr {
    /// The bit for `mode`. A bit is set in Tgetattr if its field is requested, and in Rgetattr if
    /// its field is valid.
    pub const MODE: u64 = 0x1;
    /// The bit for `nlink`.
    pub const NLINK: u64 = 0x2;
    /// The bit for `uid`.
    pub const UID: u64 = 0x4;
    /// The bit for `gid`.
    pub const GID: u64 = 0x8;
    /// The bit for `rdev`.
    pub const RDEV: u64 = 0x10;
    /// The bit for `atime`.
    pub const ATIME: u64 = 0x20;
    /// The bit for `mtime`.
    pub const MTIME: u64 = 0x40;
    /// The bit for `ctime`.
    pub const CTIME: u64 = 0x80;
    /// The bit for the inode number, which is the qid's path.
    pub const INO: u64 = 0x100;
    /// The bit for `size`.
    pub const SIZE: u64 = 0x200;
    /// The bit for `blocks`.
    pub const BLOCKS: u64 = 0x400;
    /// The bit for `btime`.
    pub const BTIME: u64 = 0x800;
    /// The bit for `generation`.
    pub const GENERATION: u64 = 0x1000;
    /// The bit for `data_version`.
    pub const DATA_VERSION: u64 = 0x2000;
    /// The bits for all fields of stat(2).
    pub const BASIC: u64 = 0x7ff;
    /// The bits for all fields of Rgetattr.
    pub const ALL: u64 = 0x3fff;
}

record! {
    /// The body of Tsetattr, without the fid.
    pub struct SetAttr {
        /// Bit mask of the fields to set.
        pub valid: u32,
        /// Permissions.
        pub mode: u32,
        /// Owner.
        pub uid: u32,
        /// Group.
        pub gid: u32,
        /// Length in bytes.
        pub size: u64,
        /// Time of the last read.
        pub atime: Time,
        /// Time of the last write.
        pub mtime: Time,
    }
}

impl SetAttr {
    /// The bits for all changes.
    pub const CHANGES: u32 = 0x7f;
    /// The bit for changing the mode.
    pub const MODE: u32 = 0x1;
    /// The bit for changing the owner.
    pub const UID: u32 = 0x2;
    /// The bit for changing the group.
    pub const GID: u32 = 0x4;
    /// The bit for changing the size, which truncates or extends the file.
    pub const SIZE: u32 = 0x8;
    /// The bit for changing the time of the last read. The server's time is used unless
    /// [`ATIME_SET`](SetAttr::ATIME_SET) is set.
    pub const ATIME: u32 = 0x10;
    /// The bit for changing the time of the last write. The server's time is used unless
    /// [`MTIME_SET`](SetAttr::MTIME_SET) is set.
    pub const MTIME: u32 = 0x20;
    /// The bit for setting the time of the last attribute change to the server's time.
    pub const CTIME: u32 = 0x40;
    /// The bit that selects `atime` as the time of the last read.
    pub const ATIME_SET: u32 = 0x80;
    /// The bit that selects `mtime` as the time of the last write.
    pub const MTIME_SET: u32 = 0x100;
}

record! {
    /// The body of Rstatfs.
    pub struct StatFs {
        /// Magic number of the file system type. The protocol calls this field `type`.
        pub kind: u32,
        /// Bytes per block.
        pub bsize: u32,
        /// Total blocks.
        pub blocks: u64,
        /// Free blocks.
        pub bfree: u64,
        /// Free blocks available to ordinary users.
        pub bavail: u64,
        /// Total inodes.
        pub files: u64,
        /// Free inodes.
        pub ffree: u64,
        /// File system ID.
        pub fsid: u64,
        /// Maximum length of a file name, in bytes.
        pub namelen: u32,
    }
}

record! {
    /// A directory entry in the data of Rreaddir.
    pub struct Dirent<'a> {
        /// The qid of the file.
        pub qid: Qid,
        /// The offset at which a Treaddir continues after this entry. The offset is opaque to the
        /// client and is never 0.
        pub offset: u64,
        /// The Linux `d_type`: 4 for a directory, 8 for a file, 10 for a symbolic link, and 0 if
        /// the type is unknown.
        pub kind: u8,
        /// The file's name in the directory.
        pub name: Str<'a>,
    }
}

impl<'a> Dirent<'a> {
    /// Writes the entry to the start of `buf` and returns its length in bytes.
    ///
    /// # Errors
    /// Returns [`Full`] and leaves the contents of `buf` unspecified if the entry does not fit.
    pub fn encode_into(&self, buf: &mut [u8]) -> Result<usize, Full> {
        let mut writer = Writer::new(buf, Dialect::Linux);
        self.encode(&mut writer);
        writer.finish()
    }

    /// Returns an iterator over the entries in the data of one Rreaddir.
    pub fn decode_all(data: &'a [u8]) -> Dirents<'a> {
        Dirents(Reader::new(data, Dialect::Linux))
    }
}

/// An iterator over directory entries. The iterator stops at the first malformed entry.
#[derive(Clone, Debug)]
pub struct Dirents<'a>(Reader<'a>);

impl<'a> Iterator for Dirents<'a> {
    type Item = Result<Dirent<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = Dirent::decode(&mut self.0);
        Some(self.0.check().map(|()| entry))
    }
}
