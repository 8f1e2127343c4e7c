//! Reports every change of a parameter to the parts of the program that registered for changes.

use core::cell::Cell;
use core::fmt;

use embassy_sync::blocking_mutex::CriticalSectionMutex;

use crate::vfs::Client;

/// Receives the changes of all parameters.
pub trait Observer: Sync {
    /// Handles a change. `address` is the [address](super::Parameter::address) of the value that
    /// `client` has set. This method may be called from an interrupt handler.
    fn changed(&self, address: usize, client: Client);
}

/// A place for one observer in the list of observers. The list needs no allocator, because each
/// observer provides its own entry.
pub struct ObserverEntry {
    observer: &'static dyn Observer,
    next: CriticalSectionMutex<Cell<Option<&'static ObserverEntry>>>,
}

impl ObserverEntry {
    /// Creates an entry that is not in the list.
    #[must_use]
    pub const fn new(observer: &'static dyn Observer) -> ObserverEntry {
        ObserverEntry { observer, next: CriticalSectionMutex::new(Cell::new(None)) }
    }
}

impl fmt::Debug for ObserverEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObserverEntry").finish_non_exhaustive()
    }
}

/// The entry that was added last.
static LAST: CriticalSectionMutex<Cell<Option<&'static ObserverEntry>>> =
    CriticalSectionMutex::new(Cell::new(None));

/// Adds an observer to the list. Does nothing if the entry is already in the list.
pub fn observe(entry: &'static ObserverEntry) {
    critical_section::with(|_| {
        let mut at = LAST.lock(Cell::get);
        while let Some(listed) = at {
            if core::ptr::eq(listed, entry) {
                return;
            }
            at = listed.next.lock(Cell::get);
        }
        entry.next.lock(|next| next.set(LAST.lock(Cell::get)));
        LAST.lock(|last| last.set(Some(entry)));
    });
}

/// Reports to all observers that `client` set the value with this address.
pub(crate) fn notify_observers(address: usize, client: Client) {
    let mut at = LAST.lock(Cell::get);
    while let Some(entry) = at {
        entry.observer.changed(address, client);
        at = entry.next.lock(Cell::get);
    }
}
