//! What both kinds of streams do at a read.

use core::task::{Context, Poll};

use crate::vfs::{Error, OpenFile, Result, Waiters, mark_follows};

/// Delivers the pending text of an open stream, or waits until `refill` says that there is some.
///
/// An offset must be what was delivered so far. Nothing is taken while it waits.
///
/// A delivery is followed by a [mark](mark_follows), once all of its text was read.
pub(super) fn poll_stream<const N: usize>(
    open: &mut OpenFile<'_>,
    cx: &mut Context<'_>,
    (offset, buf): (u64, &mut [u8]),
    waiters: &Waiters<N>,
    mut refill: impl FnMut(&mut OpenFile<'_>) -> Result<bool>,
) -> Poll<Result<usize>> {
    if offset != open.state.delivered {
        return Poll::Ready(Err(Error::Seek));
    }
    if buf.is_empty() {
        return Poll::Ready(Ok(0));
    }
    if core::mem::take(&mut open.state.mark) {
        return Poll::Ready(Ok(0));
    }
    if pending(open).is_empty() {
        // Once more after the waker is known: what is published between the two wakes it.
        let full = refill(open).and_then(|full| {
            if full {
                return Ok(true);
            }
            waiters.register(open.waiter, cx.waker());
            refill(open)
        });
        match full {
            Ok(true) => {}
            Ok(false) => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
    if open.text.bytes().len() > usize::from(u16::MAX) {
        // Not to be counted in `taken`. Given up, or no later one would be delivered.
        open.text.clear();
        return Poll::Ready(Err(
            Error::TooLarge.with_message("a text of a stream has at most 65535 bytes")
        ));
    }
    let text = pending(open);
    let count = text.len().min(buf.len());
    for (to, from) in buf.iter_mut().zip(text) {
        *to = *from;
    }
    open.state.taken = open.state.taken.saturating_add(count as u16);
    open.state.delivered = open.state.delivered.saturating_add(count as u64);
    open.state.mark = pending(open).is_empty() && mark_follows(count, buf.len());
    Poll::Ready(Ok(count))
}

fn pending<'a>(open: &'a OpenFile<'_>) -> &'a [u8] {
    open.text.bytes().get(usize::from(open.state.taken)..).unwrap_or_default()
}
