//! Connections: a door accepts, a seat serves.
//!
//! There is one socket more than there are seats, and it listens: a client that comes back the moment it closed, or that comes
//! while all seats are taken, finds an open door and waits for a seat.

use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::channel::Channel;
use embassy_time::Duration;
use static_cell::{ConstStaticCell, StaticCell};

use crate::log::log;
use crate::net::SOCKETS;
use datakit_firmware::facts;

/// Clients that are served at once.
pub const SEATS: usize = SOCKETS - 1;

/// The port of 9P.
const PORT: u16 = 564;

/// What a socket keeps for its reader, and for a peer that is slow to acknowledge, bytes.
const RECEIVE: usize = 2048;
const TRANSMIT: usize = 2048;

/// A peer that says nothing is asked whether it is still there, and given up when it does not answer.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const TIMEOUT: Duration = Duration::from_secs(60);

type Socket = &'static mut TcpSocket<'static>;

/// Where sockets go between doors and seats.
pub struct Hall {
    closed: Channel<NoopRawMutex, Socket, SOCKETS>,
    connected: Channel<NoopRawMutex, Socket, SOCKETS>,
}

/// Makes the sockets. Called once.
pub fn start(stack: Stack<'static>) -> &'static Hall {
    static HALL: StaticCell<Hall> = StaticCell::new();
    static MEMORY: ConstStaticCell<[([u8; RECEIVE], [u8; TRANSMIT]); SOCKETS]> =
        ConstStaticCell::new([([0; RECEIVE], [0; TRANSMIT]); SOCKETS]);
    static HANDLES: [StaticCell<TcpSocket<'static>>; SOCKETS] = [const { StaticCell::new() }; SOCKETS];
    let hall = HALL.init_with(|| Hall { closed: Channel::new(), connected: Channel::new() });
    for ((receive, transmit), socket) in MEMORY.take().iter_mut().zip(&HANDLES) {
        let socket = socket.init_with(|| TcpSocket::new(stack, receive, transmit));
        // A reply is often smaller than a segment, and the client waits for it.
        socket.set_nagle_enabled(false);
        socket.set_keep_alive(Some(KEEP_ALIVE));
        socket.set_timeout(Some(TIMEOUT));
        // Has room for all of them.
        let _ = hall.closed.try_send(socket);
    }
    hall
}

/// Lets one client in after the other.
pub async fn door(hall: &'static Hall) -> ! {
    loop {
        let socket = hall.closed.receive().await;
        if socket.accept(PORT).await.is_ok() {
            hall.connected.send(socket).await;
        } else {
            socket.abort();
            hall.closed.send(socket).await;
        }
    }
}

/// Serves one client after the other.
pub async fn seat(hall: &'static Hall) -> ! {
    loop {
        let socket = hall.connected.receive().await;
        facts::CONNECTIONS.add();
        log!(info, "connected");
        echo(socket).await;
        log!(info, "disconnected");
        facts::CONNECTIONS.subtract();
        // Not `close`: the peer is gone or not to be trusted, and the socket is needed.
        socket.abort();
        let _ = socket.flush().await;
        hall.closed.send(socket).await;
    }
}

async fn echo(socket: &mut TcpSocket<'_>) {
    let mut buf = [0; 256];
    while let Ok(n @ 1..) = socket.read(&mut buf).await {
        let mut rest = buf.get(..n).unwrap_or_default();
        while !rest.is_empty() {
            let Ok(n) = socket.write(rest).await else { return };
            rest = rest.get(n..).unwrap_or_default();
        }
    }
}
