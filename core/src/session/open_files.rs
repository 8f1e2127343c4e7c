//! Handlers for open, read, write and clunk requests, including reads of directories.

use core::ops::ControlFlow;

use super::attributes::ListedRecord;
use super::fids::{Access, FidState, unknown_fid};
use super::namespace::{ORCLOSE, open_mode};
use super::{FidTable, MIN_MSIZE, Session};
use crate::Decimal;
use crate::vfs::{Error, FileType, OpenMode, Result, TreeKind, Vfs};
use crate::wire::{self, Dialect, Qid, Rmessage as R, Tag, Tmessage as T};

impl<V: Vfs, F: FidTable<V>> Session<'_, V, F> {
    /// Answers a Topen (open(5)).
    pub(super) async fn open(&self, fid: wire::Fid, mode: u8) -> Result<Qid> {
        self.open_fid(fid, open_mode(mode), mode & ORCLOSE != 0).await
    }

    /// Opens the file or directory that a fid refers to.
    pub(super) async fn open_fid(
        &self,
        fid: wire::Fid,
        mode: OpenMode,
        remove: bool,
    ) -> Result<Qid> {
        let (inode, serial, uid, root) = self.with_fid(fid, |fid| match fid.state {
            FidState::Walked => Ok((fid.inode.clone(), fid.serial, fid.uid, fid.root)),
            _ => Err(Error::AlreadyOpen),
        })?;
        let id = self.vfs.id(&inode);
        // According to open(5), a directory cannot be written to, truncated or removed on close.
        if (mode.write || mode.truncate || remove) && id.kind == FileType::Dir {
            return Err(Error::IsDirectory);
        }
        // The code that removes a file on clunk is not compiled for immutable trees. The attach
        // point can never be removed.
        if remove && V::TreeKind::IMMUTABLE {
            return Err(Error::NotSupported);
        }
        if remove && id.ino == root {
            return Err(Error::Busy);
        }
        let mode = OpenMode { drops_set_id: !V::TreeKind::IMMUTABLE && uid != 0, ..mode };
        self.open_inode(fid, serial, &inode, mode, remove).await?;
        Ok(self.qid(&inode))
    }

    /// Opens an inode and makes the fid refer to it, unless the fid has changed in the meantime.
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
            FileType::Dir => FidState::Dir { open, offset: 0, cookie: 0 },
            _ => FidState::File { open, access: Access::new(mode, remove) },
        };
        self.move_fid_opened(fid, serial, inode.clone(), role)
    }

    /// Answers the Tread or Twrite in `frame` if the tree can serve it immediately. Writes the
    /// reply to `out` and returns the length of the reply.
    ///
    /// Returns `None` and does nothing if the request is not a Tread or Twrite, or if the tree
    /// cannot serve it immediately. The caller must then pass the request to
    /// [`answer`](Session::answer).
    pub fn try_answer_now(&self, frame: &[u8], out: &mut [u8]) -> Option<usize> {
        if !V::TreeKind::HAS_FAST_PATH || !matches!(wire::kind(frame), wire::TREAD | wire::TWRITE) {
            return None;
        }
        self.dialect.get()?;
        let out = self.within_msize(out);
        match self.message(frame).ok()? {
            (tag, T::Read { fid, offset, count }) => {
                let fids = self.fids.borrow();
                let open = fids.get(fid.0)?.state.file(Access::READ)?;
                let data = out.get_mut(wire::RREAD_HEADER..)?.get_mut(..self.data_limit(count))?;
                self.notify_start();
                let n = self.vfs.try_read_now(open, offset, data)?.ok()?;
                self.notify_done(wire::TREAD, false);
                Some(wire::finish_read(out, wire::RREAD, tag, n))
            }
            (tag, T::Write { fid, offset, data }) => {
                let fids = self.fids.borrow();
                let open = fids.get(fid.0)?.state.file(Access::WRITE)?;
                // Check first that there is room for the reply, because a write that has been
                // carried out must be answered.
                let out = out.get_mut(..MIN_MSIZE as usize)?;
                self.notify_start();
                let n = if data.0.is_empty() {
                    Ok(0)
                } else {
                    self.vfs.try_write_now(open, offset, data.0)?
                };
                self.notify_done(wire::TWRITE, n.is_err());
                Some(match n {
                    Ok(n) => {
                        let count = u32::try_from(n).unwrap_or(u32::MAX);
                        self.try_encode(&R::Write { count }, tag, out).unwrap_or(0)
                    }
                    Err(error) => self.encode_error(out, tag, &error),
                })
            }
            _ => None,
        }
    }

    /// Answers a Tread (read(5)). The file's data is read directly into the reply.
    pub(super) async fn read(
        &self,
        buf: &mut [u8],
        tag: Tag,
        fid: wire::Fid,
        offset: u64,
        count: u32,
    ) -> Result<usize> {
        let (open, dir, serial) = self.with_fid(fid, |fid| match &fid.state {
            // 9P2000.L clients read directories with Treaddir rather than Tread.
            FidState::Dir { .. }
                if cfg!(feature = "linux") && self.current_dialect() == Dialect::Linux =>
            {
                Err(Error::IsDirectory)
            }
            FidState::Dir { open, .. } => Ok((open.clone(), true, fid.serial)),
            FidState::Reserved | FidState::Walked => Err(Error::ReadUnopened),
            role => Ok((role.file(Access::READ).ok_or(Error::BadFile)?.clone(), false, fid.serial)),
        })?;
        let room = buf.len().saturating_sub(wire::RREAD_HEADER).min(self.data_limit(count));
        let data = buf
            .get_mut(wire::RREAD_HEADER..)
            .and_then(|data| data.get_mut(..room))
            .unwrap_or_default();
        let n = if dir {
            V::TreeKind::boxed(|| self.read_dir(fid, &open, offset, data)).await?
        } else {
            // A blocked read fails when its fid is clunked or removed, or when a walk makes the fid
            // refer to another file.
            let still_open = || {
                self.update_fid(fid, serial, |fid| fid.state.mark_waited())
                    .ok_or_else(|| unknown_fid(fid))
            };
            V::TreeKind::wait_while(self.vfs.read(&open, offset, data), still_open).await?
        };
        Ok(wire::finish_read(buf, wire::RREAD, tag, n))
    }

    /// Reads whole stat records from a directory (read(5)). The read must start at offset 0 or at
    /// the offset where the previous read ended.
    async fn read_dir(
        &self,
        fid: wire::Fid,
        open: &V::Open,
        offset: u64,
        data: &mut [u8],
    ) -> Result<usize> {
        let (serial, mut cookie) = self.with_fid(fid, |found| match found.state {
            FidState::Dir { .. } if offset == 0 => Ok((found.serial, 0)),
            FidState::Dir { offset: at, cookie, .. } if u64::from(at) == offset => {
                Ok((found.serial, cookie))
            }
            FidState::Dir { .. } => Err(Error::SeekDirectory),
            _ => Err(unknown_fid(fid)),
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
                ListedRecord::Written(n) => filled = filled.saturating_add(n),
                ListedRecord::TooLarge if filled == 0 => return Err(entry_too_long(data.len())),
                ListedRecord::TooLarge => break,
                ListedRecord::Removed => {}
            }
            cookie = next;
        }
        self.update_fid(fid, serial, |fid| {
            if let FidState::Dir { offset: at, cookie: place, .. } = &mut fid.state {
                *at = u32::try_from(offset.saturating_add(filled as u64)).unwrap_or(u32::MAX);
                *place = cookie;
            }
        });
        Ok(filled)
    }

    /// Answers a Twrite (read(5)).
    pub(super) async fn write(&self, fid: wire::Fid, offset: u64, data: &[u8]) -> Result<u32> {
        let open = self.with_fid(fid, |fid| match &fid.state {
            FidState::Dir { .. } => Err(Error::WriteDirectory),
            FidState::Reserved | FidState::Walked => Err(Error::WriteUnopened),
            role => Ok(role.file(Access::WRITE).ok_or(Error::BadFile)?.clone()),
        })?;
        // According to write(2), writing zero bytes changes nothing, not even a timestamp.
        if data.is_empty() {
            return Ok(0);
        }
        let n = self.vfs.write(&open, offset, data).await?;
        Ok(u32::try_from(n).unwrap_or(u32::MAX))
    }

    /// Answers a Tclunk (clunk(5)). The fid is released even if an error is returned.
    pub(super) async fn clunk(&self, fid: wire::Fid) -> Result<()> {
        let taken = self.take_fid(fid)?;
        let Some(open) = taken.state.opened() else { return Ok(()) };
        let guard = CloseGuard { vfs: self.vfs, open };
        let finished = self.vfs.flush(open).await;
        drop(guard);
        if !V::TreeKind::IMMUTABLE && taken.state.has(Access::REMOVE) {
            self.remove_file(&taken).await?;
        }
        finished
    }
}

/// A guard that closes an open file when dropped, so that the file is closed even if the clunk is
/// cancelled.
struct CloseGuard<'a, V: Vfs> {
    vfs: &'a V,
    open: &'a V::Open,
}

impl<V: Vfs> Drop for CloseGuard<'_, V> {
    fn drop(&mut self) {
        self.vfs.close(self.open);
    }
}

/// Returns the error for a directory entry that does not fit into the reply. An empty reply would
/// be mistaken for the end of the directory.
#[cold]
#[inline(never)]
pub(super) fn entry_too_long(count: usize) -> Error {
    Error::Invalid.with_message(format_args!(
        "a count of {} bytes is too small for the next entry",
        Decimal::from(count)
    ))
}
