//! Sockets as core wants them.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use datakit_core::serve::Input;
use embedded_io_async::{ErrorType, Read, Write};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{tcp, unix};

/// The receiving half of a connection.
pub(super) enum Rx {
    Tcp(tcp::OwnedReadHalf),
    Unix(unix::OwnedReadHalf),
}

impl ErrorType for Rx {
    type Error = io::Error;
}

impl Read for Rx {
    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        poll_fn(|cx| match self {
            Rx::Tcp(half) => Pin::new(half).poll_read(cx, &mut buf),
            Rx::Unix(half) => Pin::new(half).poll_read(cx, &mut buf),
        })
        .await?;
        Ok(buf.filled().len())
    }
}

impl Input for Rx {
    async fn readable(&mut self) -> io::Result<()> {
        match self {
            Rx::Tcp(half) => half.readable().await,
            Rx::Unix(half) => half.readable().await,
        }
    }
}

/// The sending half. A peer that takes nothing for `patience` loses the connection: it holds a batch of replies.
pub(super) struct Tx {
    pub(super) half: TxHalf,
    pub(super) patience: Duration,
}

pub(super) enum TxHalf {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
}

impl Tx {
    fn half(&mut self) -> Pin<&mut (dyn AsyncWrite + Unpin)> {
        match &mut self.half {
            TxHalf::Tcp(half) => Pin::new(half),
            TxHalf::Unix(half) => Pin::new(half),
        }
    }
}

impl ErrorType for Tx {
    type Error = io::Error;
}

impl Write for Tx {
    async fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // A timer is made only when the socket is full.
        let at_once = poll_fn(|cx| Poll::Ready(self.half().poll_write(cx, buf))).await;
        let written = match at_once {
            Poll::Ready(written) => written?,
            Poll::Pending => {
                let patience = self.patience;
                let late = || io::Error::new(io::ErrorKind::TimedOut, format!("took no reply for {patience:?}"));
                tokio::time::timeout(patience, self.half().write(buf)).await.map_err(|_| late())??
            }
        };
        // `write_all` would panic.
        if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
