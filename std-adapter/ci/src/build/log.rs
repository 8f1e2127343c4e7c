//! The log of a build.
//!
//! A log grows while the build runs, and any number of readers can follow it. The complete log is
//! stored in the database together with the result.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::mask::Mask;

/// The total size, in bytes, of the lines that [`BuildLog::line`] can add to a truncated log.
const LINES_MAX: usize = 64 << 10;

/// Limits for a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// The maximum size in bytes. A longer log is truncated.
    pub bytes: usize,
}

impl Default for LogLimits {
    /// Returns the default limit, which is 10 MiB.
    fn default() -> LogLimits {
        LogLimits { bytes: 10 << 20 }
    }
}

/// A log that is still being written. All clones refer to the same log.
#[derive(Clone)]
pub struct BuildLog(Arc<BuildLogInner>);

struct BuildLogInner {
    text: Mutex<LogText>,
    /// The length of the text, and whether the log is complete.
    progress: watch::Sender<(usize, bool)>,
    mask: Mask,
    limits: LogLimits,
}

#[derive(Default)]
struct LogText {
    text: String,
    /// The end of the last write, held back because it could be the beginning of a secret.
    held: String,
    cut: bool,
}

impl BuildLog {
    /// Creates a log whose first line is `=== TITLE`. The log never contains any of the secrets.
    pub fn new(title: &str, secrets: Vec<String>, limits: LogLimits) -> BuildLog {
        let shared = BuildLogInner {
            text: Mutex::default(),
            progress: watch::Sender::new((0, false)),
            mask: Mask::new(secrets),
            limits,
        };
        let log = BuildLog(Arc::new(shared));
        log.write(&format!("=== {title}\n"));
        log
    }

    /// Appends a line with the current time, for example `[2026-11-28 09:30.05] Starting...`. If
    /// the log is truncated, the line is still added, so the reason why a build ended is never
    /// lost.
    pub fn line(&self, text: &str) {
        let now = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
        let line = format!("[{}] {text}\n", now.strftime("%Y-%m-%d %H:%M.%S"));
        let (line, _) = self.0.mask.apply(&line, true);
        let length = {
            let mut text = self.0.text.lock();
            self.append_held(&mut text);
            text.append_line(&line, self.0.limits.bytes);
            text.text.len()
        };
        self.0.progress.send_replace((length, false));
    }

    /// Appends output of the build. A secret is masked even if it is split across multiple calls.
    pub fn write(&self, output: &str) {
        let length = {
            let mut text = self.0.text.lock();
            if text.cut {
                return;
            }
            let mut waiting = std::mem::take(&mut text.held);
            waiting.push_str(output);
            let (ready, held) = self.0.mask.apply(&waiting, false);
            text.held = held.to_owned();
            text.append(&ready, self.0.limits.bytes);
            text.text.len()
        };
        self.0.progress.send_replace((length, false));
    }

    /// Appends the end of the last write, which turned out not to be the beginning of a secret.
    fn append_held(&self, text: &mut LogText) {
        let held = std::mem::take(&mut text.held);
        let (held, _) = self.0.mask.apply(&held, true);
        text.append(&held, self.0.limits.bytes);
    }

    /// Completes the log and returns the whole text. Readers then see the end of the log.
    pub fn finish(&self) -> String {
        let text = {
            let mut text = self.0.text.lock();
            self.append_held(&mut text);
            text.text.clone()
        };
        self.0.progress.send_replace((text.len(), true));
        text
    }

    /// Returns the current length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.text.lock().text.len()
    }

    /// Returns `true` if the log is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns at most `length` bytes, starting at a byte offset. The range can begin and end in
    /// the middle of a character.
    #[must_use]
    pub fn read_at(&self, offset: usize, length: usize) -> Vec<u8> {
        let text = self.0.text.lock();
        let end = offset.saturating_add(length).min(text.text.len());
        text.text.as_bytes().get(offset..end).unwrap_or_default().to_vec()
    }

    /// Returns `true` if both handles refer to the same log.
    #[must_use]
    pub fn is_same(&self, other: &BuildLog) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Starts reading at the beginning of the log.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader { log: self.clone(), progress: self.0.progress.subscribe(), position: 0 }
    }
}

impl LogText {
    fn append(&mut self, new: &str, limit: usize) {
        if self.cut {
            return;
        }
        let room = limit.saturating_sub(self.text.len());
        if new.len() <= room {
            self.text.push_str(new);
            return;
        }
        let end = (0..=room).rev().find(|end| new.is_char_boundary(*end)).unwrap_or(0);
        self.text.push_str(new.get(..end).unwrap_or_default());
        self.cut(limit);
    }

    /// Appends a complete line.
    fn append_line(&mut self, line: &str, limit: usize) {
        if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        if !self.cut && self.text.len() + line.len() > limit {
            self.cut(limit);
        }
        if !self.cut || self.text.len() + line.len() <= limit.saturating_add(LINES_MAX) {
            self.text.push_str(line);
        }
    }

    fn cut(&mut self, limit: usize) {
        self.text.push_str(&format!("\n=== The log is truncated: it exceeds {limit} bytes\n"));
        self.cut = true;
    }
}

impl fmt::Debug for BuildLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildLog")
            .field("len", &self.0.text.lock().text.len())
            .finish_non_exhaustive()
    }
}

/// Reads a log while it grows.
#[derive(Debug)]
pub struct LogReader {
    log: BuildLog,
    progress: watch::Receiver<(usize, bool)>,
    position: usize,
}

impl LogReader {
    /// Returns the next part of the log, or `None` at the end of a complete log. Waits until there
    /// is more text.
    ///
    /// # Cancel safety
    /// This method is cancel safe: no text is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            let (length, complete) = *self.progress.borrow_and_update();
            if length > self.position {
                let text = self.log.0.text.lock();
                let part = text.text.get(self.position..length).unwrap_or_default().to_owned();
                self.position = length;
                return Some(part);
            }
            // Waiting never fails: this reader keeps the log alive, and the log contains the
            // sender.
            if complete || self.progress.changed().await.is_err() {
                return None;
            }
        }
    }
}

/// The logs that are still being written, keyed by the branch of the build.
#[derive(Debug, Clone, Default)]
pub struct LiveLogs {
    logs: Arc<Mutex<BTreeMap<String, BuildLog>>>,
    /// Notifies tasks when a log is removed.
    removed: watch::Sender<()>,
}

impl LiveLogs {
    /// Creates an empty list.
    #[must_use]
    pub fn new() -> LiveLogs {
        LiveLogs::default()
    }

    /// Adds a log. The log is removed from the list when the returned guard is dropped.
    ///
    /// # Errors
    /// Returns a message if another build is writing a log for the same branch.
    pub fn add(&self, branch: &str, log: BuildLog) -> Result<LiveLog, String> {
        let mut logs = self.logs.lock();
        if logs.contains_key(branch) {
            return Err(format!(
                "Can't create new live log on branch {branch:?}; one is already active!"
            ));
        }
        logs.insert(branch.to_owned(), log.clone());
        Ok(LiveLog { logs: self.clone(), branch: branch.to_owned(), log })
    }

    /// Returns the log of the build that is running on a branch.
    #[must_use]
    pub fn get(&self, branch: &str) -> Option<BuildLog> {
        self.logs.lock().get(branch).cloned()
    }

    /// Waits until no build is writing a log for a branch.
    pub(super) async fn ended(&self, branch: &str) {
        let mut removed = self.removed.subscribe();
        while self.logs.lock().contains_key(branch) {
            // This cannot fail, because `self` owns the sender.
            let _ = removed.changed().await;
        }
    }
}

/// A guard that removes a log from the list of live logs when the guard is dropped.
#[derive(Debug)]
pub struct LiveLog {
    logs: LiveLogs,
    branch: String,
    log: BuildLog,
}

impl LiveLog {
    /// Returns the log.
    #[must_use]
    pub fn log(&self) -> &BuildLog {
        &self.log
    }
}

impl Drop for LiveLog {
    fn drop(&mut self) {
        self.logs.logs.lock().remove(&self.branch);
        self.logs.removed.send_replace(());
        self.log.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(secrets: &[&str], bytes: usize) -> BuildLog {
        let secrets = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        BuildLog::new("Build", secrets, LogLimits { bytes })
    }

    #[test]
    fn secrets_are_masked_even_if_they_are_split() {
        let log = log(&["hunter2", "hunter22", ""], 1000);
        log.write("a hunter2 b hun");
        log.write("ter22 c hunter2");
        log.write("2 d hunt");
        log.write("ing hunter");
        let expected = "=== Build\na ******** b ******** c ******** d hunting hunter";
        assert_eq!(log.finish(), expected);
    }

    #[test]
    fn long_log_is_cut_once() {
        let log = log(&[], 20);
        log.write("0123456789abc\u{fc}def");
        log.write("more");
        assert_eq!(
            log.finish(),
            "=== Build\n0123456789\n=== The log is truncated: it exceeds 20 bytes\n"
        );
    }

    #[test]
    fn lines_are_added_to_a_truncated_log() {
        let log = log(&["hunter2"], 20);
        log.write("0123456789");
        log.write("0123456789");
        log.line("Failed: hunter2");
        let text = log.finish();
        assert!(
            text.contains("0123456789\n=== The log is truncated: it exceeds 20 bytes\n["),
            "{text}"
        );
        assert!(text.ends_with("] Failed: ********\n"), "{text}");
        for _ in 0..10 {
            log.line(&"x".repeat(10_000));
        }
        assert!(log.len() < 20 + LINES_MAX + 100);
    }

    #[test]
    fn lines_start_after_a_line_feed() {
        let log = log(&["hunter2"], 1000);
        log.write("no line feed, hun");
        log.line("Success");
        let text = log.finish();
        assert!(text.starts_with("=== Build\nno line feed, hun\n[20"), "{text}");
    }

    #[test]
    fn lines_have_times() {
        let log = log(&[], 1000);
        log.line("Starting...");
        let text = log.finish();
        let line = text.lines().nth(1).unwrap();
        assert_eq!((line.len(), line.get(21..)), (33, Some(" Starting...")), "{line}");
    }

    #[tokio::test]
    async fn reader_follows_the_log_to_its_end() {
        let log = log(&[], 1000);
        let mut reader = log.reader();
        assert_eq!(reader.next().await.as_deref(), Some("=== Build\n"));
        let writer = tokio::spawn({
            let log = log.clone();
            async move {
                log.write("one\n");
                tokio::task::yield_now().await;
                log.write("two\n");
                log.finish();
            }
        });
        let mut rest = String::new();
        while let Some(part) = reader.next().await {
            rest.push_str(&part);
        }
        writer.await.unwrap();
        assert_eq!(rest, "one\ntwo\n");
        assert_eq!(log.reader().next().await.as_deref(), Some("=== Build\none\ntwo\n"));
    }

    #[test]
    fn a_branch_has_one_live_log() {
        let logs = LiveLogs::new();
        let first = logs.add("b", log(&[], 100)).unwrap();
        assert_eq!(
            logs.add("b", log(&[], 100)).unwrap_err(),
            "Can't create new live log on branch \"b\"; one is already active!"
        );
        assert!(logs.get("b").is_some());
        drop(first);
        assert!(logs.get("b").is_none() && logs.add("b", log(&[], 100)).is_ok());
    }
}
