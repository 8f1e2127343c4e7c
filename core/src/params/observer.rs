//! Observers, which are notified when a parameter changes or a request is refused.

use core::cell::Cell;
use core::fmt;

use embassy_sync::blocking_mutex::CriticalSectionMutex;

use crate::vfs::{Client, Error};

/// An event that is reported to [observers](Observer).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A client has changed a value.
    Changed {
        /// The [address](super::Parameter::address) of the value.
        address: usize,
        /// The client, or [`Client::PROGRAM`].
        client: Client,
    },
    /// A file has refused a client's request.
    Refused {
        /// The client.
        client: Client,
        /// The reason.
        error: &'a Error,
    },
    /// A client's connection has ended. The client's number may now be assigned to another
    /// connection.
    Left {
        /// The client.
        client: Client,
    },
}

/// Receives notifications of parameter changes, refused requests, and closed connections.
pub trait Observer: Sync {
    /// Called for each event. A change may be reported from an interrupt handler.
    fn notify(&self, event: &Event<'_>);
}

/// An observer's entry in the list of observers. The list needs no allocator, because each observer
/// provides the memory for its entry.
pub struct ObserverEntry {
    observer: &'static dyn Observer,
    /// The entry that was added before this one, or this entry if it was added first. `None` if
    /// this entry is not in the list.
    next: CriticalSectionMutex<Cell<Option<&'static ObserverEntry>>>,
}

impl ObserverEntry {
    /// Creates an entry that is not in the list.
    #[must_use]
    pub const fn new(observer: &'static dyn Observer) -> ObserverEntry {
        ObserverEntry { observer, next: CriticalSectionMutex::new(Cell::new(None)) }
    }

    fn next(&self) -> Option<&'static ObserverEntry> {
        self.next.lock(Cell::get)
    }
}

impl fmt::Debug for ObserverEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObserverEntry").finish_non_exhaustive()
    }
}

/// The most recently added entry.
static LAST: CriticalSectionMutex<Cell<Option<&'static ObserverEntry>>> =
    CriticalSectionMutex::new(Cell::new(None));

/// Adds an observer to the list. Does nothing if the entry is already in the list.
pub fn observe(entry: &'static ObserverEntry) {
    critical_section::with(|_| {
        if entry.next().is_none() {
            let last = LAST.lock(|last| last.replace(Some(entry)));
            entry.next.lock(|next| next.set(Some(last.unwrap_or(entry))));
        }
    });
}

/// Tells all observers that `client` set the value at this address.
pub(crate) fn notify_observers(address: usize, client: Client) {
    notify(&Event::Changed { address, client });
}

/// Tells all observers that a request from `client` was refused. A tree calls this function when
/// one of its files refuses a request.
pub fn notify_refusal(client: Client, error: &Error) {
    notify(&Event::Refused { client, error });
}

/// Tells all observers that the connection of `client` has ended. The program must call this
/// function before it assigns the client's number to another connection.
pub fn client_left(client: Client) {
    notify(&Event::Left { client });
}

#[inline(never)]
fn notify(event: &Event<'_>) {
    let mut at = LAST.lock(Cell::get);
    while let Some(entry) = at {
        entry.observer.notify(event);
        at = entry.next().filter(|next| !core::ptr::eq(*next, entry));
    }
}
