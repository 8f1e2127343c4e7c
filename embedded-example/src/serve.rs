//! Connections: a door accepts, a seat serves.
//!
//! There is one socket more than there are seats, and it listens: a client that comes back the
//! moment it closed, or that comes while all seats are taken, finds an open door and waits for a
//! seat, [a little](PATIENCE); then its connection is closed. Two that come in the same instant do
//! not: the second is refused and has to try again, as with any listener without a backlog.
//!
//! A client loses its seat when it has asked nothing for `params/net/idle` seconds and nothing of
//! it waits for an answer. One that waits, for an event perhaps, is in use: if it vanished, TCP
//! finds out in the same time.

use core::cell::{Cell, RefCell};
use core::pin::pin;

use datakit_core::serve::{self, Disconnect};
use datakit_core::session::{Fid, FidArray, Fids, Limits, Session};
use datakit_core::vfs::StaticTree;
use datakit_firmware::board::{self, What};
use datakit_firmware::shares::{Share, Shares};
use datakit_firmware::{facts, params};
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

/// Clients that are served at once.
pub const SEATS: usize = SOCKETS - 1;

/// The port of 9P.
const PORT: u16 = 564;

/// What a socket keeps for its reader, and for a peer that is slow to acknowledge, bytes.
const RECEIVE: usize = 1460;
const TRANSMIT: usize = 1460;

/// Requests of a client that are in flight at once; all but one may wait for events.
const WORKERS: usize = 4;
/// The longest message that is taken or sent, bytes. The msize is larger, since Linux asks for a
/// page at least; what a client then sends at once is bounded by the iounit, and only a message
/// that is no read or write can still be too long.
const FRAME: usize = 1024;
const LIMITS: Limits = Limits { msize: 4096, iounit: (FRAME - 24) as u32 };
/// Fids of a client.
const FIDS: usize = 24;
/// Open files of all clients.
const OPENS: usize = 24;
/// Of these, what is kept free for each client.
const RESERVED: usize = 4;
/// How long a client waits for a seat.
const PATIENCE: Duration = Duration::from_millis(750);
/// How long a client may take to acknowledge that the board closes its connection.
const FAREWELL: Duration = Duration::from_millis(300);
/// The longest text of one file that is not constant, bytes.
const TEXT: usize = 96;

/// A socket and the door that it belongs to.
pub struct Socket {
    door: usize,
    tcp: &'static mut TcpSocket<'static>,
}

/// Where sockets go between doors and seats. Nobody waits where another one does: two tasks with
/// one waker would wake each other in turn for ever, and the board would never sleep.
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

    /// Takes the client of this door out of the queue, if it still waits there.
    fn withdraw(&self, door: usize) -> Option<Socket> {
        let mut queue = self.queue.borrow_mut();
        let mut found = None;
        for _ in 0..queue.len() {
            match queue.pop_front() {
                Some(socket) if socket.door == door => found = Some(socket),
                // Was in it just now.
                Some(socket) => drop(queue.push_back(socket)),
                None => {}
            }
        }
        found
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
    static HANDLES: [StaticCell<TcpSocket<'static>>; SOCKETS] =
        [const { StaticCell::new() }; SOCKETS];
    let hall = HALL.init_with(Hall::new);
    for (door, ((receive, transmit), socket)) in MEMORY.take().iter_mut().zip(&HANDLES).enumerate()
    {
        hall.leave(Socket {
            door,
            tcp: socket.init_with(|| TcpSocket::new(stack, receive, transmit)),
        });
    }
    hall
}

/// Lets one client in after the other, through this door.
pub async fn door(hall: &'static Hall, door: usize) -> ! {
    let Some(back) = hall.doors.get(door) else { core::future::pending().await };
    let mut socket = back.wait().await;
    loop {
        let accepted = socket.tcp.accept(PORT).await;
        socket = if accepted.is_err() || facts::CLOSING.get() {
            turned_away(socket).await
        } else {
            hall.enter(socket);
            match with_timeout(PATIENCE, back.wait()).await {
                Ok(socket) => socket,
                Err(_) => match hall.withdraw(door) {
                    Some(socket) => turned_away(socket).await,
                    None => back.wait().await,
                },
            }
        };
    }
}

/// Closes a connection that was not served.
async fn turned_away(socket: Socket) -> Socket {
    socket.tcp.abort();
    let _ = socket.tcp.flush().await;
    socket
}

/// The memory of one seat.
pub struct Seat {
    frames: serve::Memory<WORKERS, FRAME>,
    fids: FidArray<Seated, FIDS>,
}

impl Seat {
    /// Empty.
    pub const fn new() -> Seat {
        Seat { frames: serve::Memory::new(), fids: FidArray::new() }
    }
}

/// The tree that all clients share.
pub type Tree = StaticTree<OPENS, TEXT>;

/// The tree as a client sees it.
type Seated = Share<'static, SEATS, OPENS, RESERVED, TEXT>;

/// The open files of the tree. One task uses it at a time: all seats are tasks of one executor.
pub type Opened = Shares<SEATS, OPENS, RESERVED>;

/// Serves one client after the other.
pub async fn seat(
    hall: &'static Hall,
    seat: usize,
    (tree, opened): (&'static Tree, &'static Opened),
    memory: &'static mut Seat,
) -> ! {
    let tree = Share::new(tree, opened, seat);
    loop {
        let socket = hall.next(seat).await;
        facts::CONNECTIONS.add();
        board::tell(What::Connected);
        log!(info, "connected");
        converse(socket.tcp, &tree, memory).await;
        if facts::CLOSING.get() {
            socket.tcp.close();
            let _ = with_timeout(FAREWELL, socket.tcp.flush()).await;
        }
        log!(info, "disconnected");
        board::tell(What::Disconnected);
        facts::CONNECTIONS.subtract();
        // Not `close`: the peer is gone or not to be trusted, and the socket is needed.
        socket.tcp.abort();
        let _ = socket.tcp.flush().await;
        hall.leave(socket);
    }
}

/// Serves one client until it leaves, is silent for too long, or the board restarts.
async fn converse(socket: &mut TcpSocket<'static>, tree: &Seated, memory: &mut Seat) {
    let idle = Duration::from_secs(params::idle_seconds().into());
    socket.set_nagle_enabled(params::nagle());
    // Asked three times whether it is still there, then given up.
    socket.set_keep_alive(Some(idle / 4));
    socket.set_timeout(Some(idle));
    let Seat { frames, fids } = memory;
    let session = Session::new(tree, Lent(fids), LIMITS);
    let (rx, tx) = socket.split();
    let heard = Cell::new(Instant::now());
    let until = async |in_flight: &dyn Fn() -> usize| {
        select(pin!(silence(&heard, idle, in_flight)), pin!(closing())).await;
    };
    let (rx, tx) = (Input { rx, heard: &heard }, Output { tx, heard: &heard });
    let stop = serve::serve_until(&session, rx, tx, frames, until).await;
    match stop {
        Some(Disconnect::Closed) => {}
        Some(Disconnect::Truncated) => log!(warn, "closed in the middle of a message"),
        Some(Disconnect::InvalidSize(size)) => log!(warn, "message size {=u32}", size),
        Some(_) => log!(warn, "connection lost"),
        None => log!(info, "connection ended"),
    }
    session.close().await;
}

/// Waits until a client has asked nothing for so long, and waits for nothing.
async fn silence(heard: &Cell<Instant>, most: Duration, in_flight: &dyn Fn() -> usize) {
    loop {
        let end = heard.get() + most;
        if end <= Instant::now() {
            return;
        }
        Timer::at(end).await;
        if in_flight() > 0 {
            heard.set(Instant::now());
        }
    }
}

/// Waits until the board restarts.
async fn closing() {
    let mut seen = facts::CLOSING.version();
    while !facts::CLOSING.get() {
        seen = facts::CLOSING.changed(seen).await;
    }
}

/// A table of fids that stays where it is: moved into a session it would cost its size in stack,
/// twice. A session leaves it empty.
struct Lent<'m>(&'m mut FidArray<Seated, FIDS>);

impl Fids<Seated> for Lent<'_> {
    fn get(&self, number: u32) -> Option<&Fid<Seated>> {
        self.0.get(number)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Fid<Seated>> {
        self.0.get_mut(number)
    }

    fn insert(&mut self, number: u32, fid: Fid<Seated>) -> Result<(), Fid<Seated>> {
        self.0.insert(number, fid)
    }

    fn remove(&mut self, number: u32) -> Option<Fid<Seated>> {
        self.0.remove(number)
    }

    fn pop(&mut self) -> Option<Fid<Seated>> {
        self.0.pop()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// The half of a socket that is read, and when something was last.
struct Input<'s> {
    rx: TcpReader<'s>,
    heard: &'s Cell<Instant>,
}

impl ErrorType for Input<'_> {
    type Error = tcp::Error;
}

impl Read for Input<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, tcp::Error> {
        let count = self.rx.read(buf).await?;
        self.heard.set(Instant::now());
        Ok(count)
    }
}

/// The half that is written: what was waited for is told, and from then on a client is silent.
struct Output<'s> {
    tx: TcpWriter<'s>,
    heard: &'s Cell<Instant>,
}

impl ErrorType for Output<'_> {
    type Error = tcp::Error;
}

impl Write for Output<'_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, tcp::Error> {
        self.heard.set(Instant::now());
        self.tx.write(buf).await
    }

    async fn flush(&mut self) -> Result<(), tcp::Error> {
        self.tx.flush().await
    }
}

// `readable` as it is: `wait_read_ready` sleeps on when the peer closes, and a board's buffers are
// not given back anyway.
impl datakit_core::serve::TransportRead for Input<'_> {}
