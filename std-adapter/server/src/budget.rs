//! Memory budgets and the reservations that are charged to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datakit_core::vfs::{Error, Result, StatFs};

use crate::memory;

/// The number of bytes charged for each inode, name or extended attribute in addition to its
/// content. This number is an estimate of the space used by tables and headers.
const OVERHEAD: u64 = 512;
/// The block size in bytes reported by [`Budget::statfs`].
const BLOCK: u32 = 4096;

/// A memory limit and the number of bytes in use.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    /// The parent budget. All reservations are also charged to the parent.
    parent: Option<Arc<Budget>>,
    used: AtomicU64,
    inodes: AtomicU64,
}

impl Budget {
    /// Creates a budget of `limit` bytes.
    pub fn new(limit: u64) -> Arc<Budget> {
        Arc::new(Budget { limit, parent: None, used: AtomicU64::new(0), inodes: AtomicU64::new(0) })
    }

    /// Creates a child budget of `limit` bytes. Reservations from the child are also charged to
    /// this budget.
    pub fn child(self: &Arc<Budget>, limit: u64) -> Arc<Budget> {
        let parent = Some(self.clone());
        Arc::new(Budget { limit, parent, used: AtomicU64::new(0), inodes: AtomicU64::new(0) })
    }

    /// Returns the limit in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns the number of bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn reserve(&self, bytes: u64) -> Result<()> {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map_err(|_| Error::NoSpace)?;
        match &self.parent {
            Some(parent) => parent.reserve(bytes).inspect_err(|_| {
                self.used.fetch_sub(bytes, Ordering::Relaxed);
            }),
            None => Ok(()),
        }
    }

    fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.release(bytes);
        }
    }

    /// Reserves the [cost](Budget::item_cost) of an item of `bytes` bytes.
    ///
    /// # Errors
    /// Returns [`Error::NoSpace`] if the budget is exhausted.
    pub fn reserve_item(self: &Arc<Budget>, bytes: usize) -> Result<Reservation> {
        let mut reservation = self.empty_reservation();
        reservation.resize(Budget::item_cost(bytes))?;
        Ok(reservation)
    }

    /// Returns the number of bytes, including overhead, that are charged for an item of `bytes`
    /// bytes.
    pub fn item_cost(bytes: usize) -> u64 {
        OVERHEAD.saturating_add(bytes as u64)
    }

    /// Creates a reservation of 0 bytes.
    pub fn empty_reservation(self: &Arc<Budget>) -> Reservation {
        Reservation { budget: self.clone(), bytes: 0 }
    }

    /// Increments the number of inodes.
    pub(crate) fn add_inode(&self) {
        self.inodes.fetch_add(1, Ordering::Relaxed);
    }

    /// Decrements the number of inodes.
    pub(crate) fn remove_inode(&self) {
        self.inodes.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns the number of inodes, including removed inodes that are still open.
    pub(crate) fn inodes(&self) -> u64 {
        self.inodes.load(Ordering::Relaxed)
    }

    /// Returns the values that `statfs(2)` should report.
    pub(crate) fn statfs(&self) -> StatFs {
        let block = u64::from(BLOCK);
        let free = self.limit.saturating_sub(self.used());
        let free_inodes = free / (2 * OVERHEAD);
        StatFs {
            block_size: BLOCK,
            blocks: self.limit / block,
            free: free / block,
            files: self.inodes().saturating_add(free_inodes),
            files_free: free_inodes,
        }
    }
}

/// A reservation of bytes from a [`Budget`]. Dropping the reservation releases the bytes.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Reservation {
    /// Returns the number of reserved bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the limit of the budget in bytes.
    pub(crate) fn limit(&self) -> u64 {
        self.budget.limit()
    }

    /// Creates a reservation of 0 bytes from the same budget.
    pub(crate) fn new_empty(&self) -> Reservation {
        self.budget.empty_reservation()
    }

    /// Changes the size of the reservation to `bytes` bytes. Shrinking always succeeds.
    ///
    /// # Errors
    /// Returns [`Error::NoSpace`] if the budget is exhausted. After an error, the reservation is
    /// unchanged.
    pub fn resize(&mut self, bytes: u64) -> Result<()> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.budget.reserve(more)?,
            None => {
                let less = self.bytes.saturating_sub(bytes);
                memory::report_freed(less);
                self.budget.release(less);
            }
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        memory::report_freed(self.bytes);
        self.budget.release(self.bytes);
    }
}
