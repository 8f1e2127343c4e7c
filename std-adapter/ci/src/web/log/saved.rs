//! The source of a log: a commit in the database, or the memory of a running build.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use datakit_client::db::Result;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use super::index::Index;
use super::lines::Page;
use super::whole_chars;
use crate::build::BuildLog;
use crate::web::store::WebStore;
use crate::web::time;

/// The number of bytes to read at once when indexing or searching a log.
const CHUNK: usize = 1 << 20;

/// The maximum number of logs that are indexed or searched at the same time.
const SCANS_MAX: usize = 2;

/// The maximum number of logs whose indexes and durations are cached. The index of a 100 MB log
/// takes about 30 KB.
const INDEXES_MAX: usize = 256;

/// The number of bytes to search for timestamps at each end of a log.
const ENDS: usize = 1024;

/// A log that can be read in chunks.
#[derive(Clone)]
pub(in crate::web) enum ReadableLog {
    /// A log stored in a commit.
    Saved {
        /// The database.
        store: Arc<dyn WebStore>,
        /// The hash of the commit.
        commit: String,
    },
    /// The log of a running build.
    Live(BuildLog),
}

impl ReadableLog {
    /// Returns the current length in bytes.
    pub(in crate::web) async fn len(&self) -> Result<u64> {
        match self {
            ReadableLog::Saved { store, commit } => store.log_len(commit).await,
            ReadableLog::Live(log) => Ok(log.len() as u64),
        }
    }

    /// Reads `length` bytes, or fewer at the end of the log.
    pub(in crate::web) async fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        match self {
            ReadableLog::Saved { store, commit } => store.read_log(commit, offset, length).await,
            ReadableLog::Live(log) => {
                Ok(usize::try_from(offset).map_or(Vec::new(), |at| log.read_at(at, length)))
            }
        }
    }

    /// Reads the log up to `end` in chunks of complete characters, and calls `each` with every
    /// chunk until `each` returns `false`.
    pub(in crate::web) async fn scan(
        &self,
        end: u64,
        mut each: impl FnMut(&[u8]) -> bool + Send,
    ) -> Result<()> {
        let mut offset = 0;
        while offset < end {
            let wanted = usize::try_from(end - offset).unwrap_or(CHUNK).min(CHUNK);
            let chunk = self.read(offset, wanted).await?;
            // At the end of the log, treat an incomplete character as invalid.
            let whole = if chunk.len() < CHUNK { chunk.len() } else { whole_chars(&chunk) };
            let Some(part) = chunk.get(..whole).filter(|part| !part.is_empty()) else { break };
            if !each(part) {
                break;
            }
            offset += whole as u64;
            // Yield, so that a long log does not block other requests.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Converts a page, up to the offset `limit`, to HTML. Line numbers link to the page at `url`.
    pub(in crate::web) async fn page(
        &self,
        index: &Index,
        number: usize,
        limit: u64,
        url: &str,
    ) -> Result<String> {
        let Some((start, end)) = index.page(number) else { return Ok(String::new()) };
        let length = end.min(limit).saturating_sub(start.offset);
        let bytes = self.read(start.offset, usize::try_from(length).unwrap_or(usize::MAX)).await?;
        Ok(Page::convert(&start, url, &String::from_utf8_lossy(&bytes)))
    }
}

/// The indexes and durations of the most recently shown logs.
pub(in crate::web) struct SavedLogs {
    store: Arc<dyn WebStore>,
    /// The permits for reading whole logs.
    scans: Semaphore,
    indexes: Recent<Arc<Index>>,
    durations: Recent<Option<Duration>>,
}

impl SavedLogs {
    pub(in crate::web) fn new(store: Arc<dyn WebStore>) -> SavedLogs {
        let scans = Semaphore::new(SCANS_MAX);
        SavedLogs { store, scans, indexes: Recent::default(), durations: Recent::default() }
    }

    pub(in crate::web) fn source(&self, commit: &str) -> ReadableLog {
        ReadableLog::Saved { store: self.store.clone(), commit: commit.to_owned() }
    }

    /// Waits for a permit to read a whole log. The permits prevent a few visitors from using all
    /// processors.
    pub(in crate::web) async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        // Acquiring a permit cannot fail, because the semaphore is never closed.
        self.scans.acquire().await.ok()
    }

    /// Returns the index of the log in a commit. Concurrent requests for a new log share a single
    /// read.
    pub(in crate::web) async fn index(&self, commit: &str) -> Result<Arc<Index>> {
        let cell = self.indexes.cell(commit);
        let index = cell.get_or_try_init(|| async {
            let _permit = self.permit().await;
            let source = self.source(commit);
            let mut index = Index::new();
            let len = source.len().await?;
            source
                .scan(len, |part| {
                    index.feed(part);
                    true
                })
                .await?;
            Ok(Arc::new(index))
        });
        index.await.cloned()
    }

    /// Returns the time between the first and last timestamps in a commit's log.
    pub(in crate::web) async fn duration(&self, commit: &str) -> Option<Duration> {
        let cell = self.durations.cell(commit);
        let duration = cell.get_or_try_init(|| async {
            let source = self.source(commit);
            let len = source.len().await?;
            let start = source.read(0, ENDS).await?;
            let end = source.read(len.saturating_sub(ENDS as u64), ENDS).await?;
            let (first, last) = (first_time(&start), last_time(&end));
            let duration =
                first.zip(last).and_then(|(first, last)| last.duration_since(first).ok());
            Ok::<_, datakit_client::db::Error>(duration)
        });
        duration.await.ok().copied().flatten()
    }
}

/// Returns the time of the first line that has a timestamp.
pub(in crate::web) fn first_time(start: &[u8]) -> Option<SystemTime> {
    let text = String::from_utf8_lossy(start);
    text.lines().find_map(time::of_log_line).map(|(time, _)| time)
}

fn last_time(end: &[u8]) -> Option<SystemTime> {
    let text = String::from_utf8_lossy(end);
    text.lines().rev().find_map(time::of_log_line).map(|(time, _)| time)
}

/// A cache of values for the most recently used commits.
struct Recent<T>(Mutex<VecDeque<(String, Arc<OnceCell<T>>)>>);

impl<T> Default for Recent<T> {
    fn default() -> Recent<T> {
        Recent(Mutex::default())
    }
}

impl<T> Recent<T> {
    /// Returns the cell for a commit's value.
    fn cell(&self, commit: &str) -> Arc<OnceCell<T>> {
        let mut recent = self.0.lock();
        let found = recent.iter().position(|(key, _)| key == commit);
        let entry = found.and_then(|at| recent.remove(at));
        let entry = entry.unwrap_or_else(|| (commit.to_owned(), Arc::default()));
        let cell = entry.1.clone();
        recent.push_front(entry);
        recent.truncate(INDEXES_MAX);
        cell
    }
}
