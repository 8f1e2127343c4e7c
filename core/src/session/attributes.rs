//! The handler for the Twstat request in 9P2000 and 9P2000.u.

use super::dispatch::{Call, check_end, fields};
use super::stat_records::{DMSETID, kind_bits};
use super::{FidTable, Session};
use crate::vfs::{Error, FidRecord, FileType, Id, Result, SetAttr, SetTime, Time, TreeKind, Vfs};
use crate::wire::{self, DMAPPEND, DMAUTH, DMDEVICE, DMDIR, DMEXCL, DMLINK, DMMOUNT};
use crate::wire::{DMNAMEDPIPE, DMSETVTX, DMSOCKET, DMSYMLINK, DMTMP};
use crate::wire::{Dialect, Stat, Tmessage as T};

/// Mode bits that no tree supports. [`DMLINK`] is valid only in a Tcreate that creates a hard link.
const UNSUPPORTED: u32 = DMAPPEND | DMEXCL | DMMOUNT | DMAUTH | DMTMP | DMLINK;
const DMSPECIAL: u32 = DMDEVICE | DMNAMEDPIPE | DMSOCKET;

impl<V: Vfs, F: FidTable<V>> Session<'_, V, F> {
    /// Answers a Twstat (stat(5)). Applies either all of the requested changes or none of them. A
    /// request that changes nothing flushes the file to stable storage.
    pub(super) async fn wstat(&self, call: &mut Call<'_>) -> Result<()> {
        let (fid, inode, is_root, name, mut wanted) = {
            // The record is dropped before the first await, so that the future does not store it.
            let (fid, stat) = fields!(self, call, TWSTAT, Wstat { fid, stat });
            let (inode, record) = self.with_fid(fid, |fid| Ok((fid.inode.clone(), fid.record)))?;
            let Id { ino, kind, .. } = self.vfs.id(&inode);
            let wanted = self.wanted(kind, &stat)?;
            (fid, inode, record.is_attach_point(ino), stat.name, wanted)
        };
        let renamed = !name.is_empty();
        if renamed {
            if is_root {
                return Err(Error::RenameRoot);
            }
            if V::TreeKind::IMMUTABLE {
                self.vfs.refused(&Error::ReadOnlyDirectory);
                return Err(Error::ReadOnlyDirectory);
            }
            let name = self.parse_name(name.as_bytes())?;
            self.vfs.rename(&inode, &self.vfs.parent(&inode), name).await?;
        }
        if !V::TreeKind::IMMUTABLE {
            let (mode, size) = (wanted.mode, wanted.size);
            wanted.mode = V::TreeKind::handle(|| self.mode_with(fid, &inode, mode, size)).await?;
        }
        if !wanted.is_empty() {
            self.vfs.set_attr(&inode, wanted).await?;
        } else if !renamed {
            self.vfs.fsync(&inode, false).await?;
        }
        self.encode_empty(call)
    }

    /// Checks a Twstat and returns the changes that it requests, apart from the new name.
    fn wanted(&self, kind: FileType, stat: &Stat<'_>) -> Result<SetAttr> {
        let length = Some(stat.length).filter(|length| *length != u64::MAX);
        let mode = to_set(stat.mode);
        let renamed = !stat.name.is_empty();
        if usize::from(renamed) + usize::from(length.is_some()) + usize::from(mode.is_some()) > 1 {
            return Err(Error::OneAtATime);
        }
        if let Some(mode) = mode {
            check_mode(mode, kind)?;
            let special = mode & DMSPECIAL;
            // Clients that change a device's permissions also send the device's type bits. These
            // bits must match the device's type, because the type of a file never changes.
            if !V::TreeKind::IMMUTABLE && special != 0 && special != kind_bits(kind) {
                return Err(Error::Invalid);
            }
        }
        // In an immutable tree, a mode consists of the directory bit and nine permission bits.
        if V::TreeKind::IMMUTABLE && mode.is_some_and(|mode| mode & !(DMDIR | 0o777) != 0) {
            return Err(Error::NotSupported);
        }
        let mode = if V::TreeKind::IMMUTABLE {
            mode.map(|mode| mode & 0o777)
        } else {
            mode.map(permissions).transpose()?
        };
        let dir = kind.is_dir();
        if dir && length.is_some_and(|length| length != 0) {
            return Err(Error::DirectoryLength);
        }
        let size = length.filter(|_| !dir);
        // An immutable tree stores neither owners nor times.
        if V::TreeKind::IMMUTABLE {
            return Ok(SetAttr { mode, size, ..SetAttr::default() });
        }
        let unix = stat.unix.filter(|_| self.current_dialect() == Dialect::Unix);
        Ok(SetAttr {
            mode,
            size,
            uid: unix.and_then(|unix| to_set(unix.n_uid)),
            gid: unix.and_then(|unix| to_set(unix.n_gid)),
            atime: to_set(stat.atime).map(set_time),
            mtime: to_set(stat.mtime).map(set_time),
        })
    }
}

/// Returns the twelve permission bits of a 9P2000 or 9P2000.u mode.
///
/// # Errors
/// Returns [`Error::NotSupported`] if the mode requests an append-only, exclusive-use or temporary
/// file, because no tree supports these types. Ignoring the type would break clients that rely on
/// its behavior.
pub(super) fn permissions(mode: u32) -> Result<u32> {
    if mode & UNSUPPORTED != 0 {
        return Err(Error::NotSupported);
    }
    Ok((mode & DMSETID) >> 8 | (mode & DMSETVTX) >> 7 | mode & 0o777)
}

/// Returns the value of a Twstat field, or `None` if the field is all ones, which means "do not
/// change".
fn to_set(value: u32) -> Option<u32> {
    Some(value).filter(|value| *value != u32::MAX)
}

fn set_time(sec: u32) -> SetTime {
    SetTime::To(Time { sec: sec.into(), nsec: 0 })
}

fn check_mode(mode: u32, kind: FileType) -> Result<()> {
    if (mode & DMDIR != 0) != kind.is_dir() {
        return Err(Error::DirectoryFlag);
    }
    if mode & DMSYMLINK != 0 && !matches!(kind, FileType::Symlink) {
        return Err(Error::SymlinkTarget);
    }
    Ok(())
}
