//! What the calls and the two tasks of a connection share, and the tasks.

use parking_lot::{Mutex, MutexGuard};
use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use datakit_core::wire::{Dialect, Fid, HEADER, Tag, Tmessage};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::error::{Error, Result};
use super::tags::{Answer, Tags, Then};

/// The message that fits nearly everything but data.
const USUAL: usize = 1024;

/// What the two tasks know.
pub(super) struct Wires {
    state: Mutex<State>,
    /// There is something to write, or to stop for.
    pub(super) wake: Notify,
    /// `out` was taken.
    pub(super) taken: Notify,
    /// Nobody has a handle any more.
    pub(super) unused: CancellationToken,
    /// What is to be written has nowhere to go.
    gone: CancellationToken,
    /// The connection is closed, and both tasks have done their work.
    pub(super) ended: CancellationToken,
}

/// How long the other side may take to close its half, and how long nothing may move once nobody
/// has a handle.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the lock guards.
pub(super) struct State {
    pub(super) tags: Tags,
    pub(super) fids: Fids,
    pub(super) out: Vec<u8>,
    dialect: Dialect,
    msize: usize,
    pub(super) closing: bool,
    pub(super) lost: Option<Error>,
}

/// The numbers of fids: the freed ones first.
pub(super) struct Fids {
    pub(super) free: Vec<Fid>,
    next: u32,
}

impl Fids {
    pub(super) fn take(&mut self) -> Result<Fid> {
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
    pub(super) fn new(dialect: Dialect, msize: u32) -> Arc<Wires> {
        let state = State {
            tags: Tags::default(),
            fids: Fids { free: Vec::new(), next: 0 },
            out: Vec::new(),
            dialect,
            msize: msize as usize,
            closing: false,
            lost: None,
        };
        Arc::new(Wires {
            state: Mutex::new(state),
            wake: Notify::new(),
            taken: Notify::new(),
            unused: CancellationToken::new(),
            gone: CancellationToken::new(),
            ended: CancellationToken::new(),
        })
    }

    /// Nothing inside of the lock panics half-way.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
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
        self.gone.cancel();
        wakers.into_iter().for_each(Waker::wake);
        self.wake.notify_one();
        self.taken.notify_waiters();
    }
}

impl State {
    pub(super) fn send(&mut self, message: &Tmessage<'_>, then: Then) -> Result<Tag> {
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
    pub(super) fn clunk(&mut self, fid: Fid) {
        let _ = self
            .send(&Tmessage::Clunk { fid }, Then::Frees(fid))
            .map(|tag| self.tags.background(tag));
    }

    /// Nobody waits for this request any more.
    pub(super) fn flush(&mut self, oldtag: Tag) {
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
    pub(super) fn settle(&mut self, then: Then, frame: Option<&[u8]>) {
        match then {
            Then::Nothing => {}
            Then::Makes { fid, names } if frame.is_some_and(|frame| established(frame, names)) => {
                self.clunk(fid)
            }
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

/// Whether this reply makes the new fid of an attach or a walk of so many names.
pub(super) fn established(frame: &[u8], names: u16) -> bool {
    match datakit_core::wire::kind(frame) {
        datakit_core::wire::RATTACH => true,
        datakit_core::wire::RWALK => {
            frame.get(HEADER..HEADER + 2) == Some(&names.to_le_bytes()[..])
        }
        _ => false,
    }
}

/// The reader task.
pub(super) async fn read(wires: Arc<Wires>, mut reader: impl AsyncRead + Unpin, msize: usize) {
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
    // Woken without the lock: a waker may be the last that holds a task, and dropping that one's
    // calls takes the lock.
    let mut wakers = Vec::new();
    let result = hand_out(&mut wires.state(), buffer, msize, &mut wakers);
    wakers.into_iter().for_each(Waker::wake);
    // What a reply set off, a clunk, is to be written as well.
    if !wires.state().out.is_empty() {
        wires.wake.notify_one();
    }
    result
}

fn hand_out(
    state: &mut State,
    buffer: &mut BytesMut,
    msize: usize,
    wakers: &mut Vec<Waker>,
) -> Result<()> {
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

/// The writer task.
pub(super) async fn write(
    wires: Arc<Wires>,
    mut writer: impl AsyncWrite + Unpin,
    reading: JoinHandle<()>,
) {
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
        if let Err(error) = write_all(&wires, &mut writer, &batch).await {
            wires.lose(error);
        }
        batch.clear();
        if closing {
            break;
        }
    }
    let reading = AbortOnDropHandle::new(reading);
    // What is still to come is read, or the system would tell the other side of a reset instead of
    // an end.
    let end = async {
        let _ = writer.shutdown().await;
        let _ = reading.await;
    };
    let _ = tokio::time::timeout(PATIENCE, end).await;
    wires.ended.cancel();
}

/// Writes all of `batch`, and past what buffers it. A server that takes nothing is waited for as
/// long as somebody has a handle.
async fn write_all(
    wires: &Wires,
    writer: &mut (impl AsyncWrite + Unpin),
    batch: &[u8],
) -> Result<()> {
    let mut rest = batch;
    while !rest.is_empty() {
        let count = unless_stuck(wires, writer.write(rest)).await?;
        if count == 0 {
            return Err(Error::lost("nothing can be written to it"));
        }
        rest = rest.get(count..).unwrap_or_default();
    }
    unless_stuck(wires, writer.flush()).await
}

async fn unless_stuck<T>(wires: &Wires, moving: impl Future<Output = io::Result<T>>) -> Result<T> {
    let stuck = async {
        wires.unused.cancelled().await;
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        biased;
        moved = moving => moved.map_err(Error::lost),
        () = wires.gone.cancelled() => Err(Error::lost("it ended meanwhile")),
        () = stuck => Err(Error::lost("the server takes nothing")),
    }
}
