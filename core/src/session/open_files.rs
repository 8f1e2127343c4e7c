//! Handlers for open, write and clunk requests, and for reads and writes that are answered at once.

use super::dispatch::{Call, check_end, fields, unknown_message};
use super::fids::{Access, FidRecordOf, FidState, unknown_fid};
use super::{FidTable, MIN_MSIZE, Session};
#[cfg(feature = "linux")]
use crate::vfs::FileType;
use crate::vfs::{Error, FidRecord, OpenMode, Result, TreeKind, Vfs, without_set_id};
use crate::wire::{self, Field, Rmessage as R, Tmessage as T};

impl<V: Vfs, F: FidTable<V>> Session<'_, V, F> {
    /// Answers a Topen (open(5)) or a Tlopen (open(2)).
    pub(super) async fn open(&self, call: &mut Call<'_>) -> Result<()> {
        let request = self.open_request(call)?;
        let OpenRequest { fid, remove, .. } = request;
        let (inode, record, mode) = self.check_open(request)?;
        let open = self.vfs.open(&inode, mode).await?;
        let qid = self.move_fid_opened(fid, record, inode, open, Access::new(mode, remove))?;
        // An Rlopen has the same fields as an Ropen.
        self.encode_kind(call, |writer| {
            qid.encode(writer);
            self.iounit().encode(writer);
        })
    }

    /// Decodes a Topen or a Tlopen.
    fn open_request(&self, call: &Call<'_>) -> Result<OpenRequest> {
        match wire::kind(call.frame()) {
            #[cfg(feature = "classic")]
            wire::TOPEN => self.topen(call),
            #[cfg(feature = "linux")]
            wire::TLOPEN => self.tlopen(call),
            _ => Err(unknown_message(call)),
        }
    }

    /// Checks whether the file or directory that a fid refers to can be opened. Returns the inode,
    /// the fid's record and the mode in which to open the inode.
    fn check_open(&self, request: OpenRequest) -> Result<(V::Inode, FidRecordOf<V>, OpenMode)> {
        let OpenRequest { fid, mode, remove, .. } = request;
        let (inode, record) = self.with_fid(fid, |fid| match fid.state {
            FidState::Walked => Ok((fid.inode.clone(), fid.record)),
            _ => Err(Error::AlreadyOpen),
        })?;
        let id = self.vfs.id(&inode);
        if request.only_dir && !id.kind.is_dir() {
            return Err(Error::NotDirectory);
        }
        #[cfg(feature = "linux")]
        if !V::TreeKind::IMMUTABLE && !request.follows_links && matches!(id.kind, FileType::Symlink)
        {
            return Err(too_many_links());
        }
        // According to open(5), a directory cannot be written to, truncated or removed on close.
        if (mode.write || mode.truncate || remove) && id.kind.is_dir() {
            return Err(Error::IsDirectory);
        }
        // The code that removes a file on clunk is not compiled for immutable trees. The attach
        // point can never be removed.
        if remove && V::TreeKind::IMMUTABLE {
            return Err(Error::NotSupported);
        }
        if remove && record.is_attach_point(id.ino) {
            return Err(Error::Busy);
        }
        let drops_set_id = !V::TreeKind::IMMUTABLE && record.user() != 0;
        Ok((inode, record, OpenMode { drops_set_id, ..mode }))
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
                // performed must be answered.
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

    /// Decodes a Tread (read(5)) of a file that is open for reading. Returns `None` for any other
    /// request. [`read_dir`](Session::read_dir) answers any other Tread.
    pub(super) fn decode_file_read(&self, call: &Call<'_>) -> Option<FileRead<V>> {
        if wire::kind(call.frame()) != wire::TREAD {
            return None;
        }
        let T::Read { fid, offset, count } = self.decode::<{ wire::TREAD }>(call.frame())? else {
            return None;
        };
        let fids = self.fids.borrow();
        let found = fids.get(fid.0)?;
        let open = found.state.file(Access::READ)?.clone();
        let serial = found.record.serial();
        Some(FileRead { fid, serial, open, offset, count: self.data_limit(count) })
    }

    /// Returns a function that fails when `fid` no longer refers to the file that is being read. A
    /// blocked read fails when its fid is clunked or removed, or when a walk makes the fid refer to
    /// another file.
    pub(super) fn check_open_while_reading(
        &self,
        fid: wire::Fid,
        serial: u32,
    ) -> impl FnMut() -> Result<()> {
        move || {
            self.update_fid(fid, serial, |fid| fid.state.mark_waited())
                .ok_or_else(|| unknown_fid(fid))
        }
    }

    /// Refuses a Tread that does not read a file.
    #[cfg(not(feature = "classic"))]
    pub(super) async fn read_dir(&self, call: &mut Call<'_>) -> Result<()> {
        let fid = fields!(self, call, TREAD, Read { fid });
        self.with_fid(fid, |fid| Err(read_error(&fid.state)))
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

    /// Returns the mode to set when the length changes to `size`. If a user other than root changes
    /// the length, the set-ID bits are cleared (`truncate(2)`).
    pub(super) async fn mode_with(
        &self,
        fid: wire::Fid,
        inode: &V::Inode,
        mode: Option<u32>,
        size: Option<u64>,
    ) -> Result<Option<u32>> {
        if mode.is_some() || size.is_none() || self.with_fid(fid, |fid| Ok(fid.record.user()))? == 0
        {
            return Ok(mode);
        }
        let now = self.vfs.stat(inode).await?.mode;
        Ok(Some(without_set_id(now)).filter(|mode| *mode != now))
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
        self.encode_empty(call)
    }
}

/// A Topen or a Tlopen.
#[derive(Clone, Copy)]
pub(super) struct OpenRequest {
    pub(super) fid: wire::Fid,
    pub(super) mode: OpenMode,
    /// Whether to remove the file when the fid is clunked.
    pub(super) remove: bool,
    /// Whether the request fails if the fid does not refer to a directory.
    pub(super) only_dir: bool,
    /// Whether the request may open a symbolic link.
    #[cfg(feature = "linux")]
    pub(super) follows_links: bool,
}

/// Returns the error for a Tread of a fid that is not open for reading. In 9P2000.L, directories
/// are read with Treaddir.
pub(super) fn read_error<O, C>(state: &FidState<O, C>) -> Error {
    match state {
        FidState::Dir { .. } => Error::IsDirectory,
        FidState::Reserved | FidState::Walked => Error::ReadUnopened,
        FidState::File { .. } | FidState::Xattr { .. } => Error::BadFile,
    }
}

/// A read of an open file.
pub(super) struct FileRead<V: Vfs> {
    pub(super) fid: wire::Fid,
    pub(super) serial: u32,
    pub(super) open: V::Open,
    pub(super) offset: u64,
    /// The maximum number of bytes to return.
    pub(super) count: usize,
}

/// Returns the part of an Rread or Rreaddir that holds the data, limited to `count` bytes.
pub(super) fn read_data(buf: &mut [u8], count: usize) -> &mut [u8] {
    let data = buf.get_mut(wire::RREAD_HEADER..).unwrap_or_default();
    let len = data.len().min(count);
    data.get_mut(..len).unwrap_or_default()
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

/// Returns ELOOP, the error for opening a symbolic link that must not be followed.
#[cfg(feature = "linux")]
#[cold]
pub(super) fn too_many_links() -> Error {
    Error::from_errno(40, "Too many levels of symbolic links")
}
