//! The name of an entry.

use parking_lot::RwLock;
use std::sync::{Arc, OnceLock};

/// A name that is looked at by the thousand and hardly ever changes: until it does there is no lock
/// to be taken.
pub(super) struct EntryName {
    made: Arc<[u8]>,
    changed: OnceLock<Box<RwLock<Arc<[u8]>>>>,
}

impl EntryName {
    pub(super) fn new(name: Arc<[u8]>) -> EntryName {
        EntryName { made: name, changed: OnceLock::new() }
    }

    pub(super) fn get(&self) -> Arc<[u8]> {
        match self.changed.get() {
            Some(name) => name.read().clone(),
            None => self.made.clone(),
        }
    }

    pub(super) fn with<R>(&self, with: impl FnOnce(&[u8]) -> R) -> R {
        match self.changed.get() {
            Some(name) => with(&name.read()),
            None => with(&self.made),
        }
    }

    pub(super) fn set(&self, name: Arc<[u8]>) {
        *self.changed.get_or_init(|| Box::new(RwLock::new(self.made.clone()))).write() = name;
    }
}
