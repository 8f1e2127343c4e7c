//! One connection: who reads the socket, who writes it, and how a reply finds its request.
//!
//! ```text
//! calls -> encode into `out` -> writer task, everything there is in one write -> socket
//! calls <- slot of the tag  <- reader task <- socket
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use datakit_core::wire::{Dialect, Fid, HEADER, Rmessage, Tag, Tmessage};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::error::{Error, Result};
use super::metadata::text;
use super::tags::{Answer, Tags, Then};

/// Requests wait while this many bytes wait to be written.
const BACKLOG: usize = 1 << 20;

/// The message that fits nearly everything but data.
const USUAL: usize = 1024;

/// What all handles of one connection share. Dropping the last one lets the writer finish and closes the connection.
pub(crate) struct Link {
    wires: Arc<Wires>,
    pub(crate) dialect: Dialect,
    /// The longest message, in bytes.
    pub(crate) msize: u32,
    /// The group of what is made, in .L.
    pub(crate) gid: u32,
}

/// What the two tasks know.
struct Wires {
    state: Mutex<State>,
    /// There is something to write, or to stop for.
    wake: Notify,
    /// `out` was taken.
    taken: Notify,
}

struct State {
    tags: Tags,
    fids: Fids,
    out: Vec<u8>,
    dialect: Dialect,
    msize: usize,
    closing: bool,
    lost: Option<Error>,
}

/// The numbers of fids: the freed ones first.
struct Fids {
    free: Vec<Fid>,
    next: u32,
}

impl Fids {
    fn take(&mut self) -> Result<Fid> {
        if let Some(fid) = self.free.pop() {
            return Ok(fid);
        }
        let fid = Fid(self.next);
        if fid == Fid::NONE {
            return Err(Error::Unsupported("all numbers of fids are in use"));
        }
        self.next += 1;
        Ok(fid)
    }
}

impl Wires {
    /// Nothing inside of the lock panics half-way.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection is gone: everything that waits or comes later fails.
    fn lose(&self, why: Error) {
        let mut state = self.state();
        if state.lost.is_none() {
            state.lost = Some(why);
        }
        state.closing = true;
        state.out.clear();
        let wakers = state.tags.wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        self.wake.notify_one();
        self.taken.notify_waiters();
    }
}

impl State {
    fn send(&mut self, message: &Tmessage<'_>, then: Then) -> Result<Tag> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        let tag = self.tags.take(then)?;
        let sent = self.encode(tag, message);
        if sent.is_err() {
            self.tags.free(tag);
        }
        sent.map(|()| tag)
    }

    fn encode(&mut self, tag: Tag, message: &Tmessage<'_>) -> Result<()> {
        let start = self.out.len();
        let data = if let Tmessage::Write { data, .. } = message { data.0.len() } else { 0 };
        for room in [(USUAL + data).min(self.msize), self.msize] {
            self.out.resize(start + room, 0);
            let free = self.out.get_mut(start..).unwrap_or_default();
            if let Ok(length) = message.encode(tag, self.dialect, free) {
                self.out.truncate(start + length);
                return Ok(());
            }
        }
        self.out.truncate(start);
        Err(Error::Unsupported("the request is longer than the msize of the connection"))
    }

    /// Nobody waits for what these change.
    fn clunk(&mut self, fid: Fid) {
        let _ = self.send(&Tmessage::Clunk { fid }, Then::Frees(fid)).map(|tag| self.tags.background(tag));
    }

    /// Nobody waits for this request any more.
    fn flush(&mut self, oldtag: Tag) {
        match self.send(&Tmessage::Flush { oldtag }, Then::Flushes(oldtag)) {
            Ok(tag) => {
                self.tags.leave(oldtag);
                self.tags.background(tag);
            }
            // No tag is left for the flush: the reply has to come by itself.
            Err(_) => self.tags.background(oldtag),
        }
    }

    /// The reply to a request that nobody waits for any more, or none (`None`: it was flushed).
    fn settle(&mut self, then: Then, frame: Option<&[u8]>) {
        match then {
            Then::Nothing => {}
            Then::Makes { fid, names } if frame.is_some_and(|frame| established(frame, names)) => self.clunk(fid),
            Then::Makes { fid, .. } => self.fids.free.push(fid),
            Then::Frees(fid) if frame.is_some() => self.fids.free.push(fid),
            Then::Frees(fid) => self.clunk(fid),
            Then::Flushes(oldtag) => {
                if let Some(then) = self.tags.flushed(oldtag) {
                    self.settle(then, None);
                }
            }
        }
    }

    fn dispatch(&mut self, frame: &Bytes) -> Result<Option<Waker>> {
        match self.tags.reply(datakit_core::wire::tag(frame), frame)? {
            Answer::Wakes(waker) => return Ok(Some(waker)),
            Answer::Settles(then) => self.settle(then, Some(frame)),
        }
        Ok(None)
    }
}

const RATTACH: u8 = 105;
const RWALK: u8 = 111;

/// Whether this reply makes the new fid of an attach or a walk of so many names.
fn established(frame: &[u8], names: u16) -> bool {
    match datakit_core::wire::kind(frame) {
        RATTACH => true,
        RWALK => frame.get(HEADER..HEADER + 2) == Some(&names.to_le_bytes()[..]),
        _ => false,
    }
}

impl Link {
    /// Takes the two halves of a connection over once the version is agreed. Spawns two tasks on the current runtime.
    pub(crate) fn start<R, W>(reader: R, writer: W, dialect: Dialect, msize: u32, gid: u32) -> Arc<Link>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let state = State {
            tags: Tags::default(),
            fids: Fids { free: Vec::new(), next: 0 },
            out: Vec::new(),
            dialect,
            msize: msize as usize,
            closing: false,
            lost: None,
        };
        let wires = Arc::new(Wires { state: Mutex::new(state), wake: Notify::new(), taken: Notify::new() });
        let reading = tokio::spawn(read(Arc::clone(&wires), reader, msize as usize));
        tokio::spawn(write(Arc::clone(&wires), writer, reading.abort_handle()));
        Arc::new(Link { wires, dialect, msize, gid })
    }

    /// Sends a request. Waits while too much waits to be written, then for the reply, which may be an error reply.
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
        let tag = self.wires.state().send(message, then)?;
        self.wires.wake.notify_one();
        Ok(Call { link: Arc::clone(self), tag, waiting: true })
    }

    /// Decodes a reply; an error reply becomes the error.
    pub(crate) fn decode<'f>(&self, frame: &'f [u8]) -> Result<Rmessage<'f>> {
        match Rmessage::decode(frame, self.dialect) {
            Ok((_, Rmessage::Error { ename, errno })) => Err(Error::reply(errno.0, text(ename))),
            Ok((_, Rmessage::Lerror { ecode })) => Err(Error::number(ecode)),
            Ok((_, message)) => Ok(message),
            Err(malformed) => Err(Error::protocol(format_args!("a reply that cannot be read: {malformed}"))),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.wires.state().closing = true;
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
    waiting: bool,
}

impl Future for Call {
    type Output = Result<Bytes>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Bytes>> {
        let link = Arc::clone(&self.link);
        let mut state = link.wires.state();
        if let Some((then, frame)) = state.tags.poll(self.tag, cx.waker()) {
            self.waiting = false;
            match then {
                Then::Makes { fid, names } if !established(&frame, names) => state.fids.free.push(fid),
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

impl Drop for Call {
    fn drop(&mut self) {
        if !self.waiting {
            return;
        }
        let mut state = self.link.wires.state();
        if state.lost.is_some() {
            return;
        }
        // Answered, but nobody looked: settled as if it had come later.
        if let Some((then, frame)) = state.tags.poll(self.tag, Waker::noop()) {
            state.settle(then, Some(&frame));
        } else {
            state.flush(self.tag);
        }
        drop(state);
        self.link.wires.wake.notify_one();
    }
}

async fn read(wires: Arc<Wires>, mut reader: impl AsyncRead + Unpin, msize: usize) {
    let mut buffer = BytesMut::with_capacity(msize.min(1 << 16));
    let why = loop {
        match reader.read_buf(&mut buffer).await {
            Ok(0) => break Error::lost("the server closed it"),
            Ok(_) => {}
            Err(error) => break Error::lost(error),
        }
        if let Err(error) = frames(&wires, &mut buffer, msize) {
            break error;
        }
        buffer.reserve(4096);
    };
    wires.lose(why);
}

/// Hands out every whole frame there is.
fn frames(wires: &Wires, buffer: &mut BytesMut, msize: usize) -> Result<()> {
    // Woken without the lock: a waker may be the last that holds a task, and dropping that one's calls takes the lock.
    let mut wakers = Vec::new();
    let result = hand_out(&mut wires.state(), buffer, msize, &mut wakers);
    wakers.into_iter().for_each(Waker::wake);
    // What a reply set off, a clunk, is to be written as well.
    if !wires.state().out.is_empty() {
        wires.wake.notify_one();
    }
    result
}

fn hand_out(state: &mut State, buffer: &mut BytesMut, msize: usize, wakers: &mut Vec<Waker>) -> Result<()> {
    while let Some(size) = buffer.first_chunk::<4>() {
        let size = u32::from_le_bytes(*size) as usize;
        if size < HEADER || size > msize {
            return Err(Error::lost(format_args!("a reply of {size} bytes, the msize is {msize}")));
        }
        if buffer.len() < size {
            buffer.reserve(size - buffer.len());
            break;
        }
        let frame = buffer.split_to(size).freeze();
        wakers.extend(state.dispatch(&frame).map_err(Error::lost)?);
    }
    Ok(())
}

async fn write(wires: Arc<Wires>, mut writer: impl AsyncWrite + Unpin, reading: tokio::task::AbortHandle) {
    let mut batch = Vec::new();
    loop {
        wires.wake.notified().await;
        // Lets the other tasks that are ready add their requests to the batch.
        tokio::task::yield_now().await;
        let closing = {
            let mut state = wires.state();
            std::mem::swap(&mut batch, &mut state.out);
            state.closing
        };
        wires.taken.notify_waiters();
        if let Err(error) = writer.write_all(&batch).await {
            wires.lose(Error::lost(error));
        }
        batch.clear();
        if closing {
            break;
        }
    }
    let _ = writer.shutdown().await;
    reading.abort();
}
