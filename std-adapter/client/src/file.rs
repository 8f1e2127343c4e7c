//! An open file, which supports positioned reads and writes and implements tokio's I/O traits.

use std::fmt::{self, Debug};
use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use datakit_core::wire::Qid;
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};

use super::connection::OwnedFid;
use super::directory::{DirReader, Entries, read_page};
use super::error::{Error, Result};
use super::metadata::{DirEntry, Metadata};
use super::open_file::{BoxFuture, OpenFile};
use super::transfer::{Chunks, ReadAhead, WriteBehind, Writes};
use super::watch::Watch;

/// The maximum length, in bytes, of a file that [`File::read_all`] reads.
const MAX_FILE: usize = 1 << 30;

/// An open file.
///
/// A file can be used in two ways. Methods such as [`File::read_at`] take `&self` and an offset,
/// and can be called concurrently. The server may answer concurrent requests in any order. The
/// [`AsyncRead`], [`AsyncWrite`] and [`AsyncSeek`] implementations share one position, which starts
/// at 0. These implementations have the following properties:
///
/// - Reads and writes are pipelined if the file has a known length. All operations are cancel safe.
/// - A call that writes data returns before the server has executed the write. If the server
///   refuses the write, a later write, flush, shutdown, seek or close returns the error. All
///   subsequent writes fail until the next seek.
/// - Each [`io::Error`] wraps this crate's [`Error`].
///
/// Dropping the file clunks the fid in the background. Writes in flight are cancelled, so their
/// data may be lost. [`File::close`] waits for the writes and the clunk.
pub struct File {
    open: OpenFile,
    /// The cursor, which is allocated on first use to keep [`File`] small.
    cursor: Option<Box<Cursor>>,
}

impl File {
    pub(crate) fn new(owned: OwnedFid, qid: Qid, iounit: u32) -> File {
        File { open: OpenFile::new(owned, qid, iounit), cursor: None }
    }

    /// Returns the server's identifier for the file.
    #[must_use]
    pub fn qid(&self) -> Qid {
        self.open.qid
    }

    /// Returns the maximum number of bytes that a single request can read or write.
    #[must_use]
    pub fn unit(&self) -> usize {
        self.open.unit as usize
    }

    /// Reads at most [`File::unit`] bytes into `buf`, starting at a byte offset, and returns the
    /// number of bytes read. Returns 0 at the end of the file, or at the end of a delivery from a
    /// stream file (see [`Watch`](super::Watch)).
    ///
    /// Waits until the server replies. Dropping the future cancels the request, but bytes that the
    /// server has already taken from a stream may be lost.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request, for example because a stream is
    /// read out of order.
    pub async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let count = u32::try_from(buf.len()).unwrap_or(u32::MAX).min(self.open.unit);
        let data = self.open.read(offset, count).await?;
        if let Some(buf) = buf.get_mut(..data.len()) {
            buf.copy_from_slice(&data);
        }
        Ok(data.len())
    }

    /// Reads the file from the beginning until a read returns no data. The result is an entire
    /// file, the current value of a parameter, or the first delivery from a stream file (see
    /// [`Watch`](super::Watch)).
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request. Returns [`Error::TooLong`] if
    /// the file is longer than 1 GiB. Use [`File::chunks`] for longer files.
    pub async fn read_all(&self) -> Result<Vec<u8>> {
        self.read_up_to(MAX_FILE).await
    }

    /// Like [`File::read_all`], but accepts only files of at most `limit` bytes.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request, or [`Error::TooLong`] if the
    /// file is longer than `limit`.
    pub async fn read_up_to(&self, limit: usize) -> Result<Vec<u8>> {
        let (mut all, mut chunks) = (Vec::new(), self.chunks());
        while let Some(data) = chunks.next().await? {
            if data.len() > limit - all.len() {
                return Err(Error::TooLong { what: "file", limit });
            }
            all.extend_from_slice(&data);
        }
        Ok(all)
    }

    /// Like [`File::read_all`], but stops after `length` bytes instead of waiting for the end of
    /// the file. This saves a request.
    pub(crate) async fn read_length(&self, length: u64) -> Result<Vec<u8>> {
        let (mut all, mut chunks) = (Vec::new(), self.chunks());
        while (all.len() as u64) < length.max(1)
            && let Some(data) = chunks.next().await?
        {
            if data.len() > MAX_FILE - all.len() {
                return Err(Error::TooLong { what: "file", limit: MAX_FILE });
            }
            all.extend_from_slice(&data);
        }
        Ok(all)
    }

    /// Returns the content in chunks, starting at the beginning of the file. The chunks share
    /// memory with the received replies, so no data is copied. Multiple reads are in flight at the
    /// same time if the file has a known length.
    #[must_use]
    pub fn chunks(&self) -> Chunks<'_> {
        Chunks::new(&self.open)
    }

    /// Writes at most the first [`File::unit`] bytes of `data` at a byte offset with a single
    /// request. Returns the number of bytes that the server has written.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request, for example because the file is
    /// a parameter and the value is invalid.
    pub async fn write_at(&self, offset: u64, data: &[u8]) -> Result<usize> {
        self.open.write(offset, data.get(..self.unit()).unwrap_or(data)).await
    }

    /// Writes all of `data` at a byte offset, in as few requests as possible. Sends no request if
    /// `data` is empty.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request. If the server rejects part of
    /// the data, all data before that part has been written.
    pub async fn write_all_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut writes = self.writes_at(offset);
        for piece in data.chunks(self.unit().max(1)) {
            writes.write(Bytes::copy_from_slice(piece)).await?;
        }
        writes.finish().await
    }

    /// Starts a sequence of writes at a byte offset. Multiple writes are in flight at the same time
    /// once the file's length indicates that the server stores the data.
    #[must_use]
    pub fn writes_at(&self, offset: u64) -> Writes<'_> {
        Writes::new(&self.open, offset)
    }

    /// Reads all entries of an open directory, except `.` and `..`, in the order sent by the
    /// server.
    ///
    /// # Errors
    /// Returns [`Error::Server`] with `ENOTDIR` (20) if the file is not a directory. Returns
    /// [`Error::TooLong`] if the listing exceeds a million names or 256 MiB. Returns
    /// [`Error::Protocol`] if the listing jumps back to an earlier offset.
    pub async fn read_dir(&self) -> Result<Vec<DirEntry>> {
        let (mut reader, mut entries) = (DirReader::default(), Vec::new());
        let mut next = std::future::poll_fn(|cx| reader.poll_next(&self.open, cx));
        while let Some(entry) = (&mut next).await? {
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Returns the entries of an open directory as a stream that sends requests only when polled.
    #[must_use]
    pub fn into_entries(self) -> Entries {
        Entries::new(self.open)
    }

    /// Reads one page of the listing of an open directory, starting at `offset`. Returns the page's
    /// entries and the offset of the next page. Returns `None` at the end of the directory.
    ///
    /// A listing begins at offset 0 and continues at the offset that the previous read returned. In
    /// 9P2000.L, a listing can also continue after any [`DirEntry`], at the offset in its `next`
    /// field.
    ///
    /// # Errors
    /// Returns [`Error::Server`] with `ENOTDIR` (20) if the file is not a directory. Returns the
    /// server's error if the server rejects the offset.
    pub async fn read_dir_at(&self, offset: u64) -> Result<Option<(Vec<DirEntry>, u64)>> {
        read_page(&self.open, offset).await
    }

    /// Reads the attributes of the file.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refuses the request.
    pub async fn stat(&self) -> Result<Metadata> {
        self.open.connection().stat(self.open.number()).await
    }

    /// Returns a [`Watch`](super::Watch), which is a stream of the file's deliveries, starting with
    /// the first one.
    #[must_use]
    pub fn watch(self) -> Watch {
        Watch::new(self.open)
    }

    /// Renames the file within its directory, like [`Fid::set_name`](super::Fid::set_name).
    ///
    /// # Errors
    /// Returns the same errors as [`Fid::set_name`](super::Fid::set_name).
    pub async fn set_name(&self, name: impl AsRef<[u8]>) -> Result<()> {
        self.open.set_name(name.as_ref()).await
    }

    /// Waits for writes in flight, then closes the file and waits for the server's confirmation.
    /// For some files, writes take effect only when the file is closed.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if the server refused a pending write or the clunk. The file is
    /// closed even if this method returns an error.
    pub async fn close(mut self) -> Result<()> {
        let flushed = match &mut self.cursor {
            Some(cursor) => std::future::poll_fn(|cx| cursor.poll_flush(&self.open, cx)).await,
            None => Ok(()),
        };
        flushed.and(self.open.close().await)
    }

    fn parts(&mut self) -> (&OpenFile, &mut Cursor) {
        (&self.open, self.cursor.get_or_insert_default())
    }
}

impl Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("fid", &self.open.number())
            .field("qid", &self.open.qid)
            .field("position", &self.cursor.as_ref().map_or(0, |cursor| cursor.position))
            .finish_non_exhaustive()
    }
}

/// The position in a file and the pipelined transfer that starts there. At most one of `reads` and
/// `writes` is `Some`.
#[derive(Default)]
struct Cursor {
    position: u64,
    reads: Option<ReadAhead>,
    /// Data that has been received but not yet returned.
    received: Bytes,
    writes: Option<WriteBehind>,
    seek: Option<SeekFrom>,
    /// The pending request for the file's length, which is sent for a seek relative to the end.
    stat: Option<BoxFuture<Result<Metadata>>>,
}

impl Cursor {
    fn poll_read(
        &mut self,
        file: &OpenFile,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_flush(file, cx))?;
        self.writes = None;
        if self.received.is_empty() {
            let reads = self.reads.get_or_insert_with(|| ReadAhead::new(self.position));
            match ready!(reads.poll_next(file, cx))? {
                Some(data) => self.received = data,
                // A later read may return more data, because a file can grow, and a stream file
                // continues after an empty read.
                None => self.reads = None,
            }
        }
        let count = self.received.len().min(buf.remaining());
        buf.put_slice(self.received.get(..count).unwrap_or_default());
        self.received.advance(count);
        self.position = self.position.saturating_add(count as u64);
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &mut self,
        file: &OpenFile,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        (self.reads, self.received) = (None, Bytes::new());
        let writes = self.writes.get_or_insert_with(|| WriteBehind::new(self.position));
        ready!(writes.poll_ready(file, cx))?;
        let data = data.get(..file.unit as usize).unwrap_or(data);
        writes.start_write(file, Bytes::copy_from_slice(data))?;
        self.position = self.position.saturating_add(data.len() as u64);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(&mut self, file: &OpenFile, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.writes {
            Some(writes) => writes.poll_flush(file, cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_seek(&mut self, file: &OpenFile, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let Some(to) = self.seek else { return Poll::Ready(Ok(self.position)) };
        let flushed = ready!(self.poll_flush(file, cx));
        self.writes = None;
        let position = match (flushed, to) {
            (Err(error), _) => Err(error.into()),
            (Ok(()), SeekFrom::Start(position)) => Ok(Some(position)),
            (Ok(()), SeekFrom::Current(distance)) => Ok(self.position.checked_add_signed(distance)),
            (Ok(()), SeekFrom::End(distance)) => {
                let stat = self.stat.get_or_insert_with(|| file.stat());
                let metadata = ready!(stat.as_mut().poll(cx));
                metadata
                    .map(|metadata| metadata.len.checked_add_signed(distance))
                    .map_err(io::Error::from)
            }
        };
        (self.seek, self.stat) = (None, None);
        let position = position?.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "seek to a negative or too large position")
        })?;
        if position != self.position {
            (self.reads, self.received) = (None, Bytes::new());
            self.position = position;
        }
        Poll::Ready(Ok(position))
    }
}

/// Reads ahead of the position if the file has a known length. An empty read indicates the end of
/// the file, or the end of a delivery from a stream file. The next read sends a new request.
impl AsyncRead for File {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (open, cursor) = self.get_mut().parts();
        cursor.poll_read(open, cx, buf).map_err(io::Error::from)
    }
}

/// A call that writes data returns before the server has executed the write.
impl AsyncWrite for File {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let (open, cursor) = self.get_mut().parts();
        cursor.poll_write(open, cx, data).map_err(io::Error::from)
    }

    /// Waits until the server has executed all writes.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (open, cursor) = self.get_mut().parts();
        cursor.poll_flush(open, cx).map_err(io::Error::from)
    }

    /// Waits until the server has executed all writes. [`File::close`] also waits for the clunk.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

/// Flushes pending writes before moving the position.
impl AsyncSeek for File {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let (_, cursor) = self.get_mut().parts();
        (cursor.seek, cursor.stat) = (Some(to), None);
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let (open, cursor) = self.get_mut().parts();
        cursor.poll_seek(open, cx)
    }
}
