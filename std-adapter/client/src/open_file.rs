//! Sends requests on an open fid. [`File`](super::File) and all other types that read or write
//! files use this module.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use datakit_core::wire::{Data, Dialect, Fid as FidNumber, Qid, Rmessage as R, Tmessage as T};

use super::connection::{Call, Connection, OwnedFid, unexpected};
use super::error::{Error, Result};
use super::metadata::Metadata;

/// The number of bytes that a read or write message reserves for its header fields (IOHDRSZ).
const IO_HEADER: u32 = 24;

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + Sync>>;

/// An open fid.
pub(crate) struct OpenFile {
    owned: OwnedFid,
    pub(crate) qid: Qid,
    /// The maximum number of data bytes in a single request.
    pub(crate) unit: u32,
}

impl OpenFile {
    pub(crate) fn new(owned: OwnedFid, qid: Qid, iounit: u32) -> OpenFile {
        let max = owned.connection.msize.saturating_sub(IO_HEADER);
        let unit = if iounit == 0 { max } else { iounit.min(max) };
        OpenFile { owned, qid, unit }
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.owned.connection
    }

    pub(crate) fn number(&self) -> FidNumber {
        self.owned.number
    }

    /// Waits until there is room in the write queue.
    pub(crate) fn poll_reserve(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.connection().poll_reserve(cx)
    }

    /// Sends Tread. The caller must have reserved space in the queue.
    pub(crate) fn submit_read(&self, offset: u64, count: u32) -> Result<Call> {
        self.connection().submit(&self.read_message(offset, count))
    }

    /// Sends Twrite. The caller must have reserved space in the queue.
    pub(crate) fn submit_write(&self, offset: u64, data: &[u8]) -> Result<Call> {
        self.connection().submit(&self.write_message(offset, data))
    }

    /// Sends the request that lists the directory from `offset`. The caller must have reserved
    /// space in the queue.
    pub(crate) fn submit_list(&self, offset: u64) -> Result<Call> {
        let (fid, count) = (self.number(), self.unit);
        match self.connection().dialect {
            Dialect::Linux => self.connection().submit(&T::Readdir { fid, offset, count }),
            _ => self.submit_read(offset, count),
        }
    }

    pub(crate) async fn read(&self, offset: u64, count: u32) -> Result<Bytes> {
        let frame = self.connection().call(&self.read_message(offset, count)).await?;
        self.read_data(&frame, count)
    }

    pub(crate) async fn write(&self, offset: u64, data: &[u8]) -> Result<usize> {
        let frame = self.connection().call(&self.write_message(offset, data)).await?;
        self.written(&frame, data.len())
    }

    fn read_message(&self, offset: u64, count: u32) -> T<'static> {
        T::Read { fid: self.number(), offset, count }
    }

    fn write_message<'d>(&self, offset: u64, data: &'d [u8]) -> T<'d> {
        T::Write { fid: self.number(), offset, data: Data(data) }
    }

    /// Returns the data from a reply to a request for `count` bytes.
    pub(crate) fn read_data(&self, frame: &Bytes, count: u32) -> Result<Bytes> {
        match self.connection().decode(frame)? {
            R::Read { data } | R::Readdir { data } if data.0.len() <= count as usize => {
                Ok(frame.slice_ref(data.0))
            }
            R::Read { .. } | R::Readdir { .. } => {
                Err(Error::invalid_reply("the server sent more data than requested"))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Returns the number of bytes written, as reported by an Rwrite message.
    pub(crate) fn written(&self, frame: &[u8], sent: usize) -> Result<usize> {
        match self.connection().decode(frame)? {
            R::Write { count } if count as usize <= sent => Ok(count as usize),
            R::Write { .. } => {
                Err(Error::invalid_reply("the server wrote more data than it was sent"))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Returns a future that reads the attributes without borrowing `self`.
    pub(crate) fn stat(&self) -> BoxFuture<Result<Metadata>> {
        let (connection, fid) = (Arc::clone(self.connection()), self.number());
        Box::pin(async move { connection.stat(fid).await })
    }

    pub(crate) async fn set_name(&self, name: &[u8]) -> Result<()> {
        self.connection().set_name(self.number(), name).await
    }

    pub(crate) async fn close(self) -> Result<()> {
        let connection = Arc::clone(self.connection());
        connection.call_freeing(self.owned, |fid| T::Clunk { fid }).await
    }
}

/// Returns the offset up to which reads or writes of a file may be pipelined. Returns 0 if the file
/// has no version, which means that the server generates the content on each read.
pub(crate) fn reliable_length(metadata: Result<Metadata>) -> u64 {
    match metadata {
        Ok(metadata) if metadata.qid.version != 0 => metadata.len,
        _ => 0,
    }
}
