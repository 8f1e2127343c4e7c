//! Connections: a door accepts, a seat serves.
//!
//! There is one socket more than there are seats, and it listens: a client that comes back the moment it closed, or that comes
//! while all seats are taken, finds an open door and waits for a seat. Two that come in the same instant do not: the second is refused
//! and has to try again, as with any listener without a backlog.

use core::cell::RefCell;

use datakit_core::serve::{self, Stop};
use datakit_core::session::{Fid, FidArray, Fids, Limits, Session};
use datakit_core::vfs::StaticTree;
use datakit_firmware::board::{self, What};
use datakit_firmware::{facts, params};
use embassy_net::Stack;
use embassy_net::tcp::{self, TcpReader, TcpSocket};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::Duration;
use embedded_io_async::{ErrorType, Read};
use heapless::{Deque, Vec};
use static_cell::{ConstStaticCell, StaticCell};

use crate::log::log;
use crate::net::SOCKETS;

/// Clients that are served at once.
pub const SEATS: usize = SOCKETS - 1;

/// The port of 9P.
const PORT: u16 = 564;

/// What a socket keeps for its reader, and for a peer that is slow to acknowledge, bytes.
const RECEIVE: usize = 1460;
const TRANSMIT: usize = 1460;

/// Requests of a client that are in flight at once; all but one may wait for events.
const WORKERS: usize = 4;
/// The longest message that is taken or sent, bytes. The msize is larger, since Linux asks for a page at least; what a client then
/// sends at once is bounded by the iounit, and only a message that is no read or write can still be too long.
const FRAME: usize = 1024;
const LIMITS: Limits = Limits { msize: 4096, iounit: (FRAME - 24) as u32 };
/// Fids of a client.
const FIDS: usize = 24;
/// Open files of all clients.
const OPENS: usize = 24;
/// The longest text of one file that is not constant, bytes.
const TEXT: usize = 96;

/// A socket and the door that it belongs to.
pub struct Socket {
    door: usize,
    tcp: &'static mut TcpSocket<'static>,
}

/// Where sockets go between doors and seats. Nobody waits where another one does: two tasks with one waker would wake each other
/// in turn for ever, and the board would never sleep.
pub struct Hall {
    /// What each seat gets next.
    seats: [Signal<NoopRawMutex, Socket>; SEATS],
    /// Seats that nobody sits on.
    free: RefCell<Vec<usize, SEATS>>,
    /// Clients that found no free seat, in the order they came.
    queue: RefCell<Deque<Socket, SOCKETS>>,
    /// What each door gets back.
    doors: [Signal<NoopRawMutex, Socket>; SOCKETS],
}

impl Hall {
    const fn new() -> Hall {
        Hall {
            seats: [const { Signal::new() }; SEATS],
            free: RefCell::new(Vec::new()),
            queue: RefCell::new(Deque::new()),
            doors: [const { Signal::new() }; SOCKETS],
        }
    }

    /// Shows a client to a free seat, or has it wait.
    fn enter(&self, socket: Socket) {
        let free = self.free.borrow_mut().pop();
        match free.and_then(|seat| self.seats.get(seat)) {
            Some(seat) => seat.signal(socket),
            // Has room for all of them.
            None => drop(self.queue.borrow_mut().push_back(socket)),
        }
    }

    /// The next client for this seat. Waits until there is one.
    async fn next(&self, seat: usize) -> Socket {
        if let Some(socket) = self.queue.borrow_mut().pop_front() {
            return socket;
        }
        // Has room for all of them.
        let _ = self.free.borrow_mut().push(seat);
        match self.seats.get(seat) {
            Some(seat) => seat.wait().await,
            None => core::future::pending().await,
        }
    }

    /// Gives a socket back to its door.
    fn leave(&self, socket: Socket) {
        if let Some(door) = self.doors.get(socket.door) {
            door.signal(socket);
        }
    }
}

/// Makes the sockets. Called once.
pub fn start(stack: Stack<'static>) -> &'static Hall {
    static HALL: StaticCell<Hall> = StaticCell::new();
    static MEMORY: ConstStaticCell<[([u8; RECEIVE], [u8; TRANSMIT]); SOCKETS]> =
        ConstStaticCell::new([([0; RECEIVE], [0; TRANSMIT]); SOCKETS]);
    static HANDLES: [StaticCell<TcpSocket<'static>>; SOCKETS] = [const { StaticCell::new() }; SOCKETS];
    let hall = HALL.init_with(Hall::new);
    for (door, ((receive, transmit), socket)) in MEMORY.take().iter_mut().zip(&HANDLES).enumerate() {
        hall.leave(Socket { door, tcp: socket.init_with(|| TcpSocket::new(stack, receive, transmit)) });
    }
    hall
}

/// Lets one client in after the other, through this door.
pub async fn door(hall: &'static Hall, door: usize) -> ! {
    let Some(door) = hall.doors.get(door) else { core::future::pending().await };
    loop {
        let socket = door.wait().await;
        if socket.tcp.accept(PORT).await.is_ok() {
            hall.enter(socket);
        } else {
            socket.tcp.abort();
            hall.leave(socket);
        }
    }
}

/// The memory of one seat.
pub struct Seat {
    frames: serve::Memory<WORKERS, FRAME>,
    fids: FidArray<Tree, FIDS>,
}

impl Seat {
    /// Empty.
    pub const fn new() -> Seat {
        Seat { frames: serve::Memory::new(), fids: FidArray::new() }
    }
}

/// The tree as all seats see it.
pub type Tree = StaticTree<OPENS, TEXT>;

/// Serves one client after the other.
pub async fn seat(hall: &'static Hall, seat: usize, tree: &'static Tree, memory: &'static mut Seat) -> ! {
    loop {
        let socket = hall.next(seat).await;
        facts::CONNECTIONS.add();
        board::tell(What::Connected);
        log!(info, "connected");
        converse(socket.tcp, tree, memory).await;
        log!(info, "disconnected");
        board::tell(What::Disconnected);
        facts::CONNECTIONS.subtract();
        // Not `close`: the peer is gone or not to be trusted, and the socket is needed.
        socket.tcp.abort();
        let _ = socket.tcp.flush().await;
        hall.leave(socket);
    }
}

/// Serves one client until it leaves.
async fn converse(socket: &mut TcpSocket<'static>, tree: &Tree, memory: &mut Seat) {
    let idle = Duration::from_secs(params::idle_seconds().into());
    socket.set_nagle_enabled(params::nagle());
    // Asked three times whether it is still there, then given up.
    socket.set_keep_alive(Some(idle / 4));
    socket.set_timeout(Some(idle));
    let Seat { frames, fids } = memory;
    let session = Session::new(tree, Lent(fids), LIMITS);
    let (rx, tx) = socket.split();
    let stop = serve::serve(&session, Input(rx), tx, frames).await;
    match stop {
        Stop::Closed => {}
        Stop::Truncated => log!(warn, "closed in the middle of a message"),
        Stop::Size(size) => log!(warn, "message size {=u32}", size),
        Stop::Transport(_) => log!(warn, "connection lost"),
    }
    session.hang_up().await;
}

/// A table of fids that stays where it is: moved into a session it would cost its size in stack, twice. A session leaves it empty.
struct Lent<'m>(&'m mut FidArray<Tree, FIDS>);

impl Fids<Tree> for Lent<'_> {
    fn get(&self, number: u32) -> Option<&Fid<Tree>> {
        self.0.get(number)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Fid<Tree>> {
        self.0.get_mut(number)
    }

    fn insert(&mut self, number: u32, fid: Fid<Tree>) -> Result<(), Fid<Tree>> {
        self.0.insert(number, fid)
    }

    fn remove(&mut self, number: u32) -> Option<Fid<Tree>> {
        self.0.remove(number)
    }

    fn pop(&mut self) -> Option<Fid<Tree>> {
        self.0.pop()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// The half of a socket that is read.
struct Input<'s>(TcpReader<'s>);

impl ErrorType for Input<'_> {
    type Error = tcp::Error;
}

impl Read for Input<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, tcp::Error> {
        self.0.read(buf).await
    }
}

// `readable` as it is: `wait_read_ready` sleeps on when the peer closes, and a board's buffers are not given back anyway.
impl datakit_core::serve::Input for Input<'_> {}
