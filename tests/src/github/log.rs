//! The call log, which tests use to determine how many calls a client makes.

use std::collections::{BTreeMap, VecDeque};

/// The maximum number of calls kept in the log. The counters also include older calls.
const MOST: usize = 10_000;

/// A logged call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Record {
    /// The method and the route, such as `GET /repos/{owner}/{repo}/pulls`. The route of an unknown
    /// path is `?`.
    pub route: String,
    /// The path and query, as sent.
    pub target: String,
    /// The status of the response, or `None` if there was no response.
    pub status: Option<u16>,
    /// The login of the caller.
    pub login: String,
    /// The body of the request.
    pub body: String,
}

/// The log of calls made so far, with counters.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) records: VecDeque<Record>,
    pub(crate) counts: BTreeMap<String, u64>,
    running: usize,
    running_writes: usize,
    /// The peak number of concurrent calls.
    pub(crate) peak: usize,
    /// The peak number of concurrent calls that change something.
    pub(crate) peak_writes: usize,
}

impl Log {
    pub(crate) fn began(&mut self, write: bool) {
        self.running += 1;
        self.running_writes += usize::from(write);
        self.peak = self.peak.max(self.running);
        self.peak_writes = self.peak_writes.max(self.running_writes);
    }

    pub(crate) fn ended(&mut self, write: bool) {
        self.running -= 1;
        self.running_writes -= usize::from(write);
    }

    pub(crate) fn add(&mut self, record: Record) {
        *self.counts.entry(record.route.clone()).or_default() += 1;
        if self.records.len() == MOST {
            self.records.pop_front();
        }
        self.records.push_back(record);
    }

    /// Clears the log and its counters, except for the number of calls in progress.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.counts.clear();
        self.peak = self.running;
        self.peak_writes = self.running_writes;
    }
}
