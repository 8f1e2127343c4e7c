//! Requests about open files: open, read, write, directory reads, clunk.

use core::ops::ControlFlow;

use super::attrs::Listed;
use super::fids::{Access, Role};
use super::names::{ORCLOSE, open_mode};
use super::{Fids, Session, unknown};
use crate::Decimal;
use crate::vfs::{Error, FileType, OpenMode, Result, TreeKind, Vfs};
use crate::wire::{self, Dialect, Qid, Tag};

impl<V: Vfs, F: Fids<V>> Session<'_, V, F> {
    /// open(5).
    pub(super) async fn open(&self, fid: wire::Fid, mode: u8) -> Result<Qid> {
        self.open_fid(fid, open_mode(mode), mode & ORCLOSE != 0).await
    }

    /// OpenFiles what a fid was walked to.
    pub(super) async fn open_fid(
        &self,
        fid: wire::Fid,
        mode: OpenMode,
        remove: bool,
    ) -> Result<Qid> {
        let (inode, serial, uid, top) = self.with(fid, |fid| match fid.role {
            Role::Walked => Ok((fid.inode.clone(), fid.serial, fid.uid, fid.top)),
            _ => Err(Error::AlreadyOpen),
        })?;
        let id = self.vfs.id(&inode);
        // open(5): "it is illegal to write a directory, truncate it, or attempt to remove it on
        // close".
        if (mode.write || mode.truncate || remove) && id.kind == FileType::Dir {
            return Err(Error::IsDirectory);
        }
        // A fixed tree has no code to remove at the clunk, and what was attached to would stay.
        if remove && V::TreeKind::IMMUTABLE {
            return Err(Error::NotSupported);
        }
        if remove && id.ino == top {
            return Err(Error::Busy);
        }
        let mode = OpenMode { drops_set_id: !V::TreeKind::IMMUTABLE && uid != 0, ..mode };
        self.open_inode(fid, serial, &inode, mode, remove).await?;
        Ok(self.qid(&inode))
    }

    /// OpenFiles an inode and has a fid stand for it, if the fid is still what it was.
    pub(super) async fn open_inode(
        &self,
        fid: wire::Fid,
        serial: u32,
        inode: &V::Inode,
        mode: OpenMode,
        remove: bool,
    ) -> Result<()> {
        let open = self.vfs.open(inode, mode).await?;
        let role = match self.vfs.id(inode).kind {
            FileType::Dir => Role::Dir { open, offset: 0, cookie: 0 },
            _ => Role::File { open, access: Access::new(mode, remove) },
        };
        self.turn_open(fid, serial, inode.clone(), role)
    }

    /// read(5). The file reads straight into the reply.
    pub(super) async fn read(
        &self,
        buf: &mut [u8],
        tag: Tag,
        fid: wire::Fid,
        offset: u64,
        count: u32,
    ) -> Result<usize> {
        let (open, dir, serial) = self.with(fid, |fid| match &fid.role {
            // .L reads directories by Treaddir.
            Role::Dir { .. } if cfg!(feature = "linux") && self.spoken() == Dialect::Linux => {
                Err(Error::IsDirectory)
            }
            Role::Dir { open, .. } => Ok((open.clone(), true, fid.serial)),
            Role::Reserved | Role::Walked => Err(Error::ReadUnopened),
            role => Ok((role.file(Access::READ).ok_or(Error::BadFile)?.clone(), false, fid.serial)),
        })?;
        let room = buf.len().saturating_sub(wire::RREAD_HEADER).min(self.data(count));
        let data = buf
            .get_mut(wire::RREAD_HEADER..)
            .and_then(|data| data.get_mut(..room))
            .unwrap_or_default();
        let n = if dir {
            V::TreeKind::boxed(|| self.read_dir(fid, &open, offset, data)).await?
        } else {
            // A wait ends when the fid is clunked, removed or walked away.
            let there = || {
                self.commit(fid, serial, |fid| fid.role.mark_waited()).ok_or_else(|| unknown(fid))
            };
            V::TreeKind::wait_while(self.vfs.read(&open, offset, data), there).await?
        };
        Ok(wire::finish_read(buf, wire::RREAD, tag, n))
    }

    /// read(5) of a directory: whole stat records, from 0 or from where the last read ended.
    async fn read_dir(
        &self,
        fid: wire::Fid,
        open: &V::Open,
        offset: u64,
        data: &mut [u8],
    ) -> Result<usize> {
        let (serial, mut cookie) = self.with(fid, |found| match found.role {
            Role::Dir { .. } if offset == 0 => Ok((found.serial, 0)),
            Role::Dir { offset: at, cookie, .. } if u64::from(at) == offset => {
                Ok((found.serial, cookie))
            }
            Role::Dir { .. } => Err(Error::SeekDirectory),
            _ => Err(unknown(fid)),
        })?;
        let mut filled = 0usize;
        loop {
            let mut entry = None;
            self.vfs
                .readdir(open, cookie, &mut |found| {
                    entry = Some(((found.inode)(), found.next));
                    ControlFlow::Break(())
                })
                .await?;
            let Some((inode, next)) = entry else { break };
            let free = data.get_mut(filled..).unwrap_or_default();
            match self.listed_record(&inode, free, filled == 0).await? {
                Listed::Put(n) => filled = filled.saturating_add(n),
                Listed::NoRoom if filled == 0 => return Err(entry_too_long(data.len())),
                Listed::NoRoom => break,
                Listed::Vanished => {}
            }
            cookie = next;
        }
        self.commit(fid, serial, |fid| {
            if let Role::Dir { offset: at, cookie: place, .. } = &mut fid.role {
                *at = u32::try_from(offset.saturating_add(filled as u64)).unwrap_or(u32::MAX);
                *place = cookie;
            }
        });
        Ok(filled)
    }

    /// read(5), Twrite.
    pub(super) async fn write(&self, fid: wire::Fid, offset: u64, data: &[u8]) -> Result<u32> {
        let open = self.with(fid, |fid| match &fid.role {
            Role::Dir { .. } => Err(Error::WriteDirectory),
            Role::Reserved | Role::Walked => Err(Error::WriteUnopened),
            role => Ok(role.file(Access::WRITE).ok_or(Error::BadFile)?.clone()),
        })?;
        // write(2): it changes nothing, not even a time.
        if data.is_empty() {
            return Ok(0);
        }
        let n = self.vfs.write(&open, offset, data).await?;
        Ok(u32::try_from(n).unwrap_or(u32::MAX))
    }

    /// clunk(5): the fid is gone whatever the outcome.
    pub(super) async fn clunk(&self, fid: wire::Fid) -> Result<()> {
        let taken = self.take(fid)?;
        let Some(open) = taken.role.opened() else { return Ok(()) };
        let closing = Closing { vfs: self.vfs, open };
        let finished = self.vfs.flush(open).await;
        drop(closing);
        if !V::TreeKind::IMMUTABLE && taken.role.has(Access::REMOVE) {
            self.remove_file(&taken).await?;
        }
        finished
    }
}

/// Closes an open file, also when the request that does it is cancelled.
struct Closing<'a, V: Vfs> {
    vfs: &'a V,
    open: &'a V::Open,
}

impl<V: Vfs> Drop for Closing<'_, V> {
    fn drop(&mut self) {
        self.vfs.close(self.open);
    }
}

/// An empty answer would read as the end of the directory.
#[cold]
#[inline(never)]
pub(super) fn entry_too_long(count: usize) -> Error {
    Error::Invalid.with_message(format_args!(
        "a count of {} bytes is too small for the next entry",
        Decimal::from(count)
    ))
}
