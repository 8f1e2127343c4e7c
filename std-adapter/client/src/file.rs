//! An open file: reading and writing, directories, streams.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use datakit_core::wire::{Dialect, Dirent, Qid, Rmessage as R, Stat, Tmessage as T};

use super::error::{Error, Result};
use super::link::{Call, Handle, Link};
use super::metadata::{DirEntry, Metadata};
use super::node::{self, unexpected};
use super::transfer::{Chunks, Writes};

/// What to leave for the header of Twrite, the longest one around data (IOHDRSZ).
const AROUND_DATA: u32 = 24;

/// The most bytes that a call returns as a whole, in bytes. Longer files are read with
/// [`File::chunks`].
pub(crate) const MAX_FILE: usize = 1 << 30;
/// The longest text, in bytes: a name, a message, a list.
pub(crate) const MAX_TEXT: usize = 1 << 24;
/// The most names in one listing.
const MAX_NAMES: usize = 1 << 20;
/// The longest listing as it is sent, in bytes.
const MAX_LISTING: usize = 1 << 28;

/// An open file. Dropping it clunks its fid in the background; [`File::close`] waits for that.
///
/// Requests may be made concurrently; the server may answer them in any order.
pub struct File {
    pub(crate) handle: Handle,
    pub(crate) qid: Qid,
    /// The most bytes in one request.
    pub(crate) unit: u32,
}

impl File {
    pub(crate) fn new(handle: Handle, qid: Qid, iounit: u32) -> File {
        let most = handle.link.msize.saturating_sub(AROUND_DATA);
        let unit = if iounit == 0 { most } else { iounit.min(most) };
        File { handle, qid, unit }
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.handle.link
    }

    /// The server's identity of the file.
    #[must_use]
    pub fn qid(&self) -> Qid {
        self.qid
    }

    /// The most bytes that one request reads or writes.
    #[must_use]
    pub fn unit(&self) -> usize {
        self.unit as usize
    }

    /// Reads at a byte offset into `buf`, at most [`File::unit`] bytes, and returns how many; 0 is
    /// the end, or a stream's flush mark.
    ///
    /// Waits as long as the server does. Dropped, the request is flushed: a server may have handed
    /// its bytes out all the same.
    ///
    /// # Errors
    /// What the server refuses: a stream is read in order.
    pub async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let count = u32::try_from(buf.len()).unwrap_or(u32::MAX).min(self.unit);
        let frame = self.link().call(&T::Read { fid: self.handle.fid, offset, count }).await?;
        let data = self.data(&frame, count)?;
        buf.get_mut(..data.len())
            .ok_or_else(|| Error::protocol("more data than asked for"))?
            .copy_from_slice(data);
        Ok(data.len())
    }

    /// The data of a reply to a request for `count` bytes.
    pub(crate) fn data<'f>(&self, frame: &'f [u8], count: u32) -> Result<&'f [u8]> {
        match self.link().decode(frame)? {
            R::Read { data } | R::Readdir { data } if data.0.len() <= count as usize => Ok(data.0),
            R::Read { .. } | R::Readdir { .. } => Err(Error::protocol("more data than asked for")),
            other => Err(unexpected(&other)),
        }
    }

    /// Reads from the start until the first empty read: all of a file, the current value of a
    /// parameter, the first delivery of a stream.
    ///
    /// # Errors
    /// What the server refuses; [`Error::TooLong`] above 1 GiB, for which there is
    /// [`File::chunks`].
    pub async fn read_all(&self) -> Result<Vec<u8>> {
        self.read_up_to(MAX_FILE).await
    }

    /// The same with another limit, in bytes.
    ///
    /// # Errors
    /// What the server refuses; [`Error::TooLong`] above `limit`.
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

    /// The same piece by piece. Of a file that shows its length several reads are under way at a
    /// time.
    #[must_use]
    pub fn chunks(&self) -> Chunks<'_> {
        Chunks::new(self)
    }

    fn read_message(&self, offset: u64) -> T<'static> {
        T::Read { fid: self.handle.fid, offset, count: self.unit }
    }

    /// Writes one message at a byte offset: at most [`File::unit`] bytes of `data`, and returns how
    /// many the server took.
    ///
    /// # Errors
    /// What the server refuses: a parameter parses what it is given.
    pub async fn write_at(&self, offset: u64, data: &[u8]) -> Result<usize> {
        let data = data.get(..self.unit()).unwrap_or(data);
        let frame = self.link().call(&node::write_message(self.handle.fid, offset, data)).await?;
        self.written(&frame, data.len())
    }

    /// Writes all of `data` at a byte offset, in as few messages as hold it. Empty data sends
    /// nothing.
    ///
    /// # Errors
    /// What the server refuses; what came before it is written.
    pub async fn write_all_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut writes = self.writes_at(offset);
        for piece in data.chunks(self.unit().max(1)) {
            writes.write(Bytes::copy_from_slice(piece)).await?;
        }
        writes.finish().await
    }

    /// The same piece by piece. Of a file that shows the length of what was written first, several
    /// writes are under way at a time.
    #[must_use]
    pub fn writes_at(&self, offset: u64) -> Writes<'_> {
        Writes::new(self, offset)
    }

    /// The names in an open directory, without `.` and `..`, in the server's order.
    ///
    /// # Errors
    /// `Is not a directory` (20), and what the server refuses; [`Error::TooLong`] above a million
    /// names or 256 MiB. A listing that returns to an offset where it was is an
    /// [`Error::Protocol`].
    pub async fn read_dir(&self) -> Result<Vec<DirEntry>> {
        let (mut entries, mut seen) = (Vec::new(), HashSet::from([0]));
        let (mut offset, mut bytes, mut names) = (0, 0, 0);
        while let Some(page) = self.page(offset, &mut entries).await? {
            (offset, bytes, names) = (page.next, bytes + page.bytes, names + page.names);
            if names > MAX_NAMES || bytes > MAX_LISTING {
                return Err(Error::TooLong {
                    what: "directory",
                    limit: if names > MAX_NAMES { MAX_NAMES } else { MAX_LISTING },
                });
            }
            if !seen.insert(offset) {
                return Err(Error::protocol("a directory that does not end"));
            }
        }
        Ok(entries)
    }

    /// The names of one read of an open directory from `offset`, and the offset of the next one;
    /// `None` is the end.
    ///
    /// A listing begins at 0 and goes on where the last read ended. In 9P2000.L it can go on after
    /// any [`DirEntry`], at its `next`.
    ///
    /// # Errors
    /// `Is not a directory` (20), and what the server refuses: an offset of another place, a
    /// message too short for an entry.
    pub async fn read_dir_at(&self, offset: u64) -> Result<Option<(Vec<DirEntry>, u64)>> {
        let mut entries = Vec::new();
        Ok(self.page(offset, &mut entries).await?.map(|page| (entries, page.next)))
    }

    async fn page(&self, offset: u64, entries: &mut Vec<DirEntry>) -> Result<Option<Page>> {
        if self.qid.kind & Qid::DIR == 0 {
            return Err(Error::number(20));
        }
        let message = match self.link().dialect {
            Dialect::Linux => T::Readdir { fid: self.handle.fid, offset, count: self.unit },
            _ => self.read_message(offset),
        };
        let frame = self.link().call(&message).await?;
        let data = self.data(&frame, self.unit)?;
        if data.is_empty() {
            return Ok(None);
        }
        match self.entries(data, offset, entries)? {
            page if page.next == offset => Err(Error::protocol("a directory that does not go on")),
            page => Ok(Some(page)),
        }
    }

    /// Takes the records of one read.
    fn entries(&self, data: &[u8], offset: u64, entries: &mut Vec<DirEntry>) -> Result<Page> {
        let mut page = Page { next: offset, bytes: data.len(), names: 0 };
        let unreadable = |malformed| {
            Error::protocol(format_args!("a directory entry that cannot be read: {malformed:?}"))
        };
        if self.link().dialect != Dialect::Linux {
            for stat in Stat::decode_all(data, self.link().dialect) {
                page.names += 1;
                add(entries, DirEntry::of_stat(&stat.map_err(unreadable)?))?;
            }
            page.next = offset.saturating_add(data.len() as u64);
            return Ok(page);
        }
        for entry in Dirent::decode_all(data) {
            let entry = entry.map_err(unreadable)?;
            page.next = entry.offset;
            page.names += 1;
            add(entries, DirEntry::of_dirent(&entry))?;
        }
        Ok(page)
    }

    /// What the server says about the file.
    ///
    /// # Errors
    /// Those of the server and the connection.
    pub async fn stat(&self) -> Result<Metadata> {
        node::stat(self.link(), self.handle.fid).await
    }

    /// Reads the file as a stream from its start.
    #[must_use]
    pub fn watch(self) -> Watch {
        Watch { file: self, offset: 0, text: Vec::new(), state: Progress::Start, pending: None }
    }

    /// Closes the file and waits until the server has done so: some files act on it.
    ///
    /// # Errors
    /// What the server says about it; the file is closed in any case.
    pub async fn close(self) -> Result<()> {
        let link = Arc::clone(self.link());
        let frame = link.call_freeing(self.handle, |fid| T::Clunk { fid }).await?;
        link.decode(&frame).map(drop)
    }
}

/// What one read of a directory brought.
struct Page {
    /// The offset of the next read.
    next: u64,
    bytes: usize,
    /// With those that are left out.
    names: usize,
}

/// A name that would lead out of the directory is not believed: callers walk to what they find
/// here.
fn add(entries: &mut Vec<DirEntry>, entry: DirEntry) -> Result<()> {
    match entry.name.as_bytes() {
        b"." | b".." => {}
        name if name.is_empty() || name.iter().any(|byte| matches!(byte, b'/' | 0)) => {
            return Err(Error::protocol(
                "a directory entry without a name, or with a slash or a NUL in it",
            ));
        }
        _ => entries.push(entry),
    }
    Ok(())
}

/// A stream: a file that delivers text after text. Each delivery ends with an empty read, the flush
/// mark; two in a row end the stream.
pub struct Watch {
    file: File,
    /// All bytes delivered so far.
    offset: u64,
    /// The delivery that is not whole yet.
    text: Vec<u8>,
    state: Progress,
    pending: Option<Call>,
}

#[derive(PartialEq, Eq)]
enum Progress {
    /// Nothing read yet, or text without its mark.
    Start,
    /// The last read was a mark.
    Mark,
    End,
}

impl Watch {
    /// Waits for the next delivery; `None` is the end of the stream, for good.
    ///
    /// Cancel safe: the read stays under way when the future is dropped, and the next call goes on
    /// with it. Only dropping the `Watch` flushes it.
    ///
    /// # Errors
    /// What the server refuses. The next call tries the same read again. [`Error::TooLong`] for a
    /// delivery above 16 MiB, which ends the stream.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        while self.state != Progress::End {
            let frame = self.answer().await?;
            let data = self.file.data(&frame, self.file.unit)?;
            match (data.is_empty(), &self.state) {
                (false, _) if data.len() > MAX_TEXT - self.text.len() => {
                    (self.state, self.text) = (Progress::End, Vec::new());
                    return Err(Error::TooLong { what: "delivery", limit: MAX_TEXT });
                }
                (false, _) => {
                    self.offset = self.offset.saturating_add(data.len() as u64);
                    self.text.extend_from_slice(data);
                    self.state = Progress::Start;
                }
                (true, Progress::Mark) => self.state = Progress::End,
                (true, _) => {
                    self.state = Progress::Mark;
                    if !self.text.is_empty() {
                        return Ok(Some(std::mem::take(&mut self.text)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Flushes the read that is under way, closes the file and waits until the server has done
    /// both.
    ///
    /// # Errors
    /// Those of [`File::close`].
    pub async fn close(self) -> Result<()> {
        drop(self.pending);
        self.file.close().await
    }

    async fn answer(&mut self) -> Result<Bytes> {
        let call = match &mut self.pending {
            Some(call) => call,
            none => {
                self.file.link().room().await;
                none.insert(
                    self.file
                        .link()
                        .submit(&self.file.read_message(self.offset), super::tags::Then::Nothing)?,
                )
            }
        };
        let answer = call.await;
        self.pending = None;
        answer
    }
}
