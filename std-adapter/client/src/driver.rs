//! A connection's reader and writer tasks, and the state that they share with callers.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use datakit_core::wire::{self, Dialect, Fid as FidNumber, HEADER, RATTACH, RWALK, Tag, Tmessage};
use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Span, debug, info};

use super::error::{Disconnect, Error, ProtocolError, Result};
use super::tags::{OnReply, ReplyAction, TagPool};

/// A buffer size, in bytes, that is sufficient for most messages that carry no file data.
const USUAL_SIZE: usize = 1024;

/// The maximum number of queued bytes. Callers wait before sending while the queue is full.
const MAX_BACKLOG: usize = 1 << 20;

/// How long to wait for the server to close its half of the connection. This limit also applies to
/// a write that stalls after the last handle has been dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The reader or writer task of a connection. The tasks are boxed so that tokio's code is compiled
/// for only one type of task, even though each transport has its own reader and writer types.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The state shared by a connection's callers and its two tasks.
pub(super) struct Driver {
    state: Mutex<DriverState>,
    /// A notification that wakes the writer task.
    wake_writer: Notify,
    /// A token that is cancelled when the last handle is dropped.
    unused: CancellationToken,
    /// A token that is cancelled when the connection is lost.
    lost: CancellationToken,
    /// A token that is cancelled when the connection has closed and both tasks have finished.
    ended: CancellationToken,
    /// The tracing span, which records the peer and the dialect.
    span: Span,
}

/// The state protected by the lock.
pub(super) struct DriverState {
    pub(super) tags: TagPool,
    pub(super) fids: FidPool,
    /// Encoded requests that the writer task has not yet started to write.
    out: Vec<u8>,
    /// The wakers of callers waiting for room in `out`. Each key consists of the addresses of a
    /// waker's data and vtable.
    backlogged: HashMap<(usize, usize), Waker>,
    dialect: Dialect,
    msize: usize,
    /// `true` once the last handle has been dropped or the connection has been lost.
    closing: bool,
    lost: Option<Disconnect>,
}

/// A connection's fid numbers. Freed numbers are reused before new ones are allocated.
pub(super) struct FidPool {
    free: Vec<FidNumber>,
    next: u32,
}

impl FidPool {
    pub(super) fn acquire(&mut self) -> Result<FidNumber> {
        if let Some(fid) = self.free.pop() {
            return Ok(fid);
        }
        let fid = FidNumber(self.next);
        if fid == FidNumber::NONE {
            return Err(Error::Unsupported("all fid numbers are in use"));
        }
        self.next += 1;
        Ok(fid)
    }

    pub(super) fn release(&mut self, fid: FidNumber) {
        self.free.push(fid);
    }
}

impl Driver {
    /// Takes ownership of both halves of a connection and spawns its two tasks on the current
    /// runtime.
    pub(super) fn start<R, W>(
        reader: R,
        writer: W,
        dialect: Dialect,
        msize: u32,
        span: Span,
    ) -> Arc<Driver>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let state = DriverState {
            tags: TagPool::default(),
            fids: FidPool { free: Vec::new(), next: 0 },
            out: Vec::new(),
            backlogged: HashMap::new(),
            dialect,
            msize: msize as usize,
            closing: false,
            lost: None,
        };
        let driver = Arc::new(Driver {
            state: Mutex::new(state),
            wake_writer: Notify::new(),
            unused: CancellationToken::new(),
            lost: CancellationToken::new(),
            ended: CancellationToken::new(),
            span,
        });
        let mut reading = JoinSet::new();
        let read: Task = Box::pin(read(Arc::clone(&driver), reader, msize as usize));
        reading.spawn(read);
        let write: Task = Box::pin(write(Arc::clone(&driver), writer, reading));
        tokio::spawn(write);
        driver
    }

    pub(super) fn state(&self) -> MutexGuard<'_, DriverState> {
        self.state.lock()
    }

    /// Wakes the writer task, which then writes all queued requests.
    pub(super) fn wake_writer(&self) {
        self.wake_writer.notify_one();
    }

    /// Closes the connection after writing all queued requests.
    pub(super) fn close(&self) {
        self.state().closing = true;
        self.unused.cancel();
        self.wake_writer();
    }

    /// Returns a token that is cancelled when the connection closes.
    pub(super) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Waits until there is room in the write queue.
    pub(super) fn poll_reserve(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.out.len() < MAX_BACKLOG {
            return Poll::Ready(());
        }
        let waker = cx.waker();
        let identity = (waker.data().addr(), std::ptr::from_ref(waker.vtable()).addr());
        state.backlogged.entry(identity).or_insert_with(|| waker.clone());
        Poll::Pending
    }

    /// Fails all pending and future requests.
    fn disconnect(&self, reason: Disconnect) {
        let mut state = self.state();
        let first = state.lost.is_none();
        if first {
            state.lost = Some(reason.clone());
        }
        let closed_here = std::mem::replace(&mut state.closing, true);
        state.out.clear();
        let mut wakers = state.tags.wakers();
        wakers.extend(std::mem::take(&mut state.backlogged).into_values());
        drop(state);
        self.lost.cancel();
        wakers.into_iter().for_each(Waker::wake);
        self.wake_writer();
        if first && !closed_here {
            self.span.in_scope(|| info!(%reason, "lost the connection"));
        }
    }
}

impl DriverState {
    /// Encodes a request for the writer task. Returns the request's tag and type byte.
    pub(super) fn send(&mut self, message: &Tmessage<'_>, on_reply: OnReply) -> Result<(Tag, u8)> {
        self.check_connected()?;
        let tag = self.tags.acquire(on_reply)?;
        let start = self.out.len();
        if let Err(error) = self.encode(tag, message) {
            self.tags.release(tag);
            return Err(error);
        }
        Ok((tag, self.out.get(start..).map_or(0, wire::kind)))
    }

    pub(super) fn check_connected(&self) -> Result<()> {
        self.lost.clone().map_or(Ok(()), |reason| Err(Error::Lost(reason)))
    }

    fn encode(&mut self, tag: Tag, message: &Tmessage<'_>) -> Result<()> {
        let start = self.out.len();
        let data = if let Tmessage::Write { data, .. } = message { data.0.len() } else { 0 };
        for size in [(USUAL_SIZE + data).min(self.msize), self.msize] {
            self.out.resize(start + size, 0);
            let free = self.out.get_mut(start..).unwrap_or_default();
            if let Ok(length) = message.encode(tag, self.dialect, free) {
                self.out.truncate(start + length);
                return Ok(());
            }
        }
        self.out.truncate(start);
        Err(Error::Unsupported("the request is longer than the msize of the connection"))
    }

    /// Clunks a fid in the background.
    pub(super) fn clunk(&mut self, fid: FidNumber) {
        let _ = self
            .send(&Tmessage::Clunk { fid }, OnReply::FreesFid(fid))
            .map(|(tag, _)| self.tags.detach(tag));
    }

    /// Flushes a request that was dropped by its caller.
    pub(super) fn flush(&mut self, oldtag: Tag) {
        match self.send(&Tmessage::Flush { oldtag }, OnReply::FreesTag(oldtag)) {
            Ok((tag, _)) => {
                self.tags.start_flush(oldtag);
                self.tags.detach(tag);
            }
            // The Tflush was not sent, so the request's tag remains in use until the reply arrives.
            Err(_) => self.tags.detach(oldtag),
        }
    }

    /// Applies the effect of a reply to a request that was dropped by its caller. `frame` is `None`
    /// if the request was flushed before a reply arrived.
    pub(super) fn apply(&mut self, on_reply: OnReply, frame: Option<&[u8]>) {
        match on_reply {
            OnReply::Nothing => {}
            OnReply::CreatesFid { fid, names }
                if frame.is_some_and(|frame| creates_fid(frame, names)) =>
            {
                self.clunk(fid)
            }
            OnReply::CreatesFid { fid, .. } => self.fids.release(fid),
            OnReply::FreesFid(fid) if frame.is_some() => self.fids.release(fid),
            OnReply::FreesFid(fid) => self.clunk(fid),
            OnReply::FreesTag(oldtag) => {
                if let Some(on_reply) = self.tags.flushed(oldtag) {
                    self.apply(on_reply, None);
                }
            }
        }
    }

    fn receive(&mut self, frame: &Bytes) -> Result<Option<Waker>, ProtocolError> {
        match self.tags.receive(wire::tag(frame), frame)? {
            ReplyAction::Wake(waker) => return Ok(Some(waker)),
            ReplyAction::Apply(on_reply) => self.apply(on_reply, Some(frame)),
        }
        Ok(None)
    }
}

/// Returns `true` if the reply in `frame` confirms that the new fid was created. The request must
/// be a Tattach, or a Twalk with `names` names.
pub(super) fn creates_fid(frame: &[u8], names: u16) -> bool {
    match wire::kind(frame) {
        RATTACH => true,
        RWALK => frame.get(HEADER..HEADER + 2) == Some(&names.to_le_bytes()[..]),
        _ => false,
    }
}

/// Runs the reader task.
async fn read(driver: Arc<Driver>, mut reader: impl AsyncRead + Unpin, msize: usize) {
    let mut buffer = BytesMut::with_capacity(msize.min(1 << 16));
    let reason = loop {
        match reader.read_buf(&mut buffer).await {
            Ok(0) => break Disconnect::Closed,
            Ok(_) => {}
            Err(error) => break error.into(),
        }
        if let Err(violation) = receive_all(&driver, &mut buffer, msize) {
            break violation.into();
        }
        buffer.reserve(4096);
    };
    driver.disconnect(reason);
}

/// Passes each complete frame in `buffer` to the caller waiting for it.
fn receive_all(driver: &Driver, buffer: &mut BytesMut, msize: usize) -> Result<(), ProtocolError> {
    // Call the wakers only after releasing the lock. Calling a waker can drop the last reference to
    // its task. The task then drops its calls, and dropping a call acquires the lock.
    let mut wakers = Vec::new();
    let result = receive_locked(&mut driver.state(), buffer, msize, &mut wakers);
    wakers.into_iter().for_each(Waker::wake);
    // Applying a reply may have queued a Tclunk.
    if !driver.state().out.is_empty() {
        driver.wake_writer();
    }
    result
}

fn receive_locked(
    state: &mut DriverState,
    buffer: &mut BytesMut,
    msize: usize,
    wakers: &mut Vec<Waker>,
) -> Result<(), ProtocolError> {
    while let Some(size) = buffer.first_chunk::<4>() {
        let size = u32::from_le_bytes(*size) as usize;
        if size < HEADER || size > msize {
            return Err(ProtocolError::FrameSize { size, msize });
        }
        if buffer.len() < size {
            buffer.reserve(size - buffer.len());
            break;
        }
        let frame = buffer.split_to(size).freeze();
        wakers.extend(state.receive(&frame)?);
    }
    Ok(())
}

/// Runs the writer task. Dropping this task's future also stops the reader task.
async fn write(driver: Arc<Driver>, mut writer: impl AsyncWrite + Unpin, mut reading: JoinSet<()>) {
    let mut batch = Vec::new();
    loop {
        driver.wake_writer.notified().await;
        // Let other ready tasks add their requests to the batch.
        tokio::task::yield_now().await;
        let (closing, backlogged) = {
            let mut state = driver.state();
            std::mem::swap(&mut batch, &mut state.out);
            (state.closing, std::mem::take(&mut state.backlogged))
        };
        backlogged.into_values().for_each(Waker::wake);
        if let Err(reason) = write_batch(&driver, &mut writer, &batch).await {
            driver.disconnect(reason);
        }
        batch.clear();
        if closing {
            break;
        }
    }
    // Read until EOF, because closing a socket that has unread data would reset the connection.
    let end = async {
        let _ = writer.shutdown().await;
        let _ = reading.join_next().await;
    };
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, end).await;
    driver.span.in_scope(|| debug!("closed the connection"));
    driver.ended.cancel();
}

/// Writes and flushes `batch`. Writing has a timeout only after the last handle has been dropped.
async fn write_batch(
    driver: &Driver,
    writer: &mut (impl AsyncWrite + Unpin),
    mut batch: &[u8],
) -> Result<(), Disconnect> {
    while !batch.is_empty() {
        let count = unless_stuck(driver, writer.write(batch)).await?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::WriteZero).into());
        }
        batch = batch.get(count..).unwrap_or_default();
    }
    unless_stuck(driver, writer.flush()).await
}

async fn unless_stuck<T>(
    driver: &Driver,
    writing: impl Future<Output = io::Result<T>>,
) -> Result<T, Disconnect> {
    let stuck = async {
        driver.unused.cancelled().await;
        tokio::time::sleep(CLOSE_TIMEOUT).await;
    };
    tokio::select! {
        biased;
        written = writing => Ok(written?),
        () = driver.lost.cancelled() => Err(Disconnect::Closed),
        () = stuck => Err(Disconnect::Stuck),
    }
}
