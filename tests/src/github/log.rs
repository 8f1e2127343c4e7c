//! The log of calls, from which tests read what a client costs.

use std::collections::{BTreeMap, VecDeque};

/// The calls that the log keeps. The counts go on.
const MOST: usize = 10_000;

/// A call that was made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Record {
    /// The method and the route, such as `GET /repos/{owner}/{repo}/pulls`. The route of a path
    /// that the fake does not know is `?`.
    pub route: String,
    /// The path and the query, as sent.
    pub target: String,
    /// The status of the answer, or `None` if there was no answer.
    pub status: Option<u16>,
    /// The login of the caller.
    pub login: String,
    /// The body of the request.
    pub body: String,
}

/// The calls so far.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) records: VecDeque<Record>,
    pub(crate) counts: BTreeMap<String, u64>,
    running: usize,
    running_writes: usize,
    /// The most calls that were running at the same time.
    pub(crate) peak: usize,
    /// The most calls with an effect that were running at the same time.
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

    /// Forgets everything except the calls that are running.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.counts.clear();
        self.peak = self.running;
        self.peak_writes = self.running_writes;
    }
}
