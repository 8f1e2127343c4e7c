//! Cancels a build.

use std::sync::Arc;

use tokio::sync::watch;

/// A switch that cancels a build. All clones refer to the same switch.
#[derive(Clone)]
pub(super) struct Switch(Arc<watch::Sender<bool>>);

impl Switch {
    pub(super) fn new() -> Switch {
        Switch(Arc::new(watch::Sender::new(false)))
    }

    pub(super) fn set(&self, cancelled: bool) {
        self.0.send_replace(cancelled);
    }

    /// Waits until the build is cancelled.
    pub(super) async fn cancelled(&self) {
        // This cannot fail, because `self` owns the sender.
        let _ = self.0.subscribe().wait_for(|cancelled| *cancelled).await;
    }
}
