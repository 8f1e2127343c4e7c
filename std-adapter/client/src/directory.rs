//! Lists directory entries.

use std::collections::{HashSet, VecDeque};
use std::fmt::{self, Debug};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use datakit_core::wire::{Dialect, Dirent, Qid, Stat};
use futures_core::Stream;

use super::connection::Call;
use super::error::{Error, ProtocolError, Result};
use super::metadata::DirEntry;
use super::open_file::OpenFile;

/// The maximum number of names in a directory listing.
const MAX_NAMES: usize = 1 << 20;
/// The maximum encoded size of a directory listing in bytes.
const MAX_LISTING: usize = 1 << 28;

/// A [`Stream`] of a directory's entries, except `.` and `..`, in the order sent by the server.
///
/// The stream ends after the first error. The stream yields [`Error::TooLong`] if the listing
/// exceeds a million names or 256 MiB. The stream yields [`Error::Protocol`] if the listing returns
/// to an earlier offset. Dropping the stream clunks the directory's fid in the background.
pub struct Entries {
    file: OpenFile,
    reader: DirReader,
}

impl Entries {
    pub(crate) fn new(file: OpenFile) -> Entries {
        Entries { file, reader: DirReader::default() }
    }

    /// Returns the next entry, or `None` at the end of the directory.
    ///
    /// # Cancel safety
    /// If the future is dropped, the read remains in flight and no entry is lost.
    ///
    /// # Errors
    /// Returns [`Error::Server`] with `ENOTDIR` (20) if the file is not a directory. Returns
    /// [`Error::TooLong`] if the listing exceeds a million names or 256 MiB. Returns
    /// [`Error::Protocol`] if the listing returns to an earlier offset.
    pub async fn next(&mut self) -> Result<Option<DirEntry>> {
        std::future::poll_fn(|cx| self.reader.poll_next(&self.file, cx)).await
    }
}

impl Stream for Entries {
    type Item = Result<DirEntry>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<DirEntry>>> {
        let Entries { file, reader } = self.get_mut();
        reader.poll_next(file, cx).map(Result::transpose)
    }
}

impl Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").field("qid", &self.file.qid).finish_non_exhaustive()
    }
}

/// Reads an open directory to the end.
#[derive(Default)]
pub(crate) struct DirReader {
    /// The offset of the next read.
    offset: u64,
    call: Option<Call>,
    entries: VecDeque<DirEntry>,
    /// The offsets of earlier reads, which are used to detect a listing that returns to an earlier
    /// offset.
    seen: HashSet<u64>,
    names: usize,
    bytes: usize,
    ended: bool,
}

impl DirReader {
    pub(crate) fn poll_next(
        &mut self,
        file: &OpenFile,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<DirEntry>>> {
        loop {
            if let Some(entry) = self.entries.pop_front() {
                return Poll::Ready(Ok(Some(entry)));
            }
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            let page = ready!(self.poll_page(file, cx));
            self.call = None;
            let added = page.and_then(|page| page.map_or(Ok(None), |page| self.add_page(page)));
            self.ended = !matches!(added, Ok(Some(())));
            added.inspect_err(|_| self.entries.clear())?;
        }
    }

    fn poll_page(&mut self, file: &OpenFile, cx: &mut Context<'_>) -> Poll<Result<Option<Page>>> {
        let call = match &mut self.call {
            Some(call) => call,
            none => {
                check_dir(file)?;
                ready!(file.poll_reserve(cx));
                none.insert(file.submit_list(self.offset)?)
            }
        };
        let frame = ready!(Pin::new(call).poll(cx))?;
        Poll::Ready(Page::decode(file, &frame, self.offset))
    }

    fn add_page(&mut self, page: Page) -> Result<Option<()>> {
        self.seen.insert(self.offset);
        self.offset = page.next;
        self.names += page.names;
        self.bytes += page.bytes;
        self.entries.extend(page.entries);
        if self.names > MAX_NAMES || self.bytes > MAX_LISTING {
            let limit = if self.names > MAX_NAMES { MAX_NAMES } else { MAX_LISTING };
            return Err(Error::TooLong { what: "directory", limit });
        }
        if self.seen.contains(&self.offset) {
            return Err(Error::invalid_reply("the directory listing does not end"));
        }
        Ok(Some(()))
    }
}

/// Reads the page that starts at `offset` in a directory. Returns the page's entries and the offset
/// of the next page, or `None` at the end of the directory.
pub(crate) async fn read_page(
    file: &OpenFile,
    offset: u64,
) -> Result<Option<(Vec<DirEntry>, u64)>> {
    check_dir(file)?;
    std::future::poll_fn(|cx| file.poll_reserve(cx)).await;
    let frame = file.submit_list(offset)?.await?;
    Ok(Page::decode(file, &frame, offset)?.map(|page| (page.entries, page.next)))
}

fn check_dir(file: &OpenFile) -> Result<()> {
    if file.qid.kind & Qid::DIR == 0 { Err(Error::from_errno(20)) } else { Ok(()) }
}

/// The entries returned by a single read of a directory.
struct Page {
    entries: Vec<DirEntry>,
    /// The offset of the next read.
    next: u64,
    bytes: usize,
    /// The number of names on the page, including `.` and `..`, which `entries` does not contain.
    names: usize,
}

impl Page {
    /// Decodes the reply to a read at `offset`. Returns `None` at the end of the directory.
    fn decode(file: &OpenFile, frame: &bytes::Bytes, offset: u64) -> Result<Option<Page>> {
        let data = file.read_data(frame, file.unit)?;
        if data.is_empty() {
            return Ok(None);
        }
        let mut page = Page { entries: Vec::new(), next: offset, bytes: data.len(), names: 0 };
        if file.connection().dialect == Dialect::Linux {
            for entry in Dirent::decode_all(&data) {
                let entry = entry.map_err(ProtocolError::Malformed)?;
                page.next = entry.offset;
                page.add(DirEntry::from_dirent(&entry))?;
            }
        } else {
            for stat in Stat::decode_all(&data, file.connection().dialect) {
                page.add(DirEntry::from_stat(&stat.map_err(ProtocolError::Malformed)?))?;
            }
            page.next = offset.saturating_add(data.len() as u64);
        }
        if page.next == offset {
            return Err(Error::invalid_reply("the directory listing does not advance"));
        }
        Ok(Some(page))
    }

    /// Adds an entry. Returns an error if the name is empty or contains a slash or NUL byte,
    /// because callers walk to the listed names.
    fn add(&mut self, entry: DirEntry) -> Result<()> {
        self.names += 1;
        match entry.name.as_bytes() {
            b"." | b".." => {}
            name if name.is_empty() || name.iter().any(|byte| matches!(byte, b'/' | 0)) => {
                return Err(Error::invalid_reply(
                    "a directory entry has an empty name, or one with a slash or NUL byte",
                ));
            }
            _ => self.entries.push(entry),
        }
        Ok(())
    }
}
