//! Connections: accept, serve, again.

use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;

use crate::log::log;

/// The port of 9P.
const PORT: u16 = 564;

/// What a socket keeps between the stack and its reader or writer.
pub struct SocketMemory {
    receive: [u8; 2048],
    transmit: [u8; 2048],
}

impl SocketMemory {
    /// Empty buffers.
    pub const fn new() -> SocketMemory {
        SocketMemory { receive: [0; 2048], transmit: [0; 2048] }
    }
}

/// Serves one client after the other.
pub async fn run(stack: Stack<'static>, memory: &'static mut SocketMemory) -> ! {
    let mut socket = TcpSocket::new(stack, &mut memory.receive, &mut memory.transmit);
    // A reply is often smaller than a segment and the client waits for it.
    socket.set_nagle_enabled(false);
    loop {
        if socket.accept(PORT).await.is_err() {
            continue;
        }
        log!(info, "connected");
        echo(&mut socket).await;
        socket.abort();
        let _ = socket.flush().await;
        log!(info, "disconnected");
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
