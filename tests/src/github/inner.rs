//! The state and signals shared by the fake's tasks.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::state::World;

/// The state and signals of a fake GitHub.
pub(crate) struct FakeInner {
    pub(crate) addr: SocketAddr,
    pub(crate) control: SocketAddr,
    pub(crate) world: Mutex<World>,
    /// Notifies waiting tasks of each change to the state.
    pub(crate) changed: Notify,
    /// Wakes the task that delivers events.
    pub(crate) outgoing: Notify,
    pub(crate) requests: AtomicU64,
}

impl FakeInner {
    pub(crate) fn request_id(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// Changes the state and triggers the delivery of events.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut World) -> R) -> R {
        let result = change(&mut self.world.lock());
        self.outgoing.notify_one();
        self.changed.notify_waiters();
        result
    }
}
