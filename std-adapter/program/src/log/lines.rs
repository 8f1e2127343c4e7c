//! The queue of log lines for standard error.
//!
//! A separate thread writes the lines, because the process that reads standard error may be slow.
//! Lines that do not fit in the queue are dropped and counted.

use std::collections::HashMap;
use std::fmt::{Debug, Write as _};
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};
use tracing_subscriber::fmt::MakeWriter;

use crate::LogCounters;

/// The capacity of the queue, in lines.
const QUEUE_LENGTH: usize = 1024;
/// The maximum length of a line, in bytes. Longer lines are truncated.
const MAX_LINE: usize = 4096;
/// The minimum interval between errors or warnings from the same call site.
const INTERVAL: Duration = Duration::from_secs(1);
/// The maximum time that the program waits for the queue to drain before exiting.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The target of messages about the log itself. Messages with this target are never suppressed.
const OWN_TARGET: &str = "datakit::log";

static WRITER: OnceLock<SyncSender<Item>> = OnceLock::new();

/// An item in the queue.
enum Item {
    Line(Vec<u8>),
    /// A notice that a line was suppressed. A summary of the suppressed lines is written after
    /// [`INTERVAL`].
    Suppressed,
    /// A request to send a notification after all earlier items have been written.
    Flush(SyncSender<()>),
}

/// The sending side of the queue. Sending never blocks.
#[derive(Clone)]
pub(super) struct Lines {
    queue: SyncSender<Item>,
    logs: LogCounters,
    callsites: Arc<Mutex<HashMap<Identifier, Callsite>>>,
}

/// A call site at which the program logs errors or warnings.
struct Callsite {
    last_written: Instant,
    suppressed: u64,
    /// The message of the last line written.
    message: String,
}

impl Lines {
    /// Starts the thread.
    pub(super) fn start(logs: &LogCounters) -> io::Result<Lines> {
        let (queue, items) = sync_channel(QUEUE_LENGTH);
        let lines = Lines { queue: queue.clone(), logs: logs.clone(), callsites: Arc::default() };
        let own = lines.clone();
        std::thread::Builder::new()
            .name("datakit-log".into())
            .spawn(move || own.write_all(&items))?;
        // If a queue has already been installed, it remains in use.
        let _ = WRITER.set(queue);
        Ok(lines)
    }

    /// Returns whether an event should be logged. Clients can trigger errors and warnings, so each
    /// call site may log only one error or warning per [`INTERVAL`].
    pub(super) fn admits(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || metadata.target() == OWN_TARGET {
            return true;
        }
        let mut callsites = self.callsites.lock();
        if let Some(callsite) = callsites.get_mut(&metadata.callsite())
            && callsite.last_written.elapsed() < INTERVAL
        {
            callsite.suppressed = callsite.suppressed.saturating_add(1);
            self.logs.count_suppressed();
            if callsite.suppressed == 1 {
                // Ignore the error. If the queue is full, lines are lost, and the report of lost
                // lines includes the number of suppressed lines.
                let _ = self.queue.try_send(Item::Suppressed);
            }
            return false;
        }
        let now = Instant::now();
        let callsite = callsites.entry(metadata.callsite()).or_insert_with(|| Callsite {
            last_written: now,
            suppressed: 0,
            message: String::new(),
        });
        callsite.last_written = now;
        callsite.message.clear();
        event.record(&mut MessageVisitor(&mut callsite.message));
        true
    }

    /// Writes the items in the queue until all senders have been dropped.
    fn write_all(&self, items: &Receiver<Item>) {
        let (mut reported, mut report_at) = (0, None::<Instant>);
        loop {
            let next = match report_at {
                None => items.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => items.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match next {
                // Ignore errors, because standard error may be closed.
                Ok(Item::Line(line)) => io::stderr().write_all(&line).unwrap_or_default(),
                Ok(Item::Suppressed) => {
                    report_at = report_at.or(Some(Instant::now() + INTERVAL));
                }
                Ok(Item::Flush(done)) => done.send(()).unwrap_or_default(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let lost = self.logs.lost();
            if lost > reported {
                report_at = report_at.or(Some(Instant::now() + INTERVAL));
            }
            if report_at.is_some_and(|at| at <= Instant::now()) {
                report_at = None;
                self.report_suppressed();
                if lost > reported {
                    let lost = lost.saturating_sub(reported);
                    tracing::warn!(target: OWN_TARGET, "{lost} log lines lost: standard error was not read in time");
                }
                reported = lost;
            }
        }
    }

    fn report_suppressed(&self) {
        let mut callsites = self.callsites.lock();
        let suppressed: Vec<_> = callsites
            .values_mut()
            .filter(|callsite| callsite.suppressed > 0)
            .map(|callsite| (std::mem::take(&mut callsite.suppressed), callsite.message.clone()))
            .collect();
        drop(callsites);
        for (count, message) in suppressed {
            tracing::warn!(target: OWN_TARGET, "{count} more like this one: {message}");
        }
    }
}

/// A visitor that extracts the message of an event without its fields.
struct MessageVisitor<'t>(&'t mut String);

impl Visit for MessageVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            // Ignore the result, because writing to a string cannot fail.
            let _ = write!(self.0, "{value:?}");
        }
    }
}

/// Waits up to one second for the lines in the queue to be written.
pub fn flush() {
    let (done, flushed) = sync_channel(1);
    if let Some(writer) = WRITER.get()
        && writer.try_send(Item::Flush(done)).is_ok()
    {
        let _ = flushed.recv_timeout(FLUSH_TIMEOUT);
    }
}

/// A line that is being formatted. The line is added to the queue when this writer is dropped.
pub(super) struct LineWriter<'l> {
    lines: &'l Lines,
    line: Vec<u8>,
}

impl<'l> MakeWriter<'l> for Lines {
    type Writer = LineWriter<'l>;

    fn make_writer(&'l self) -> LineWriter<'l> {
        LineWriter { lines: self, line: Vec::new() }
    }
}

impl Write for LineWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let free = MAX_LINE.saturating_sub(self.line.len());
        self.line.extend_from_slice(bytes.get(..free).unwrap_or(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter<'_> {
    fn drop(&mut self) {
        if !self.line.ends_with(b"\n") {
            self.line.push(b'\n');
        }
        let line = std::mem::take(&mut self.line);
        if let Err(TrySendError::Full(_)) = self.lines.queue.try_send(Item::Line(line)) {
            self.lines.logs.count_lost();
        }
    }
}
