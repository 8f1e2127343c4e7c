//! File attributes and directory entries, in a form common to all dialects.

use std::time::{Duration, SystemTime};

use datakit_core::wire::{
    Attr, DMDEVICE, DMDIR, DMNAMEDPIPE, DMSETGID, DMSETUID, DMSETVTX, DMSOCKET, DMSYMLINK, Dirent,
    Qid, Stat, StatUnix, Str, Time,
};

use super::byte_string::ByteString;
use super::error::Error;

/// A file type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link. In 9P2000, the link's target cannot be read.
    Symlink,
    /// A device, pipe or socket.
    Special,
}

/// File attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// The final component of the path. The name is empty in 9P2000.L, which does not send names
    /// along with attributes.
    pub name: ByteString,
    /// The type.
    pub kind: FileType,
    /// The permission bits, which do not exceed `0o7777`.
    pub mode: u32,
    /// The length in bytes, which is 0 for directories and usually 0 for streams.
    pub len: u64,
    /// The server's identifier for the file. Two qids with the same path refer to the same file.
    /// The version changes whenever the content changes. Version 0 means that the content must not
    /// be cached.
    pub qid: Qid,
    /// The owner's name, or a decimal number in 9P2000.L.
    pub owner: String,
    /// The group's name, or a decimal number in 9P2000.L.
    pub group: String,
    /// The number of hard links. The number is always 1 in 9P2000 and 9P2000.u, which do not send
    /// link counts.
    pub links: u64,
    /// The time of last access. Only 9P2000.L sends fractions of a second.
    pub accessed: SystemTime,
    /// The time of last modification. Only 9P2000.L sends fractions of a second.
    pub modified: SystemTime,
    /// The target of a symbolic link. The target is always `None` in 9P2000, which does not send
    /// link targets.
    pub target: Option<ByteString>,
}

/// A directory entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirEntry {
    /// The name.
    pub name: ByteString,
    /// The file's type.
    pub kind: FileType,
    /// The server's identifier for the file.
    pub qid: Qid,
    /// The file's attributes, which 9P2000 and 9P2000.u send along with the name. The attributes
    /// are always `None` in 9P2000.L.
    pub metadata: Option<Metadata>,
    /// The offset at which a listing can continue after this entry. The offset is `None` in 9P2000
    /// and 9P2000.u, where a listing can continue only after the last entry returned by a read.
    pub next: Option<u64>,
}

/// The files in a directory and their attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// All files. If a file is listed in `failed`, its permissions and length are zero, and its
    /// owner is empty.
    pub files: Vec<Metadata>,
    /// The names of the files whose attributes the server refused to return, along with the
    /// server's errors.
    pub failed: Vec<(ByteString, Error)>,
}

/// Converts text to UTF-8 for display, replacing invalid bytes.
pub(crate) fn lossy(text: Str<'_>) -> String {
    String::from_utf8_lossy(text.as_bytes()).into_owned()
}

impl Metadata {
    /// Returns `true` if the file is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind == FileType::Dir
    }

    pub(crate) fn from_stat(stat: &Stat<'_>) -> Metadata {
        let kind = type_of_stat(stat);
        // In 9P2000.u, the extension field holds a symlink's target. The field is empty if the
        // server cannot read the link.
        let extension =
            stat.unix.map(|unix| unix.extension).filter(|target| !target.as_bytes().is_empty());
        let target = extension.map(ByteString::from).filter(|_| kind == FileType::Symlink);
        Metadata {
            name: stat.name.into(),
            kind,
            mode: stat.mode & 0o777 | special_bits(stat.mode),
            len: stat.length,
            qid: stat.qid,
            owner: lossy(stat.uid),
            group: lossy(stat.gid),
            links: 1,
            accessed: system_time(stat.atime.into(), 0),
            modified: system_time(stat.mtime.into(), 0),
            target,
        }
    }

    /// Creates attributes from the fields of a directory entry, leaving all other attributes empty.
    pub(crate) fn from_entry(name: ByteString, kind: FileType, qid: Qid) -> Metadata {
        Metadata {
            name,
            kind,
            mode: 0,
            len: 0,
            qid,
            owner: String::new(),
            group: String::new(),
            links: 1,
            accessed: SystemTime::UNIX_EPOCH,
            modified: SystemTime::UNIX_EPOCH,
            target: None,
        }
    }

    /// Returns `true` if all fields except the name appear to be unset. Some servers set only the
    /// name in a directory entry.
    pub(crate) fn is_bare(&self) -> bool {
        self.mode == 0 && self.len == 0
    }

    pub(crate) fn from_attr(attr: &Attr) -> Metadata {
        let kind = match attr.mode & 0o170_000 {
            0o040_000 => FileType::Dir,
            0o120_000 => FileType::Symlink,
            0o100_000 | 0 => type_of_qid(attr.qid),
            _ => FileType::Special,
        };
        Metadata {
            name: ByteString::default(),
            kind,
            mode: attr.mode & 0o7777,
            len: attr.size,
            qid: attr.qid,
            owner: attr.uid.to_string(),
            group: attr.gid.to_string(),
            links: attr.nlink,
            accessed: exact_time(attr.atime),
            modified: exact_time(attr.mtime),
            target: None,
        }
    }
}

impl DirEntry {
    pub(crate) fn from_stat(stat: &Stat<'_>) -> DirEntry {
        DirEntry {
            name: stat.name.into(),
            kind: type_of_stat(stat),
            qid: stat.qid,
            metadata: Some(Metadata::from_stat(stat)),
            next: None,
        }
    }

    pub(crate) fn from_dirent(entry: &Dirent<'_>) -> DirEntry {
        let kind = match entry.kind {
            4 => FileType::Dir,
            10 => FileType::Symlink,
            1 | 2 | 6 | 12 => FileType::Special,
            _ => type_of_qid(entry.qid),
        };
        DirEntry {
            name: entry.name.into(),
            kind,
            qid: entry.qid,
            metadata: None,
            next: Some(entry.offset),
        }
    }
}

fn type_of_stat(stat: &Stat<'_>) -> FileType {
    match stat.mode {
        mode if mode & DMDIR != 0 => FileType::Dir,
        mode if mode & DMSYMLINK != 0 => FileType::Symlink,
        mode if stat.unix.is_some() && mode & (DMDEVICE | DMNAMEDPIPE | DMSOCKET) != 0 => {
            FileType::Special
        }
        _ => type_of_qid(stat.qid),
    }
}

fn type_of_qid(qid: Qid) -> FileType {
    match qid.kind {
        kind if kind & Qid::DIR != 0 => FileType::Dir,
        kind if kind & Qid::SYMLINK != 0 => FileType::Symlink,
        _ => FileType::File,
    }
}

/// The 9P2000.u set-id and sticky bits, each paired with its Linux equivalent.
const SPECIAL_BITS: [(u32, u32); 3] = [(DMSETUID, 0o4000), (DMSETGID, 0o2000), (DMSETVTX, 0o1000)];

/// Converts the special bits of a 9P2000.u mode to Linux mode bits.
fn special_bits(mode: u32) -> u32 {
    SPECIAL_BITS.into_iter().filter(|(wire, _)| mode & wire != 0).map(|(_, bit)| bit).sum()
}

/// Converts the special bits of a Linux mode to 9P2000.u mode bits.
pub(crate) fn wire_bits(mode: u32) -> u32 {
    SPECIAL_BITS.into_iter().filter(|(_, bit)| mode & bit != 0).map(|(wire, _)| wire).sum()
}

fn exact_time(at: Time) -> SystemTime {
    system_time(at.sec.cast_signed(), at.nsec)
}

/// Converts a time to [`SystemTime`]. A time that this platform cannot represent is converted to
/// the Unix epoch.
fn system_time(seconds: i64, nanoseconds: u64) -> SystemTime {
    let epoch = SystemTime::UNIX_EPOCH;
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let whole = if seconds < 0 { epoch.checked_sub(distance) } else { epoch.checked_add(distance) };
    whole.and_then(|whole| whole.checked_add(Duration::from_nanos(nanoseconds))).unwrap_or(epoch)
}

/// Returns a stat structure that changes nothing when sent in a Twstat (`stat(5)`). Every number
/// has its maximum value, and every string is empty.
pub(crate) fn unchanged_stat() -> Stat<'static> {
    let unix = StatUnix { extension: Str(b""), n_uid: u32::MAX, n_gid: u32::MAX, n_muid: u32::MAX };
    Stat {
        kind: u16::MAX,
        dev: u32::MAX,
        qid: Qid { kind: u8::MAX, version: u32::MAX, path: u64::MAX },
        mode: u32::MAX,
        atime: u32::MAX,
        mtime: u32::MAX,
        length: u64::MAX,
        unix: Some(unix),
        ..Stat::default()
    }
}
