//! Advisory byte-range locks (`fcntl(2)`): recorded and compared, never enforced.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datakit_core::vfs::{Error, Lock, LockKind, NAME_MAX, Result};

use crate::budget::{Budget, Reservation};

/// A file with more ranges than this refuses further ones: a client could ask for one a byte.
const MOST: usize = 4096;
/// What a range is charged to the space of the tree.
const COST: u64 = 512;

/// The locks of one file. An owner is a process on a client's host.
#[derive(Debug, Default)]
pub(super) struct Locks {
    table: Mutex<Table>,
    /// There was a lock once: closing a file looks no further without.
    used: AtomicBool,
}

#[derive(Debug, Default)]
struct Table {
    held: Vec<Held>,
    /// There as long as there are ranges.
    grant: Option<Reservation>,
}

#[derive(Debug, Clone)]
struct Held {
    /// The open file through which it was taken, and with which it goes.
    open: u64,
    write: bool,
    start: u64,
    /// The first byte after it; the greatest number means without end.
    end: u64,
    process: u32,
    client: Box<[u8]>,
}

impl Locks {
    /// Takes or gives up a lock: whether it was granted. Giving up the middle of a range makes two
    /// of it.
    pub(super) fn lock(&self, open: u64, lock: &Lock<'_>, space: &Arc<Budget>) -> Result<bool> {
        if lock.client.len() > NAME_MAX {
            return Err(Error::NameTooLong);
        }
        self.used.store(true, Ordering::Relaxed);
        let mut table = self.table.lock();
        if table.held.iter().any(|other| other.bars(lock)) {
            return Ok(false);
        }
        let (start, end) = range(lock);
        let mut held: Vec<Held> = table.held.iter().flat_map(|own| own.without(lock)).collect();
        if lock.kind != LockKind::Unlock {
            let write = lock.kind == LockKind::Write;
            held.push(Held {
                open,
                write,
                start,
                end,
                process: lock.process,
                client: lock.client.into(),
            });
        }
        if held.len() > MOST {
            return Err(Error::NoMemory.with_message("too many locks on this file"));
        }
        table.charge(held.len(), space)?;
        table.held = held;
        Ok(true)
    }

    /// Tells `with` the first lock that `lock` would have to wait for.
    pub(super) fn in_the_way<R>(
        &self,
        lock: &Lock<'_>,
        with: impl FnOnce(Option<Lock<'_>>) -> R,
    ) -> R {
        let found = self.table.lock().held.iter().find(|other| other.bars(lock)).cloned();
        with(found.as_ref().map(Held::lock))
    }

    /// Gives up what was taken through `open`.
    pub(super) fn close(&self, open: u64) {
        if self.used.load(Ordering::Relaxed) {
            let mut table = self.table.lock();
            table.held.retain(|held| held.open != open);
            if table.held.is_empty() {
                *table = Table::default();
            }
        }
    }
}

impl Table {
    fn charge(&mut self, ranges: usize, space: &Arc<Budget>) -> Result<()> {
        self.grant
            .get_or_insert_with(|| space.empty_reservation())
            .resize(COST.saturating_mul(ranges as u64))
    }
}

impl Held {
    fn bars(&self, lock: &Lock<'_>) -> bool {
        let exclusive = self.write || lock.kind == LockKind::Write;
        lock.kind != LockKind::Unlock && exclusive && !self.same_owner(lock) && self.overlaps(lock)
    }

    fn same_owner(&self, lock: &Lock<'_>) -> bool {
        self.process == lock.process && *self.client == *lock.client
    }

    fn overlaps(&self, lock: &Lock<'_>) -> bool {
        let (start, end) = range(lock);
        self.start < end && start < self.end
    }

    /// What is left of it when its owner asks for `lock`: up to two pieces.
    fn without(&self, lock: &Lock<'_>) -> impl Iterator<Item = Held> + use<> {
        let (start, end) = range(lock);
        let whole = !(self.same_owner(lock) && self.overlaps(lock));
        let before =
            Held { end: if whole { self.end } else { self.end.min(start) }, ..self.clone() };
        let after =
            Held { start: if whole { self.end } else { self.start.max(end) }, ..self.clone() };
        [before, after].into_iter().filter(|piece| piece.start < piece.end)
    }

    fn lock(&self) -> Lock<'_> {
        let kind = if self.write { LockKind::Write } else { LockKind::Read };
        let length = if self.end == u64::MAX { 0 } else { self.end.saturating_sub(self.start) };
        Lock { kind, start: self.start, length, process: self.process, client: &self.client }
    }
}

/// First byte, and the first one after.
fn range(lock: &Lock<'_>) -> (u64, u64) {
    match lock.length {
        0 => (lock.start, u64::MAX),
        length => (lock.start, lock.start.saturating_add(length)),
    }
}
