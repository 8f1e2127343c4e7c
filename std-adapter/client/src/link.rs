//! One connection: who reads the socket, who writes it, and how a reply finds its request.
//!
//! ```text
//! calls -> encode into `out` -> writer task, everything there is in one write -> socket
//! calls <- slot of the tag  <- reader task <- socket
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use datakit_core::wire::{self, Dialect, Fid, Rmessage, Tag, Tmessage};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::error::{Error, Result};
use super::metadata::shown;
use super::tags::Then;
use super::wires::{self, Wires, established};

/// Requests wait while this many bytes wait to be written.
const BACKLOG: usize = 1 << 20;

/// What all handles of one connection share. Dropping the last one lets the writer finish and
/// closes the connection.
pub(crate) struct Link {
    wires: Arc<Wires>,
    pub(crate) dialect: Dialect,
    /// The longest message, in bytes.
    pub(crate) msize: u32,
    /// The group of what is made, in .L.
    pub(crate) gid: u32,
}

impl Link {
    /// Takes the two halves of a connection over once the version is agreed. Spawns two tasks on
    /// the current runtime.
    pub(crate) fn start<R, W>(
        reader: R,
        writer: W,
        dialect: Dialect,
        msize: u32,
        gid: u32,
    ) -> Arc<Link>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let wires = Wires::new(dialect, msize);
        let reading = tokio::spawn(wires::read(Arc::clone(&wires), reader, msize as usize));
        tokio::spawn(wires::write(Arc::clone(&wires), writer, reading));
        Arc::new(Link { wires, dialect, msize, gid })
    }

    /// Sends a request. Waits while too much waits to be written, then for the reply, which may be
    /// an error reply.
    ///
    /// Dropped before the reply is there, it sends Tflush; the tag is free again after Rflush.
    pub(crate) async fn call(self: &Arc<Link>, message: &Tmessage<'_>) -> Result<Bytes> {
        self.room().await;
        self.submit(message, Then::Nothing)?.await
    }

    /// A request that makes a fid: `message` is given its number.
    pub(crate) async fn call_making<'m>(
        self: &Arc<Link>,
        names: usize,
        message: impl FnOnce(Fid) -> Tmessage<'m>,
    ) -> Result<(Bytes, Option<Handle>)> {
        self.room().await;
        let fid = self.wires.state().fids.take()?;
        let names = u16::try_from(names).unwrap_or(u16::MAX);
        let call = self
            .submit(&message(fid), Then::Makes { fid, names })
            .inspect_err(|_| self.wires.state().fids.free.push(fid))?;
        let frame = call.await?;
        let made = established(&frame, names).then(|| Handle { link: Arc::clone(self), fid });
        Ok((frame, made))
    }

    /// Tremove or Tclunk, which free the fid whatever the reply is.
    pub(crate) async fn call_freeing(
        self: &Arc<Link>,
        handle: Handle,
        message: fn(Fid) -> Tmessage<'static>,
    ) -> Result<Bytes> {
        self.room().await;
        let call = self.submit(&message(handle.fid), Then::Frees(handle.fid))?;
        handle.forget();
        call.await
    }

    /// Cancelled once the connection is closed.
    pub(crate) fn ended(&self) -> CancellationToken {
        self.wires.ended.clone()
    }

    pub(crate) async fn room(&self) {
        loop {
            let taken = self.wires.taken.notified();
            tokio::pin!(taken);
            taken.as_mut().enable();
            if self.wires.state().out.len() < BACKLOG {
                return;
            }
            taken.await;
        }
    }

    /// Sends at once and leaves the waiting to the caller.
    pub(crate) fn submit(self: &Arc<Link>, message: &Tmessage<'_>, then: Then) -> Result<Call> {
        let mut state = self.wires.state();
        let start = state.out.len();
        let tag = state.send(message, then)?;
        let kind = state.out.get(start..).map_or(0, wire::kind);
        drop(state);
        self.wires.wake.notify_one();
        Ok(Call { link: Arc::clone(self), tag, kind, waiting: true })
    }

    /// Decodes a reply; an error reply becomes the error.
    pub(crate) fn decode<'f>(&self, frame: &'f [u8]) -> Result<Rmessage<'f>> {
        match Rmessage::decode(frame, self.dialect) {
            Ok((_, Rmessage::Error { ename, errno })) => Err(Error::reply(errno.0, shown(ename))),
            Ok((_, Rmessage::Lerror { ecode })) => Err(Error::number(ecode)),
            Ok((_, message)) => Ok(message),
            Err(malformed) => {
                Err(Error::protocol(format_args!("a reply that cannot be read: {malformed}")))
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.wires.state().closing = true;
        self.wires.unused.cancel();
        self.wires.wake.notify_one();
    }
}

/// A fid that exists. Dropping it clunks it in the background.
pub(crate) struct Handle {
    pub(crate) link: Arc<Link>,
    pub(crate) fid: Fid,
}

impl Handle {
    fn forget(mut self) {
        self.fid = Fid::NONE;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.fid != Fid::NONE {
            self.link.wires.state().clunk(self.fid);
            self.link.wires.wake.notify_one();
        }
    }
}

/// A request under way. Owns its tag until the reply is taken.
pub(crate) struct Call {
    link: Arc<Link>,
    tag: Tag,
    /// The type of the request.
    kind: u8,
    waiting: bool,
}

impl Future for Call {
    type Output = Result<Bytes>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Bytes>> {
        // Outlives the lock: a waker may be the last that holds a task, and dropping that one's
        // calls takes the lock.
        let mut waker = cx.waker().clone();
        let link = Arc::clone(&self.link);
        let mut state = link.wires.state();
        if let Some((then, frame)) = state.tags.poll(self.tag, &mut waker) {
            self.waiting = false;
            answers(&frame, self.kind)?;
            match then {
                Then::Makes { fid, names } if !established(&frame, names) => {
                    state.fids.free.push(fid)
                }
                Then::Frees(fid) => state.fids.free.push(fid),
                _ => {}
            }
            return Poll::Ready(Ok(frame));
        }
        match &state.lost {
            Some(lost) => Poll::Ready(Err(lost.clone())),
            None => Poll::Pending,
        }
    }
}

/// Whether a reply is one to a request of this type. What another one did to the request's fid is
/// not known: it is not used again.
fn answers(frame: &[u8], request: u8) -> Result<()> {
    match wire::kind(frame) {
        wire::RLERROR | wire::RERROR => Ok(()),
        kind if kind == request.wrapping_add(1) => Ok(()),
        kind => Err(Error::protocol(format_args!(
            "a reply of type {kind} to a request of type {request}"
        ))),
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.waiting {
            return;
        }
        let mut waker = Waker::noop().clone();
        let mut state = self.link.wires.state();
        if state.lost.is_some() {
            return;
        }
        // Answered, but nobody looked: settled as if it had come later.
        if let Some((then, frame)) = state.tags.poll(self.tag, &mut waker) {
            state.settle(then, Some(&frame));
        } else {
            state.flush(self.tag);
        }
        drop(state);
        self.link.wires.wake.notify_one();
    }
}
