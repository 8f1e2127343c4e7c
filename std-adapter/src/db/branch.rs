//! One branch: where it is, and who is told when it moves.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use tokio::sync::broadcast;

use super::object::Object;
use super::store::{Move, Store};
use super::{BranchName, Id, Result};
use crate::locked;
use crate::tree::Live;

/// Moves that a reader of [`Branch::log`] may be behind before it is cut off.
const LOG: usize = 4096;

/// A branch that somebody looks at.
pub struct Branch {
    store: Arc<dyn Store>,
    name: BranchName,
    /// Where it was seen last.
    shown: Live<Option<Id>>,
    log: broadcast::Sender<Option<Id>>,
    moved: broadcast::Sender<Option<BranchName>>,
    /// Held while the branch is moved and until everybody is told: moves are told in the order in which they happened.
    moving: Mutex<()>,
}

/// While this is held nobody else of this process moves the branch.
pub struct Hold<'b>(#[expect(dead_code, reason = "it is held")] MutexGuard<'b, ()>);

impl Branch {
    pub(super) fn new(
        store: Arc<dyn Store>,
        name: BranchName,
        head: Option<Id>,
        moved: broadcast::Sender<Option<BranchName>>,
    ) -> Branch {
        let log = broadcast::Sender::new(LOG);
        Branch { store, name, shown: Live::new(head), log, moved, moving: Mutex::new(()) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &BranchName {
        &self.name
    }

    /// Where it is now.
    ///
    /// # Errors
    /// [`Error::Store`](super::Error::Store).
    pub fn head(&self) -> Result<Option<Id>> {
        let head = self.store.head(&self.name)?;
        if self.shown.with(|shown| *shown != head)
            && let Ok(_hold) = self.moving.try_lock()
        {
            // Read again: it may have moved before it was held. Somebody else who holds it tells of it.
            self.show(self.store.head(&self.name)?);
        }
        Ok(head)
    }

    /// Where it was seen last, as a value that streams follow.
    #[must_use]
    pub fn shown(&self) -> &Live<Option<Id>> {
        &self.shown
    }

    /// Every move from now on, in order.
    #[must_use]
    pub fn log(&self) -> broadcast::Receiver<Option<Id>> {
        self.log.subscribe()
    }

    /// Keeps the others of this process from moving it.
    pub fn hold(&self) -> Hold<'_> {
        Hold(locked::lock(&self.moving))
    }

    /// [`hold`](Branch::hold) if nobody else does.
    pub fn try_hold(&self) -> Option<Hold<'_>> {
        match self.moving.try_lock() {
            Ok(guard) => Some(Hold(guard)),
            Err(TryLockError::Poisoned(poisoned)) => Some(Hold(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Moves it if it still is at `from`, and tells everybody. False: it is elsewhere.
    ///
    /// # Errors
    /// Those of [`Store::update`].
    pub fn advance(&self, from: Option<Id>, to: Option<Id>) -> Result<bool> {
        let hold = self.hold();
        self.advance_held(&hold, &[], from, to)
    }

    /// [`advance`](Branch::advance) for who holds it, to a commit that needs `objects`, which are kept before.
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
        self.show(if moved { to } else { self.store.head(&self.name)? });
        Ok(moved)
    }

    pub(super) fn motion(&self, from: Option<Id>, to: Option<Id>) -> Move<'_> {
        Move { branch: &self.name, from, to }
    }

    /// Tells where it is, if that is news.
    ///
    /// # Errors
    /// [`Error::Store`](super::Error::Store).
    pub fn look(&self) -> Result<()> {
        let head = self.store.head(&self.name)?;
        // It is mostly no news, and whoever is about to move the branch need not wait for that.
        if self.shown.with(|shown| *shown != head) {
            let _hold = self.hold();
            self.show(self.store.head(&self.name)?);
        }
        Ok(())
    }

    /// Only while it is held.
    pub(super) fn show(&self, head: Option<Id>) {
        if self.shown.with(|shown| *shown == head) {
            return;
        }
        self.shown.publish(head);
        // Nobody may listen.
        let _ = self.log.send(head);
        let _ = self.moved.send(Some(self.name.clone()));
    }
}
