//! One branch: where it is, and who is told when it moves.

mod log;

use parking_lot::{Mutex, MutexGuard};
use std::sync::{Arc, Weak};

use tokio::sync::broadcast;

use self::log::Log;
pub(super) use self::log::{Lagged, LogReader};
use crate::database::Branches;
use crate::model::object::Object;
use crate::store::{RefUpdate, Store};
use crate::{BranchName, Id, Result};
use datakit_server::tree::Live;

/// A branch in use. All users of one branch share one of these, and it is gone with the last of
/// them.
pub struct Branch {
    store: Arc<dyn Store>,
    name: BranchName,
    moved: broadcast::Sender<Option<BranchName>>,
    /// Held while the branch is moved and until everybody is told: moves are told in the order in
    /// which they happened.
    moving: Mutex<()>,
    /// There only while somebody follows it.
    followed: Mutex<Weak<WatchState>>,
    table: Weak<Branches>,
}

/// What the followers of a branch share.
struct WatchState {
    /// Where it was seen last.
    shown: Live<Option<Id>>,
    log: Log,
}

/// A branch that is followed until this is dropped.
pub struct BranchWatch {
    branch: Arc<Branch>,
    followed: Arc<WatchState>,
}

/// While this is held nobody else of this process moves the branch.
pub struct BranchLock<'b>(#[expect(dead_code, reason = "it is held")] MutexGuard<'b, ()>);

impl Branch {
    pub(super) fn new(
        store: Arc<dyn Store>,
        name: BranchName,
        moved: broadcast::Sender<Option<BranchName>>,
        table: Weak<Branches>,
    ) -> Branch {
        Branch { store, name, moved, moving: Mutex::new(()), followed: Mutex::default(), table }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &BranchName {
        &self.name
    }

    /// Where it is now.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store).
    pub fn head(&self) -> Result<Option<Id>> {
        let head = self.store.head(&self.name)?;
        if self.is_unpublished(head)
            && let Some(_lock) = self.moving.try_lock()
        {
            // Read again: it may have moved before it was held. Somebody else who holds it tells of
            // it.
            self.publish(self.store.head(&self.name)?);
        }
        Ok(head)
    }

    /// Follows it from where it is now: every move from now on is seen.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store).
    pub fn watch(self: &Arc<Branch>) -> Result<BranchWatch> {
        let followed = match self.followed() {
            Some(followed) => followed,
            None => {
                let head = self.store.head(&self.name)?;
                let mut place = self.followed.lock();
                place.upgrade().unwrap_or_else(|| {
                    let followed =
                        Arc::new(WatchState { shown: Live::new(head), log: Log::default() });
                    *place = Arc::downgrade(&followed);
                    followed
                })
            }
        };
        // A move that came before the branch was marked as followed has not been told.
        self.head()?;
        Ok(BranchWatch { branch: self.clone(), followed })
    }

    fn followed(&self) -> Option<Arc<WatchState>> {
        self.followed.lock().upgrade()
    }

    pub(super) fn is_watched(&self) -> bool {
        self.followed.lock().strong_count() > 0
    }

    fn is_unpublished(&self, head: Option<Id>) -> bool {
        self.followed().is_some_and(|followed| followed.shown.with(|shown| *shown != head))
    }

    /// Keeps the others of this process from moving it.
    pub fn lock(&self) -> BranchLock<'_> {
        BranchLock(self.moving.lock())
    }

    /// [`hold`](Branch::_lock) if nobody else does.
    pub fn try_lock(&self) -> Option<BranchLock<'_>> {
        self.moving.try_lock().map(BranchLock)
    }

    /// Moves it if it still is at `from`, and tells everybody. False: it is elsewhere.
    ///
    /// # Errors
    /// Those of [`Store::update`].
    pub fn advance(&self, from: Option<Id>, to: Option<Id>) -> Result<bool> {
        let _lock = self.lock();
        self.advance_held(&_lock, &[], from, to)
    }

    /// [`advance`](Branch::advance) for who holds it, to a commit that needs `objects`, which are
    /// kept before.
    ///
    /// # Errors
    /// Those of [`Store::update`].
    pub fn advance_held(
        &self,
        _: &BranchLock<'_>,
        objects: &[(Id, Object)],
        from: Option<Id>,
        to: Option<Id>,
    ) -> Result<bool> {
        let moved = from == to || self.store.update(objects, &[self.motion(from, to)])?;
        if !moved {
            self.publish(self.store.head(&self.name)?);
        } else if from != to {
            self.moved(to);
        }
        Ok(moved)
    }

    pub(super) fn motion(&self, from: Option<Id>, to: Option<Id>) -> RefUpdate<'_> {
        RefUpdate { branch: &self.name, from, to }
    }

    /// Tells its followers where it is, if that is news.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store).
    pub fn refresh(&self) -> Result<()> {
        // A look that finds no news does not hold the branch.
        if self.is_watched() && self.is_unpublished(self.store.head(&self.name)?) {
            let _lock = self.lock();
            self.publish(self.store.head(&self.name)?);
        }
        Ok(())
    }

    /// Tells everybody that it was moved. Only while it is held.
    pub(super) fn moved(&self, head: Option<Id>) {
        self.publish(head);
        // Nobody may listen.
        let _ = self.moved.send(Some(self.name.clone()));
    }

    /// Tells the followers where it is. Only while it is held.
    fn publish(&self, head: Option<Id>) {
        let Some(followed) = self.followed() else { return };
        if followed.shown.with(|shown| *shown != head) {
            followed.shown.publish(head);
            followed.log.push(head);
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
    /// The branch.
    #[must_use]
    pub fn branch(&self) -> &Branch {
        &self.branch
    }

    /// Where it was seen last, as a value that streams follow.
    #[must_use]
    pub fn head_watch(&self) -> &Live<Option<Id>> {
        &self.followed.shown
    }

    /// Every move from now on, in order.
    pub(super) fn log(&self) -> LogReader {
        self.followed.log.reader()
    }
}
