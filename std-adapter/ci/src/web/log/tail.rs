//! Follows logs that grow while they are being shown.
//!
//! A tail reads a log once, converts new lines to HTML, and keeps the latest events in memory.
//! These events are shared by all viewers of the log, so the conversion cost does not depend on the
//! number of viewers.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

use super::ansi::Converter;
use super::index::Index;
use super::lines::push_line;
use crate::build::{BuildLog, LiveLogs};
use crate::{Target, View};

/// The maximum total size of the events kept by a tail, in bytes. A viewer that falls further
/// behind has to reload the page.
const KEPT_MAX: usize = 2 << 20;

/// How long new text is collected before it is sent as one event.
const COLLECT: Duration = Duration::from_millis(100);

/// The maximum number of lines in an event.
const EVENT_LINES: usize = 2000;

/// The maximum number of events to send to a viewer at once.
const BATCH: usize = 16;

/// How long to wait for the result of a finished build to be stored.
const STORED: Duration = Duration::from_secs(30);

/// The text between two offsets of a log, as a server-sent event.
#[derive(Debug, Clone)]
struct TailEvent {
    start: u64,
    end: u64,
    text: Bytes,
}

/// The part of a tail's state that its viewers can see.
#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<TailEvent>,
    bytes: usize,
    /// The incomplete last line, as a server-sent event.
    rest: Bytes,
}

/// The position of a tail or viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::web) struct TailPosition {
    /// The end of the last event.
    pub(in crate::web) end: u64,
    /// The length of the text that has been read.
    read: u64,
    /// The number of versions of the incomplete last line so far.
    rest: u64,
    /// Whether the log is complete and stored.
    done: bool,
}

impl TailPosition {
    /// Returns the position of a viewer that has received all lines up to the offset `end`.
    pub(in crate::web) fn at(end: u64) -> TailPosition {
        TailPosition { end, ..TailPosition::default() }
    }
}

/// A log that is being followed.
pub(in crate::web) struct Tail {
    log: BuildLog,
    index: Mutex<Index>,
    kept: Mutex<Kept>,
    progress: watch::Sender<TailPosition>,
    /// How many times the log has been read.
    reads: AtomicUsize,
}

/// The next message for a viewer.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::web) enum Next {
    /// Send these events, which end at the given position.
    Events(Vec<Bytes>, TailPosition),
    /// The viewer has fallen too far behind.
    Behind,
    /// The log is complete.
    End,
}

impl Tail {
    /// Returns the log.
    pub(in crate::web) fn log(&self) -> &BuildLog {
        &self.log
    }

    /// Returns the index of the text that has been converted to events.
    pub(in crate::web) fn index(&self) -> Index {
        self.index.lock().clone()
    }

    /// Returns the number of times that the log has been read.
    pub(in crate::web) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    /// Waits until the current text of the log has been converted, except for an incomplete last
    /// line.
    pub(in crate::web) async fn catch_up(&self) {
        let len = self.log.len() as u64;
        let mut progress = self.progress.subscribe();
        // The wait ends when the log is complete, if not earlier.
        let _ = progress.wait_for(|progress| progress.done || progress.read >= len).await;
    }

    /// Waits for events after a position.
    pub(in crate::web) async fn next(&self, seen: TailPosition) -> Next {
        let mut progress = self.progress.subscribe();
        let is_new = |now: &TailPosition| now.end > seen.end || now.rest > seen.rest || now.done;
        let Ok(now) = progress.wait_for(is_new).await.map(|now| *now) else { return Next::End };
        if now.end <= seen.end && now.rest <= seen.rest {
            return Next::End;
        }
        let kept = self.kept.lock();
        let first = kept.events.partition_point(|event| event.start < seen.end);
        let events = kept.events.iter().skip(first).take(BATCH);
        let (mut texts, mut end) = (Vec::new(), seen.end);
        for event in events {
            if event.start != end {
                return Next::Behind;
            }
            texts.push(event.text.clone());
            end = event.end;
        }
        if end < now.end && texts.is_empty() {
            return Next::Behind;
        }
        // The incomplete line comes after the last event.
        let is_last = kept.events.back().is_none_or(|last| last.end == end);
        if is_last {
            texts.push(kept.rest.clone());
        }
        Next::Events(
            texts,
            TailPosition {
                rest: if is_last { now.rest } else { seen.rest },
                ..TailPosition::at(end)
            },
        )
    }

    /// Reads the log to its end.
    async fn follow(&self) {
        let mut reader = self.log.reader();
        let mut converter = Converter::default();
        let mut incomplete = 0;
        while let Some(part) = reader.next().await {
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.add(&part, &mut converter, &mut incomplete);
            tokio::time::sleep(COLLECT).await;
        }
        if incomplete > 0 {
            // The last line does not end with a line feed.
            self.add("\n", &mut converter, &mut incomplete);
        }
    }

    /// Adds events for part of the log. `incomplete` is the length of the incomplete last line.
    fn add(&self, part: &str, converter: &mut Converter, incomplete: &mut u64) {
        let (mut offset, mut number) = {
            let mut index = self.index.lock();
            let end = index.end();
            index.feed(part.as_bytes());
            end
        };
        let mut lines = String::new();
        let mut end = offset;
        let mut count = 0;
        for piece in part.split_inclusive('\n') {
            *incomplete += piece.len() as u64;
            converter.feed(piece, |line| {
                push_line(&mut lines, number, "", line);
                number += 1;
                count += 1;
            });
            if piece.ends_with('\n') {
                end += std::mem::take(incomplete);
            }
            if count >= EVENT_LINES {
                self.push(offset, end, &std::mem::take(&mut lines), "");
                (offset, count) = (end, 0);
            }
        }
        self.push(offset, end, &lines, &converter.rest());
        self.progress.send_modify(|progress| progress.read += part.len() as u64);
    }

    /// Adds an event with complete lines. `rest` is the incomplete last line.
    fn push(&self, start: u64, end: u64, lines: &str, rest: &str) {
        let mut kept = self.kept.lock();
        kept.rest = format!("event: rest\ndata: {rest}\n\n").into();
        if end > start {
            let mut text = format!("id: {end}\nevent: lines\n");
            // Writing to a string never fails.
            for line in lines.lines() {
                let _ = writeln!(text, "data: {line}");
            }
            text.push('\n');
            kept.bytes += text.len();
            kept.events.push_back(TailEvent { start, end, text: text.into() });
            while kept.bytes > KEPT_MAX && kept.events.len() > 1 {
                let removed = kept.events.pop_front().map_or(0, |event| event.text.len());
                kept.bytes -= removed;
            }
        }
        drop(kept);
        self.progress.send_modify(|progress| {
            progress.end = end;
            progress.rest += 1;
        });
    }
}

/// The tails of all live logs that have been shown, keyed by branch.
pub(in crate::web) struct Tails {
    live: LiveLogs,
    view: View,
    tails: Arc<Mutex<HashMap<String, Arc<Tail>>>>,
}

impl Tails {
    pub(in crate::web) fn new(live: LiveLogs, view: View) -> Tails {
        Tails { live, view, tails: Arc::default() }
    }

    /// Returns the live log of a branch.
    pub(in crate::web) fn live(&self, branch: &str) -> Option<BuildLog> {
        self.live.get(branch)
    }

    /// Returns the tail of a live log, or `None` if no build is running on the branch.
    pub(in crate::web) fn get(&self, branch: &str) -> Option<Arc<Tail>> {
        let log = self.live.get(branch)?;
        let mut tails = self.tails.lock();
        if let Some(tail) = tails.get(branch).filter(|tail| tail.log.is_same(&log)) {
            return Some(tail.clone());
        }
        let tail = Arc::new(Tail {
            log,
            index: Mutex::new(Index::new()),
            kept: Mutex::default(),
            progress: watch::Sender::new(TailPosition::default()),
            reads: AtomicUsize::new(0),
        });
        tails.insert(branch.to_owned(), tail.clone());
        tokio::spawn(run(
            tail.clone(),
            branch.to_owned(),
            self.live.clone(),
            self.view.changes(),
            self.tails.clone(),
        ));
        Some(tail)
    }
}

/// Follows a log to its end, and then waits until the build's result is stored.
async fn run(
    tail: Arc<Tail>,
    branch: String,
    live: LiveLogs,
    mut changes: broadcast::Receiver<Target>,
    tails: Arc<Mutex<HashMap<String, Arc<Tail>>>>,
) {
    tail.follow().await;
    let is_live = || live.get(&branch).is_some_and(|log| log.is_same(&tail.log));
    // The build stores its log after the log is complete. After that, viewers can load the stored
    // log.
    let stored = async {
        while is_live() {
            let change = tokio::time::timeout(Duration::from_secs(1), changes.recv());
            if let Ok(Err(broadcast::error::RecvError::Closed)) = change.await {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(STORED, stored).await;
    let mut tails = tails.lock();
    if tails.get(&branch).is_some_and(|other| Arc::ptr_eq(other, &tail)) {
        tails.remove(&branch);
    }
    drop(tails);
    tail.progress.send_modify(|progress| progress.done = true);
}
