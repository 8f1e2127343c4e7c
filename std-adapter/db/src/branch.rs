//! One branch: where it is, and who is told when it moves.

mod log;

use parking_lot::{Mutex, MutexGuard};
use std::sync::{Arc, Weak};

use tokio::sync::broadcast;

use self::log::Log;
pub(super) use self::log::{Lagged, LogReader};
use crate::database::Branches;
use crate::model::object::Object;
use crate::store::{Move, Store};
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
    followed: Mutex<Weak<Followed>>,
    table: Weak<Branches>,
}

/// What the followers of a branch share.
struct Followed {
    /// Where it was seen last.
    shown: Live<Option<Id>>,
    log: Log,
}

/// A branch that is followed until this is dropped.
pub struct Following {
    branch: Arc<Branch>,
    followed: Arc<Followed>,
}

/// While this is held nobody else of this process moves the branch.
pub struct Hold<'b>(#[expect(dead_code, reason = "it is held")] MutexGuard<'b, ()>);

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
        if self.is_news(head)
            && let Some(_hold) = self.moving.try_lock()
        {
            // Read again: it may have moved before it was held. Somebody else who holds it tells of
            // it.
            self.show(self.store.head(&self.name)?);
        }
        Ok(head)
    }

    /// Follows it from where it is now: every move from now on is seen.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store).
    pub fn follow(self: &Arc<Branch>) -> Result<Following> {
        let followed = match self.followed() {
            Some(followed) => followed,
            None => {
                let head = self.store.head(&self.name)?;
                let mut place = self.followed.lock();
                place.upgrade().unwrap_or_else(|| {
                    let followed =
                        Arc::new(Followed { shown: Live::new(head), log: Log::default() });
                    *place = Arc::downgrade(&followed);
                    followed
                })
            }
        };
        // A move that came before the branch was marked as followed has not been told.
        self.head()?;
        Ok(Following { branch: self.clone(), followed })
    }

    fn followed(&self) -> Option<Arc<Followed>> {
        self.followed.lock().upgrade()
    }

    pub(super) fn is_followed(&self) -> bool {
        self.followed.lock().strong_count() > 0
    }

    fn is_news(&self, head: Option<Id>) -> bool {
        self.followed().is_some_and(|followed| followed.shown.with(|shown| *shown != head))
    }

    /// Keeps the others of this process from moving it.
    pub fn hold(&self) -> Hold<'_> {
        Hold(self.moving.lock())
    }

    /// [`hold`](Branch::hold) if nobody else does.
    pub fn try_hold(&self) -> Option<Hold<'_>> {
        self.moving.try_lock().map(Hold)
    }

    /// Moves it if it still is at `from`, and tells everybody. False: it is elsewhere.
    ///
    /// # Errors
    /// Those of [`Store::update`].
    pub fn advance(&self, from: Option<Id>, to: Option<Id>) -> Result<bool> {
        let hold = self.hold();
        self.advance_held(&hold, &[], from, to)
    }

    /// [`advance`](Branch::advance) for who holds it, to a commit that needs `objects`, which are
    /// kept before.
    ///
    /// # Errors
    /// Those of [`Store::update`].
    pub fn advance_held(
        &self,
        _: &Hold<'_>,
        objects: &[(Id, Object)],
        from: Option<Id>,
        to: Option<Id>,
    ) -> Result<bool> {
        let moved = from == to || self.store.update(objects, &[self.motion(from, to)])?;
        if !moved {
            self.show(self.store.head(&self.name)?);
        } else if from != to {
            self.moved(to);
        }
        Ok(moved)
    }

    pub(super) fn motion(&self, from: Option<Id>, to: Option<Id>) -> Move<'_> {
        Move { branch: &self.name, from, to }
    }

    /// Tells its followers where it is, if that is news.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store).
    pub fn look(&self) -> Result<()> {
        // A look that finds no news does not hold the branch.
        if self.is_followed() && self.is_news(self.store.head(&self.name)?) {
            let _hold = self.hold();
            self.show(self.store.head(&self.name)?);
        }
        Ok(())
    }

    /// Tells everybody that it was moved. Only while it is held.
    pub(super) fn moved(&self, head: Option<Id>) {
        self.show(head);
        // Nobody may listen.
        let _ = self.moved.send(Some(self.name.clone()));
    }

    /// Tells the followers where it is. Only while it is held.
    fn show(&self, head: Option<Id>) {
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

impl Following {
    /// The branch.
    #[must_use]
    pub fn branch(&self) -> &Branch {
        &self.branch
    }

    /// Where it was seen last, as a value that streams follow.
    #[must_use]
    pub fn shown(&self) -> &Live<Option<Id>> {
        &self.followed.shown
    }

    /// Every move from now on, in order.
    pub(super) fn log(&self) -> LogReader {
        self.followed.log.reader()
    }
}
