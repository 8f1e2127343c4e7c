//! A connection, which assigns tags and fids to requests and delivers each reply to the caller that
//! sent the request.
//!
//! ```text
//! calls -> encode into `out` -> writer task, all pending requests in one write -> socket
//! calls <- state of the tag  <- reader task <- socket
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use datakit_core::wire::{
    self, Attr, Dialect, Fid as FidNumber, RERROR, RLERROR, Rmessage, Stat, Str, Tag, Tmessage,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::byte_string::ByteString;
use super::driver::{Driver, creates_fid};
use super::error::{Error, ProtocolError, Result};
use super::metadata::{FileType, Metadata, lossy, unchanged_stat};
use super::tags::OnReply;

/// The state shared by all handles to a connection. Dropping the last handle closes the connection
/// once all queued requests have been written.
pub(crate) struct Connection {
    driver: Arc<Driver>,
    pub(crate) dialect: Dialect,
    /// The maximum message length in bytes.
    pub(crate) msize: u32,
    /// The group id for new files in 9P2000.L.
    pub(crate) gid: u32,
}

impl Connection {
    /// Starts using a connection after version negotiation. Takes ownership of both halves of the
    /// connection and spawns two tasks on the current runtime.
    pub(crate) fn start<R, W>(
        reader: R,
        writer: W,
        (dialect, msize): (Dialect, u32),
        gid: u32,
        span: Span,
    ) -> Arc<Connection>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let driver = Driver::start(reader, writer, dialect, msize, span);
        Arc::new(Connection { driver, dialect, msize, gid })
    }

    /// Sends a request and waits for the reply, which may be an error reply. Waits before sending
    /// if too many bytes are queued for writing.
    ///
    /// Dropping the future cancels the request with Tflush. The tag can be reused after Rflush
    /// arrives.
    pub(crate) async fn call(self: &Arc<Connection>, message: &Tmessage<'_>) -> Result<Bytes> {
        self.reserve().await;
        self.submit(message)?.await
    }

    /// Renames the file referred to by `fid` within its directory.
    pub(crate) async fn set_name(self: &Arc<Self>, fid: FidNumber, name: &[u8]) -> Result<()> {
        if self.dialect == Dialect::Linux {
            return Err(Error::Unsupported("9P2000.L renames in two directories only"));
        }
        let stat = Stat { name: Str(name), ..unchanged_stat() };
        self.call_for_unit(&Tmessage::Wstat { fid, stat }).await
    }

    /// Sends a request whose reply has no fields.
    pub(crate) async fn call_for_unit(
        self: &Arc<Connection>,
        message: &Tmessage<'_>,
    ) -> Result<()> {
        let frame = self.call(message).await?;
        self.decode(&frame).map(drop)
    }

    /// Sends a request that creates a fid. The `message` closure builds the request from the fid's
    /// number.
    pub(crate) async fn call_creating<'m>(
        self: &Arc<Connection>,
        names: usize,
        message: impl FnOnce(FidNumber) -> Tmessage<'m>,
    ) -> Result<(Bytes, Option<OwnedFid>)> {
        self.reserve().await;
        let fid = self.driver.state().fids.acquire()?;
        let names = u16::try_from(names).unwrap_or(u16::MAX);
        let call = self
            .submit_with(&message(fid), OnReply::CreatesFid { fid, names })
            .inspect_err(|_| self.driver.state().fids.release(fid))?;
        let frame = call.await?;
        let created = creates_fid(&frame, names)
            .then(|| OwnedFid { connection: Arc::clone(self), number: fid });
        Ok((frame, created))
    }

    /// Sends Tremove or Tclunk, which free the fid regardless of the reply.
    pub(crate) async fn call_freeing(
        self: &Arc<Connection>,
        fid: OwnedFid,
        message: fn(FidNumber) -> Tmessage<'static>,
    ) -> Result<()> {
        self.reserve().await;
        let call = self.submit_with(&message(fid.number), OnReply::FreesFid(fid.number))?;
        fid.forget();
        let frame = call.await?;
        self.decode(&frame).map(drop)
    }

    /// Returns a token that is cancelled when the connection closes.
    pub(crate) fn ended(&self) -> CancellationToken {
        self.driver.ended()
    }

    async fn reserve(&self) {
        std::future::poll_fn(|cx| self.poll_reserve(cx)).await;
    }

    /// Waits until there is room in the queue of bytes to be written.
    pub(crate) fn poll_reserve(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.driver.poll_reserve(cx)
    }

    /// Sends a request without waiting. The caller must have reserved space in the queue.
    pub(crate) fn submit(self: &Arc<Connection>, message: &Tmessage<'_>) -> Result<Call> {
        self.submit_with(message, OnReply::Nothing)
    }

    fn submit_with(
        self: &Arc<Connection>,
        message: &Tmessage<'_>,
        on_reply: OnReply,
    ) -> Result<Call> {
        let (tag, request) = self.driver.state().send(message, on_reply)?;
        self.driver.wake_writer();
        Ok(Call { connection: Arc::clone(self), tag, request, pending: true })
    }

    /// Decodes a reply and converts an error reply to an [`Error`].
    pub(crate) fn decode<'f>(&self, frame: &'f [u8]) -> Result<Rmessage<'f>> {
        match Rmessage::decode(frame, self.dialect) {
            Ok((_, Rmessage::Error { ename, errno })) => {
                Err(Error::from_reply(errno.0, lossy(ename)))
            }
            Ok((_, Rmessage::Lerror { ecode })) => Err(Error::from_errno(ecode)),
            Ok((_, message)) => Ok(message),
            Err(malformed) => Err(ProtocolError::Malformed(malformed).into()),
        }
    }

    /// Sends Tstat or Tgetattr. For a symbolic link, also reads the target.
    pub(crate) async fn stat(self: &Arc<Connection>, fid: FidNumber) -> Result<Metadata> {
        let message = match self.dialect {
            Dialect::Linux => Tmessage::Getattr { fid, mask: Attr::BASIC },
            _ => Tmessage::Stat { fid },
        };
        let frame = self.call(&message).await?;
        match self.decode(&frame)? {
            Rmessage::Stat { stat } => Ok(Metadata::from_stat(&stat)),
            Rmessage::Getattr { attr } => {
                let mut metadata = Metadata::from_attr(&attr);
                if metadata.kind == FileType::Symlink {
                    metadata.target = self.read_link(fid).await.ok();
                }
                Ok(metadata)
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Sends Treadlink.
    pub(crate) async fn read_link(self: &Arc<Connection>, fid: FidNumber) -> Result<ByteString> {
        let frame = self.call(&Tmessage::Readlink { fid }).await?;
        match self.decode(&frame)? {
            Rmessage::Readlink { target } => Ok(target.into()),
            other => Err(unexpected(&other)),
        }
    }
}

/// Returns the error for a reply that does not match the request.
pub(crate) fn unexpected(message: &Rmessage<'_>) -> Error {
    Error::invalid_reply(format!("unexpected reply: {message:?}"))
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.close();
    }
}

/// A fid on the server. Dropping this handle clunks the fid in the background.
pub(crate) struct OwnedFid {
    pub(crate) connection: Arc<Connection>,
    pub(crate) number: FidNumber,
}

impl OwnedFid {
    fn forget(mut self) {
        self.number = FidNumber::NONE;
    }
}

impl Drop for OwnedFid {
    fn drop(&mut self) {
        if self.number != FidNumber::NONE {
            self.connection.driver.state().clunk(self.number);
            self.connection.driver.wake_writer();
        }
    }
}

/// A pending request. It owns its tag until the reply has been received.
pub(crate) struct Call {
    connection: Arc<Connection>,
    tag: Tag,
    /// The request's type byte.
    request: u8,
    pending: bool,
}

impl Future for Call {
    type Output = Result<Bytes>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Bytes>> {
        // The waker must not be dropped until the lock has been released. If the waker is the last
        // reference to a task, dropping it also drops the task's calls, and dropping a call
        // acquires the lock.
        let mut waker = cx.waker().clone();
        let connection = Arc::clone(&self.connection);
        let mut state = connection.driver.state();
        if let Some((on_reply, frame)) = state.tags.poll_reply(self.tag, &mut waker) {
            self.pending = false;
            check_type(&frame, self.request)?;
            match on_reply {
                OnReply::CreatesFid { fid, names } if !creates_fid(&frame, names) => {
                    state.fids.release(fid)
                }
                OnReply::FreesFid(fid) => state.fids.release(fid),
                _ => {}
            }
            return Poll::Ready(Ok(frame));
        }
        match state.check_connected() {
            Ok(()) => Poll::Pending,
            Err(lost) => Poll::Ready(Err(lost)),
        }
    }
}

/// Checks that the type of a reply matches the type of the request. If the types do not match, the
/// state of the request's fid is unknown, so the fid number is not reused.
fn check_type(frame: &[u8], request: u8) -> Result<()> {
    match wire::kind(frame) {
        RLERROR | RERROR => Ok(()),
        reply if reply == request.wrapping_add(1) => Ok(()),
        reply => Err(ProtocolError::UnexpectedReply { request, reply }.into()),
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.pending {
            return;
        }
        let mut waker = Waker::noop().clone();
        let mut state = self.connection.driver.state();
        if state.check_connected().is_err() {
            return;
        }
        // If the reply has already arrived, process it as if it had arrived after the call was
        // dropped.
        if let Some((on_reply, frame)) = state.tags.poll_reply(self.tag, &mut waker) {
            state.apply(on_reply, Some(&frame));
        } else {
            state.flush(self.tag);
        }
        drop(state);
        self.connection.driver.wake_writer();
    }
}
