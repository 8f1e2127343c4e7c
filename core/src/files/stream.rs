//! Streams are files whose reads wait for new values.

mod read;
mod ring;

use core::fmt;
use core::task::{Context, Poll};

use crate::vfs::{Compare, File, FileStat, OpenFile, OpenMode, Result, Text, Waiters};

pub(crate) use read::{StreamSource, open_stream, poll_stream};
#[cfg(feature = "params")]
pub(crate) use ring::End;
pub(crate) use ring::Missed;
use ring::{Ring, Slot};

/// The latest value, which clients read as a stream. The first read of an open file returns the
/// value that was current when the file was opened. A later value is returned only if its text
/// differs from the last text returned. If several values are published between two reads, only the
/// last one is returned.
///
/// The stream's [file](Live::file) is a separate constant, so it stays in flash. For a stream that
/// returns every value, see [`Queue`].
///
/// ```
/// use datakit_core::files::Live;
/// use datakit_core::vfs::{Dir, file};
/// static VOLTAGE: Live<u32> = Live::new(0);
/// static ROOT: Dir = Dir::new(&[
///     file("voltage", &VOLTAGE.file(|mv, out| writeln!(out, "{mv} mV")).doc("supply voltage")),
/// ]);
/// VOLTAGE.publish(3300);
/// ```
pub struct Live<T>(Ring<[Slot<T>; 1]>);

impl<T: Clone> Live<T> {
    /// Creates a stream with an initial value.
    #[must_use]
    pub const fn new(initial: T) -> Live<T> {
        Live(Ring::with_value(initial))
    }

    /// Replaces the value and wakes the readers. This method can be called from an interrupt
    /// handler.
    #[inline(always)]
    pub fn publish(&self, value: T) {
        self.ring().publish(value);
    }

    /// Returns the file from which clients read the stream. `format` writes a value as text,
    /// including the final newline. A read may call `format` twice for one value.
    #[must_use]
    pub const fn file(&self, format: Format<T>) -> StreamFile<'_, T> {
        let doc = "the latest value";
        StreamFile { ring: self.ring(), format, doc, starts_with_kept: true, latest_only: true }
    }

    const fn ring(&self) -> &Ring<[Slot<T>]> {
        &self.0
    }
}

impl<T: Clone + Default> Live<T> {
    /// Returns a copy of the current value.
    pub fn get(&self) -> T {
        let ring = self.ring();
        ring.take(&mut ring.start(true), true).unwrap_or_default()
    }
}

impl<T> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

/// The last `N` values, which clients read as a stream. An open file returns each value published
/// since it was opened, exactly once and in order. If a reader is too slow, it reads a line such as
/// `lost 3` in place of the values that were dropped.
///
/// An empty queue contains only zeros, so it takes up no flash. The stream's [file](Queue::file) is
/// a separate constant. For a stream that returns only the latest value, see [`Live`].
///
/// ```
/// use datakit_core::files::Queue;
/// use datakit_core::vfs::{Dir, file};
/// static KEYS: Queue<char, 8> = Queue::new();
/// static ROOT: Dir = Dir::new(&[
///     file("keys", &KEYS.file(|key, out| writeln!(out, "{key}")).doc("pressed keys")),
/// ]);
/// KEYS.publish('a');
/// ```
pub struct Queue<T, const N: usize>(Ring<[Slot<T>; N]>);

impl<T: Clone, const N: usize> Queue<T, N> {
    /// Creates an empty stream.
    #[must_use]
    pub const fn new() -> Queue<T, N> {
        Queue(Ring::new())
    }

    /// Appends a value and wakes the readers. If the stream already holds `N` values, the oldest
    /// one is dropped. This method can be called from an interrupt handler.
    #[inline(always)]
    pub fn publish(&self, value: T) {
        self.ring().publish(value);
    }

    /// Returns the number of values that readers have lost so far, summed over all readers.
    pub fn overruns(&self) -> u32 {
        self.0.overruns()
    }

    /// Returns the file from which clients read the stream. `format` writes a value as text,
    /// including the final newline. A value whose text is empty is skipped.
    #[must_use]
    pub const fn file(&self, format: Format<T>) -> StreamFile<'_, T> {
        let doc = "every new value";
        StreamFile { ring: self.ring(), format, doc, starts_with_kept: false, latest_only: false }
    }

    const fn ring(&self) -> &Ring<[Slot<T>]> {
        &self.0
    }
}

impl<T: Clone, const N: usize> Default for Queue<T, N> {
    fn default() -> Self {
        Queue::new()
    }
}

impl<T, const N: usize> fmt::Debug for Queue<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("capacity", &N).finish_non_exhaustive()
    }
}

/// Writes a value as text, including the final newline.
type Format<T> = fn(&T, &mut dyn fmt::Write) -> fmt::Result;

/// The file from which clients read a [`Live`] or [`Queue`] stream. It is constant, so it stays in
/// flash.
pub struct StreamFile<'a, T> {
    // The length of the ring buffer is not part of the type, so all streams with the same value
    // type share their code.
    ring: &'a Ring<[Slot<T>]>,
    format: Format<T>,
    doc: &'static str,
    starts_with_kept: bool,
    latest_only: bool,
}

impl<'a, T> StreamFile<'a, T> {
    /// Sets the description, which should be only a few words long.
    #[must_use]
    pub const fn doc(self, doc: &'static str) -> StreamFile<'a, T> {
        StreamFile { doc, ..self }
    }

    /// Makes each newly opened file return the stored values first, followed by the values
    /// published later. The file of a [`Live`] stream always behaves this way.
    #[must_use]
    pub const fn from_oldest(self) -> StreamFile<'a, T> {
        StreamFile { starts_with_kept: true, ..self }
    }
}

impl<T: Clone> StreamSource for StreamFile<'_, T> {
    fn next(&self, at: &mut u32, text: &mut dyn Text) -> core::result::Result<(), Missed> {
        let value = self.ring.take(at, self.latest_only)?;
        if self.latest_only {
            let mut compare = Compare::new(text.bytes());
            if (self.format)(&value, &mut compare).is_ok() && compare.is_equal() {
                return Err(Missed::NOTHING);
            }
        }
        text.truncate(0);
        (self.format)(&value, text).map_err(|_| Missed::TOO_LONG)
    }

    fn waiters(&self) -> &Waiters {
        self.ring.waiters()
    }
}

impl<T: Clone> File for StreamFile<'_, T> {
    fn stat(&self) -> FileStat {
        FileStat::new(0).read_only()
    }

    fn open(&self, open: &mut OpenFile<'_>, _: OpenMode) -> Result<()> {
        open.state.next = self.ring.start(self.starts_with_kept);
        open_stream(self, open)
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
        out.write_str(self.doc)
    }
}

impl<T> fmt::Debug for StreamFile<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamFile").field("doc", &self.doc).finish_non_exhaustive()
    }
}
