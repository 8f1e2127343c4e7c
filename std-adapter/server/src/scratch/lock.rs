//! Advisory byte-range locks, as described in `fcntl(2)`. The locks can conflict with each other,
//! but they do not prevent reads or writes.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datakit_core::vfs::{Error, Lock, LockKind, NAME_MAX, Result};

use crate::budget::{Budget, Reservation};

/// The maximum number of locked ranges per file. Without a limit, a client could create an
/// arbitrary number of ranges by locking every other byte.
const MAX_RANGES: usize = 4096;
/// The number of bytes reserved for each range.
const RANGE_COST: u64 = 512;

/// The locks on one file. Each lock is owned by a process on a client's host.
#[derive(Debug, Default)]
pub(super) struct Locks {
    table: Mutex<LockTable>,
    /// Whether any client has ever locked the file. If no client has locked the file, `close` does
    /// not need to acquire the mutex.
    used: AtomicBool,
}

#[derive(Debug, Default)]
struct LockTable {
    ranges: Vec<LockedRange>,
    /// The memory reserved for the ranges, or `None` if no memory is reserved.
    reservation: Option<Reservation>,
}

#[derive(Debug, Clone)]
struct LockedRange {
    /// The number of the open file through which the lock was acquired. The lock is released when
    /// this file is closed.
    open: u64,
    write: bool,
    start: u64,
    /// The offset of the first byte after the range, or `u64::MAX` if the range has no end.
    end: u64,
    process: u32,
    client: Box<[u8]>,
}

impl Locks {
    /// Acquires or releases a lock. Returns `false` if the lock conflicts with another lock.
    /// Releasing the middle of a range splits the range.
    pub(super) fn lock(&self, open: u64, lock: &Lock<'_>, budget: &Arc<Budget>) -> Result<bool> {
        if lock.client.len() > NAME_MAX {
            return Err(Error::NameTooLong);
        }
        self.used.store(true, Ordering::Relaxed);
        let mut table = self.table.lock();
        if table.ranges.iter().any(|range| range.conflicts_with(lock)) {
            return Ok(false);
        }
        let mut ranges: Vec<LockedRange> =
            table.ranges.iter().flat_map(|range| range.without(lock)).collect();
        if lock.kind != LockKind::Unlock {
            let write = lock.kind == LockKind::Write;
            let (start, end) = bounds(lock);
            let (process, client) = (lock.process, lock.client.into());
            ranges.push(LockedRange { open, write, start, end, process, client });
        }
        if ranges.len() > MAX_RANGES {
            return Err(Error::NoMemory.with_message("too many locks on this file"));
        }
        table.charge(ranges.len(), budget)?;
        table.ranges = ranges;
        Ok(true)
    }

    /// Finds the first lock that conflicts with `lock` and passes the result to `with`.
    pub(super) fn get_lock<R>(
        &self,
        lock: &Lock<'_>,
        with: impl FnOnce(Option<Lock<'_>>) -> R,
    ) -> R {
        let found =
            self.table.lock().ranges.iter().find(|range| range.conflicts_with(lock)).cloned();
        with(found.as_ref().map(LockedRange::to_lock))
    }

    /// Releases the locks that were acquired through the open file with number `open`.
    pub(super) fn close(&self, open: u64) {
        if self.used.load(Ordering::Relaxed) {
            let mut table = self.table.lock();
            table.ranges.retain(|range| range.open != open);
            if table.ranges.is_empty() {
                *table = LockTable::default();
            }
        }
    }
}

impl LockTable {
    fn charge(&mut self, ranges: usize, budget: &Arc<Budget>) -> Result<()> {
        self.reservation
            .get_or_insert_with(|| budget.empty_reservation())
            .resize(RANGE_COST.saturating_mul(ranges as u64))
    }
}

impl LockedRange {
    fn conflicts_with(&self, lock: &Lock<'_>) -> bool {
        let exclusive = self.write || lock.kind == LockKind::Write;
        lock.kind != LockKind::Unlock && exclusive && !self.same_owner(lock) && self.overlaps(lock)
    }

    fn same_owner(&self, lock: &Lock<'_>) -> bool {
        self.process == lock.process && *self.client == *lock.client
    }

    fn overlaps(&self, lock: &Lock<'_>) -> bool {
        let (start, end) = bounds(lock);
        self.start < end && start < self.end
    }

    /// Returns the parts of this range that `lock` does not replace. There are at most two of these
    /// parts.
    fn without(&self, lock: &Lock<'_>) -> impl Iterator<Item = LockedRange> + use<> {
        let (start, end) = bounds(lock);
        let whole = !(self.same_owner(lock) && self.overlaps(lock));
        let end_before = if whole { self.end } else { self.end.min(start) };
        let start_after = if whole { self.end } else { self.start.max(end) };
        let before = LockedRange { end: end_before, ..self.clone() };
        let after = LockedRange { start: start_after, ..self.clone() };
        [before, after].into_iter().filter(|range| range.start < range.end)
    }

    fn to_lock(&self) -> Lock<'_> {
        let kind = if self.write { LockKind::Write } else { LockKind::Read };
        let length = if self.end == u64::MAX { 0 } else { self.end.saturating_sub(self.start) };
        Lock { kind, start: self.start, length, process: self.process, client: &self.client }
    }
}

/// Returns a lock's start offset and its exclusive end offset.
fn bounds(lock: &Lock<'_>) -> (u64, u64) {
    match lock.length {
        0 => (lock.start, u64::MAX),
        length => (lock.start, lock.start.saturating_add(length)),
    }
}
