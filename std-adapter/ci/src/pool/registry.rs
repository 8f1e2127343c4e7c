//! The pools of a CI server, keyed by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Pool, PoolStatus};

/// If there are more pools than this, idle pools are removed.
const POOLS_MAX: usize = 1000;

/// The pools of a CI server. All clones refer to the same pools.
#[derive(Clone, Default)]
pub struct Pools(Arc<Mutex<BTreeMap<String, Pool>>>);

impl Pools {
    /// Creates an empty set of pools.
    #[must_use]
    pub fn new() -> Pools {
        Pools::default()
    }

    /// Returns the pool with the given name. If it does not exist, a pool with the given capacity
    /// is added. The capacity of an existing pool does not change.
    #[must_use]
    pub fn get_or_add(&self, name: &str, capacity: usize) -> Pool {
        self.get_or_insert_with(name, || Pool::new(name, capacity))
    }

    /// Returns the pool with the given name. If it does not exist, the pool returned by `create` is
    /// added.
    pub fn get_or_insert_with(&self, name: &str, create: impl FnOnce() -> Pool) -> Pool {
        let mut pools = self.0.lock();
        if let Some(pool) = pools.get(name) {
            return pool.clone();
        }
        if pools.len() >= POOLS_MAX {
            // The names can come from files in the repositories under test.
            pools.retain(|_, pool| !pool.is_idle() || Arc::strong_count(&pool.0) > 1);
        }
        let pool = create();
        pools.insert(name.to_owned(), pool.clone());
        pool
    }

    /// Returns the pool with the given name, if it exists.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Pool> {
        self.0.lock().get(name).cloned()
    }

    /// Returns the states of all pools, sorted by name.
    #[must_use]
    pub fn status(&self) -> Vec<PoolStatus> {
        let pools: Vec<Pool> = self.0.lock().values().cloned().collect();
        pools.iter().map(Pool::status).collect()
    }
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.lock().keys()).finish()
    }
}
