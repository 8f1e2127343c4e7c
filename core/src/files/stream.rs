//! Streams are files whose reads wait for new values.

use core::cell::RefCell;
use core::fmt;
use core::task::{Context, Poll, Waker};

use embassy_sync::blocking_mutex::CriticalSectionMutex;
use heapless::Deque;

use super::param::Value;
use super::util::{Compare, describe_with, render};
use crate::Decimal;
use crate::vfs::{
    Error, File, FileStat, OpenFile, OpenMode, Result, Waiter, Waiters, mark_follows,
};

/// A stream that returns the latest value. The first read of an open file returns the current
/// value. A later value is returned only if its text differs from the text returned last. If
/// several values are published between two reads, only the last one is returned.
///
/// Up to `WAITERS` waiting readers are woken at the same time. Additional readers are woken one
/// after another (see [`Waiters`]). For a stream that returns every value, see [`Queue`].
pub struct Live<T, const WAITERS: usize = 4> {
    value: Value<T>,
    waiters: Waiters<WAITERS>,
    format: fn(&T, &mut dyn fmt::Write) -> fmt::Result,
    doc: &'static str,
}

impl<T, const WAITERS: usize> Live<T, WAITERS> {
    /// Creates a stream with an initial value. `format` writes a value as text, including the final
    /// newline.
    #[must_use]
    pub const fn new(initial: T, format: fn(&T, &mut dyn fmt::Write) -> fmt::Result) -> Self {
        Live { value: Value::new(initial), waiters: Waiters::new(), format, doc: "" }
    }

    /// Sets the description, which should be only a few words long.
    #[must_use]
    pub const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    /// Replaces the value and wakes the readers. This method can be called from an interrupt
    /// handler.
    pub fn publish(&self, value: T) {
        drop(self.value.replace(value));
        self.waiters.wake();
    }
}

impl<T: Clone + Default, const WAITERS: usize> Live<T, WAITERS> {
    /// Returns a copy of the current value.
    pub fn get(&self) -> T {
        self.value.get()
    }
}

impl<T: Clone + Default, const WAITERS: usize> StreamSource for Live<T, WAITERS> {
    /// Renders the current value and returns whether it differs from the text returned last.
    fn refill(&self, open: &mut OpenFile<'_>) -> Result<bool> {
        if open.state.next == self.value.version() {
            return Ok(false);
        }
        let (value, version) = self.value.get_with_version();
        open.state.next = version;
        let mut compare = Compare::new(open.text.bytes());
        if (self.format)(&value, &mut compare).is_ok() && compare.is_equal() {
            return Ok(false);
        }
        open.state.taken = 0;
        render(open.text, |out| (self.format)(&value, out))?;
        Ok(!open.text.bytes().is_empty())
    }

    fn register(&self, waiter: &mut Waiter, waker: &Waker) {
        self.waiters.register(waiter, waker);
    }
}

impl<T, const WAITERS: usize> fmt::Debug for Live<T, WAITERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("doc", &self.doc).finish_non_exhaustive()
    }
}

impl<T: Clone + Default, const WAITERS: usize> File for Live<T, WAITERS> {
    fn stat(&self) -> FileStat {
        FileStat::new(0).read_only()
    }

    fn open(&self, open: &mut OpenFile<'_>, _: OpenMode) -> Result<()> {
        let (value, version) = self.value.get_with_version();
        open.state.next = version;
        render(open.text, |out| (self.format)(&value, out))
    }

    fn may_block(&self) -> bool {
        true
    }

    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        cx: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        poll_stream(self, open, cx, offset, buf)
    }

    fn describe(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        describe_with("stream", self.doc, out)
    }
}

/// A stream that returns each value published since the file was opened, exactly once and in order.
/// With [`from_oldest`](Queue::from_oldest), the stream starts with the stored values, which were
/// published before the file was opened. The stream keeps the last `N` values. If a reader is too
/// slow, it reads a line such as `lost 3` in place of the values that were dropped.
///
/// For a stream that returns only the latest value, see [`Live`].
pub struct Queue<T, const N: usize, const WAITERS: usize = 4> {
    ring: CriticalSectionMutex<RefCell<Ring<T, N>>>,
    waiters: Waiters<WAITERS>,
    format: fn(&T, &mut dyn fmt::Write) -> fmt::Result,
    starts_with_kept: bool,
}

/// The last `N` values of a stream that returns every value.
pub(crate) struct Ring<T, const N: usize> {
    pub(crate) values: Deque<T, N>,
    /// The sequence number of the next value. It wraps around to 0 after the largest number.
    pub(crate) next: u32,
    pub(crate) overruns: u32,
}

/// The next item, if any, for a reader of a queue.
pub(crate) enum Delivery<T> {
    Value(T),
    Lost(u32),
    Nothing,
}

impl<T: Clone, const N: usize, const WAITERS: usize> Queue<T, N, WAITERS> {
    /// Creates an empty stream. `format` writes a value as text, including the final newline.
    #[must_use]
    pub const fn new(format: fn(&T, &mut dyn fmt::Write) -> fmt::Result) -> Self {
        let ring = CriticalSectionMutex::new(RefCell::new(Ring::new()));
        Queue { ring, waiters: Waiters::new(), format, starts_with_kept: false }
    }

    /// Makes each newly opened file return the stored values first, followed by the values
    /// published later.
    #[must_use]
    pub const fn from_oldest(mut self) -> Self {
        self.starts_with_kept = true;
        self
    }

    /// Appends a value and wakes the readers. If the stream already holds `N` values, the oldest
    /// one is dropped. This method can be called from an interrupt handler.
    pub fn publish(&self, value: T) {
        drop(self.with_ring(|ring| ring.push(value)));
        self.waiters.wake();
    }

    /// Returns the number of values that readers have lost so far, summed over all readers.
    pub fn overruns(&self) -> u32 {
        self.with_ring(|ring| ring.overruns)
    }

    fn with_ring<R>(&self, f: impl FnOnce(&mut Ring<T, N>) -> R) -> R {
        // The borrow cannot fail, because the ring buffer is borrowed only in critical sections.
        // The only external code that these critical sections call is `T::clone`.
        self.ring.lock(|ring| f(&mut ring.borrow_mut()))
    }
}

impl<T: Clone, const N: usize, const WAITERS: usize> StreamSource for Queue<T, N, WAITERS> {
    /// Renders the next item. Returns `false` if there is nothing to return.
    fn refill(&self, open: &mut OpenFile<'_>) -> Result<bool> {
        loop {
            let delivery = self.with_ring(|ring| ring.advance(&mut open.state.next));
            open.state.taken = 0;
            match delivery {
                Delivery::Value(value) => render(open.text, |out| (self.format)(&value, out))?,
                Delivery::Lost(lost) => render_lost(lost, open)?,
                Delivery::Nothing => {
                    open.text.clear();
                    return Ok(false);
                }
            }
            // Skip values with empty text, because an empty read would end the stream.
            if !open.text.bytes().is_empty() {
                return Ok(true);
            }
        }
    }

    fn register(&self, waiter: &mut Waiter, waker: &Waker) {
        self.waiters.register(waiter, waker);
    }
}

/// Renders the line that replaces lost values.
pub(crate) fn render_lost(lost: u32, open: &mut OpenFile<'_>) -> Result<()> {
    render(open.text, |out| writeln!(out, "lost {}", Decimal::from(lost)))
}

impl<T: Clone, const N: usize> Ring<T, N> {
    pub(crate) const fn new() -> Ring<T, N> {
        Ring { values: Deque::new(), next: 0, overruns: 0 }
    }

    /// Appends a value. If the ring buffer is full, the oldest value is removed and returned.
    pub(crate) fn push(&mut self, value: T) -> Option<T> {
        let oldest = if self.values.is_full() { self.values.pop_front() } else { None };
        // The push fails only if `N` is 0. If `N` is 0, readers receive only the number of lost
        // values.
        let _ = self.values.push_back(value);
        self.next = self.next.wrapping_add(1);
        oldest
    }

    /// Returns the next item for a reader and advances `at`, the sequence number of the reader's
    /// next value.
    pub(crate) fn advance(&mut self, at: &mut u32) -> Delivery<T> {
        let behind = self.next.wrapping_sub(*at);
        let kept = self.values.len() as u32;
        if behind == 0 {
            return Delivery::Nothing;
        }
        if let Some(lost @ 1..) = behind.checked_sub(kept) {
            *at = at.wrapping_add(lost);
            self.overruns = self.overruns.saturating_add(lost);
            return Delivery::Lost(lost);
        }
        match self.values.get((kept - behind) as usize) {
            Some(value) => {
                *at = at.wrapping_add(1);
                Delivery::Value(value.clone())
            }
            None => Delivery::Nothing,
        }
    }
}

impl<T, const N: usize, const WAITERS: usize> fmt::Debug for Queue<T, N, WAITERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("capacity", &N).finish_non_exhaustive()
    }
}

impl<T: Clone, const N: usize, const WAITERS: usize> File for Queue<T, N, WAITERS> {
    fn stat(&self) -> FileStat {
        FileStat::new(0).read_only()
    }

    fn open(&self, open: &mut OpenFile<'_>, _: OpenMode) -> Result<()> {
        open.state.next = self.with_ring(|ring| {
            let kept = if self.starts_with_kept { ring.values.len() as u32 } else { 0 };
            ring.next.wrapping_sub(kept)
        });
        Ok(())
    }

    fn may_block(&self) -> bool {
        true
    }

    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        cx: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        poll_stream(self, open, cx, offset, buf)
    }

    fn describe(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "stream of every value; the last {} are kept", Decimal::from(N))
    }
}

/// A stream whose text is read with [`poll_stream`].
pub(crate) trait StreamSource {
    /// Replaces the text of the open file with the next text to return and sets `taken` to 0.
    /// Returns `false` if there is nothing to return.
    fn refill(&self, open: &mut OpenFile<'_>) -> Result<bool>;

    /// Registers a waker that is woken when there may be something to return.
    fn register(&self, waiter: &mut Waiter, waker: &Waker);
}

/// Reads the pending text of an open stream. If no text is pending, the call waits until
/// [`refill`](StreamSource::refill) returns `true`. A call that returns `Pending` consumes nothing.
///
/// The offset must be the number of bytes returned so far. After the whole text has been returned,
/// the next read may return 0 bytes to [mark](mark_follows) the end of the text.
// All streams share this function, because a copy for each stream type would take up flash.
#[inline(never)]
pub(crate) fn poll_stream(
    source: &dyn StreamSource,
    open: &mut OpenFile<'_>,
    cx: &mut Context<'_>,
    offset: u64,
    buf: &mut [u8],
) -> Poll<Result<usize>> {
    if offset != open.state.delivered {
        return Poll::Ready(Err(Error::Seek));
    }
    if buf.is_empty() || core::mem::take(&mut open.state.mark) {
        return Poll::Ready(Ok(0));
    }
    match has_text(source, open, cx) {
        Ok(true) => Poll::Ready(Ok(deliver(open, buf))),
        Ok(false) => Poll::Pending,
        Err(error) => Poll::Ready(Err(error)),
    }
}

/// Returns whether there is text to return. If there is none, registers the waker.
///
/// # Errors
/// Returns [`Error::TextTooLong`] if the text has more than 65535 bytes.
fn has_text(
    source: &dyn StreamSource,
    open: &mut OpenFile<'_>,
    cx: &mut Context<'_>,
) -> Result<bool> {
    if pending(open).is_empty() && !source.refill(open)? {
        // Try to refill again after registering the waker, in case a value was published in the
        // meantime.
        source.register(open.waiter, cx.waker());
        if !source.refill(open)? {
            return Ok(false);
        }
    }
    if open.text.bytes().len() > usize::from(u16::MAX) {
        // The text is too long for the `taken` counter. Drop the text so that the next read returns
        // the next value.
        open.text.clear();
        return Err(Error::TextTooLong);
    }
    Ok(true)
}

/// Copies pending text to `buf` and returns the number of bytes copied.
fn deliver(open: &mut OpenFile<'_>, buf: &mut [u8]) -> usize {
    let text = pending(open);
    let count = text.len().min(buf.len());
    for (to, from) in buf.iter_mut().zip(text) {
        *to = *from;
    }
    open.state.taken = open.state.taken.saturating_add(count as u16);
    open.state.delivered = open.state.delivered.saturating_add(count as u64);
    open.state.mark = pending(open).is_empty() && mark_follows(count, buf.len());
    count
}

/// Returns the part of the text that has not been returned yet.
fn pending<'a>(open: &'a OpenFile<'_>) -> &'a [u8] {
    open.text.bytes().get(usize::from(open.state.taken)..).unwrap_or_default()
}
