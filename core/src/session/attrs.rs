//! Attributes in the form of 9P2000 and .u: stat and wstat.

use core::fmt::Write;

use super::{COUNTED_HEADER, Fids, Session, finish_counted, no_room};
use crate::Decimal;
use crate::vfs::{
    Attr, Error, FileType, Result, SetAttr, SetTime, Time, TreeKind, Vfs, without_set_id,
};
use crate::wire::{self, Dialect, Stat, StatUnix, Str, Tag};

const ENOENT: u16 = 2;
const ESTALE: u16 = 116;

const DMDIR: u32 = 0x8000_0000;
/// DMAPPEND, DMEXCL, DMMOUNT, DMAUTH, DMTMP, and DMLINK where it does not make a link.
const UNSUPPORTED: u32 = 0x7d00_0000;
const DMSYMLINK: u32 = 0x0200_0000;
const DMDEVICE: u32 = 0x0080_0000;
const DMNAMEDPIPE: u32 = 0x0020_0000;
const DMSOCKET: u32 = 0x0010_0000;
const DMSPECIAL: u32 = DMDEVICE | DMNAMEDPIPE | DMSOCKET;
/// Set-user-id and set-group-id, which are 8 bits higher than in a mode of Linux.
const DMSETID: u32 = 0o6000 << 8;
/// Sticky, which is 7 bits higher.
const DMSETVTX: u32 = 0o1000 << 7;

/// The numbers of owner, group and last writer: what follows the extension in a record of .u.
const NUMBERS: usize = 12;
/// The longest extension that describes a device: a letter and two numbers.
const DEVICE: usize = 24;

/// How a directory entry came into a listing.
pub(super) enum Listed {
    /// As a record of this length.
    Put(usize),
    /// Not at all: its record does not fit.
    NoRoom,
    /// Not at all: it was removed since the directory was opened.
    Vanished,
}

/// The record with its extension, where it has one. A fixed tree has none: what an async function
/// awaits is compiled, needed or not.
macro_rules! extend {
    ($session:ident, $inode:expr, $attr:expr, $free:expr, $len:expr) => {
        match ($attr).id.kind {
            FileType::File | FileType::Dir => Ok($len),
            _ if V::TreeKind::IMMUTABLE || $session.spoken() != Dialect::Unix => Ok($len),
            _ => V::TreeKind::handle(|| $session.extend($inode, $attr, $free, $len)).await,
        }
    };
}

impl<V: Vfs, F: Fids<V>> Session<'_, V, F> {
    /// stat(5).
    pub(super) async fn stat(&self, buf: &mut [u8], tag: Tag, fid: wire::Fid) -> Result<usize> {
        let inode = self.inode(fid)?;
        let attr = self.vfs.stat(&inode).await?;
        let room = buf.get_mut(COUNTED_HEADER..).unwrap_or_default();
        let n = self.record(&inode, &attr, room).ok_or_else(|| no_room(room.len()))?;
        let n = match extend!(self, &inode, &attr, room, n) {
            // A target that no message has room for is left out: a link that cannot be looked at
            // cannot be removed either.
            Err(Error::Range) => n,
            extended => extended?,
        };
        finish_counted(buf, wire::RSTAT, tag, n, n)
    }

    /// The record of a directory entry, made at the front of `free`; `first` where no later read of
    /// the client has more room for it.
    ///
    /// An error about one entry hides neither the others nor its name: it is told to those who look
    /// at that entry itself.
    pub(super) async fn listed_record(
        &self,
        inode: &V::Inode,
        free: &mut [u8],
        first: bool,
    ) -> Result<Listed> {
        let attr = match self.vfs.stat(inode).await {
            Ok(attr) => attr,
            Err(error) if V::TreeKind::IMMUTABLE || matches!(error.errno(), ENOENT | ESTALE) => {
                return Ok(Listed::Vanished);
            }
            Err(_) => Attr::new(self.vfs.id(inode), 0, 0),
        };
        let Some(n) = self.record(inode, &attr, free) else { return Ok(Listed::NoRoom) };
        match extend!(self, inode, &attr, free, n) {
            Err(Error::Range) if !first => Ok(Listed::NoRoom),
            extended => Ok(Listed::Put(extended.unwrap_or(n))),
        }
    }

    /// The record of an inode, made at the front of `free`, without extension: its length, `None`
    /// if there is no room for it.
    fn record(&self, inode: &V::Inode, attr: &Attr, free: &mut [u8]) -> Option<usize> {
        let mut owners = Owners::default();
        let mut made = Err(wire::Full);
        self.vfs.name(inode, &mut |name| {
            made = self.fields(attr, name, &mut owners).encode_into(free, self.spoken());
        });
        made.ok()
    }

    /// Puts the extension of .u into the record of `len` bytes at the front of `free`, a link's
    /// target or a device's numbers: the record's length then.
    ///
    /// # Errors
    /// [`Error::Range`] where there is no room for it; the record is what it was then, as after any
    /// error.
    async fn extend(
        &self,
        inode: &V::Inode,
        attr: &Attr,
        free: &mut [u8],
        len: usize,
    ) -> Result<usize> {
        let at = len.saturating_sub(NUMBERS);
        let Some(&numbers) = free.get(at..).and_then(<[u8]>::first_chunk::<NUMBERS>) else {
            return Err(Error::Range);
        };
        let end = free.len().min(usize::from(u16::MAX)).saturating_sub(NUMBERS).max(at);
        let room = free.get_mut(at..end).unwrap_or_default();
        let extended = match attr.id.kind {
            FileType::Symlink => self.vfs.readlink(inode, room).await,
            FileType::Char { major, minor } => device(room, 'c', major, minor),
            FileType::Block { major, minor } => device(room, 'b', major, minor),
            _ => Ok(0),
        };
        let added = *extended.as_ref().unwrap_or(&0);
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(to) = free.get_mut(at..at.saturating_add(bytes.len())) {
                to.copy_from_slice(bytes);
            }
        };
        // Both are below 64 KiB, and so are their lengths.
        let length = |bytes: usize| (bytes as u16).to_le_bytes();
        put(at.saturating_add(added), &numbers);
        put(at.saturating_sub(2), &length(added));
        put(0, &length(len.saturating_add(added).saturating_sub(2)));
        extended.map(|added| len.saturating_add(added))
    }

    fn fields<'r>(&self, attr: &Attr, name: &'r [u8], owners: &'r mut Owners) -> Stat<'r> {
        let unix = (self.spoken() == Dialect::Unix).then_some(StatUnix {
            extension: Str(b""),
            n_uid: attr.uid,
            n_gid: attr.gid,
            n_muid: 0,
        });
        Stat {
            kind: 0,
            dev: 0,
            qid: self.qid_of(attr.id),
            mode: mode::<V>(attr),
            atime: seconds(attr.atime),
            mtime: seconds(attr.mtime),
            length: attr.size,
            name: Str(name),
            uid: owner::<V>(attr.uid, &mut owners.uid),
            gid: owner::<V>(attr.gid, &mut owners.gid),
            muid: Str(b"none"),
            unix,
        }
    }

    /// stat(5), Twstat: all of it or nothing, and nothing set means "bring it to stable storage".
    pub(super) async fn wstat(&self, fid: wire::Fid, stat: Stat<'_>) -> Result<()> {
        let inode = self.inode(fid)?;
        let id = self.vfs.id(&inode);
        let name = Some(stat.name.as_bytes()).filter(|name| !name.is_empty());
        let length = Some(stat.length).filter(|length| *length != u64::MAX);
        let mode = set(stat.mode);
        if usize::from(name.is_some()) + usize::from(length.is_some()) + usize::from(mode.is_some())
            > 1
        {
            return Err(Error::OneAtATime);
        }
        if let Some(mode) = mode {
            check_mode(mode, id.kind)?;
            let special = mode & DMSPECIAL;
            // A chmod of a device says that it is one; nothing becomes one.
            if !V::TreeKind::IMMUTABLE && special != 0 && special != kind_bits(id.kind) {
                return Err(Error::Invalid);
            }
        }
        // A fixed tree has no others than these.
        if V::TreeKind::IMMUTABLE && mode.is_some_and(|mode| mode & !(DMDIR | 0o777) != 0) {
            return Err(Error::NotSupported);
        }
        let mode = if V::TreeKind::IMMUTABLE {
            mode.map(|mode| mode & 0o777)
        } else {
            mode.map(permissions).transpose()?
        };
        let dir = id.kind == FileType::Dir;
        if dir && length.is_some_and(|length| length != 0) {
            return Err(Error::DirectoryLength);
        }
        if let Some(name) = name {
            self.below_top(fid, Error::RenameRoot)?;
            if V::TreeKind::IMMUTABLE {
                return Err(Error::ReadOnlyDirectory);
            }
            let name = self.name(name)?;
            self.vfs.rename(&inode, &self.vfs.parent(&inode), name).await?;
        }
        // A fixed tree keeps neither owners nor times.
        let (unix, times) = match V::TreeKind::IMMUTABLE {
            true => (None, [u32::MAX; 2]),
            false => {
                (stat.unix.filter(|_| self.spoken() == Dialect::Unix), [stat.atime, stat.mtime])
            }
        };
        let [atime, mtime] = times.map(|time| set(time).map(at));
        let size = length.filter(|_| !dir);
        let wanted = SetAttr {
            mode: if V::TreeKind::IMMUTABLE {
                mode
            } else {
                V::TreeKind::handle(|| self.mode_with(fid, &inode, mode, size)).await?
            },
            size,
            uid: unix.and_then(|unix| set(unix.n_uid)),
            gid: unix.and_then(|unix| set(unix.n_gid)),
            atime,
            mtime,
        };
        if !wanted.is_empty() {
            self.vfs.set_attr(&inode, wanted).await?;
        } else if name.is_none() {
            self.vfs.fsync(&inode, false).await?;
        }
        Ok(())
    }
}

impl<V: Vfs, F: Fids<V>> Session<'_, V, F> {
    /// The mode to set together with `size`: where a user other than root changes the length,
    /// set-id bits go (`truncate(2)`).
    pub(super) async fn mode_with(
        &self,
        fid: wire::Fid,
        inode: &V::Inode,
        mode: Option<u32>,
        size: Option<u64>,
    ) -> Result<Option<u32>> {
        if mode.is_some() || size.is_none() || self.with(fid, |fid| Ok(fid.uid))? == 0 {
            return Ok(mode);
        }
        let now = self.vfs.stat(inode).await?.mode;
        Ok(Some(without_set_id(now)).filter(|mode| *mode != now))
    }
}

/// Room for owner and group as text: 9P2000 has no numbers for them.
#[derive(Default)]
struct Owners {
    uid: heapless::String<10>,
    gid: heapless::String<10>,
}

/// An owner as text, which is made in `room` unless it is root. A fixed tree has no other.
fn owner<V: Vfs>(id: u32, room: &mut heapless::String<10>) -> Str<'_> {
    if V::TreeKind::IMMUTABLE || id == 0 {
        return Str(b"root");
    }
    room.clear();
    // Ten digits hold every u32.
    let _ = write!(room, "{}", Decimal::from(id));
    Str(room.as_bytes())
}

fn device(buf: &mut [u8], letter: char, major: u32, minor: u32) -> Result<usize> {
    if buf.len() < DEVICE {
        return Err(Error::Range);
    }
    let mut window = crate::vfs::Window::new(0, buf);
    // It fits.
    let _ = write!(window, "{letter} {} {}", Decimal::from(major), Decimal::from(minor));
    Ok(window.filled())
}

fn kind_bits(kind: FileType) -> u32 {
    match kind {
        FileType::File => 0,
        FileType::Dir => DMDIR,
        FileType::Symlink => DMSYMLINK,
        FileType::Fifo => DMNAMEDPIPE,
        FileType::Socket => DMSOCKET,
        FileType::Char { .. } | FileType::Block { .. } => DMDEVICE,
    }
}

fn mode<V: Vfs>(attr: &Attr) -> u32 {
    if V::TreeKind::IMMUTABLE {
        let dir = if attr.id.kind == FileType::Dir { DMDIR } else { 0 };
        return dir | attr.mode & 0o777;
    }
    kind_bits(attr.id.kind)
        | attr.mode << 8 & DMSETID
        | attr.mode << 7 & DMSETVTX
        | attr.mode & 0o777
}

/// The twelve permission bits that a mode of 9P2000 or .u asks for.
///
/// # Errors
/// For append-only, exclusive-use and temporary files: no tree has them, and a client that asks for
/// one relies on it.
pub(super) fn permissions(mode: u32) -> Result<u32> {
    if mode & UNSUPPORTED != 0 {
        return Err(Error::NotSupported);
    }
    Ok((mode & DMSETID) >> 8 | (mode & DMSETVTX) >> 7 | mode & 0o777)
}

/// A wstat value of all ones means "leave it alone".
fn set(value: u32) -> Option<u32> {
    Some(value).filter(|value| *value != u32::MAX)
}

/// A time before 1970 or after 2106 becomes the nearest one that 32 bits hold.
fn seconds(time: Time) -> u32 {
    u32::try_from(time.sec.max(0)).unwrap_or(u32::MAX)
}

fn at(sec: u32) -> SetTime {
    SetTime::To(Time { sec: sec.into(), nsec: 0 })
}

fn check_mode(mode: u32, kind: FileType) -> Result<()> {
    if (mode & DMDIR != 0) != (kind == FileType::Dir) {
        return Err(Error::DirectoryFlag);
    }
    if mode & DMSYMLINK != 0 && kind != FileType::Symlink {
        return Err(Error::SymlinkTarget);
    }
    Ok(())
}
