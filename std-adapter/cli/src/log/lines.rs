//! Lines on their way to standard error, for which nobody waits.
//!
//! A thread of its own writes them: who reads the other end of the pipe may be slow or asleep. What
//! it cannot take is lost and counted.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt::{Debug, Write as _};
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::metrics::Logs;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written.
const WAITING: usize = 1024;
/// Bytes of a line; more of it is cut off.
const LONGEST: usize = 4096;
/// One line of each kind in so long, of those that are logged without being asked for.
const EACH: Duration = Duration::from_secs(1);
/// How long the end of the program waits for lines.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the lines about lines come from, which are never left out.
const OWN: &str = "datakit::log";

static WRITER: OnceLock<SyncSender<Line>> = OnceLock::new();

enum Line {
    Text(Vec<u8>),
    /// Lines of some kind are being left out.
    LeftOut,
    /// Everything before this was written.
    Written(SyncSender<()>),
}

/// Takes lines, and never waits.
#[derive(Clone)]
pub(super) struct Lines {
    writer: SyncSender<Line>,
    logs: Logs,
    kinds: Arc<Mutex<HashMap<Identifier, Kind>>>,
}

/// The lines of one place in the program.
struct Kind {
    begun: Instant,
    left_out: u64,
    /// What the last one said.
    text: String,
}

impl Lines {
    /// Begins to write to standard error.
    pub(super) fn start(logs: &Logs) -> io::Result<Lines> {
        let (writer, waiting) = sync_channel(WAITING);
        let lines = Lines { writer: writer.clone(), logs: logs.clone(), kinds: Arc::default() };
        let own = lines.clone();
        std::thread::Builder::new()
            .name("datakit-log".into())
            .spawn(move || own.write(&waiting))?;
        // The first one stays, as the subscriber does.
        let _ = WRITER.set(writer);
        Ok(lines)
    }

    /// Whether a line is to be written: clients can provoke warnings as often as they like.
    pub(super) fn admits(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || metadata.target() == OWN {
            return true;
        }
        let mut kinds = self.kinds.lock();
        if let Some(kind) = kinds.get_mut(&metadata.callsite())
            && kind.begun.elapsed() < EACH
        {
            kind.left_out = kind.left_out.saturating_add(1);
            self.logs.leave_out();
            if kind.left_out == 1 {
                // Where the queue is full, it is told with the lines that were lost.
                let _ = self.writer.try_send(Line::LeftOut);
            }
            return false;
        }
        let kind = kinds.entry(metadata.callsite());
        let kind = kind.or_insert_with(|| Kind {
            begun: Instant::now(),
            left_out: 0,
            text: String::new(),
        });
        kind.begun = Instant::now();
        kind.text.clear();
        event.record(&mut Message(&mut kind.text));
        true
    }

    fn write(&self, waiting: &Receiver<Line>) {
        let (mut told, mut tell) = (0, None::<Instant>);
        loop {
            let next = match tell {
                None => waiting.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => waiting.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match next {
                // A standard error that is closed takes no lines; nobody is left to be told.
                Ok(Line::Text(text)) => io::stderr().write_all(&text).unwrap_or_default(),
                Ok(Line::LeftOut) => tell = tell.or(Some(Instant::now() + EACH)),
                Ok(Line::Written(done)) => done.send(()).unwrap_or_default(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let lost = self.logs.lost();
            if lost > told {
                tell = tell.or(Some(Instant::now() + EACH));
            }
            if tell.is_some_and(|at| at <= Instant::now()) {
                tell = None;
                self.tell_left_out();
                if lost > told {
                    let lost = lost.saturating_sub(told);
                    tracing::warn!(target: OWN, "{lost} lines of this log are lost: it was not read in time");
                }
                told = lost;
            }
        }
    }

    fn tell_left_out(&self) {
        let mut kinds = self.kinds.lock();
        let told: Vec<_> = kinds
            .values_mut()
            .filter(|kind| kind.left_out > 0)
            .map(|kind| (std::mem::take(&mut kind.left_out), kind.text.clone()))
            .collect();
        drop(kinds);
        for (count, text) in told {
            tracing::warn!(target: OWN, "{count} more like this one: {text}");
        }
    }
}

/// The message of an event, without its fields.
struct Message<'t>(&'t mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            // Writing to a string does not fail.
            let _ = write!(self.0, "{value:?}");
        }
    }
}

/// Waits a moment until the lines that were logged are written.
pub(crate) fn flush() {
    let (done, written) = sync_channel(1);
    if let Some(writer) = WRITER.get()
        && writer.try_send(Line::Written(done)).is_ok()
    {
        let _ = written.recv_timeout(PATIENCE);
    }
}

/// One line in the making.
pub(super) struct Writer<'l> {
    lines: &'l Lines,
    text: Vec<u8>,
}

impl<'l> MakeWriter<'l> for Lines {
    type Writer = Writer<'l>;

    fn make_writer(&'l self) -> Writer<'l> {
        Writer { lines: self, text: Vec::new() }
    }
}

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = LONGEST.saturating_sub(self.text.len());
        self.text.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if !self.text.ends_with(b"\n") {
            self.text.push(b'\n');
        }
        if let Err(TrySendError::Full(_)) =
            self.lines.writer.try_send(Line::Text(std::mem::take(&mut self.text)))
        {
            self.lines.logs.lose();
        }
    }
}
