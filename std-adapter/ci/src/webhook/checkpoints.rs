//! Stores the progress of the deliveries to each receiver.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tracing::warn;

/// The name of the file in the work directory.
const FILE: &str = "webhooks-delivered.json";

/// For each receiver, the metadata commit up to which all events have been delivered, rejected or
/// dropped.
pub(super) struct Checkpoints {
    /// `None` if the checkpoints are not stored.
    path: Option<PathBuf>,
    commits: Mutex<BTreeMap<String, String>>,
}

impl Checkpoints {
    /// Creates checkpoints that are not stored.
    pub(super) fn in_memory() -> Checkpoints {
        Checkpoints { path: None, commits: Mutex::default() }
    }

    /// Reads the file in the work directory. A file that cannot be read is ignored.
    pub(super) fn open(work_dir: &Path) -> Checkpoints {
        let path = work_dir.join(FILE);
        let commits = match std::fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        };
        let commits = commits.unwrap_or_else(|error| {
            warn!(path = %path.display(), %error, "ignored, some webhooks might not be delivered");
            BTreeMap::new()
        });
        Checkpoints { path: Some(path), commits: Mutex::new(commits) }
    }

    pub(super) fn get(&self, receiver: &str) -> Option<String> {
        self.commits.lock().get(receiver).cloned()
    }

    /// Stores the checkpoint of a receiver. If the file cannot be written, the error is logged.
    pub(super) fn set(&self, receiver: &str, commit: &str) {
        let mut commits = self.commits.lock();
        if commits.get(receiver).is_some_and(|last| last == commit) {
            return;
        }
        commits.insert(receiver.to_owned(), commit.to_owned());
        let Some(path) = &self.path else { return };
        if let Err(error) = write(path, &commits) {
            warn!(path = %path.display(), %error, "delivered webhooks cannot be recorded");
        }
    }

    /// Removes the checkpoints of receivers that are no longer configured.
    pub(super) fn retain(&self, receivers: &[String]) {
        self.commits.lock().retain(|receiver, _| receivers.contains(receiver));
    }
}

/// Replaces the file. If the server is killed, the file has either the old or the new content.
fn write(path: &Path, commits: &BTreeMap<String, String>) -> io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, serde_json::to_vec(commits)?)?;
    std::fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_stored() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(dir.path());
        assert_eq!(checkpoints.get("a"), None);
        checkpoints.set("a", "1");
        checkpoints.set("b", "1");
        checkpoints.set("a", "2");
        let checkpoints = Checkpoints::open(dir.path());
        assert_eq!(
            (checkpoints.get("a").as_deref(), checkpoints.get("b").is_some()),
            (Some("2"), true)
        );
        checkpoints.retain(&["a".to_owned()]);
        assert_eq!(checkpoints.get("b"), None);
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        assert_eq!(Checkpoints::open(dir.path()).get("a"), None);
    }
}
