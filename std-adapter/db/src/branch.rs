//! Branches, their heads, and notifications when a branch moves.

mod log;

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use tokio::sync::broadcast;

use self::log::MoveLog;
pub(super) use self::log::{Lagged, MoveLogReader};
use crate::model::object::Object;
use crate::store::{RefUpdate, Store};
use crate::{BranchName, Id, Result};
use datakit_server::tree::Live;

/// A branch that is in use. All users of a branch share a single `Branch`.
pub struct Branch {
    store: Arc<dyn Store>,
    name: BranchName,
    moved: broadcast::Sender<Option<BranchName>>,
    /// A lock that is held until the branch has moved and all watchers have been notified. Watchers
    /// therefore see all updates of the branch in order.
    move_lock: Mutex<()>,
    /// The state shared by all watchers, or `None` if the branch has no watchers.
    watched: Mutex<Weak<WatchState>>,
    table: Weak<ActiveBranches>,
}

/// The branches in use. Each branch has exactly one [`Branch`] value, whose lock serializes
/// updates, so that watchers see every update.
#[derive(Default)]
pub(super) struct ActiveBranches(pub(super) Mutex<HashMap<BranchName, Weak<Branch>>>);

impl ActiveBranches {
    /// Removes an unused branch from the table.
    pub(super) fn forget(&self, branch: &Branch) {
        let mut table = self.0.lock();
        // The table may already contain a new `Branch` with the same name.
        if table.get(branch.name()).is_some_and(|found| std::ptr::eq(found.as_ptr(), branch)) {
            table.remove(branch.name());
        }
        shrink(&mut table);
    }

    pub(super) fn watched(&self) -> Vec<Arc<Branch>> {
        let used: Vec<_> = self.0.lock().values().filter_map(Weak::upgrade).collect();
        // Filter only after releasing the lock on the table, because dropping the last reference to
        // a branch acquires the same lock.
        used.into_iter().filter(|branch| branch.is_watched()).collect()
    }
}

/// Releases unused memory after a peak in usage.
pub(super) fn shrink<V>(table: &mut HashMap<BranchName, V>) {
    let used = table.len();
    if used.saturating_mul(8) < table.capacity() {
        table.shrink_to(used.saturating_mul(2));
    }
}

/// The state shared by all watchers of a branch.
struct WatchState {
    /// The most recently published head.
    shown: Live<Option<Id>>,
    log: MoveLog,
}

/// A subscription to a branch. Dropping this value cancels the subscription.
pub struct BranchWatch {
    branch: Arc<Branch>,
    watched: Arc<WatchState>,
}

/// A lock that prevents other threads in this process from moving the branch.
#[derive(Debug)]
pub struct BranchLock<'b>(#[expect(dead_code, reason = "it is held")] MutexGuard<'b, ()>);

impl fmt::Debug for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Branch").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for BranchWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BranchWatch").field("branch", &self.branch).finish_non_exhaustive()
    }
}

impl Branch {
    pub(super) fn new(
        store: Arc<dyn Store>,
        name: BranchName,
        moved: broadcast::Sender<Option<BranchName>>,
        table: Weak<ActiveBranches>,
    ) -> Branch {
        Branch { store, name, moved, move_lock: Mutex::new(()), watched: Mutex::default(), table }
    }

    /// Returns the branch's name.
    #[must_use]
    pub fn name(&self) -> &BranchName {
        &self.name
    }

    /// Returns the head, or `None` if the branch does not exist.
    ///
    /// # Errors
    /// Returns [`Error::Io`](crate::Error::Io) if a system call fails, or
    /// [`Error::Store`](crate::Error::Store) if the store cannot read the head for another reason.
    pub fn head(&self) -> Result<Option<Id>> {
        let head = self.store.head(&self.name)?;
        if self.is_unpublished(head)
            && let Some(_lock) = self.move_lock.try_lock()
        {
            // Read the head again under the lock, because the branch may have moved since the first
            // read. If another thread holds the lock, that thread publishes the head.
            self.publish(self.store.head(&self.name)?);
        }
        Ok(head)
    }

    /// Subscribes to the branch. The subscription receives every later update to the branch.
    ///
    /// # Errors
    /// Returns [`Error::Io`](crate::Error::Io) if a system call fails, or
    /// [`Error::Store`](crate::Error::Store) if the store cannot read the head for another reason.
    pub fn watch(self: &Arc<Branch>) -> Result<BranchWatch> {
        let watched = match self.watched() {
            Some(watched) => watched,
            None => {
                let head = self.store.head(&self.name)?;
                let mut place = self.watched.lock();
                place.upgrade().unwrap_or_else(|| {
                    let watched =
                        Arc::new(WatchState { shown: Live::new(head), log: MoveLog::default() });
                    *place = Arc::downgrade(&watched);
                    watched
                })
            }
        };
        // Publish any update that happened before the branch was marked as watched.
        self.head()?;
        Ok(BranchWatch { branch: self.clone(), watched })
    }

    fn watched(&self) -> Option<Arc<WatchState>> {
        self.watched.lock().upgrade()
    }

    pub(super) fn is_watched(&self) -> bool {
        self.watched.lock().strong_count() > 0
    }

    fn is_unpublished(&self, head: Option<Id>) -> bool {
        self.watched().is_some_and(|watched| watched.shown.with(|shown| *shown != head))
    }

    /// Locks the branch. Blocks while another thread in this process holds the lock.
    pub fn lock(&self) -> BranchLock<'_> {
        BranchLock(self.move_lock.lock())
    }

    /// Like [`lock`](Branch::lock), but returns `None` if another thread holds the lock.
    pub fn try_lock(&self) -> Option<BranchLock<'_>> {
        self.move_lock.try_lock().map(BranchLock)
    }

    /// Moves the branch from `from` to `to` (compare-and-swap) and notifies watchers. Returns
    /// `false` if the branch is not at `from`.
    ///
    /// # Errors
    /// Returns [`Error::BranchConflict`](crate::Error::BranchConflict) if the branch's name
    /// conflicts with that of another branch. Returns [`Error::Refused`](crate::Error::Refused) if
    /// Git would refuse the move for another reason. Returns [`Error::Io`](crate::Error::Io) if a
    /// system call fails, or [`Error::Store`](crate::Error::Store) if the store fails for another
    /// reason.
    pub fn advance(&self, from: Option<Id>, to: Option<Id>) -> Result<bool> {
        let lock = self.lock();
        self.advance_locked(&lock, &[], from, to)
    }

    /// Like [`advance`](Branch::advance), but for callers that already hold the lock. Before moving
    /// the branch, the store writes `objects`, which the commit `to` needs.
    ///
    /// # Errors
    /// Returns the same errors as [`advance`](Branch::advance).
    pub fn advance_locked(
        &self,
        _: &BranchLock<'_>,
        objects: &[(Id, Object)],
        from: Option<Id>,
        to: Option<Id>,
    ) -> Result<bool> {
        let moved = from == to || self.store.update(objects, &[self.ref_update(from, to)])?;
        if !moved {
            self.publish(self.store.head(&self.name)?);
        } else if from != to {
            self.notify_moved(to);
        }
        Ok(moved)
    }

    pub(super) fn ref_update(&self, from: Option<Id>, to: Option<Id>) -> RefUpdate<'_> {
        RefUpdate { branch: &self.name, from, to }
    }

    /// Publishes the head if it has changed.
    ///
    /// # Errors
    /// Returns [`Error::Io`](crate::Error::Io) if a system call fails, or
    /// [`Error::Store`](crate::Error::Store) if the store cannot read the head for another reason.
    pub fn refresh(&self) -> Result<()> {
        // Take the lock only if the head has moved.
        if self.is_watched() && self.is_unpublished(self.store.head(&self.name)?) {
            let _lock = self.lock();
            self.publish(self.store.head(&self.name)?);
        }
        Ok(())
    }

    /// Notifies all watchers of an update. The caller must hold the branch's lock.
    pub(super) fn notify_moved(&self, head: Option<Id>) {
        self.publish(head);
        // Sending fails only if there are no receivers.
        let _ = self.moved.send(Some(self.name.clone()));
    }

    /// Publishes the head if it has changed. The caller must hold the branch's lock.
    fn publish(&self, head: Option<Id>) {
        let Some(watched) = self.watched() else { return };
        if watched.shown.with(|shown| *shown != head) {
            watched.shown.publish(head);
            watched.log.push_move(head);
        }
    }
}

impl Drop for Branch {
    fn drop(&mut self) {
        if let Some(table) = self.table.upgrade() {
            table.forget(self);
        }
    }
}

impl BranchWatch {
    /// Returns the branch.
    #[must_use]
    pub fn branch(&self) -> &Branch {
        &self.branch
    }

    /// Returns a [`Live`] value that always holds the most recently published head.
    #[must_use]
    pub fn head_watch(&self) -> &Live<Option<Id>> {
        &self.watched.shown
    }

    /// Returns a reader that receives every later update to the branch.
    pub(super) fn log(&self) -> MoveLogReader {
        self.watched.log.reader()
    }
}
