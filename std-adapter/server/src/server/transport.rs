//! Adapts sockets and other byte streams to the transport traits in `datakit_core`.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use datakit_core::serve::TransportRead;
use embedded_io_async::{ErrorType, Write};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

use super::stats::Stats;
use super::time_slice::TimeSlice;

/// A connection's byte stream.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Other(Box<dyn ByteStream>),
}

/// A stream that is neither a TCP nor a Unix socket, such as a TLS stream or a pipe.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> ByteStream for S {}

impl Stream {
    /// Splits the stream into borrowed halves. Splitting a socket into owned halves would allocate.
    pub(super) fn split<'s>(
        &'s mut self,
        timeout: &'s Duration,
        stats: &'s Stats,
        time_slice: &'s TimeSlice,
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
            Stream::Other(stream) => {
                let (rx, tx) = tokio::io::split(&mut **stream);
                (RxHalf::Other(Box::new(Prefetch::new(rx))), TxHalf::Other(tx))
            }
        };
        (Rx { half: rx, stats, time_slice }, Tx { half: tx, timeout, stats, time_slice })
    }

    /// Shuts down the sending half of the connection.
    pub(super) async fn shutdown(&mut self) {
        // Ignore errors because the peer may already have closed the connection.
        let _ = match self {
            Stream::Tcp(socket) => socket.shutdown().await,
            Stream::Unix(socket) => socket.shutdown().await,
            Stream::Other(stream) => stream.shutdown().await,
        };
    }
}

/// The receiving half of a connection.
pub(super) struct Rx<'s> {
    half: RxHalf<'s>,
    stats: &'s Stats,
    time_slice: &'s TimeSlice,
}

enum RxHalf<'s> {
    Tcp(tcp::ReadHalf<'s>),
    Unix(unix::ReadHalf<'s>),
    Other(Box<Prefetch<'s>>),
}

impl TransportRead for Rx<'_> {
    const COOPERATIVE: bool = true;

    type Error = io::Error;

    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        poll_fn(|cx| match &mut self.half {
            RxHalf::Tcp(half) => Pin::new(half).poll_read(cx, &mut buf),
            RxHalf::Unix(half) => Pin::new(half).poll_read(cx, &mut buf),
            RxHalf::Other(half) => half.poll_read(cx, &mut buf),
        })
        .await?;
        self.stats.add_received(buf.filled().len());
        self.time_slice.spend_received(buf.filled().len());
        Ok(buf.filled().len())
    }

    async fn readable(&mut self) -> io::Result<()> {
        // Poll the socket directly instead of calling tokio's `readable`. The future returned by
        // tokio's method contains a 200-byte list node, which is useful only if multiple tasks wait
        // for the same socket.
        poll_fn(|cx| match &mut self.half {
            RxHalf::Tcp(half) => half.as_ref().poll_read_ready(cx),
            RxHalf::Unix(half) => half.as_ref().poll_read_ready(cx),
            RxHalf::Other(half) => half.poll_readable(cx),
        })
        .await
    }

    fn poll_budget(&mut self, cost: u32, cx: &mut Context<'_>) -> Poll<()> {
        self.time_slice.poll_request(cost, cx)
    }
}

/// A stream with a small buffer. Bytes are read into the buffer to find out whether the stream is
/// readable. A connection needs no other buffer while it waits for data.
struct Prefetch<'s> {
    half: ReadHalf<&'s mut (dyn ByteStream + 'static)>,
    bytes: [u8; 512],
    start: usize,
    end: usize,
}

impl<'s> Prefetch<'s> {
    fn new(half: ReadHalf<&'s mut (dyn ByteStream + 'static)>) -> Prefetch<'s> {
        Prefetch { half, bytes: [0; 512], start: 0, end: 0 }
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.start == self.end {
            let mut buf = ReadBuf::new(&mut self.bytes);
            std::task::ready!(Pin::new(&mut self.half).poll_read(cx, &mut buf))?;
            (self.start, self.end) = (0, buf.filled().len());
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let prefetched = self.bytes.get(self.start..self.end).unwrap_or_default();
        if prefetched.is_empty() {
            return Pin::new(&mut self.half).poll_read(cx, buf);
        }
        let count = prefetched.len().min(buf.remaining());
        buf.put_slice(prefetched.get(..count).unwrap_or_default());
        self.start = self.start.saturating_add(count);
        Poll::Ready(Ok(()))
    }
}

/// The sending half of a connection. A write fails if the peer accepts no data within `timeout`, so
/// a stalled connection cannot hold a batch of replies indefinitely.
pub(super) struct Tx<'s> {
    half: TxHalf<'s>,
    timeout: &'s Duration,
    stats: &'s Stats,
    time_slice: &'s TimeSlice,
}

enum TxHalf<'s> {
    Tcp(tcp::WriteHalf<'s>),
    Unix(unix::WriteHalf<'s>),
    Other(WriteHalf<&'s mut (dyn ByteStream + 'static)>),
}

impl Tx<'_> {
    fn half(&mut self) -> Pin<&mut (dyn AsyncWrite + Unpin)> {
        match &mut self.half {
            TxHalf::Tcp(half) => Pin::new(half),
            TxHalf::Unix(half) => Pin::new(half),
            TxHalf::Other(half) => Pin::new(half),
        }
    }

    /// Waits for `progress` to complete. Fails if the timeout expires first.
    async fn with_timeout<T>(
        timeout: Duration,
        progress: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        tokio::time::timeout(timeout, progress).await.unwrap_or_else(|_| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("timed out: the peer accepted no reply for {timeout:?}"),
            ))
        })
    }
}

impl ErrorType for Tx<'_> {
    type Error = io::Error;
}

impl Write for Tx<'_> {
    async fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let timeout = *self.timeout;
        // The timers are boxed to keep the futures of idle workers small.
        let written = match poll_fn(|cx| Poll::Ready(self.half().poll_write(cx, buf))).await {
            Poll::Ready(written) => written?,
            Poll::Pending => Box::pin(Tx::with_timeout(timeout, self.half().write(buf))).await?,
        };
        if let TxHalf::Other(half) = &mut self.half {
            // Flush the stream here, because a stream other than a socket may buffer data and the
            // core never flushes streams.
            match poll_fn(|cx| Poll::Ready(Pin::new(&mut *half).poll_flush(cx))).await {
                Poll::Ready(flushed) => flushed?,
                Poll::Pending => Box::pin(Tx::with_timeout(timeout, half.flush())).await?,
            }
        }
        self.stats.add_sent(written);
        self.time_slice.spend_sent(written);
        // `write_all` panics if a write returns 0.
        if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
