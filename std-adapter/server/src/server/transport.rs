//! Sockets as core wants them.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use datakit_core::serve::TransportRead;
use embedded_io_async::{ErrorType, Read, Write};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

use super::stats::Stats;
use super::turn::Turn;

/// The socket of a connection.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Both halves. Borrowed, since owned halves share the socket in memory of their own.
    pub(super) fn halves<'s>(
        &'s mut self,
        patience: &'s Duration,
        stats: &'s Stats,
        turn: &'s Turn,
    ) -> (Rx<'s>, Tx<'s>) {
        let (rx, tx) = match self {
            Stream::Tcp(socket) => {
                let (rx, tx) = socket.split();
                (RxHalf::Tcp(rx), TxHalf::Tcp(tx))
            }
            Stream::Unix(socket) => {
                let (rx, tx) = socket.split();
                (RxHalf::Unix(rx), TxHalf::Unix(tx))
            }
        };
        (Rx { half: rx, stats, turn }, Tx { half: tx, patience, stats, turn })
    }

    /// Tells the peer that nothing more comes. Does not wait.
    pub(super) async fn end(&mut self) {
        // It may have gone before.
        let _ = match self {
            Stream::Tcp(socket) => socket.shutdown().await,
            Stream::Unix(socket) => socket.shutdown().await,
        };
    }
}

/// The receiving half of a connection.
pub(super) struct Rx<'s> {
    half: RxHalf<'s>,
    stats: &'s Stats,
    turn: &'s Turn,
}

enum RxHalf<'s> {
    Tcp(tcp::ReadHalf<'s>),
    Unix(unix::ReadHalf<'s>),
}

impl ErrorType for Rx<'_> {
    type Error = io::Error;
}

impl Read for Rx<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        poll_fn(|cx| match &mut self.half {
            RxHalf::Tcp(half) => Pin::new(half).poll_read(cx, &mut buf),
            RxHalf::Unix(half) => Pin::new(half).poll_read(cx, &mut buf),
        })
        .await?;
        self.stats.receive(buf.filled().len());
        self.turn.received(buf.filled().len());
        Ok(buf.filled().len())
    }
}

impl TransportRead for Rx<'_> {
    const COOPERATIVE: bool = true;

    async fn readable(&mut self) -> io::Result<()> {
        // The future of the socket's own `readable` has a place in a list of waiters, 200 bytes;
        // there is one reader.
        poll_fn(|cx| match &self.half {
            RxHalf::Tcp(half) => half.as_ref().poll_read_ready(cx),
            RxHalf::Unix(half) => half.as_ref().poll_read_ready(cx),
        })
        .await
    }

    fn poll_budget(&mut self, cost: u32, cx: &mut Context<'_>) -> Poll<()> {
        self.turn.poll(cost, cx)
    }
}

/// The sending half. A peer that takes nothing for `patience` loses the connection: it holds a
/// batch of replies.
pub(super) struct Tx<'s> {
    half: TxHalf<'s>,
    patience: &'s Duration,
    stats: &'s Stats,
    turn: &'s Turn,
}

enum TxHalf<'s> {
    Tcp(tcp::WriteHalf<'s>),
    Unix(unix::WriteHalf<'s>),
}

impl Tx<'_> {
    fn half(&mut self) -> Pin<&mut (dyn AsyncWrite + Unpin)> {
        match &mut self.half {
            TxHalf::Tcp(half) => Pin::new(half),
            TxHalf::Unix(half) => Pin::new(half),
        }
    }
}

impl ErrorType for Tx<'_> {
    type Error = io::Error;
}

impl Write for Tx<'_> {
    async fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // A timer is made only when the socket is full, and apart: every idle worker would have
        // room for it.
        let at_once = poll_fn(|cx| Poll::Ready(self.half().poll_write(cx, buf))).await;
        let written = match at_once {
            Poll::Ready(written) => written?,
            Poll::Pending => {
                let patience = self.patience;
                let late = || {
                    io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("took no reply for {patience:?}"),
                    )
                };
                Box::pin(tokio::time::timeout(*patience, self.half().write(buf)))
                    .await
                    .map_err(|_| late())??
            }
        };
        self.stats.send(written);
        self.turn.sent(written);
        // `write_all` would panic.
        if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
