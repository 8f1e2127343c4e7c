//! What is known of an inode: identity, attributes, and the changes that can be asked for.

/// What an inode is (`stat(5)`, `inode(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FileType {
    /// A regular file, or anything that is read and written like one.
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
    /// A character device with its numbers.
    Char {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device with its numbers.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// What tells one inode from every other one, and one content from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Id {
    /// The inode number: never used for two things while the tree lives.
    pub ino: u64,
    /// What it is.
    pub kind: FileType,
    /// Changes when the content does; 0 means "never cache this", right for anything live.
    pub version: u32,
}

/// A point in time, from 1970-01-01 UTC on, or before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Time {
    /// Whole seconds; negative before 1970.
    pub sec: i64,
    /// Nanoseconds after that, below 1 000 000 000.
    pub nsec: u32,
}

/// The attributes of an inode (`stat(5)`, `stat(2)`). A board leaves times and owners at 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Attr {
    /// Identity.
    pub id: Id,
    /// The twelve permission bits.
    pub mode: u32,
    /// Bytes; 0 for directories and streams.
    pub size: u64,
    /// Bytes of storage that it takes: of a file with holes, fewer than its size.
    pub allocated: u64,
    /// Names that this inode has.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last read.
    pub atime: Time,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of the attributes.
    pub ctime: Time,
}

impl Attr {
    /// Attributes of an inode without owner, links or times.
    #[must_use]
    pub const fn new(id: Id, mode: u32, size: u64) -> Attr {
        const NEVER: Time = Time { sec: 0, nsec: 0 };
        Attr {
            id,
            mode,
            size,
            allocated: size,
            nlink: 1,
            uid: 0,
            gid: 0,
            atime: NEVER,
            mtime: NEVER,
            ctime: NEVER,
        }
    }
}

/// A time to set (`utimensat(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SetTime {
    /// The server's clock.
    Now,
    /// This time.
    To(Time),
}

/// Attributes to change, all of them or none; `None` leaves one alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SetAttr {
    /// The twelve permission bits.
    pub mode: Option<u32>,
    /// Length in bytes: cut, or padded with zeros.
    pub size: Option<u64>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last read.
    pub atime: Option<SetTime>,
    /// Last change.
    pub mtime: Option<SetTime>,
}

impl SetAttr {
    /// Nothing is to be changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let SetAttr { mode, size, uid, gid, atime, mtime } = self;
        mode.or(*uid).or(*gid).is_none() && size.is_none() && atime.or(*mtime).is_none()
    }
}

/// How a file is opened (`open(5)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OpenMode {
    /// It will be read.
    pub read: bool,
    /// It will be written.
    pub write: bool,
    /// Its content is to be dropped now. Files that cannot (commands, streams, parameters) open all
    /// the same.
    pub truncate: bool,
    /// Every write goes to the end, whatever its offset.
    pub append: bool,
    /// Writes, and the truncation, take set-user-id and set-group-id bits off, as those of any user
    /// but root do (`write(2)`).
    pub drops_set_id: bool,
}

impl OpenMode {
    /// To be read only.
    pub const READ: OpenMode = OpenMode::new(true, false);
    /// To be written only.
    pub const WRITE: OpenMode = OpenMode::new(false, true);
    /// To be read and written.
    pub const READ_WRITE: OpenMode = OpenMode::new(true, true);

    const fn new(read: bool, write: bool) -> OpenMode {
        OpenMode { read, write, truncate: false, append: false, drops_set_id: false }
    }
}

/// The mode of a file after a change of its content by a user other than root, or of its owner:
/// set-user-id goes, and set-group-id where the group may execute; without that it means mandatory
/// locking (`chmod(2)`).
#[must_use]
pub const fn without_set_id(mode: u32) -> u32 {
    let group = if mode & 0o010 == 0 { 0 } else { 0o2000 };
    mode & !(0o4000 | group)
}

/// What is to be made under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum New<'a> {
    /// An empty file.
    File,
    /// An empty directory.
    Dir,
    /// A symbolic link to this target.
    Symlink(&'a [u8]),
    /// A named pipe, a socket or a device.
    Special(FileType),
}

/// A name to be made in a directory, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Create<'a> {
    /// What to make.
    pub new: New<'a>,
    /// The twelve permission bits.
    pub mode: u32,
    /// Owner: the user who attached.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// An existing name is an error even where the directory would empty the file that has it.
    /// False only for Tcreate of 9P2000 and .u, where the name may be that of a file: an exclusive
    /// create of .L is one, and `O_CREAT` alone is a lookup first.
    pub exclusive: bool,
}

/// A user who attaches, as the client says; nothing proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct User<'a> {
    /// The name; empty where a kernel attaches for a user that it knows by number only.
    pub name: &'a [u8],
    /// The number, which 9P2000.u and 9P2000.L may carry.
    pub number: Option<u32>,
}

/// What is known of the whole tree (`statfs(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StatFs {
    /// Bytes in a block, the unit of the three counts below.
    pub block_size: u32,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub free: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
}

/// What a byte-range lock asks for (`fcntl(2)`, `F_SETLK`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum LockKind {
    /// Shared.
    Read,
    /// Exclusive.
    Write,
    /// Neither: gives the range up.
    Unlock,
}

/// A byte-range lock and who holds or wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock<'a> {
    /// What is asked for.
    pub kind: LockKind,
    /// First byte.
    pub start: u64,
    /// Bytes; 0 means to the end of the file, wherever that will be.
    pub length: u64,
    /// The process on the client's host.
    pub process: u32,
    /// The client's host.
    pub client: &'a [u8],
}
