//! The `log` file, which contains the history of a commit, with one line per commit. The lines are
//! generated while the file is being read.

use parking_lot::Mutex;
use std::sync::Arc;

use datakit_core::vfs::{FileStat, OpenMode, Time, read_at};

use super::ro::time_of;
use crate::model::history::{Log, log};
use crate::model::log_line;
use crate::{Database, Error, Id};
use datakit_server::tree::{BoxFuture, Leaf, OpenLeaf, ready};

/// A function that returns the newest commit in the log. The function is called each time the file
/// is opened.
pub(super) type Start = Box<dyn Fn() -> crate::Result<Option<Id>> + Send + Sync>;

/// A `log` file.
pub(super) struct LogFile {
    pub(super) database: Database,
    pub(super) start: Start,
}

impl Leaf for LogFile {
    /// Reports a length of 0, because the length is unknown until the log has been generated.
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        ready(Ok(FileStat::new(0).read_only()))
    }

    /// Returns the time of the newest commit.
    fn mtime(&self) -> Option<Time> {
        let start = (self.start)().ok()??;
        Some(time_of(&*self.database.objects().commit(start).ok()?))
    }

    fn open(&self, _: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        ready((|| {
            let start = (self.start)()?;
            let reader = Arc::new(Mutex::new(HistoryReader::new(&self.database, start)));
            Ok(Box::new(OpenLog { database: self.database.clone(), start, reader })
                as Box<dyn OpenLeaf>)
        })())
    }
}

struct OpenLog {
    database: Database,
    start: Option<Id>,
    reader: Arc<Mutex<HistoryReader>>,
}

impl OpenLeaf for OpenLog {
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            // A cancelled read may still be running on a blocking thread and holding the lock.
            if let Some(reader) = self.reader.try_lock()
                && let Some(text) = reader.ready_at(offset)
            {
                return read_at(text, 0, buf);
            }
            let (reader, start, count) = (self.reader.clone(), self.start, buf.len());
            let work = move |database: &Database| {
                let reader = &mut *reader.lock();
                if offset < reader.begin {
                    // Start over if the client reads earlier text again. The history of a commit
                    // never changes, so the text will be the same.
                    *reader = HistoryReader::new(database, start);
                }
                reader.text_at(offset, count)
            };
            let text = self.database.run(work).await?;
            read_at(&text, 0, buf)
        })
    }
}

/// The minimum number of bytes to generate at a time. Generating more bytes than a client requests
/// speeds up a sequence of very short reads.
const READ_AHEAD: usize = 16 << 10;

/// The reader for an open `log` file.
struct HistoryReader {
    /// The commits that have not been formatted yet, or `None` at the end of the history.
    log: Option<Log>,
    /// The text that has been generated but has not been read yet. The text starts at offset
    /// `begin`.
    text: Vec<u8>,
    begin: u64,
    failed: Option<Error>,
}

impl HistoryReader {
    fn new(database: &Database, start: Option<Id>) -> HistoryReader {
        let log = start.map(|start| log(database.objects(), start));
        HistoryReader { log, text: Vec::new(), begin: 0, failed: None }
    }

    /// Returns the text at `offset` if it has already been generated.
    fn ready_at(&self, offset: u64) -> Option<&[u8]> {
        let skipped = usize::try_from(offset.checked_sub(self.begin)?).ok()?;
        self.text.get(skipped..).filter(|text| !text.is_empty())
    }

    /// Returns up to `count` bytes at `offset`, or no bytes at the end of the log. Discards the
    /// text before `offset`.
    fn text_at(&mut self, offset: u64, count: usize) -> crate::Result<Vec<u8>> {
        loop {
            let before = usize::try_from(offset.saturating_sub(self.begin))
                .unwrap_or(usize::MAX)
                .min(self.text.len());
            self.text.drain(..before);
            self.begin = self.begin.saturating_add(before as u64);
            let there = self.begin == offset && (self.text.len() >= count || self.log.is_none());
            if there || self.log.is_none() {
                break;
            }
            self.more(count.max(READ_AHEAD));
        }
        if self.begin != offset || self.text.is_empty() {
            // Report an error only after all text that precedes it has been read.
            return self.failed.clone().map_or(Ok(Vec::new()), Err);
        }
        Ok(self.text.get(..count).unwrap_or(&self.text).to_vec())
    }

    /// Generates text until `count` bytes are available or the history ends.
    fn more(&mut self, count: usize) {
        while let Some(log) = &mut self.log {
            match log.next() {
                Some(Ok((id, commit))) => log_line::write(id, &commit, &mut self.text),
                Some(Err(error)) => {
                    self.failed = Some(error);
                    self.log = None;
                }
                None => self.log = None,
            }
            if self.text.len() >= count {
                return;
            }
        }
    }
}
