//! Records which repositories may have changed and wakes the bridge to read them.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The set of sources to be read. Clones share the set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wakes(Arc<(Mutex<BTreeSet<usize>>, Notify)>);

impl Wakes {
    /// Adds a source.
    pub(crate) fn wake(&self, index: usize) {
        let (indexes, notify) = &*self.0;
        if indexes.lock().insert(index) {
            notify.notify_one();
        }
    }

    /// Waits until the set contains a source. No signal is lost if the future is dropped.
    pub(crate) async fn wait(&self) {
        let (indexes, notify) = &*self.0;
        while indexes.lock().is_empty() {
            notify.notified().await;
        }
    }

    /// Empties the set and returns its sources.
    pub(crate) fn take(&self) -> BTreeSet<usize> {
        std::mem::take(&mut self.0.0.lock())
    }
}
