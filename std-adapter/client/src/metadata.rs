//! One form of what the dialects say about a file.

use std::time::{Duration, SystemTime};

use datakit_core::wire::{
    Attr, DMDEVICE, DMDIR, DMNAMEDPIPE, DMSETGID, DMSETUID, DMSETVTX, DMSOCKET, DMSYMLINK, Dirent,
    Qid, Stat, Str, Time,
};

use super::error::Error;
use super::text::ByteString;

/// What kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileType {
    /// Anything with content that is none of the others.
    File,
    /// A directory.
    Dir,
    /// A symbolic link; 9P2000 cannot tell what it points to.
    Symlink,
    /// A device, pipe or socket.
    Special,
}

/// What the server says about a file, in one form for all dialects.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// The last name; empty in 9P2000.L, which does not send it.
    pub name: ByteString,
    /// What kind of file.
    pub kind: FileType,
    /// The permission bits, `0o7777` at most.
    pub mode: u32,
    /// Length in bytes; 0 for directories and usually for streams.
    pub len: u64,
    /// The server's identity of the file: equal paths are the same file. The version changes with
    /// the content, 0 is "never cache".
    pub qid: Qid,
    /// The owner: a name, or a decimal number in 9P2000.L.
    pub owner: String,
    /// The group: a name, or a decimal number in 9P2000.L.
    pub group: String,
    /// The number of names; 1 in 9P2000 and .u, which do not send it.
    pub links: u64,
    /// The last read, in whole seconds except in 9P2000.L.
    pub accessed: SystemTime,
    /// The last change of the content.
    pub modified: SystemTime,
    /// Where a link points; `None` in 9P2000, which cannot tell.
    pub target: Option<ByteString>,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirEntry {
    /// The name.
    pub name: ByteString,
    /// What kind of file.
    pub kind: FileType,
    /// The server's identity of the file.
    pub qid: Qid,
    /// 9P2000 and .u send all of it with the name; 9P2000.L does not.
    pub metadata: Option<Metadata>,
    /// Where a listing goes on after this name; `None` in 9P2000 and .u, which go on after a whole
    /// read only.
    pub next: Option<u64>,
}

/// All names in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// All of them. Those that cannot be looked at have no permissions, no length and no owner.
    pub files: Vec<Metadata>,
    /// Those that cannot be looked at, and why.
    pub failed: Vec<(ByteString, Error)>,
}

impl Metadata {
    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind == FileType::Dir
    }
}

/// For what is only shown: owners, groups, reasons.
pub(crate) fn shown(text: Str<'_>) -> String {
    String::from_utf8_lossy(text.as_bytes()).into_owned()
}

impl Metadata {
    pub(crate) fn of_stat(stat: &Stat<'_>) -> Metadata {
        let kind = kind_of_stat(stat);
        // One that cannot be read is listed without a target, and no link has an empty one.
        let extension =
            stat.unix.map(|unix| unix.extension).filter(|target| !target.as_bytes().is_empty());
        let target = extension.map(ByteString::from).filter(|_| kind == FileType::Symlink);
        Metadata {
            name: stat.name.into(),
            kind,
            mode: stat.mode & 0o777 | special_bits(stat.mode),
            len: stat.length,
            qid: stat.qid,
            owner: shown(stat.uid),
            group: shown(stat.gid),
            links: 1,
            accessed: time(stat.atime.into(), 0),
            modified: time(stat.mtime.into(), 0),
            target,
        }
    }

    /// Of a file about which the server says nothing but what its directory does.
    pub(crate) fn of_entry(name: ByteString, kind: FileType, qid: Qid) -> Metadata {
        let (owner, group) = (String::new(), String::new());
        let (accessed, modified) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH);
        Metadata {
            name,
            kind,
            mode: 0,
            len: 0,
            qid,
            owner,
            group,
            links: 1,
            accessed,
            modified,
            target: None,
        }
    }

    /// A record of a directory that may be there only for its name.
    pub(crate) fn is_bare(&self) -> bool {
        self.mode == 0 && self.len == 0
    }

    pub(crate) fn of_attr(attr: &Attr) -> Metadata {
        let kind = match attr.mode & 0o170_000 {
            0o040_000 => FileType::Dir,
            0o120_000 => FileType::Symlink,
            0o100_000 | 0 => kind_of_qid(attr.qid),
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
            accessed: exact(attr.atime),
            modified: exact(attr.mtime),
            target: None,
        }
    }
}

impl DirEntry {
    pub(crate) fn of_stat(stat: &Stat<'_>) -> DirEntry {
        DirEntry {
            name: stat.name.into(),
            kind: kind_of_stat(stat),
            qid: stat.qid,
            metadata: Some(Metadata::of_stat(stat)),
            next: None,
        }
    }

    pub(crate) fn of_dirent(entry: &Dirent<'_>) -> DirEntry {
        let kind = match entry.kind {
            4 => FileType::Dir,
            10 => FileType::Symlink,
            1 | 2 | 6 | 12 => FileType::Special,
            _ => kind_of_qid(entry.qid),
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

const DMSPECIAL: u32 = DMDEVICE | DMNAMEDPIPE | DMSOCKET;

fn kind_of_stat(stat: &Stat<'_>) -> FileType {
    match stat.mode {
        mode if mode & DMDIR != 0 => FileType::Dir,
        mode if mode & DMSYMLINK != 0 => FileType::Symlink,
        mode if stat.unix.is_some() && mode & DMSPECIAL != 0 => FileType::Special,
        _ => kind_of_qid(stat.qid),
    }
}

fn kind_of_qid(qid: Qid) -> FileType {
    match qid.kind {
        kind if kind & Qid::DIR != 0 => FileType::Dir,
        kind if kind & Qid::SYMLINK != 0 => FileType::Symlink,
        _ => FileType::File,
    }
}

/// The set-ID and sticky bits of .u, and the same bits of Linux.
const SPECIAL_BITS: [(u32, u32); 3] = [(DMSETUID, 0o4000), (DMSETGID, 0o2000), (DMSETVTX, 0o1000)];

/// Converts the special mode bits of .u to those of Linux.
fn special_bits(mode: u32) -> u32 {
    SPECIAL_BITS.into_iter().filter(|(wire, _)| mode & wire != 0).map(|(_, bit)| bit).sum()
}

/// Converts the special mode bits of Linux to those of .u.
pub(crate) fn wire_bits(mode: u32) -> u32 {
    SPECIAL_BITS.into_iter().filter(|(_, bit)| mode & bit != 0).map(|(wire, _)| wire).sum()
}

fn exact(at: Time) -> SystemTime {
    time(at.sec.cast_signed(), at.nsec)
}

/// A time that this system cannot represent reads as 1970.
fn time(seconds: i64, nanoseconds: u64) -> SystemTime {
    let epoch = SystemTime::UNIX_EPOCH;
    let seconds_off = Duration::from_secs(seconds.unsigned_abs());
    let whole =
        if seconds < 0 { epoch.checked_sub(seconds_off) } else { epoch.checked_add(seconds_off) };
    whole.and_then(|whole| whole.checked_add(Duration::from_nanos(nanoseconds))).unwrap_or(epoch)
}
