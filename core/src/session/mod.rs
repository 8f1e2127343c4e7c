//! The session for one connection. A session stores the fids, the dialect and the msize, translates
//! each request into calls to a tree, and builds the reply from the results.
//!
//! A session performs no I/O. The [`serve`](crate::serve) module passes request frames to the
//! session one at a time, but several requests may be in progress at the same time.
//!
//! # Where a request is answered
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the public API: [`Session`], [`Limits`], [`Observe`]; reads of a file that may wait |
//! | `dispatch.rs` | the `match` that picks a handler for each message |
//! | `reply.rs` | encoding of replies, and estimates of their sizes |
//! | `fids.rs` | fid table and fid bookkeeping |
//! | `namespace.rs` | version, attach, walk, remove |
//! | `open_files.rs` | open, write, clunk, and reads and writes that are answered at once |
//! | `create.rs` | the create request in 9P2000 and 9P2000.u, and its open modes |
//! | `stat_records.rs` | the stat request and directory reads in 9P2000 and 9P2000.u |
//! | `attributes.rs` | the wstat request in 9P2000 and 9P2000.u |
//! | `linux.rs` | the messages specific to 9P2000.L |
//!
//! A Tread is answered by one of two methods:
//!
//! - [`Session::try_answer_now`] copies data from the tree directly into the output buffer. This
//!   method serves in-memory files and uses neither a future nor the worker's buffer.
//! - [`Session::answer`] decodes the frame, awaits the handler and overwrites the request with the
//!   reply. This method is also used for directories, files that may block, and requests that fail.
//!
//! # Invariants
//!
//! Every handler follows the pattern *check, await, commit*. The handler copies what it needs from
//! the fid table and awaits the call to the tree. Before changing the fid, the handler looks it up
//! again, because another request may have clunked it in the meantime. The handler reserves a
//! `newfid` before its first await.

#[cfg(feature = "classic")]
mod attributes;
#[cfg(feature = "classic")]
mod create;
mod dispatch;
mod fids;
#[cfg(feature = "linux")]
mod linux;
mod namespace;
mod open_files;
mod reply;
#[cfg(feature = "classic")]
mod stat_records;

use core::cell::{Cell, RefCell};
use core::future::Future;

use dispatch::Call;
use fids::Access;
pub use fids::{FidArray, FidEntry, FidTable};
use open_files::{FileRead, read_data};
pub(crate) use reply::message_too_large;

use crate::vfs::{Error, TreeKind, Vfs};
use crate::wire::{self, Dialect, Tag};

/// The smallest msize, in bytes, that a session accepts. Every reply without data or long names
/// fits into a message of this size.
pub const MIN_MSIZE: u32 = 256;

/// The maximum number of bytes returned by one read of a file that [may block](Vfs::may_block).
/// Such files return little data at a time, and many reads of them may be pending simultaneously.
pub const MAX_BLOCKING_READ: usize = 4096;

/// The limits that a server imposes on a connection.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Limits {
    /// The maximum message size, in bytes. A Linux mount requires at least 4096 bytes.
    pub msize: u32,
    /// The maximum number of data bytes in one read or write. If this value is 0, the message size
    /// is the only limit.
    pub iounit: u32,
}

impl Limits {
    /// Creates limits with an msize of `msize` bytes. The amount of data in a read or write is not
    /// limited separately.
    #[must_use]
    pub const fn new(msize: u32) -> Limits {
        Limits { msize, iounit: 0 }
    }

    /// Sets the maximum number of data bytes in one read or write.
    #[must_use]
    pub const fn iounit(self, iounit: u32) -> Limits {
        Limits { iounit, ..self }
    }
}

impl Default for Limits {
    /// Returns limits with the msize that Linux requests, which is 128 KiB plus 24 bytes for the
    /// header.
    fn default() -> Limits {
        Limits::new(128 * 1024 + 24)
    }
}

/// The in-flight requests that a request aborts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aborts {
    /// The request aborts nothing.
    None,
    /// Tflush aborts the request with this tag.
    One(Tag),
    /// Tversion aborts every request.
    All,
}

/// Hooks for collecting metrics. A session calls the hooks for every request.
pub trait Observe {
    /// Records that the session is about to answer a request.
    ///
    /// Unless the request is cancelled, [`answered`](Observe::answered) is called later from the
    /// same future. An observer that knows which future is being polled can therefore match each
    /// call to `answered` with the corresponding call to `started`. To save flash, this method is
    /// never called for an [immutable tree](crate::vfs::ImmutableTree).
    fn started(&self) {}

    /// Records that the session has answered a request of type `kind`. `error` is `true` if the
    /// reply is an error.
    fn answered(&self, kind: u8, error: bool);
}

/// The state of one connection. The tree can be shared with other connections.
///
/// Dropping a session closes all files and directories that its fids have open.
/// [`close`](Session::close) also removes the files that were opened with ORCLOSE.
pub struct Session<'v, V: Vfs, F: FidTable<V>> {
    vfs: &'v V,
    fids: RefCell<F>,
    limits: Limits,
    dialect: Cell<Option<Dialect>>,
    msize: Cell<u32>,
    serial: Cell<u32>,
    attached: Cell<bool>,
    /// See [`take_repoll`](Session::take_repoll).
    repoll: Cell<bool>,
    observer: Option<&'v dyn Observe>,
}

impl<V: Vfs, F: FidTable<V>> core::fmt::Debug for Session<'_, V, F> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Session")
            .field("limits", &self.limits)
            .field("dialect", &self.dialect)
            .field("msize", &self.msize)
            .field("attached", &self.attached)
            .finish_non_exhaustive()
    }
}

impl<'v, V: Vfs, F: FidTable<V>> Session<'v, V, F> {
    /// Creates a session for a connection that has not negotiated a version yet.
    pub fn new(vfs: &'v V, fids: F, limits: Limits) -> Self {
        Session {
            vfs,
            fids: RefCell::new(fids),
            limits,
            dialect: Cell::new(None),
            msize: Cell::new(limits.msize),
            serial: Cell::new(0),
            attached: Cell::new(false),
            repoll: Cell::new(false),
            observer: None,
        }
    }

    /// Sets the observer that is called for every request.
    #[must_use]
    pub fn with_observer(mut self, observer: &'v dyn Observe) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Returns the negotiated dialect, or `None` before a successful Tversion.
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect.get()
    }

    /// Returns the maximum message size in bytes. The result is the server's limit until a version
    /// is negotiated, and the negotiated msize afterwards.
    pub fn msize(&self) -> u32 {
        self.msize.get()
    }

    /// Returns whether the client has attached successfully since it connected.
    pub fn attached(&self) -> bool {
        self.attached.get()
    }

    /// Returns the number of fids in use.
    pub fn fids(&self) -> usize {
        self.fids.borrow().len()
    }

    /// Answers the request in `buf[..len]`, overwrites it with the reply, and returns the length of
    /// the reply. Every request receives a reply, which may be an error.
    ///
    /// The future stays pending while a read of the file blocks.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request without leaking a fid or losing data.
    pub fn answer<'b>(&'b self, buf: &'b mut [u8], len: usize) -> impl Future<Output = usize> {
        let tag = wire::tag(buf.get(..len).unwrap_or_default());
        let mut call = Call { buf: self.within_msize(buf), len, tag };
        // This is not an `async fn`, because the future of an `async fn` would contain the
        // arguments twice.
        async move {
            let kind = wire::kind(call.frame());
            self.notify_start();
            let reply = 'reply: {
                if let Err(error) = self.check_request(&call) {
                    break 'reply Err(error);
                }
                // Use `let ... else` instead of `match`, because the scrutinee of a `match` would
                // be stored in the `Future`.
                let Some(FileRead { fid, serial, open, offset, count }) =
                    self.decode_file_read(&call)
                else {
                    if V::TreeKind::WRITES_WAIT && matches!(kind, wire::TWRITE | wire::TCLUNK) {
                        let answer =
                            V::TreeKind::transfer(&mut call, |call| self.write_or_clunk(call));
                        break 'reply answer.await;
                    }
                    break 'reply self.dispatch(&mut call).await;
                };
                let still_open = self.check_open_while_reading(fid, serial);
                let read = self.vfs.read(&open, offset, read_data(call.buf, count));
                // In an immutable tree, only this read can wait, so the future for the whole
                // request is small.
                let read = V::TreeKind::wait_while(read, still_open).await;
                read.map(|n| {
                    wire::finish_read(call.buf, wire::RREAD, call.tag, n);
                })
            };
            self.notify_done(kind, reply.is_err());
            match reply {
                // A reply begins with its size.
                Ok(()) => {
                    call.buf.first_chunk().map_or(0, |size| u32::from_le_bytes(*size) as usize)
                }
                Err(error) => self.encode_error(call.buf, call.tag, &error),
            }
        }
    }

    /// Answers the request at the start of `buf` with `error`, without decoding the request.
    /// Overwrites the request with the reply and returns the length of the reply.
    pub fn refuse(&self, buf: &mut [u8], error: &Error) -> usize {
        self.notify_start();
        self.notify_done(wire::kind(buf), true);
        self.encode_error(buf, wire::tag(buf), error)
    }

    /// Returns whether a fid that may have had pending reads has been released since the last call
    /// to this method. A pending read of a released fid fails when it is polled again.
    pub fn take_repoll(&self) -> bool {
        self.repoll.take()
    }

    fn notify_start(&self) {
        if let (false, Some(observer)) = (V::TreeKind::IMMUTABLE, self.observer) {
            observer.started();
        }
    }

    fn notify_done(&self, kind: u8, error: bool) {
        if let Some(observer) = self.observer {
            observer.answered(kind, error);
        }
    }

    /// Shuts down the session cleanly. Releases every fid, and waits for the tree to remove the
    /// files that were opened with ORCLOSE.
    ///
    /// # Cancel safety
    /// If the future is dropped, the remaining files are not removed. These files are closed when
    /// the session is dropped.
    pub async fn close(&self) {
        while let Some(fid) = self.pop_fid() {
            if !V::TreeKind::IMMUTABLE && fid.state.has(Access::REMOVE) {
                // The peer has disconnected, so the error cannot be reported.
                let _ = self.remove_file(&fid).await;
            }
        }
    }
}

impl<V: Vfs, F: FidTable<V>> Drop for Session<'_, V, F> {
    fn drop(&mut self) {
        while self.pop_fid().is_some() {}
    }
}
