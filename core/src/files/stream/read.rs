//! Reads from streams.

use core::fmt::{self, Write};
use core::task::{Context, Poll};

use super::Lost;
use crate::Decimal;
use crate::vfs::{Error, OpenFile, Result, Text, Waiters, mark_follows, write_char};

/// A stream whose text is read with [`poll_stream`].
pub(crate) trait StreamSource {
    /// Replaces the text with the next value for a reader. All of the old text has already been
    /// returned. Advances `at`, the sequence number of the reader's next value.
    ///
    /// # Errors
    /// Returns [`Error::NoData`] if there is no new value.
    fn next(&self, at: &mut u32, text: &mut dyn Text) -> Result<()>;

    /// Returns the list of readers that are woken when there may be a new value.
    fn waiters(&self) -> &Waiters;
}

/// Reads the pending text of an open stream. If no text is pending, the call waits for the next
/// value. A call that returns `Pending` consumes nothing.
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
    if open.text.bytes().len() <= open.state.taken.into() {
        let mut refilled = refill(source, open);
        if refilled == Err(Error::NoData) {
            // Try again after registering the waker, in case a value was published in the meantime.
            source.waiters().register(open.waiter, cx.waker());
            refilled = refill(source, open);
        }
        match refilled {
            Err(Error::NoData) => return Poll::Pending,
            refilled => refilled?,
        }
    }
    let text = open.text.bytes().get(open.state.taken.into()..).unwrap_or_default();
    for (to, from) in buf.iter_mut().zip(text) {
        *to = *from;
    }
    let count = buf.len().min(text.len());
    open.state.mark = count == text.len() && mark_follows(count, buf.len());
    // The casts are lossless, because the text is at most 65535 bytes long.
    open.state.taken += count as u16;
    open.state.delivered = open.state.delivered.wrapping_add(count as u64);
    Poll::Ready(Ok(count))
}

/// Renders the first value, if there is one.
pub(crate) fn open_stream(source: &dyn StreamSource, open: &mut OpenFile<'_>) -> Result<()> {
    match refill(source, open) {
        Err(Error::NoData) => Ok(()),
        refilled => refilled,
    }
}

/// Replaces the text of an open stream with the next text to return. All of the old text must
/// already have been returned.
///
/// # Errors
/// Returns [`Error::NoData`] if there is nothing to return, or [`Error::TextTooLong`] if the text
/// does not fit or is longer than 65535 bytes.
#[inline(never)]
fn refill(source: &dyn StreamSource, open: &mut OpenFile<'_>) -> Result<()> {
    loop {
        let mut replaced = source.next(&mut open.state.next, open.text);
        if replaced == Err(Error::NoData) {
            return replaced;
        }
        let length = open.text.bytes().len();
        if length > u16::MAX.into() {
            replaced = Err(Error::TextTooLong);
        }
        if replaced.is_err() {
            open.text.truncate(0);
            return replaced;
        }
        // Skip values with empty text, because an empty read would end the stream.
        if length > 0 {
            open.state.taken = 0;
            return replaced;
        }
    }
}

/// Replaces the text with a line that contains the number of lost values.
///
/// # Errors
/// Returns [`Error::NoData`] if no values were lost.
pub(crate) fn write_lost(text: &mut dyn Text, Lost(lost): Lost) -> Result<()> {
    if lost == 0 {
        return Err(Error::NoData);
    }
    text.truncate(0);
    writeln!(text, "lost {}", Decimal::from(lost)).map_err(|_| Error::TextTooLong)
}

/// A writer that replaces text and detects whether the new text differs from the old one.
pub(super) struct Changing<'a> {
    text: &'a mut dyn Text,
    /// The number of bytes written so far if they all match the old text, or `usize::MAX` after the
    /// first difference.
    same: usize,
}

impl<'a> Changing<'a> {
    pub(super) fn new(text: &'a mut dyn Text) -> Changing<'a> {
        Changing { text, same: 0 }
    }

    /// Removes the rest of the old text and returns whether the new text differs from the old text.
    pub(super) fn finish(self) -> bool {
        let length = self.text.bytes().len();
        self.text.truncate(self.same);
        self.same != length
    }
}

impl Write for Changing<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let rest = self.text.bytes().get(self.same..);
        if rest.is_some_and(|rest| rest.starts_with(s.as_bytes())) {
            self.same += s.len();
            return Ok(());
        }
        self.text.truncate(self.same);
        self.same = usize::MAX;
        self.text.write_str(s)
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        write_char(self, character)
    }
}
