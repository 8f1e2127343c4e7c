//! Accepts connections and serves each of them in a client slot.
//!
//! There is one more socket than there are client slots, so one socket is always listening. A
//! client that connects while all slots are busy is accepted and waits for a slot. If no slot
//! becomes free within [`SLOT_TIMEOUT`], the connection is closed. If two clients connect at the
//! same instant, the second client is refused and must retry. This limitation applies to every
//! listener without a backlog.
//!
//! A client loses its slot when it has been inactive for `params/net/idle` seconds and has no
//! request in flight. A client that is waiting for an event is not idle, because its request is in
//! flight. If a waiting client becomes unreachable, TCP keep-alive detects the failure within
//! `params/net/idle` seconds.

use core::cell::{Cell, RefCell};
use core::pin::pin;

use datakit_core::serve::{self, Disconnect};
use datakit_core::session::{FidArray, FidEntry, FidTable, Limits, Session};
use datakit_core::vfs::StaticTree;
use datakit_firmware::board::{self, EventKind};
use datakit_firmware::quota::{OpenQuota, QuotaTree};
use datakit_firmware::{params, state};
use embassy_futures::select::select;
use embassy_net::Stack;
use embassy_net::tcp::{self, TcpReader, TcpSocket, TcpWriter};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant, Timer, with_timeout};
use embedded_io_async::{ErrorType, Read, Write};
use heapless::{Deque, Vec};
use static_cell::{ConstStaticCell, StaticCell};

use crate::log::log;
use crate::net::SOCKETS;

/// The maximum number of clients that are served at the same time.
pub const CLIENT_SLOTS: usize = SOCKETS - 1;

/// The TCP port for 9P.
const PORT: u16 = 564;

/// The sizes of a socket's buffers, in bytes.
const RECEIVE: usize = 1460;
const TRANSMIT: usize = 1460;

/// The maximum number of requests that a client can have in flight. All but one of these requests
/// can wait for events.
const WORKERS: usize = 4;
/// The maximum length, in bytes, of a message. The negotiated msize is larger, because Linux
/// requires an msize of at least one page. Reads and writes stay within the maximum length, because
/// clients respect the iounit. Any other request that exceeds the maximum length is refused.
const FRAME: usize = 1024;
const LIMITS: Limits = Limits::new(4096).iounit((FRAME - 24) as u32);
/// The maximum number of fids per client.
const FIDS: usize = 24;
/// The maximum number of open files across all clients.
const OPENS: usize = 24;
/// The number of open files reserved for each client.
const RESERVED: usize = 4;
/// The maximum time that a client waits for a slot.
const SLOT_TIMEOUT: Duration = Duration::from_millis(750);
/// The maximum time to wait for a client to acknowledge that its connection is being closed.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(300);
/// The maximum length, in bytes, of a file's rendered text.
const TEXT: usize = 96;

/// A socket and the number of its listener.
pub struct Socket {
    listener: usize,
    tcp: &'static mut TcpSocket<'static>,
}

/// Passes sockets between listeners and client slots. At most one task waits for each signal. If
/// two tasks waited for the same signal, they would keep replacing each other's waker, and the
/// board would never sleep.
pub struct Acceptor {
    /// One signal per slot, through which the slot receives its next client.
    slots: [Signal<NoopRawMutex, Socket>; CLIENT_SLOTS],
    /// The numbers of the free slots.
    free: RefCell<Vec<usize, CLIENT_SLOTS>>,
    /// The clients that are waiting for a slot, in order of arrival.
    queue: RefCell<Deque<Socket, SOCKETS>>,
    /// One signal per listener, through which the listener receives its socket after the connection
    /// has ended.
    listeners: [Signal<NoopRawMutex, Socket>; SOCKETS],
}

impl Acceptor {
    const fn new() -> Acceptor {
        Acceptor {
            slots: [const { Signal::new() }; CLIENT_SLOTS],
            free: RefCell::new(Vec::new()),
            queue: RefCell::new(Deque::new()),
            listeners: [const { Signal::new() }; SOCKETS],
        }
    }

    /// Assigns a client to a free slot, or queues it.
    fn assign(&self, socket: Socket) {
        let free = self.free.borrow_mut().pop();
        match free.and_then(|slot| self.slots.get(slot)) {
            Some(slot) => slot.signal(socket),
            // The push cannot fail, because the queue has room for all sockets.
            None => drop(self.queue.borrow_mut().push_back(socket)),
        }
    }

    /// Takes the next client from the queue, or waits until a client is assigned to the slot.
    async fn next_client(&self, slot: usize) -> Socket {
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

    /// Removes a listener's client from the queue if the client is still queued.
    fn withdraw(&self, listener: usize) -> Option<Socket> {
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

    /// Passes a socket back to its listener.
    fn return_socket(&self, socket: Socket) {
        if let Some(listener) = self.listeners.get(socket.listener) {
            listener.signal(socket);
        }
    }
}

/// Creates the sockets. Call this function only once.
pub fn start(stack: Stack<'static>) -> &'static Acceptor {
    static ACCEPTOR: StaticCell<Acceptor> = StaticCell::new();
    static MEMORY: ConstStaticCell<[([u8; RECEIVE], [u8; TRANSMIT]); SOCKETS]> =
        ConstStaticCell::new([([0; RECEIVE], [0; TRANSMIT]); SOCKETS]);
    static HANDLES: [StaticCell<TcpSocket<'static>>; SOCKETS] =
        [const { StaticCell::new() }; SOCKETS];
    let acceptor = ACCEPTOR.init_with(Acceptor::new);
    for (listener, ((receive, transmit), socket)) in
        MEMORY.take().iter_mut().zip(&HANDLES).enumerate()
    {
        acceptor.return_socket(Socket {
            listener,
            tcp: socket.init_with(|| TcpSocket::new(stack, receive, transmit)),
        });
    }
    acceptor
}

/// Accepts one client after another on a single socket.
pub async fn listener(acceptor: &'static Acceptor, listener: usize) -> ! {
    let Some(back) = acceptor.listeners.get(listener) else { core::future::pending().await };
    let mut socket = back.wait().await;
    loop {
        let accepted = socket.tcp.accept(PORT).await;
        socket = if accepted.is_err() || state::SHUTTING_DOWN.get() {
            reject(socket).await
        } else {
            acceptor.assign(socket);
            match with_timeout(SLOT_TIMEOUT, back.wait()).await {
                Ok(socket) => socket,
                Err(_) => match acceptor.withdraw(listener) {
                    Some(socket) => reject(socket).await,
                    None => back.wait().await,
                },
            }
        };
    }
}

/// Closes a connection that was not served.
async fn reject(socket: Socket) -> Socket {
    socket.tcp.abort();
    let _ = socket.tcp.flush().await;
    socket
}

/// The memory for a client slot.
pub struct SlotMemory {
    frames: serve::Memory<WORKERS, FRAME>,
    fids: FidArray<ClientTree, FIDS>,
}

impl SlotMemory {
    /// Creates an unused slot.
    pub const fn new() -> SlotMemory {
        SlotMemory { frames: serve::Memory::new(), fids: FidArray::new() }
    }
}

/// The tree that all clients share.
pub type Tree = StaticTree<OPENS, TEXT>;

/// The type of the tree that is served to one client.
type ClientTree = QuotaTree<'static, CLIENT_SLOTS, OPENS, RESERVED, TEXT>;

/// The quota of open files. The quota needs no lock, because all slots run as tasks on one
/// executor.
pub type ClientQuota = OpenQuota<CLIENT_SLOTS, OPENS, RESERVED>;

/// Serves one client after another.
pub async fn client_slot(
    acceptor: &'static Acceptor,
    slot: usize,
    (tree, quota): (&'static Tree, &'static ClientQuota),
    memory: &'static mut SlotMemory,
) -> ! {
    let tree = QuotaTree::new(tree, quota, slot);
    loop {
        let socket = acceptor.next_client(slot).await;
        state::CONNECTIONS.increment();
        board::publish_event(EventKind::Connected);
        log!(info, "connected");
        serve_client(socket.tcp, &tree, memory).await;
        if state::SHUTTING_DOWN.get() {
            socket.tcp.close();
            let _ = with_timeout(CLOSE_TIMEOUT, socket.tcp.flush()).await;
        }
        log!(info, "disconnected");
        board::publish_event(EventKind::Disconnected);
        state::CONNECTIONS.decrement();
        // Abort the connection rather than closing it, because the peer may be unreachable or may
        // violate the protocol, and another client needs the socket.
        socket.tcp.abort();
        let _ = socket.tcp.flush().await;
        acceptor.return_socket(socket);
    }
}

/// Serves one client until the client disconnects, the client is idle for too long, or the board
/// restarts.
async fn serve_client(socket: &mut TcpSocket<'static>, tree: &ClientTree, memory: &mut SlotMemory) {
    let idle = Duration::from_secs(params::idle_seconds().into());
    socket.set_nagle_enabled(params::nagle());
    // Three keep-alive probes are sent before the connection times out.
    socket.set_keep_alive(Some(idle / 4));
    socket.set_timeout(Some(idle));
    let SlotMemory { frames, fids } = memory;
    let session = Session::new(tree, BorrowedFids(fids), LIMITS);
    let (rx, tx) = socket.split();
    let last_active = Cell::new(Instant::now());
    let until = async |in_flight: &dyn Fn() -> usize| {
        select(pin!(idle_timeout(&last_active, idle, in_flight)), pin!(shutdown())).await;
    };
    let rx = ClientReader { rx, last_active: &last_active };
    let tx = ClientWriter { tx, last_active: &last_active };
    let disconnect = serve::serve_until(&session, rx, tx, frames, until).await;
    match disconnect {
        Some(Disconnect::Closed) => {}
        Some(Disconnect::Truncated) => log!(warn, "closed in the middle of a message"),
        Some(Disconnect::InvalidSize(size)) => log!(warn, "message size {=u32}", size),
        Some(_) => log!(warn, "connection lost"),
        None => log!(info, "connection ended"),
    }
    session.close().await;
}

/// Waits until no request is in flight and the client has been inactive for the duration `idle`.
async fn idle_timeout(last_active: &Cell<Instant>, idle: Duration, in_flight: &dyn Fn() -> usize) {
    loop {
        let end = last_active.get() + idle;
        if end <= Instant::now() {
            return;
        }
        Timer::at(end).await;
        if in_flight() > 0 {
            last_active.set(Instant::now());
        }
    }
}

/// Waits until the board is about to restart.
async fn shutdown() {
    let mut seen = state::SHUTTING_DOWN.version();
    while !state::SHUTTING_DOWN.get() {
        seen = state::SHUTTING_DOWN.changed(seen).await;
    }
}

/// A borrowed table of fids. The table is borrowed because moving it into a session would use stack
/// space for two copies of the table. The table is empty after the session has been closed.
struct BorrowedFids<'m>(&'m mut FidArray<ClientTree, FIDS>);

impl FidTable<ClientTree> for BorrowedFids<'_> {
    fn get(&self, number: u32) -> Option<&FidEntry<ClientTree>> {
        self.0.get(number)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut FidEntry<ClientTree>> {
        self.0.get_mut(number)
    }

    fn insert(
        &mut self,
        number: u32,
        fid: FidEntry<ClientTree>,
    ) -> Result<(), FidEntry<ClientTree>> {
        self.0.insert(number, fid)
    }

    fn remove(&mut self, number: u32) -> Option<FidEntry<ClientTree>> {
        self.0.remove(number)
    }

    fn pop(&mut self) -> Option<FidEntry<ClientTree>> {
        self.0.pop()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// The receiving half of a socket, which records when data arrives.
struct ClientReader<'s> {
    rx: TcpReader<'s>,
    last_active: &'s Cell<Instant>,
}

impl ErrorType for ClientReader<'_> {
    type Error = tcp::Error;
}

impl Read for ClientReader<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, tcp::Error> {
        let count = self.rx.read(buf).await?;
        self.last_active.set(Instant::now());
        Ok(count)
    }
}

/// The sending half of a socket. Sending a reply counts as activity, because a client that is
/// waiting for a reply is not idle.
struct ClientWriter<'s> {
    tx: TcpWriter<'s>,
    last_active: &'s Cell<Instant>,
}

impl ErrorType for ClientWriter<'_> {
    type Error = tcp::Error;
}

impl Write for ClientWriter<'_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, tcp::Error> {
        self.last_active.set(Instant::now());
        self.tx.write(buf).await
    }

    async fn flush(&mut self) -> Result<(), tcp::Error> {
        self.tx.flush().await
    }
}
