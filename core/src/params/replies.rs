//! The last reply to each client's commands, or the last refusal of a request.

use core::cell::RefCell;
use core::fmt::{self, Write};
use core::task::{Context, Poll};

use embassy_sync::blocking_mutex::CriticalSectionMutex;

use super::{Observer, StoreOutcomes};
use crate::vfs::{Client, ERROR_MESSAGE_MAX, Error, OpenFile, Result, Waiters, Window, read_at};

/// The last reply or refusal sent to each client, which the client reads from [`Ctl`](super::Ctl).
///
/// If any file in the tree refuses a request from the client, the error message replaces the reply.
/// Error replies in 9P2000.L contain only a number, so a client that uses this dialect reads the
/// text of a refusal from `Ctl`.
///
/// The table has room for the replies to `CLIENTS` clients, including the program. A reply is
/// removed when the client's connection [ends](super::client_left). If the table is full, a new
/// reply replaces the reply to another client.
///
/// The table receives refusals only after its entry has been passed to
/// [`observe`](super::observe).
pub struct Replies<const CLIENTS: usize> {
    replies: CriticalSectionMutex<RefCell<Entries<CLIENTS>>>,
    waiters: Waiters<2>,
}

struct Entries<const CLIENTS: usize> {
    replies: [Reply; CLIENTS],
    /// The index of the entry that was most recently replaced because the table was full.
    next: usize,
}

struct Reply {
    /// The client to which the entry belongs, or `None` if the entry is free.
    client: Option<Client>,
    /// The text, followed by a newline. It initially contains only zeros, so it takes up no flash.
    text: [u8; ERROR_MESSAGE_MAX + 1],
    /// The number of bytes in `text`.
    len: u8,
    /// The number of unfinished requests to the store.
    pending: u8,
}

impl<const CLIENTS: usize> Replies<CLIENTS> {
    /// Creates an empty table.
    #[must_use]
    pub const fn new() -> Replies<CLIENTS> {
        const { assert!(CLIENTS > 0, "the table has at least one entry") };
        let entries = Entries { replies: [const { Reply::new() }; CLIENTS], next: 0 };
        let replies = CriticalSectionMutex::new(RefCell::new(entries));
        Replies { replies, waiters: Waiters::new() }
    }

    /// Replaces the reply to `client`. Text that is too long is truncated.
    pub(super) fn reply(&self, client: Client, text: &dyn fmt::Display) {
        self.with_entry(client, |reply| reply.set(text));
    }

    /// Counts a request from `client` to the store. Reads wait until the request is finished.
    pub(super) fn expect_outcome(&self, client: Client) {
        self.with_entry(client, |reply| reply.pending = reply.pending.saturating_add(1));
    }

    /// Reads the remainder of the reply to the client that opened `open`. In the state of the open
    /// file, `taken` is the number of bytes already read. Waits if the reply depends on a request
    /// that is not finished.
    pub(super) fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        if let Some(read) = self.try_read(open, buf) {
            return Poll::Ready(read);
        }
        // Try again after registering the waker, in case the request finished in the meantime.
        self.waiters.register(open.waiter, cx.waker());
        self.try_read(open, buf).map_or(Poll::Pending, Poll::Ready)
    }

    fn try_read(&self, open: &mut OpenFile<'_>, buf: &mut [u8]) -> Option<Result<usize>> {
        let read = self.with_reply(open.client, |reply| {
            if reply.pending > 0 {
                return None;
            }
            let rest = reply.text.get(usize::from(open.state.taken)..reply.len.into());
            let read = read_at(rest.unwrap_or_default(), 0, buf);
            // The cast is lossless, because a reply has at most 255 bytes.
            open.state.taken += *read.as_ref().unwrap_or(&0) as u16;
            Some(read)
        });
        // For a client without a reply, the file is empty.
        read.unwrap_or(Some(Ok(0)))
    }

    /// Calls `with` with the reply to `client`, if there is one.
    fn with_reply<R>(&self, client: Client, with: impl FnOnce(&mut Reply) -> R) -> Option<R> {
        self.with_entries(|entries| entries.find(Some(client)).map(with))
    }

    /// Calls `with` with the entry of `client`. If the client has no entry, assigns it a free entry
    /// or another client's entry.
    fn with_entry(&self, client: Client, with: impl FnOnce(&mut Reply)) {
        self.with_entries(|entries| {
            if let Some(reply) = entries.entry(client) {
                with(reply);
            }
        });
    }

    fn with_entries<R>(&self, with: impl FnOnce(&mut Entries<CLIENTS>) -> R) -> R {
        // The borrow cannot fail: the table is borrowed only in critical sections, which call no
        // external code that uses the table.
        self.replies.lock(|entries| with(&mut entries.borrow_mut()))
    }
}

impl<const CLIENTS: usize> Entries<CLIENTS> {
    fn find(&mut self, client: Option<Client>) -> Option<&mut Reply> {
        self.replies.iter_mut().find(|reply| reply.client == client)
    }

    /// Returns the entry of `client`. The result is `None` only if the table has no entries.
    fn entry(&mut self, client: Client) -> Option<&mut Reply> {
        if self.find(Some(client)).is_none() {
            if self.find(None).is_none() {
                self.next = (self.next + 1) % CLIENTS;
                if let Some(reply) = self.replies.get_mut(self.next) {
                    reply.clear();
                }
            }
            self.find(None)?.client = Some(client);
        }
        self.find(Some(client))
    }
}

impl Reply {
    const fn new() -> Reply {
        Reply { client: None, text: [0; ERROR_MESSAGE_MAX + 1], len: 0, pending: 0 }
    }

    /// Removes the client and its reply. The bytes of the text need not be cleared.
    fn clear(&mut self) {
        (self.client, self.len, self.pending) = (None, 0, 0);
    }

    #[inline(never)]
    fn set(&mut self, text: &dyn fmt::Display) {
        let (newline, room) = (1, ERROR_MESSAGE_MAX);
        let mut window = Window::new(0, self.text.get_mut(..room).unwrap_or_default());
        // If the text is too long, the `Window` returns an error and keeps the start of the text.
        let _ = write!(window, "{text}");
        let len = window.filled();
        if let Some(end) = self.text.get_mut(len) {
            *end = b'\n';
        }
        self.len = len.saturating_add(newline) as u8;
    }
}

impl<const CLIENTS: usize> Observer for Replies<CLIENTS> {
    fn refused(&self, client: Client, error: &Error) {
        self.reply(client, error);
    }

    fn left(&self, client: Client) {
        self.with_reply(client, Reply::clear);
    }
}

impl<const CLIENTS: usize> StoreOutcomes for Replies<CLIENTS> {
    fn finished(&self, client: Client, outcome: Result<&dyn fmt::Display>) {
        self.with_reply(client, |reply| {
            // If the client's connection has ended since the request was made, nothing is pending
            // and no one is waiting for the outcome.
            if reply.pending == 0 {
                return;
            }
            reply.pending -= 1;
            match outcome {
                Ok(text) => reply.set(text),
                Err(error) => reply.set(&error),
            }
        });
        self.waiters.wake();
    }
}

impl<const CLIENTS: usize> Default for Replies<CLIENTS> {
    fn default() -> Self {
        Replies::new()
    }
}

impl<const CLIENTS: usize> fmt::Debug for Replies<CLIENTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies").field("clients", &CLIENTS).finish_non_exhaustive()
    }
}
