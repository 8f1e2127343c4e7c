//! Handlers for open, read, write and clunk requests, including reads of directories.

use core::ops::ControlFlow;

use super::attributes::ListedRecord;
use super::dispatch::{Call, check_end, fields};
use super::fids::{Access, FidState, unknown_fid};
use super::namespace::{ORCLOSE, open_mode};
use super::{FidTable, MIN_MSIZE, Session};
use crate::Decimal;
use crate::vfs::{Error, FileType, OpenMode, Result, TreeKind, Vfs};
use crate::wire::{self, Dialect, Field, Rmessage as R, Tmessage as T};

impl<V: Vfs, F: FidTable<V>> Session<'_, V, F> {
    /// Answers a Topen (open(5)) or a Tlopen (open(2)).
    pub(super) async fn open(&self, call: &mut Call<'_>) -> Result<()> {
        let (fid, mode, remove) = self.open_request(call)?;
        let (inode, serial, mode) = self.check_open(fid, mode, remove)?;
        let open = self.vfs.open(&inode, mode).await?;
        let qid = self.move_fid_opened(fid, serial, inode, open, Access::new(mode, remove))?;
        // An Rlopen has the same fields as an Ropen.
        self.encode_kind(call, |writer| {
            qid.encode(writer);
            self.iounit().encode(writer);
        })
    }

    /// Decodes a Topen or a Tlopen. Returns the fid, the mode and whether to remove the file when
    /// the fid is clunked.
    fn open_request(&self, call: &Call<'_>) -> Result<(wire::Fid, OpenMode, bool)> {
        #[cfg(feature = "linux")]
        if wire::kind(call.frame()) == wire::TLOPEN {
            return self.lopen_request(call);
        }
        let (fid, mode) = fields!(self, call, TOPEN, Open { fid, mode });
        Ok((fid, open_mode(mode), mode & ORCLOSE != 0))
    }

    /// Checks whether the file or directory that a fid refers to can be opened. Returns its inode,
    /// the fid's serial number and the mode to open it with.
    fn check_open(
        &self,
        fid: wire::Fid,
        mode: OpenMode,
        remove: bool,
    ) -> Result<(V::Inode, u32, OpenMode)> {
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
        let drops_set_id = !V::TreeKind::IMMUTABLE && uid != 0;
        Ok((inode, serial, OpenMode { drops_set_id, ..mode }))
    }

    /// Answers the Tread or Twrite in `frame` if the tree can serve it immediately. Writes the
    /// reply to `out` and returns the length of the reply.
    ///
    /// Returns `None` and does nothing if the request is not a Tread or Twrite, or if the tree
    /// cannot serve it immediately. The caller must then pass the request to
    /// [`answer`](Session::answer).
    pub fn try_answer_now(&self, frame: &[u8], out: &mut [u8]) -> Option<usize> {
        let kind = wire::kind(frame);
        if !V::TreeKind::HAS_FAST_PATH || !matches!(kind, wire::TREAD | wire::TWRITE) {
            return None;
        }
        self.dialect.get()?;
        let tag = wire::tag(frame);
        let out = self.within_msize(out);
        let message = match kind {
            wire::TREAD => self.decode::<{ wire::TREAD }>(frame),
            _ => self.decode::<{ wire::TWRITE }>(frame),
        };
        match message? {
            T::Read { fid, offset, count } => {
                let fids = self.fids.borrow();
                let open = fids.get(fid.0)?.state.file(Access::READ)?;
                let data = out.get_mut(wire::RREAD_HEADER..)?.get_mut(..self.data_limit(count))?;
                self.notify_start();
                let n = self.vfs.try_read_now(open, offset, data)?.ok()?;
                self.notify_done(wire::TREAD, false);
                Some(wire::finish_read(out, wire::RREAD, tag, n))
            }
            T::Write { fid, offset, data } => {
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
                        self.try_encode::<{ wire::TWRITE }>(&R::Write { count }, tag, out)
                            .unwrap_or(0)
                    }
                    Err(error) => self.encode_error(out, tag, &error),
                })
            }
            _ => None,
        }
    }

    /// Answers a Tread (read(5)). The file's data is read directly into the reply.
    pub(super) async fn read(&self, call: &mut Call<'_>) -> Result<()> {
        let (fid, offset, count) = fields!(self, call, TREAD, Read { fid, offset, count });
        let Call { buf, tag, .. } = call;
        let tag = *tag;
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
        wire::finish_read(buf, wire::RREAD, tag, n);
        Ok(())
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
    pub(super) async fn write(&self, call: &mut Call<'_>) -> Result<()> {
        let (fid, offset, data) = fields!(self, call, TWRITE, Write { fid, offset, data });
        let open = self.with_fid(fid, |fid| match &fid.state {
            FidState::Dir { .. } => Err(Error::WriteDirectory),
            FidState::Reserved | FidState::Walked => Err(Error::WriteUnopened),
            role => Ok(role.file(Access::WRITE).ok_or(Error::BadFile)?.clone()),
        })?;
        // According to write(2), writing zero bytes changes nothing, not even a timestamp.
        let n = match data.0 {
            [] => 0,
            data => self.vfs.write(&open, offset, data).await?,
        };
        let count = u32::try_from(n).unwrap_or(u32::MAX);
        self.encode::<{ wire::TWRITE }>(call, R::Write { count })
    }

    /// Answers a Tclunk (clunk(5)). The fid is released even if an error is returned.
    pub(super) async fn clunk(&self, call: &mut Call<'_>) -> Result<()> {
        let fid = fields!(self, call, TCLUNK, Clunk { fid });
        let taken = self.take_fid(fid)?;
        if let Some(open) = taken.state.opened() {
            let guard = CloseGuard { vfs: self.vfs, open };
            let finished = self.vfs.flush(open).await;
            drop(guard);
            if !V::TreeKind::IMMUTABLE && taken.state.has(Access::REMOVE) {
                self.remove_file(&taken).await?;
            }
            finished?;
        }
        self.encode::<{ wire::TCLUNK }>(call, R::Clunk)
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
