//! Passes accepted sockets from the listeners to the client slots and back.

use core::cell::RefCell;
use core::mem::ManuallyDrop;

use embassy_net::tcp::TcpSocket;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use heapless::{Deque, Vec};

/// A socket and the number of its listener. The socket is never dropped, because the drop code
/// would take up flash.
pub(crate) struct Socket {
    pub(crate) listener: usize,
    pub(crate) tcp: ManuallyDrop<TcpSocket<'static>>,
}

/// The sockets for `CLIENTS` client slots and `CLIENTS + 1` listeners. At most one task waits for
/// each signal. If two tasks waited for the same signal, each would replace the other's waker and
/// wake the other task, so the processor would never sleep.
pub(crate) struct Acceptor<const CLIENTS: usize> {
    /// For each slot, the signal that hands the next client to the slot.
    slots: [Signal<NoopRawMutex, Socket>; CLIENTS],
    /// The numbers of the free slots.
    free: RefCell<Vec<usize, CLIENTS>>,
    /// The clients that are waiting for a slot, in order of arrival.
    queue: RefCell<Deque<Socket, CLIENTS>>,
    /// For each listener, the signal that hands the socket back to the listener.
    listeners: [Signal<NoopRawMutex, Socket>; CLIENTS],
    spare: Signal<NoopRawMutex, Socket>,
}

impl<const CLIENTS: usize> Acceptor<CLIENTS> {
    pub(crate) const fn new() -> Self {
        Acceptor {
            slots: [const { Signal::new() }; CLIENTS],
            free: RefCell::new(Vec::new()),
            queue: RefCell::new(Deque::new()),
            listeners: [const { Signal::new() }; CLIENTS],
            spare: Signal::new(),
        }
    }

    /// Returns the signal that hands the socket back to a listener.
    pub(crate) fn listener(&self, number: usize) -> &Signal<NoopRawMutex, Socket> {
        self.listeners.get(number).unwrap_or(&self.spare)
    }

    /// Assigns a client to a free slot, or queues it. If the queue is full, which is possible only
    /// before the slots have started, the socket goes back to its listener.
    pub(crate) fn assign(&self, socket: Socket) {
        let free = self.free.borrow_mut().pop();
        match free.and_then(|slot| self.slots.get(slot)) {
            Some(slot) => slot.signal(socket),
            None => {
                let full = self.queue.borrow_mut().push_back(socket);
                full.unwrap_or_else(|socket| self.return_socket(socket));
            }
        }
    }

    /// Takes the next client from the queue, or waits until a client is assigned to the slot.
    pub(crate) async fn next_client(&self, slot: usize) -> Socket {
        if let Some(socket) = self.queue.borrow_mut().pop_front() {
            return socket;
        }
        // The push cannot fail, because the list has room for all slots.
        let _ = self.free.borrow_mut().push(slot);
        match self.slots.get(slot) {
            Some(slot) => slot.wait().await,
            None => core::future::pending().await,
        }
    }

    /// Removes a listener's client from the queue if it is still queued.
    pub(crate) fn withdraw(&self, listener: usize) -> Option<Socket> {
        let mut queue = self.queue.borrow_mut();
        let mut found = None;
        for _ in 0..queue.len() {
            match queue.pop_front() {
                Some(socket) if socket.listener == listener => found = Some(socket),
                // The push cannot fail, because a socket was just removed.
                Some(socket) => drop(queue.push_back(socket)),
                None => {}
            }
        }
        found
    }

    /// Hands a socket back to its listener.
    pub(crate) fn return_socket(&self, socket: Socket) {
        self.listener(socket.listener).signal(socket);
    }
}
