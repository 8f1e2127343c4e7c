//! Collects marks from webhooks until the next synchronization round.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::events::{Mark, Marks};

/// The marks that webhooks have added since the last round.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    marks: Mutex<Marks>,
    added: Notify,
}

impl Inbox {
    /// Adds a mark and wakes the bridge.
    pub(crate) fn insert(&self, mark: Mark) {
        self.marks.lock().insert(mark);
        self.added.notify_one();
    }

    /// Removes and returns all marks.
    pub(crate) fn take(&self) -> BTreeSet<Mark> {
        self.marks.lock().take()
    }

    /// Waits until a mark is added. Returns immediately if a mark has been added since the last
    /// wait.
    pub(crate) async fn wait(&self) {
        self.added.notified().await;
    }
}
