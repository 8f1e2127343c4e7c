//! Reads from streams.

use core::fmt::{self, Write};
use core::task::{Context, Poll};

use super::Item;
use crate::Decimal;
use crate::vfs::{
    Error, OpenFile, Result, Text, WakerSlot, mark_follows, read_at, register_waiter, write_char,
};

/// A stream whose text is read with [`poll_stream`].
pub(crate) trait StreamSource {
    /// Writes the next value for a reader, and advances `at`, the sequence number of the reader's
    /// next value. If values were lost, returns their number and writes nothing.
    fn next(&self, at: &mut u32, out: &mut Changing<'_>) -> Item;

    /// Returns the list of readers that are woken when there may be a value.
    fn waiters(&self) -> &[WakerSlot];
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
    if !is_pending(open) {
        let mut refilled = refill(source, open);
        if refilled == Err(Error::NoData) {
            // Try again after registering the waker, in case a value was published in the meantime.
            register_waiter(source.waiters(), open.waiter, cx.waker());
            refilled = refill(source, open);
        }
        match refilled {
            Err(Error::NoData) => return Poll::Pending,
            refilled => refilled?,
        }
    }
    let count = read_at(open.text.bytes(), open.state.taken.into(), buf)?;
    // The casts are lossless, because the text has at most 65535 bytes.
    open.state.taken += count as u16;
    open.state.delivered = open.state.delivered.wrapping_add(count as u64);
    open.state.mark = !is_pending(open) && mark_follows(count, buf.len());
    Poll::Ready(Ok(count))
}

/// Renders the first value, if there is one.
pub(crate) fn open_stream(source: &dyn StreamSource, open: &mut OpenFile<'_>) -> Result<()> {
    match refill(source, open) {
        Err(Error::NoData) => Ok(()),
        refilled => refilled,
    }
}

/// Returns `true` if part of the text has not been returned yet.
fn is_pending(open: &OpenFile<'_>) -> bool {
    open.text.bytes().len() > usize::from(open.state.taken)
}

/// Replaces the text of an open stream with the next text to return. The old text must have been
/// returned completely.
///
/// # Errors
/// Returns [`Error::NoData`] if there is nothing to return, or [`Error::TextTooLong`] if the text
/// does not fit or has more than 65535 bytes.
#[inline(never)]
fn refill(source: &dyn StreamSource, open: &mut OpenFile<'_>) -> Result<()> {
    loop {
        let mut out = Changing { text: open.text, same: 0, error: None };
        match source.next(&mut open.state.next, &mut out) {
            Item::Nothing => return Err(Error::NoData),
            Item::Lost(lost) => {
                let written = writeln!(out, "lost {}", Decimal::from(lost));
                out.check(written);
            }
            Item::Value(_) => {}
        }
        // Skip values with empty text, because an empty read would end the stream.
        if out.finish()? {
            open.state.taken = 0;
            return Ok(());
        }
    }
}

/// A writer that replaces a text and detects whether the new text differs from the old one.
pub(crate) struct Changing<'a> {
    text: &'a mut dyn Text,
    /// The number of bytes written so far, all of which equal the old text, or `usize::MAX` after
    /// the first difference.
    same: usize,
    /// The reason that the text could not be written.
    pub(crate) error: Option<Error>,
}

impl Changing<'_> {
    /// Removes the old text, so any new text that is not empty counts as different.
    pub(crate) fn restart(&mut self) {
        self.text.truncate(0);
    }

    /// Appends bytes to the text. Must be called only after [`restart`](Changing::restart).
    #[cfg(feature = "params")]
    pub(crate) fn extend(&mut self, bytes: &[u8]) -> fmt::Result {
        self.same = usize::MAX;
        self.text.extend(bytes).map_err(|_| fmt::Error)
    }

    /// Records an error if the text could not be written.
    pub(crate) fn check(&mut self, written: fmt::Result) {
        if written.is_err() {
            self.error = Some(Error::TextTooLong);
        }
    }

    /// Removes the rest of the old text and returns whether the new text differs.
    fn finish(mut self) -> Result<bool> {
        let length = self.text.bytes().len();
        if length > usize::from(u16::MAX) {
            self.check(Err(fmt::Error));
        }
        if let Some(error) = self.error {
            self.text.truncate(0);
            return Err(error);
        }
        self.text.truncate(self.same);
        Ok(self.same != length)
    }
}

#[cfg(feature = "params")]
impl Text for Changing<'_> {
    fn bytes(&self) -> &[u8] {
        self.text.bytes()
    }

    fn truncate(&mut self, length: usize) {
        self.text.truncate(length);
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        Changing::extend(self, bytes).map_err(|_| Error::TooLarge)
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
