//! Writes the output of a command to a log, and limits the size and rate of the output.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Limits;
use super::process::Sink;
use crate::build::BuildLog;

/// How far the output of a command can be ahead of its rate limit.
const BURST: Duration = Duration::from_secs(4);

/// The limits on the output of a command.
#[derive(Debug)]
pub(super) struct OutputLimit {
    limit: Option<u64>,
    written: AtomicU64,
    exceeded: Notify,
    /// The limit in bytes per second.
    rate: Option<u64>,
    pace: Mutex<Pace>,
}

/// Tracks how far the output of a command is ahead of its rate limit.
#[derive(Debug)]
struct Pace {
    /// The time at which the output so far would have been complete if it had been written at the
    /// maximum rate.
    due: Instant,
    is_slowed: bool,
}

impl OutputLimit {
    pub(super) fn new(limits: &Limits) -> OutputLimit {
        OutputLimit {
            limit: limits.output,
            written: AtomicU64::new(0),
            exceeded: Notify::new(),
            rate: limits.output_rate,
            pace: Mutex::new(Pace { due: Instant::now(), is_slowed: false }),
        }
    }

    fn add(&self, count: usize) {
        let written = self.written.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
        if self.limit.is_some_and(|limit| written > limit) {
            self.exceeded.notify_one();
        }
        if let Some(rate) = self.rate {
            let mut pace = self.pace.lock();
            let time = Duration::from_secs_f64(count as f64 / rate.max(1) as f64);
            pace.due = pace.due.max(Instant::now()) + time;
        }
    }

    /// Returns how long the command has to wait before it can write more.
    fn delay(&self) -> Duration {
        let ahead = self.pace.lock().due.saturating_duration_since(Instant::now());
        ahead.saturating_sub(BURST)
    }

    /// Returns `true` when the command is slowed down for the first time.
    fn is_first_delay(&self) -> bool {
        let is_slowed = !self.delay().is_zero();
        is_slowed && !std::mem::replace(&mut self.pace.lock().is_slowed, true)
    }

    /// Waits until the limit is exceeded. Returns the limit.
    pub(super) async fn exceeded(&self) -> u64 {
        self.exceeded.notified().await;
        self.limit.unwrap_or_default()
    }
}

/// Writes the output of a process to a log. Replaces invalid UTF-8 with U+FFFD.
pub(super) struct LogSink<'a> {
    log: &'a BuildLog,
    limit: Option<&'a OutputLimit>,
    /// An incomplete character.
    waiting: Vec<u8>,
}

impl<'a> LogSink<'a> {
    pub(super) fn new(log: &'a BuildLog, limit: Option<&'a OutputLimit>) -> LogSink<'a> {
        LogSink { log, limit, waiting: Vec::new() }
    }
}

impl Sink for LogSink<'_> {
    fn write(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        let rest = self.waiting.split_off(complete_characters(&self.waiting));
        self.log.write(&String::from_utf8_lossy(&self.waiting));
        self.waiting = rest;
        if let Some(limit) = self.limit {
            limit.add(bytes.len());
            if limit.is_first_delay() {
                let rate = limit.rate.unwrap_or_default();
                self.log.line(&format!("The output is slowed down to {rate} bytes per second"));
            }
        }
    }

    fn delay(&self) -> Duration {
        self.limit.map_or(Duration::ZERO, OutputLimit::delay)
    }
}

impl Drop for LogSink<'_> {
    fn drop(&mut self) {
        self.log.write(&String::from_utf8_lossy(&self.waiting));
    }
}

/// Returns the length of `bytes` without the incomplete character at the end, if there is one.
fn complete_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        // Invalid bytes elsewhere are replaced later. An incomplete character has at most three
        // bytes.
        Err(_) => {
            let tail = bytes.len().saturating_sub(3);
            let start =
                (tail..bytes.len()).rev().find(|at| bytes.get(*at).is_some_and(|b| *b >= 0xc0));
            let incomplete = start.filter(|at| {
                let end = bytes.get(*at..).unwrap_or_default();
                std::str::from_utf8(end).is_err_and(|error| error.error_len().is_none())
            });
            incomplete.unwrap_or(bytes.len())
        }
        Ok(_) => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::LogLimits;

    #[test]
    fn fast_output_is_slowed_down() {
        let log = BuildLog::new("Build", Vec::new(), LogLimits { bytes: 5 });
        let mut limits = Limits::NONE;
        limits.output_rate = Some(1000);
        let limit = OutputLimit::new(&limits);
        let mut sink = LogSink::new(&log, Some(&limit));
        sink.write(&[b'x'; 2000]);
        assert_eq!(sink.delay(), Duration::ZERO);
        sink.write(&[b'x'; 60_000]);
        sink.write(&[b'x'; 1000]);
        let delay = sink.delay().as_secs();
        assert!((30..=59).contains(&delay), "{delay}");
        drop(sink);
        let text = log.finish();
        let slowed = "The output is slowed down to 1000 bytes per second\n";
        assert_eq!(text.matches(slowed).count(), 1, "{text}");
    }

    #[test]
    fn characters_are_not_split() {
        for (bytes, length) in [
            (&b"abc"[..], 3),
            (b"ab\xc3", 2),
            (b"ab\xc3\xbc", 4),
            (b"\xff ab\xe2\x82", 4),
            (b"\xff", 1),
            (b"", 0),
        ] {
            assert_eq!(complete_characters(bytes), length, "{bytes:?}");
        }
    }
}
