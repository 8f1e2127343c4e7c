//! The identity and attributes of inodes, and the changes that clients can request.

/// The type of an inode (`inode(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FileType {
    /// A regular file, or any other object that is read and written like a regular file.
    #[default]
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device.
    Char {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

impl FileType {
    /// Returns whether the inode is a directory.
    // A comparison with `==` would call a function that compares device numbers.
    #[must_use]
    pub const fn is_dir(self) -> bool {
        matches!(self, FileType::Dir)
    }
}

/// The identity of an inode and the version of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Id {
    /// The inode number, which is never reused during the lifetime of the tree.
    pub ino: u64,
    /// The type of the inode.
    pub kind: FileType,
    /// The version of the content. The version changes whenever the content changes. A version of 0
    /// tells clients not to cache the content. Use a version of 0 for content that can change
    /// without a write.
    pub version: u32,
}

/// A point in time, relative to 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Time {
    /// The number of whole seconds, which is negative for times before 1970.
    pub sec: i64,
    /// The number of additional nanoseconds, which is less than 1,000,000,000.
    pub nsec: u32,
}

/// The attributes of an inode (`stat(5)`, `stat(2)`). On an embedded board, times and owners are
/// always 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Attr {
    /// Identity.
    pub id: Id,
    /// The twelve permission bits.
    pub mode: u32,
    /// The length in bytes, which is 0 for directories and streams.
    pub size: u64,
    /// The number of storage bytes in use. A file with holes uses less storage than its length
    /// suggests.
    pub allocated: u64,
    /// The number of hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The time of the last read.
    pub atime: Time,
    /// The time of the last change to the content.
    pub mtime: Time,
    /// The time of the last change to the attributes.
    pub ctime: Time,
}

impl Attr {
    /// Creates the attributes of an inode with one link, owner 0 and all times set to 0.
    #[must_use]
    pub const fn new(id: Id, mode: u32, size: u64) -> Attr {
        const EPOCH: Time = Time { sec: 0, nsec: 0 };
        Attr {
            id,
            mode,
            size,
            allocated: size,
            nlink: 1,
            uid: 0,
            gid: 0,
            atime: EPOCH,
            mtime: EPOCH,
            ctime: EPOCH,
        }
    }
}

/// A new value for a timestamp (`utimensat(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SetTime {
    /// The server's current time.
    Now,
    /// The time that the client specified.
    To(Time),
}

/// The attributes to change. Either all of the changes are made or none are. `None` leaves an
/// attribute unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SetAttr {
    /// The twelve permission bits.
    pub mode: Option<u32>,
    /// The new length in bytes. The file is truncated or extended with zeros.
    pub size: Option<u64>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// The time of the last read.
    pub atime: Option<SetTime>,
    /// The time of the last change to the content.
    pub mtime: Option<SetTime>,
}

impl SetAttr {
    /// Returns `true` if there is nothing to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let SetAttr { mode, size, uid, gid, atime, mtime } = self;
        mode.or(*uid).or(*gid).is_none() && size.is_none() && atime.or(*mtime).is_none()
    }
}

/// The mode in which a file is opened (`open(5)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OpenMode {
    /// Whether to open the file for reading.
    pub read: bool,
    /// Whether to open the file for writing.
    pub write: bool,
    /// Whether to truncate the file to length 0. Files that cannot be truncated, such as commands,
    /// streams and parameters, ignore this flag.
    pub truncate: bool,
    /// Whether to write at the end of the file, regardless of the offset. If the file is opened for
    /// reading only, the reader [follows](OpenMode::follows) the file's value.
    pub append: bool,
    /// Whether to clear the set-user-id and set-group-id bits when the file is written or
    /// truncated. The flag is set for every user except root (`write(2)`).
    pub drops_set_id: bool,
}

impl OpenMode {
    /// The mode for reading only.
    pub const READ: OpenMode = OpenMode::new(true, false);
    /// The mode for writing only.
    pub const WRITE: OpenMode = OpenMode::new(false, true);
    /// The mode for reading and writing.
    pub const READ_WRITE: OpenMode = OpenMode::new(true, true);

    /// Returns whether the reader follows the file's value, that is, whether the file is opened for
    /// reading only and with the append flag. Programs do not use this combination by accident,
    /// because the append flag has no other effect on reads.
    #[must_use]
    pub const fn follows(&self) -> bool {
        self.read && self.append && !self.write
    }

    const fn new(read: bool, write: bool) -> OpenMode {
        OpenMode { read, write, truncate: false, append: false, drops_set_id: false }
    }
}

/// Returns the mode that replaces `mode` when a user other than root changes a file's content or
/// owner. The set-user-id bit is cleared, and so is the set-group-id bit if the group may execute
/// the file. If the group may not execute the file, the set-group-id bit is kept, because it then
/// enables mandatory locking (`chmod(2)`).
#[must_use]
pub const fn without_set_id(mode: u32) -> u32 {
    let group = if mode & 0o010 == 0 { 0 } else { 0o2000 };
    mode & !(0o4000 | group)
}

/// The kind of object to create, with the arguments specific to that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateKind<'a> {
    /// An empty file.
    File,
    /// An empty directory.
    Dir,
    /// A symbolic link with this target.
    Symlink(&'a [u8]),
    /// A named pipe, a socket or a device.
    Special(FileType),
}

/// The arguments for creating an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Create<'a> {
    /// The kind of object to create.
    pub kind: CreateKind<'a>,
    /// The twelve permission bits.
    pub mode: u32,
    /// The number of the user who attached. This user becomes the owner of the new object.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Whether to fail if the name exists. The flag is `false` only for Tcreate in 9P2000 and
    /// 9P2000.u. If `exclusive` is `false`, the tree may truncate an existing file instead of
    /// failing. In 9P2000.L, `exclusive` is always `true`, because the session looks up the name
    /// first.
    pub exclusive: bool,
}

/// The user who attaches, as claimed by the client. The claim is not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct User<'a> {
    /// The user name. The name is empty if a kernel attaches on behalf of a user whose name it does
    /// not know.
    pub name: &'a [u8],
    /// The user number, which clients can send in 9P2000.u and 9P2000.L.
    pub number: Option<u32>,
}

/// The size and usage of a tree (`statfs(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StatFs {
    /// The number of bytes per block. `blocks` and `free` are counted in blocks of this size.
    pub block_size: u32,
    /// Total blocks.
    pub blocks: u64,
    /// Free blocks.
    pub free: u64,
    /// Total inodes.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
}

/// The kind of a byte-range lock (`fcntl(2)`, `F_SETLK`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum LockKind {
    /// A shared lock.
    Read,
    /// An exclusive lock.
    Write,
    /// No lock. A request of this kind releases the range.
    Unlock,
}

/// A byte-range lock and its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock<'a> {
    /// The kind of lock.
    pub kind: LockKind,
    /// The offset of the first byte.
    pub start: u64,
    /// The length in bytes. If the length is 0, the range extends to the end of the file, even if
    /// the file grows.
    pub length: u64,
    /// The ID of the process that owns the lock. The process runs on the client's host.
    pub process: u32,
    /// The name of the client's host.
    pub client: &'a [u8],
}
