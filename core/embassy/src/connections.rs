//! The table of a server's connections.

use core::cell::RefCell;
use core::fmt;
use core::future::poll_fn;
use core::task::Poll;

use datakit_core::vfs::{Client, Error, Result};
use datakit_core::{Decimal, Plain};
use embassy_net::IpEndpoint;
use embassy_sync::blocking_mutex::CriticalSectionMutex;
use embassy_sync::waitqueue::WakerRegistration;
use embassy_time::{Duration, Instant, with_timeout};

use crate::EndReason;

/// The connections of a [`Server`](crate::Server) with `CLIENTS` client slots.
///
/// The table is a `static`, so that a file in the tree can show it. `Connections` itself is a
/// [`File`](datakit_core::vfs::File) with one line of 32 characters for each connection: the
/// client's number, the peer's address, and the number of seconds since the last transfer.
///
/// ```text
///   1 10.0.2.2:40312            0
///   2 10.0.2.2:40318           17
/// ```
///
/// The file is rendered without a buffer. If a client reads it in several pieces, each piece shows
/// the connections at the time of that read.
pub struct Connections<const CLIENTS: usize>(
    CriticalSectionMutex<RefCell<ConnectionTable<CLIENTS>>>,
);

struct ConnectionTable<const CLIENTS: usize> {
    entries: [SlotEntry; CLIENTS],
    /// The number of the most recent client.
    last: u8,
    shutting_down: bool,
    /// The waker of the task that is waiting for all connections to be closed.
    waiter: WakerRegistration,
}

/// The connection in one client slot. A free entry is all zeros, so a table in a `static` needs no
/// flash for its initial value.
struct SlotEntry {
    peer: Option<IpEndpoint>,
    /// The client's number, or 0 if the slot is free.
    client: u8,
    kicked: bool,
    last_active: Instant,
    /// The waker of the task that serves the client.
    task: WakerRegistration,
}

/// A connection in a client slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The client's number, from 1 to 254. No two connections have the same number at the same
    /// time. The numbers are assigned cyclically, so a number is reused as late as possible.
    pub client: Client,
    /// The peer's address.
    pub peer: Peer,
    /// The time of the connection's last transfer.
    pub last_active: Instant,
}

/// The address of a peer. Formatting options such as width are ignored, which saves flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Peer(pub IpEndpoint);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.addr {
            #[cfg(feature = "proto-ipv4")]
            embassy_net::IpAddress::Ipv4(address) => {
                for (byte, end) in address.octets().into_iter().zip([".", ".", ".", ""]) {
                    write!(f, "{}{}", Decimal::from(byte), Plain(end))?;
                }
            }
            #[allow(
                unreachable_patterns,
                reason = "without the feature for IPv6, no other address exists"
            )]
            address => write!(f, "[{address}]")?,
        }
        write!(f, ":{}", Decimal::from(self.0.port))
    }
}

impl<const CLIENTS: usize> Connections<CLIENTS> {
    /// Creates a table without connections.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(CLIENTS >= 1 && CLIENTS <= 254, "CLIENTS must be from 1 to 254") };
        Connections(CriticalSectionMutex::new(RefCell::new(ConnectionTable {
            entries: [const {
                SlotEntry {
                    peer: None,
                    client: 0,
                    kicked: false,
                    last_active: Instant::MIN,
                    task: WakerRegistration::new(),
                }
            }; CLIENTS],
            last: 0,
            shutting_down: false,
            waiter: WakerRegistration::new(),
        })))
    }

    /// Returns the number of connections.
    pub fn len(&self) -> usize {
        self.with(|state| state.connections().count())
    }

    /// Returns whether there are no connections.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the connection at `index`, counting only client slots that have a connection.
    pub fn get(&self, index: usize) -> Option<ConnectionInfo> {
        self.with(|state| state.connections().nth(index))
    }

    /// Closes the connection of `client`. Returns `false` if there is no such connection.
    pub fn kick(&self, client: Client) -> bool {
        self.with(|state| {
            let entries = state.entries.iter_mut();
            let found = entries.filter(|entry| entry.client != 0).find(|e| e.client == client.0);
            found.map(|entry| {
                entry.kicked = true;
                entry.task.wake();
            })
        })
        .is_some()
    }

    /// Parses `command` as a client number and closes that client's connection. To let clients
    /// close connections, add to the tree a [`Command`](datakit_core::files::Command) that calls
    /// this method:
    ///
    /// ```
    /// use datakit_core::files::Command;
    /// use datakit_embassy::Connections;
    ///
    /// static CONNECTIONS: Connections<3> = Connections::new();
    /// static KICK: Command<0> = Command::new(|command, _| CONNECTIONS.kick_command(command))
    ///     .doc("closes the connection with the written number");
    /// ```
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the text is not a number from 1 to 254, and
    /// [`Error::NotFound`] if there is no connection with this number.
    pub fn kick_command(&self, command: &str) -> Result<()> {
        let client = command.parse().map_err(|_| {
            Error::Invalid
                .with_message(Plain("write the number of a connection, which is from 1 to 254"))
        })?;
        if self.kick(Client(client)) {
            Ok(())
        } else {
            Err(Error::NotFound.with_message(format_args!(
                "there is no connection with the number {}",
                Decimal::from(client)
            )))
        }
    }

    /// Closes all connections and refuses new ones. Waits until all connections are closed, but for
    /// no longer than `timeout`. Call this method before a restart.
    ///
    /// Only one task should call this method, because two waiting tasks would keep waking each
    /// other until all connections are closed.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the shutdown.
    pub async fn shut_down(&self, timeout: Duration) {
        self.with(|state| {
            state.shutting_down = true;
            state.entries.iter_mut().for_each(|entry| entry.task.wake());
        });
        let empty = poll_fn(|cx| {
            self.with(|state| {
                if state.connections().next().is_none() {
                    return Poll::Ready(());
                }
                state.waiter.register(cx.waker());
                Poll::Pending
            })
        });
        let _ = with_timeout(timeout, empty).await;
    }

    /// Returns whether [`shut_down`](Connections::shut_down) has been called.
    pub fn is_shutting_down(&self) -> bool {
        self.with(|state| state.shutting_down)
    }

    /// Adds the connection in this slot, and assigns it a number.
    pub(crate) fn add(&self, slot: usize, peer: IpEndpoint) -> Option<ConnectionInfo> {
        self.with(|state| {
            let client = state.next_client();
            let entry = state.entries.get_mut(slot)?;
            entry.client = client;
            entry.peer = Some(peer);
            entry.kicked = false;
            entry.last_active = Instant::now();
            entry.info()
        })
    }

    /// Removes the connection in this slot.
    pub(crate) fn remove(&self, slot: usize) {
        self.with(|state| {
            if let Some(entry) = state.entries.get_mut(slot) {
                entry.client = 0;
                entry.peer = None;
            }
            state.waiter.wake();
        });
    }

    /// Records that the connection in this slot has just transferred data.
    pub(crate) fn touch(&self, slot: usize) {
        let now = Instant::now();
        self.with(|state| {
            if let Some(entry) = state.entries.get_mut(slot) {
                entry.last_active = now;
            }
        });
    }

    /// Returns the time of the last transfer by the connection in this slot.
    pub(crate) fn last_active(&self, slot: usize) -> Instant {
        self.with(|state| state.entries.get(slot).map_or(Instant::MIN, |entry| entry.last_active))
    }

    /// Waits until the connection in this slot must be closed, and returns the reason.
    pub(crate) async fn closing(&self, slot: usize) -> EndReason {
        poll_fn(|cx| {
            self.with(|state| {
                if state.shutting_down {
                    return Poll::Ready(EndReason::Shutdown);
                }
                match state.entries.get_mut(slot) {
                    Some(entry) if entry.kicked => Poll::Ready(EndReason::Kicked),
                    Some(entry) => {
                        entry.task.register(cx.waker());
                        Poll::Pending
                    }
                    None => Poll::Pending,
                }
            })
        })
        .await
    }

    fn with<R>(&self, f: impl FnOnce(&mut ConnectionTable<CLIENTS>) -> R) -> R {
        // The borrow cannot fail, because the state is borrowed only in critical sections, which
        // call no other methods of the table. Waking a task only schedules it.
        self.0.lock(|state| f(&mut state.borrow_mut()))
    }
}

impl<const CLIENTS: usize> ConnectionTable<CLIENTS> {
    fn connections(&self) -> impl Iterator<Item = ConnectionInfo> {
        self.entries.iter().filter_map(SlotEntry::info)
    }

    /// Returns the next number that no connection is using. Such a number exists, because there are
    /// fewer slots than numbers.
    fn next_client(&mut self) -> u8 {
        loop {
            self.last = self.last % 254 + 1;
            if self.entries.iter().all(|entry| entry.client != self.last) {
                return self.last;
            }
        }
    }
}

impl SlotEntry {
    fn info(&self) -> Option<ConnectionInfo> {
        let peer = Peer(self.peer?);
        Some(ConnectionInfo { client: Client(self.client), peer, last_active: self.last_active })
    }
}

impl<const CLIENTS: usize> Default for Connections<CLIENTS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const CLIENTS: usize> fmt::Debug for Connections<CLIENTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries((0..CLIENTS).map_while(|index| self.get(index))).finish()
    }
}
