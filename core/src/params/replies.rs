//! The last reply to each client's commands, or the last refusal of a request.

use core::cell::RefCell;
use core::fmt::{self, Write};
use core::task::Context;

use embassy_sync::blocking_mutex::CriticalSectionMutex;
use heapless::String;

use super::{Event, Observer, ParamStore, StoreAction, StoreOutcomes, StoreRequest};
use crate::files::Plain;
use crate::vfs::{Client, ERROR_MESSAGE_MAX, Error, OpenFile, Result, Waiters, Window, truncated};

/// For each client, the last reply or refusal, which can be read from [`Ctl`](super::Ctl).
///
/// If any file in the tree refuses a request from the client, the error message replaces the reply.
/// Error replies in 9P2000.L contain only a number, so a client that uses this dialect reads the
/// text of a refusal from `Ctl`.
///
/// Each client may have one request to the store. The store receives the requests one at a time and
/// from each client in turn, so a client cannot keep others from using the store. A read waits for
/// the outcome, unless another request from the client is refused in the meantime. The read then
/// returns the reason for this refusal, and the outcome replaces it later.
///
/// The table has room for the replies to `CLIENTS` clients, including the program. A reply is
/// removed when the client's connection [ends](super::client_left), but a request to the store is
/// processed nevertheless. If the table is full, a new reply replaces the reply to another client
/// that has no request to the store.
///
/// The table receives refusals only after its entry has been passed to
/// [`observe`](super::observe).
pub struct Replies<const CLIENTS: usize> {
    replies: CriticalSectionMutex<RefCell<Entries<CLIENTS>>>,
    waiters: Waiters,
}

struct Entries<const CLIENTS: usize> {
    replies: [Reply; CLIENTS],
    /// The index of the entry that was most recently replaced because the table was full, or whose
    /// request was most recently passed to the store.
    last: usize,
}

struct Reply {
    /// The client to which the entry belongs, or `None` if there is no client or its connection has
    /// ended.
    client: Option<Client>,
    /// The text, which is empty if there is no reply.
    text: String<ERROR_MESSAGE_MAX>,
    /// The client's request to the store.
    request: Request,
}

enum Request {
    None,
    /// The request waits until the store has finished the requests of other clients.
    Waiting(&'static dyn ParamStore, StoreAction),
    /// The store is processing the request.
    Started,
}

impl<const CLIENTS: usize> Replies<CLIENTS> {
    /// Creates an empty table.
    #[must_use]
    pub const fn new() -> Replies<CLIENTS> {
        const { assert!(CLIENTS > 0, "the table has at least one entry") };
        let entries = Entries { replies: [const { Reply::new() }; CLIENTS], last: 0 };
        let replies = CriticalSectionMutex::new(RefCell::new(entries));
        Replies { replies, waiters: Waiters::new() }
    }

    /// Passes a request from `client` to `store` when the store has finished the requests of other
    /// clients. Reads wait until the request is finished or another request is refused.
    ///
    /// # Errors
    /// Returns [`Error::Busy`] with a message if the client already has a request, or if there is
    /// no entry for it. Returns the store's error if it refuses the request.
    pub(super) fn request(
        &'static self,
        store: &'static dyn ParamStore,
        action: StoreAction,
        client: Client,
    ) -> Result<()> {
        let is_waiting = self.with_entry(client, |reply| {
            let is_idle = reply.is_idle();
            if is_idle {
                reply.text.clear();
                reply.request = Request::Waiting(store, action);
            }
            is_idle
        });
        if is_waiting != Some(true) {
            return Err(Error::Busy.with_message(Plain("a request is already waiting")));
        }
        self.start_next()
    }

    /// Passes the next waiting request to its store unless the store is still processing one.
    fn start_next(&'static self) -> Result<()> {
        match self.with_entries(Entries::next) {
            Some((store, action, client)) => store
                .start(StoreRequest::by_client(action, client, self))
                .inspect_err(|error| self.reply(client, error)),
            None => Ok(()),
        }
    }

    /// Replaces the reply to `client`. Text that is too long is truncated.
    pub(super) fn reply(&self, client: Client, text: &dyn fmt::Display) {
        self.with_entry(client, |reply| reply.set(text));
    }

    /// Writes the reply for the client that opened `open`, followed by a newline. Writes nothing if
    /// there is no reply for this client. Registers the waker and returns `false` if there will be a
    /// reply when a request has finished.
    pub(super) fn render(
        &self,
        open: &mut OpenFile<'_>,
        cx: &mut Context<'_>,
        out: &mut Window<'_>,
    ) -> bool {
        let ready = self.with_reply(open.client, |reply| {
            if !reply.is_idle() && reply.text.is_empty() {
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
            let index = entries.position(|reply| reply.client == Some(client))?;
            entries.replies.get_mut(index).map(with)
        })
    }

    /// Passes the entry of `client` to `with`. A client without an entry is assigned a free entry
    /// or another client's entry. Returns `None` if all entries have requests to the store.
    fn with_entry<R>(&self, client: Client, with: impl FnOnce(&mut Reply) -> R) -> Option<R> {
        self.with_entries(|entries| entries.entry(client).map(with))
    }

    fn with_entries<R>(&self, with: impl FnOnce(&mut Entries<CLIENTS>) -> R) -> R {
        // The borrow cannot fail: the table is borrowed only in critical sections, which call no
        // external code that uses the table.
        self.replies.lock(|entries| with(&mut entries.borrow_mut()))
    }
}

impl<const CLIENTS: usize> Entries<CLIENTS> {
    fn position(&self, is_wanted: impl Fn(&Reply) -> bool) -> Option<usize> {
        self.replies.iter().position(is_wanted)
    }

    /// Returns the index of the first entry after the last one that has a waiting request, or, if
    /// `waiting` is `false`, that has no request.
    fn next_position(&self, waiting: bool) -> Option<usize> {
        let mut next = None;
        for (index, reply) in self.replies.iter().enumerate() {
            let is_wanted = match reply.request {
                Request::None => !waiting,
                Request::Waiting(..) => waiting,
                Request::Started => false,
            };
            if is_wanted && next.is_none_or(|next| next <= self.last && index > self.last) {
                next = Some(index);
            }
        }
        next
    }

    /// Returns the entry of `client`. A client without an entry is assigned a free entry or, if no
    /// entry is free, the next entry, which belongs to another client.
    fn entry(&mut self, client: Client) -> Option<&mut Reply> {
        let index = match self.position(|reply| reply.client == Some(client)) {
            Some(index) => index,
            None => {
                let free = self.position(|reply| reply.client.is_none() && reply.is_idle());
                let index = match free {
                    Some(index) => index,
                    None => {
                        self.last = self.next_position(false)?;
                        self.last
                    }
                };
                *self.replies.get_mut(index)? = Reply { client: Some(client), ..Reply::new() };
                index
            }
        };
        self.replies.get_mut(index)
    }

    /// Starts the next waiting request, unless another request has been started.
    fn next(&mut self) -> Option<(&'static dyn ParamStore, StoreAction, Client)> {
        if self.replies.iter().any(|reply| matches!(reply.request, Request::Started)) {
            return None;
        }
        self.last = self.next_position(true)?;
        let reply = self.replies.get_mut(self.last)?;
        match core::mem::replace(&mut reply.request, Request::Started) {
            Request::Waiting(store, action) => {
                Some((store, action, reply.client.unwrap_or(Client::PROGRAM)))
            }
            _ => None,
        }
    }
}

impl Reply {
    const fn new() -> Reply {
        Reply { client: None, text: String::new(), request: Request::None }
    }

    /// Returns `true` if there is no request to the store.
    fn is_idle(&self) -> bool {
        matches!(self.request, Request::None)
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
                self.with_reply(client, |reply| {
                    reply.client = None;
                    reply.text.clear();
                });
            }
            Event::Changed { .. } => {}
        }
    }
}

impl<const CLIENTS: usize> StoreOutcomes for Replies<CLIENTS> {
    fn finished(&'static self, _: Client, outcome: Result<&dyn fmt::Display>) {
        self.with_entries(|entries| {
            let mut replies = entries.replies.iter_mut();
            if let Some(reply) = replies.find(|reply| matches!(reply.request, Request::Started)) {
                reply.request = Request::None;
                // The entry keeps no text for a client whose connection has ended.
                if reply.client.is_some() {
                    reply.set(match &outcome {
                        Ok(text) => *text,
                        Err(error) => error,
                    });
                }
            }
        });
        self.waiters.wake();
        // If the store refuses the request, the client reads the reason as the reply.
        let _ = self.start_next();
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
