//! Reads from streams.

use core::task::{Context, Poll};

use super::Missed;
use crate::decimal::write_decimal;
use crate::vfs::{Error, OpenFile, Result, Text, Waiters, mark_follows};

/// A stream whose text is read with [`poll_stream`].
pub(crate) trait StreamSource {
    /// Replaces the text with the next value for a reader. All of the old text has already been
    /// returned. Advances `at`, the sequence number of the reader's next value.
    ///
    /// # Errors
    /// Returns the reason that the text has not been replaced.
    fn next(&self, at: &mut u32, text: &mut dyn Text) -> core::result::Result<(), Missed>;

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
    let mut is_registered = false;
    while open.text.bytes().len() <= open.state.taken.into() {
        match refill(source, open) {
            Ok(()) => {}
            Err(Error::NoData) if is_registered => return Poll::Pending,
            Err(Error::NoData) => {
                // Try again after registering the waker, in case a value was published in the
                // meantime.
                source.waiters().register(open.waiter, cx.waker());
                is_registered = true;
            }
            Err(error) => return Poll::Ready(Err(error)),
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

/// Replaces the text of an open stream with the next text to return, which may be empty. All of the
/// old text must already have been returned.
///
/// # Errors
/// Returns [`Error::NoData`] if there is nothing to return, or [`Error::TextTooLong`] if the text
/// does not fit or is longer than 65535 bytes.
fn refill(source: &dyn StreamSource, open: &mut OpenFile<'_>) -> Result<()> {
    let result = match source.next(&mut open.state.next, open.text) {
        Ok(()) if open.text.bytes().len() <= u16::MAX.into() => Ok(()),
        Err(Missed::NOTHING) => return Err(Error::NoData),
        Err(lost) if lost != Missed::TOO_LONG => {
            open.text.truncate(0);
            write_lost(lost.number(), open.text)
        }
        _ => Err(Error::TextTooLong),
    };
    if result.is_err() {
        open.text.truncate(0);
    }
    open.state.taken = 0;
    result
}

/// Writes the line that a reader receives in place of lost values.
fn write_lost(number: u32, text: &mut dyn Text) -> Result<()> {
    let mut write = || {
        text.write_str("lost ")?;
        write_decimal(number, text)?;
        text.write_str("\n")
    };
    write().map_err(|_| Error::TextTooLong)
}
