//! The last reply to each client's commands, or the last refusal of a request.

use core::cell::RefCell;
use core::fmt::{self, Write};
use core::task::Context;

use embassy_sync::blocking_mutex::CriticalSectionMutex;
use heapless::String;

use super::{Event, Observer, StoreOutcomes};
use crate::vfs::{Client, ERROR_MESSAGE_MAX, OpenFile, Result, Waiters, Window, truncated};

/// For each client, the last reply or refusal, which can be read from [`Ctl`](super::Ctl).
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
    waiters: Waiters,
}

struct Entries<const CLIENTS: usize> {
    replies: [Reply; CLIENTS],
    /// The index of the entry that was most recently replaced because the table was full.
    next: usize,
}

struct Reply {
    /// The client to which the entry belongs, or `None` if the entry is free.
    client: Option<Client>,
    /// The text, which is empty if there is no reply.
    text: String<ERROR_MESSAGE_MAX>,
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

    /// Counts a request that `client` has made to the store. Reads wait until the request is
    /// finished.
    pub(super) fn expect_outcome(&self, client: Client) {
        self.with_entry(client, |reply| reply.pending = reply.pending.saturating_add(1));
    }

    /// Writes the reply for the client that opened `open`, followed by a newline. Writes nothing if
    /// there is no reply for this client. Registers the waker and returns `false` if the reply
    /// depends on a request that has not finished.
    pub(super) fn render(
        &self,
        open: &mut OpenFile<'_>,
        cx: &mut Context<'_>,
        out: &mut Window<'_>,
    ) -> bool {
        let ready = self.with_reply(open.client, |reply| {
            if reply.pending > 0 {
                // The request cannot finish before the critical section ends.
                self.waiters.register(open.waiter, cx.waker());
                return false;
            }
            if !reply.text.is_empty() {
                // When the buffer is full, the window returns an error to stop the rendering.
                let _ = out.write_str(&reply.text).and_then(|()| out.write_str("\n"));
            }
            true
        });
        ready.unwrap_or(true)
    }

    /// Calls `with` on the reply to `client` if there is a reply.
    fn with_reply<R>(&self, client: Client, with: impl FnOnce(&mut Reply) -> R) -> Option<R> {
        self.with_entries(|entries| {
            let index = entries.position(Some(client))?;
            entries.replies.get_mut(index).map(with)
        })
    }

    /// Passes the entry of `client` to `with`. A client without an entry is assigned a free entry
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
    fn position(&self, client: Option<Client>) -> Option<usize> {
        self.replies.iter().position(|reply| reply.client == client)
    }

    /// Returns the entry of `client`. A client without an entry is assigned a free entry or, if no
    /// entry is free, the next entry, which belongs to another client.
    fn entry(&mut self, client: Client) -> Option<&mut Reply> {
        let index = match self.position(Some(client)).or_else(|| self.position(None)) {
            Some(index) => index,
            None => {
                self.next = (self.next + 1) % CLIENTS;
                self.next
            }
        };
        let reply = self.replies.get_mut(index)?;
        if reply.client != Some(client) {
            *reply = Reply { client: Some(client), ..Reply::new() };
        }
        Some(reply)
    }
}

impl Reply {
    const fn new() -> Reply {
        Reply { client: None, text: String::new(), pending: 0 }
    }

    fn set(&mut self, text: &dyn fmt::Display) {
        self.text = truncated(text);
    }
}

impl<const CLIENTS: usize> Observer for Replies<CLIENTS> {
    fn notify(&self, event: &Event<'_>) {
        match *event {
            Event::Refused { client, error } => self.reply(client, error),
            Event::Left { client } => {
                self.with_reply(client, |reply| *reply = Reply::new());
            }
            Event::Changed { .. } => {}
        }
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
            reply.set(match &outcome {
                Ok(text) => *text,
                Err(error) => error,
            });
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
