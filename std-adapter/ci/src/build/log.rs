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

/// The text that replaces a secret in a log.
const MASK: &str = "********";

/// Limits for a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// The maximum size in bytes. A longer log is truncated.
    pub bytes: usize,
}

impl Default for LogLimits {
    /// Returns a limit of 10 MiB.
    fn default() -> LogLimits {
        LogLimits { bytes: 10 << 20 }
    }
}

/// A log that is still being written. All clones refer to the same log.
#[derive(Clone)]
pub struct BuildLog(Arc<Shared>);

struct Shared {
    text: Mutex<LogText>,
    /// The length of the text, and whether the log is complete.
    progress: watch::Sender<(usize, bool)>,
    secrets: Vec<String>,
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
        let mut secrets: Vec<String> =
            secrets.into_iter().filter(|secret| !secret.is_empty()).collect();
        // Mask longer secrets first, because a secret can contain a shorter one.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let shared = Shared {
            text: Mutex::default(),
            progress: watch::Sender::new((0, false)),
            secrets,
            limits,
        };
        let log = BuildLog(Arc::new(shared));
        log.write(&format!("=== {title}\n"));
        log
    }

    /// Appends a line with the current time, for example `[2026-11-28 09:30.05] Starting...`.
    pub fn line(&self, text: &str) {
        let now = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
        self.write(&format!("[{}] {text}\n", now.strftime("%Y-%m-%d %H:%M.%S")));
    }

    /// Appends output of the build. A secret is masked even if it is split across multiple calls.
    pub fn write(&self, output: &str) {
        let length = {
            let mut text = self.0.text.lock();
            let mut waiting = std::mem::take(&mut text.held);
            waiting.push_str(output);
            let waiting = self.mask(waiting);
            let held = self.held_back(&waiting);
            text.held = waiting.get(waiting.len() - held..).unwrap_or_default().to_owned();
            let ready = waiting.get(..waiting.len() - held).unwrap_or_default();
            text.append(ready, self.0.limits.bytes);
            text.text.len()
        };
        self.0.progress.send_replace((length, false));
    }

    fn mask(&self, text: String) -> String {
        self.0.secrets.iter().fold(text, |text, secret| {
            if text.contains(&**secret) { text.replace(&**secret, MASK) } else { text }
        })
    }

    /// Returns the number of bytes at the end of `text` that could be the beginning of a secret.
    fn held_back(&self, text: &str) -> usize {
        let longest = |secret: &String| {
            let starts = (1..secret.len()).rev().filter(|length| secret.is_char_boundary(*length));
            starts
                .into_iter()
                .find(|length| secret.get(..*length).is_some_and(|s| text.ends_with(s)))
        };
        self.0.secrets.iter().filter_map(longest).max().unwrap_or(0)
    }

    /// Completes the log and returns the whole text. Readers then see the end of the log.
    pub fn finish(&self) -> String {
        let text = {
            let mut text = self.0.text.lock();
            let held = std::mem::take(&mut text.held);
            text.append(&held, self.0.limits.bytes);
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
    /// Returns the next part of the log, or `None` at the end of a complete log. Waits until there is
    /// more text.
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

/// The logs that are still being written, by the branch of the build.
#[derive(Debug, Clone, Default)]
pub struct LiveLogs(Arc<Mutex<BTreeMap<String, BuildLog>>>);

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
        let mut logs = self.0.lock();
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
        self.0.lock().get(branch).cloned()
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
        self.logs.0.lock().remove(&self.branch);
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
        log.write("ter22 c hunt");
        log.write("ing hunter");
        assert_eq!(log.finish(), "=== Build\na ******** b ******** c hunting hunter");
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
