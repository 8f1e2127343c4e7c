//! Attributes in the form of 9P2000 and .u: stat and wstat.

use core::fmt::Write;

use super::{COUNTED_HEADER, Fids, Session, finish_counted, no_room, qid};
use crate::Decimal;
use crate::vfs::{Attr, Error, Kind, Nature, Result, SetAttr, SetTime, Time, Vfs};
use crate::wire::{self, Dialect, Stat, StatUnix, Str, Tag};

const DMDIR: u32 = 0x8000_0000;
const DMSYMLINK: u32 = 0x0200_0000;
const DMDEVICE: u32 = 0x0080_0000;
const DMNAMEDPIPE: u32 = 0x0020_0000;
const DMSOCKET: u32 = 0x0010_0000;

impl<V: Vfs, F: Fids<V>> Session<'_, V, F> {
    /// stat(5).
    pub(super) async fn stat(&self, buf: &mut [u8], tag: Tag, fid: wire::Fid) -> Result<usize> {
        let inode = self.inode(fid)?;
        let room = buf.get_mut(COUNTED_HEADER..).unwrap_or_default();
        let free = room.len();
        let n = self.stat_record(&inode, room).await?.ok_or_else(|| no_room(free))?;
        finish_counted(buf, wire::RSTAT, tag, n, n)
    }

    /// The record of an inode, made at the front of `free`: its length, `None` if there is no room for it. A link's target is read into
    /// the second half.
    pub(super) async fn stat_record(&self, inode: &V::Inode, free: &mut [u8]) -> Result<Option<usize>> {
        let attr = self.vfs.stat(inode).await?;
        let (record, target) = match attr.id.kind {
            Kind::File | Kind::Dir => (free, [].as_mut_slice()),
            _ => free.split_at_mut(free.len() / 2),
        };
        let Ok(target) = self.target(inode, &attr, target).await else { return Ok(None) };
        let mut owners = Owners::new::<V>(&attr);
        let mut made = Err(wire::Full);
        self.vfs.name(inode, &mut |name| {
            made = self.record(&attr, name, target, &mut owners).encode_into(record, self.spoken());
        });
        Ok(made.ok())
    }

    /// The .u extension of an inode: a link's target, a device's numbers.
    async fn target<'b>(&self, inode: &V::Inode, attr: &Attr, buf: &'b mut [u8]) -> Result<&'b [u8]> {
        if V::Nature::FIXED || self.spoken() != Dialect::Unix {
            return Ok(&[]);
        }
        let len = match attr.id.kind {
            Kind::Symlink => self.vfs.readlink(inode, buf).await?,
            Kind::Char { major, minor } => device(buf, 'c', major, minor),
            Kind::Block { major, minor } => device(buf, 'b', major, minor),
            _ => 0,
        };
        Ok(buf.get(..len).unwrap_or_default())
    }

    fn record<'r>(&self, attr: &Attr, name: &'r [u8], extension: &'r [u8], owners: &'r mut Owners) -> Stat<'r> {
        let Owners { uid, gid } = owners;
        let unix = (self.spoken() == Dialect::Unix).then_some(StatUnix {
            extension: Str(extension),
            n_uid: attr.uid,
            n_gid: attr.gid,
            n_muid: 0,
        });
        Stat {
            kind: 0,
            dev: 0,
            qid: qid(attr.id, self.spoken()),
            mode: mode(attr),
            atime: seconds(attr.atime),
            mtime: seconds(attr.mtime),
            length: attr.size,
            name: Str(name),
            uid: Str(uid.as_bytes()),
            gid: Str(gid.as_bytes()),
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
        if usize::from(name.is_some()) + usize::from(length.is_some()) + usize::from(mode.is_some()) > 1 {
            return Err(Error::OneAtATime);
        }
        if let Some(mode) = mode {
            check_mode(mode, id.kind)?;
        }
        let dir = id.kind == Kind::Dir;
        if dir && length.is_some_and(|length| length != 0) {
            return Err(Error::DirectoryLength);
        }
        if let Some(name) = name {
            self.below_top(fid, Error::RenameRoot)?;
            if V::Nature::FIXED {
                return Err(Error::ReadOnlyDirectory);
            }
            let name = self.name(name)?;
            self.vfs.rename(&inode, &self.vfs.parent(&inode), name).await?;
        }
        // A fixed tree keeps neither owners nor times.
        let (unix, times) = match V::Nature::FIXED {
            true => (None, [u32::MAX; 2]),
            false => (stat.unix.filter(|_| self.spoken() == Dialect::Unix), [stat.atime, stat.mtime]),
        };
        let [atime, mtime] = times.map(|time| set(time).map(at));
        let wanted = SetAttr {
            mode: mode.map(|mode| mode & 0o7777),
            size: length.filter(|_| !dir),
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

/// Owner and group as text: 9P2000 has no numbers for them.
struct Owners {
    uid: heapless::String<10>,
    gid: heapless::String<10>,
}

impl Owners {
    fn new<V: Vfs>(attr: &Attr) -> Owners {
        let owner = |id| if V::Nature::FIXED { owner(0) } else { owner(id) };
        Owners { uid: owner(attr.uid), gid: owner(attr.gid) }
    }
}

fn owner(id: u32) -> heapless::String<10> {
    let mut text = heapless::String::new();
    // Ten digits hold every u32.
    let _ = if id == 0 { text.write_str("root") } else { write!(text, "{}", Decimal::from(id)) };
    text
}

fn device(buf: &mut [u8], letter: char, major: u32, minor: u32) -> usize {
    let mut window = crate::vfs::Window::new(0, buf);
    // A window takes what fits.
    let _ = write!(window, "{letter} {} {}", Decimal::from(major), Decimal::from(minor));
    window.filled()
}

fn mode(attr: &Attr) -> u32 {
    let kind = match attr.id.kind {
        Kind::File => 0,
        Kind::Dir => DMDIR,
        Kind::Symlink => DMSYMLINK,
        Kind::Fifo => DMNAMEDPIPE,
        Kind::Socket => DMSOCKET,
        Kind::Char { .. } | Kind::Block { .. } => DMDEVICE,
    };
    kind | special_to_wire(attr.mode) | attr.mode & 0o777
}

/// Set-uid, set-gid and sticky are elsewhere in a mode of .u.
fn special_to_wire(mode: u32) -> u32 {
    (mode & 0o7000) << 8
}

/// A wstat value of all ones means "leave it alone".
fn set(value: u32) -> Option<u32> {
    Some(value).filter(|value| *value != u32::MAX)
}

fn seconds(time: Time) -> u32 {
    u32::try_from(time.sec).unwrap_or(u32::MAX)
}

fn at(sec: u32) -> SetTime {
    SetTime::To(Time { sec: sec.into(), nsec: 0 })
}

fn check_mode(mode: u32, kind: Kind) -> Result<()> {
    if (mode & DMDIR != 0) != (kind == Kind::Dir) {
        return Err(Error::DirectoryFlag);
    }
    if mode & DMSYMLINK != 0 && kind != Kind::Symlink {
        return Err(Error::SymlinkTarget);
    }
    Ok(())
}
