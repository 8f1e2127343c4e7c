//! Memory that is set aside: a limit, and grants that hold parts of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datakit_core::vfs::{Error, Result, StatFs};

use crate::memory;

/// What an inode, a name or an extended attribute is charged beside its bytes: about what it takes
/// in tables and headers.
const OVERHEAD: u64 = 512;
const BLOCK: u32 = 4096;

/// A limit in bytes, and what is used of it.
#[derive(Debug)]
pub struct Space {
    limit: u64,
    /// What is used here is used there as well.
    whole: Option<Arc<Space>>,
    used: AtomicU64,
    inodes: AtomicU64,
}

impl Space {
    /// At most `limit` bytes.
    pub fn new(limit: u64) -> Arc<Space> {
        Arc::new(Space { limit, whole: None, used: AtomicU64::new(0), inodes: AtomicU64::new(0) })
    }

    /// A part of this one, of at most `limit` bytes.
    pub fn part(self: &Arc<Space>, limit: u64) -> Arc<Space> {
        let whole = Some(self.clone());
        Arc::new(Space { limit, whole, used: AtomicU64::new(0), inodes: AtomicU64::new(0) })
    }

    /// The most that it may use, in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes that are used.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> Result<()> {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map_err(|_| Error::NoSpace)?;
        match &self.whole {
            Some(whole) => whole.take(bytes).inspect_err(|_| {
                self.used.fetch_sub(bytes, Ordering::Relaxed);
            }),
            None => Ok(()),
        }
    }

    fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.give(bytes);
        }
    }

    /// Sets `bytes` aside, with the cost of keeping them.
    pub fn item(self: &Arc<Space>, bytes: usize) -> Result<Grant> {
        let mut grant = Grant { space: self.clone(), bytes: 0 };
        grant.set(Space::cost(bytes))?;
        Ok(grant)
    }

    /// What an item of so many bytes is charged.
    pub fn cost(bytes: usize) -> u64 {
        OVERHEAD.saturating_add(bytes as u64)
    }

    /// A grant of nothing yet.
    pub fn empty(self: &Arc<Space>) -> Grant {
        Grant { space: self.clone(), bytes: 0 }
    }

    /// Counts an inode that came into being.
    pub fn born(&self) {
        self.inodes.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an inode that is gone.
    pub fn died(&self) {
        self.inodes.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many inodes there are, those included that only an open file holds.
    pub fn inodes(&self) -> u64 {
        self.inodes.load(Ordering::Relaxed)
    }

    /// The totals.
    pub fn stat(&self) -> StatFs {
        let block = u64::from(BLOCK);
        let left = self.limit.saturating_sub(self.used.load(Ordering::Relaxed));
        let free_inodes = left / (2 * OVERHEAD);
        StatFs {
            block_size: BLOCK,
            blocks: self.limit / block,
            free: left / block,
            files: self.inodes().saturating_add(free_inodes),
            files_free: free_inodes,
        }
    }
}

/// Bytes set aside; given back when dropped.
#[derive(Debug)]
pub struct Grant {
    space: Arc<Space>,
    bytes: u64,
}

impl Grant {
    /// How much it is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes it `bytes` in all.
    ///
    /// # Errors
    /// [`Error::NoSpace`], and it is as it was.
    pub fn set(&mut self, bytes: u64) -> Result<()> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.space.take(more)?,
            None => {
                memory::freed(self.bytes.saturating_sub(bytes));
                self.space.give(self.bytes.saturating_sub(bytes));
            }
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        memory::freed(self.bytes);
        self.space.give(self.bytes);
    }
}
