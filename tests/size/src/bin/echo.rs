//! A TCP echo server that serves as the baseline for the measurements.
#![no_std]
#![no_main]

use datakit_size::{SOCKET, SOCKETS, run, spawn};
use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use embedded_io_async::Write;

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| {
        for _ in 0..SOCKETS {
            spawn(spawner, echo(stack));
        }
    })
}

#[embassy_executor::task(pool_size = SOCKETS)]
async fn echo(stack: Stack<'static>) -> ! {
    let (mut receive, mut transmit) = ([0; SOCKET], [0; SOCKET]);
    let mut socket = TcpSocket::new(stack, &mut receive, &mut transmit);
    let mut buf = [0; 1024];
    loop {
        if socket.accept(7).await.is_ok() {
            let (mut rx, mut tx) = socket.split();
            while let Ok(n @ 1..) = rx.read(&mut buf).await {
                if tx.write_all(buf.get(..n).unwrap_or_default()).await.is_err() {
                    break;
                }
            }
        }
        socket.abort();
        let _ = socket.flush().await;
    }
}
