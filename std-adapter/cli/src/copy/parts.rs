//! Tracks incomplete copies, which are removed if the command fails or is interrupted.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use datakit_client::Client;
use parking_lot::Mutex;
use rustix::fs::AtFlags;

use crate::operand::ServerPath;

/// An incomplete file.
#[derive(Clone)]
pub(super) enum PartialFile {
    Host(Arc<OwnedFd>, OsString),
    Server(ServerPath),
}

impl PartialFile {
    async fn remove(self, client: &Client) {
        // If the removal fails, the temporary name still shows that the file is incomplete.
        match self {
            PartialFile::Host(dir, name) => drop(rustix::fs::unlinkat(dir, name, AtFlags::empty())),
            PartialFile::Server(path) => drop(client.remove(path).await),
        }
    }
}

/// The incomplete files of one command. Clones share the same set of files.
#[derive(Clone, Default)]
pub(super) struct Parts(Arc<Mutex<PartTable>>);

#[derive(Default)]
struct PartTable {
    next: u64,
    parts: HashMap<u64, PartialFile>,
}

impl Parts {
    /// Adds a file. Call this method before creating the file, so that the file is removed even if
    /// the command is interrupted.
    pub(super) fn add(&self, part: PartialFile) -> PartGuard {
        let mut table = self.0.lock();
        let id = table.next;
        table.next = id.wrapping_add(1);
        table.parts.insert(id, part.clone());
        PartGuard { parts: self.clone(), entry: Some((id, part)) }
    }

    /// Returns a guard that does not track a file.
    pub(super) fn none(&self) -> PartGuard {
        PartGuard { parts: self.clone(), entry: None }
    }

    /// Removes all incomplete files. Call this method after all tasks that add files have ended.
    pub(super) async fn remove_all(&self, client: &Client) {
        let parts = std::mem::take(&mut self.0.lock().parts);
        for part in parts.into_values() {
            part.remove(client).await;
        }
    }
}

/// A guard for a file in [`Parts`]. Dropping the guard does not remove the file.
pub(super) struct PartGuard {
    parts: Parts,
    entry: Option<(u64, PartialFile)>,
}

impl PartGuard {
    /// Returns the tracked file, if any.
    pub(super) fn part(&self) -> Option<&PartialFile> {
        self.entry.as_ref().map(|(_, part)| part)
    }

    /// Stops tracking the file, which is now complete.
    pub(super) fn complete(self) {
        if let Some((id, _)) = &self.entry {
            self.parts.0.lock().parts.remove(id);
        }
    }

    /// Deletes the file and stops tracking it.
    pub(super) async fn remove(self, client: &Client) {
        if let Some((id, part)) = self.entry {
            part.remove(client).await;
            self.parts.0.lock().parts.remove(&id);
        }
    }
}
