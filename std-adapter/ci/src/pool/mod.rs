//! Pools limit the number of jobs that use a resource at the same time.
//!
//! Waiting jobs form a queue. If jobs from multiple projects are waiting, the projects take turns,
//! so a project with many jobs does not delay the others. Jobs from the same project are served in
//! order of arrival.

mod queue;
mod registry;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::term::{Progress, Wait};
use queue::{Queue, Waiter};

pub use registry::Pools;

/// The default limit on the number of waiting jobs per project in one pool.
pub const QUEUE_MAX: usize = 1000;

/// The minimum time between two reports for a waiting job. Without this limit, a pool with many
/// waiting jobs would report new positions for all of them whenever one job ends.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The maximum number of jobs of a project that can wait for a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueLimits {
    /// The limit for projects that are not in `projects`.
    pub default: usize,
    /// The limits, keyed by project.
    pub projects: BTreeMap<String, usize>,
}

impl From<usize> for QueueLimits {
    fn from(default: usize) -> QueueLimits {
        QueueLimits { default, projects: BTreeMap::new() }
    }
}

impl QueueLimits {
    fn of(&self, project: &str) -> usize {
        self.projects.get(project).copied().unwrap_or(self.default)
    }
}

/// A job that is waiting for or holding a resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Holder {
    project: Arc<str>,
    name: Arc<str>,
}

impl Holder {
    /// Creates a holder. If multiple projects are waiting, they take turns. The name is shown to
    /// users who ask which jobs hold a resource.
    pub fn new(project: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Holder {
        Holder { project: project.into(), name: name.into() }
    }

    /// Returns the project.
    #[must_use]
    pub fn project(&self) -> &str {
        &self.project
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A resource that a limited number of jobs can use at the same time. All clones refer to the same
/// resource.
#[derive(Clone)]
pub struct Pool(Arc<PoolInner>);

struct PoolInner {
    name: Arc<str>,
    capacity: usize,
    queue_limits: QueueLimits,
    /// The status text of a waiting job.
    waiting: Arc<str>,
    state: Mutex<PoolState>,
    /// Notifies waiting jobs when the holders or the queue change.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct PoolState {
    next_id: u64,
    holders: BTreeMap<u64, Held>,
    queue: Queue,
    waits: Times,
    uses: Times,
}

struct Held {
    name: Arc<str>,
    since: SystemTime,
    began: Instant,
}

/// The number of completed waits or uses, and their total duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// The number.
    pub count: u64,
    /// The total time.
    pub total: Duration,
}

impl Times {
    fn add(&mut self, began: Instant) {
        self.count += 1;
        self.total = self.total.saturating_add(began.elapsed());
    }
}

/// The state of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatus {
    /// The name of the pool.
    pub name: String,
    /// The maximum number of holders.
    pub capacity: usize,
    /// The jobs that hold the resource, in the order in which they received it. Each item is the
    /// name of a job and the time at which it received the resource.
    pub holders: Vec<(String, SystemTime)>,
    /// The waiting jobs, in the order in which they will be served. Each item is the name of a job
    /// and the time at which it started to wait.
    pub queue: Vec<(String, SystemTime)>,
    /// The completed waits, including the waits of jobs that received the resource immediately.
    pub waits: Times,
    /// The completed uses.
    pub uses: Times,
}

/// The reason why a job cannot wait for a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolError {
    /// Too many jobs from the project are already waiting.
    QueueFull {
        /// The name of the pool.
        pool: String,
        /// The project.
        project: String,
        /// The maximum number of waiting jobs per project.
        limit: usize,
    },
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PoolError::QueueFull { pool, project, limit } = self;
        write!(f, "{limit} jobs of {project} are already waiting for {pool:?}, which is the limit")
    }
}

impl std::error::Error for PoolError {}

/// The right to use a resource. Dropping the guard passes the resource to the next job.
#[must_use = "dropping the guard releases the resource"]
pub struct PoolGuard {
    pool: Pool,
    project: Arc<str>,
    id: u64,
}

impl Pool {
    /// Creates a pool in which up to [`QUEUE_MAX`] jobs per project can wait. A capacity of 0 is
    /// treated as 1.
    pub fn new(name: impl Into<Arc<str>>, capacity: usize) -> Pool {
        Pool::with_queue(name, capacity, QUEUE_MAX)
    }

    /// Creates a pool with limits on the number of waiting jobs of each project.
    pub fn with_queue(
        name: impl Into<Arc<str>>,
        capacity: usize,
        limits: impl Into<QueueLimits>,
    ) -> Pool {
        let name = name.into();
        let waiting = format!("Waiting for resource in \"{name}\"").into();
        Pool::create(name, capacity, limits.into(), waiting)
    }

    /// Creates a lock on a directory. A lock is a pool with a capacity of 1. While a job is waiting,
    /// its progress shows `Waiting for lock on DIR`.
    pub fn lock(name: impl Into<Arc<str>>) -> Pool {
        let name = name.into();
        let waiting = format!("Waiting for lock on {name}").into();
        Pool::create(name, 1, QUEUE_MAX.into(), waiting)
    }

    fn create(
        name: Arc<str>,
        capacity: usize,
        queue_limits: QueueLimits,
        waiting: Arc<str>,
    ) -> Pool {
        let (capacity, changed) = (capacity.max(1), watch::Sender::new(()));
        let state = Mutex::default();
        Pool(Arc::new(PoolInner { name, capacity, queue_limits, waiting, state, changed }))
    }

    /// Returns the name of the pool.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Waits until the job can use the resource. While the job is waiting, `progress` shows
    /// `Waiting for resource in "POOL"`, the job's position and the current holders.
    ///
    /// If the future is dropped, the job leaves the queue.
    ///
    /// # Errors
    /// Returns [`PoolError::QueueFull`] if too many jobs from the project are already waiting.
    pub async fn acquire(
        &self,
        holder: &Holder,
        progress: &Progress,
    ) -> Result<PoolGuard, PoolError> {
        self.acquire_with(holder, Some(progress)).await
    }

    /// Same as [`acquire`](Pool::acquire), but does not report the wait if `progress` is `None`.
    pub(crate) async fn acquire_with(
        &self,
        holder: &Holder,
        progress: Option<&Progress>,
    ) -> Result<PoolGuard, PoolError> {
        let (guard, granted) = self.enter(holder)?;
        let Some(granted) = granted else { return Ok(guard) };
        let mut changed = self.0.changed.subscribe();
        let mut reported = None;
        loop {
            changed.borrow_and_update();
            if let Some(progress) = progress
                && let Some(wait) = guard.wait()
                && reported.as_ref() != Some(&wait)
            {
                progress.wait(self.0.waiting.clone(), wait.clone());
                reported = Some(wait);
            }
            let next_report = async {
                tokio::time::sleep(REPORT_INTERVAL).await;
                // This cannot fail, because the pool owns the sender.
                let _ = changed.changed().await;
            };
            tokio::select! {
                biased;
                () = granted.notified() => break,
                () = next_report => {}
            }
        }
        if let Some(progress) = progress {
            progress.text("Running");
        }
        Ok(guard)
    }

    /// Makes the job a holder, or adds it to the queue. If the job is queued, the result includes a
    /// `Notify` that is triggered when the job becomes a holder.
    fn enter(&self, holder: &Holder) -> Result<(PoolGuard, Option<Arc<Notify>>), PoolError> {
        let mut state = self.0.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        let granted = Arc::new(Notify::new());
        let waiter = Waiter {
            id,
            name: holder.name.clone(),
            since: SystemTime::now(),
            began: Instant::now(),
            granted: granted.clone(),
        };
        let limit = self.0.queue_limits.of(&holder.project);
        let free = state.holders.len() < self.0.capacity;
        if free {
            state.grant(waiter);
        } else if state.queue.len_of(&holder.project) < limit {
            state.queue.push(&holder.project, waiter);
        } else {
            return Err(PoolError::QueueFull {
                pool: self.name().to_owned(),
                project: holder.project().to_owned(),
                limit,
            });
        }
        drop(state);
        self.0.changed.send_replace(());
        let guard = PoolGuard { pool: self.clone(), project: holder.project.clone(), id };
        Ok((guard, (!free).then_some(granted)))
    }

    /// Returns the holders, the queue and the counters.
    #[must_use]
    pub fn status(&self) -> PoolStatus {
        let state = self.0.state.lock();
        let held = state.holders.values().map(|held| (held.name.to_string(), held.since));
        let queue = state.queue.in_order();
        PoolStatus {
            name: self.name().to_owned(),
            capacity: self.0.capacity,
            holders: held.collect(),
            queue: queue.iter().map(|waiter| (waiter.name.to_string(), waiter.since)).collect(),
            waits: state.waits,
            uses: state.uses,
        }
    }

    /// Returns `true` if no job is holding or waiting for the resource.
    fn is_idle(&self) -> bool {
        self.0.state.lock().holders.is_empty()
    }
}

impl PoolState {
    fn grant(&mut self, waiter: Waiter) {
        self.waits.add(waiter.began);
        let held = Held { name: waiter.name, since: SystemTime::now(), began: Instant::now() };
        self.holders.insert(waiter.id, held);
        waiter.granted.notify_one();
    }
}

impl PoolGuard {
    /// Returns a description of the wait, or `None` if the job holds the resource.
    fn wait(&self) -> Option<Wait> {
        let state = self.pool.0.state.lock();
        let (position, waiter) = state.queue.find(&self.project, self.id)?;
        Some(Wait {
            resource: self.pool.0.name.clone(),
            since: waiter.since,
            position: Some(position),
            holders: state.holders.values().map(|held| held.name.clone()).collect(),
        })
    }
}

impl Drop for PoolGuard {
    fn drop(&mut self) {
        {
            let mut state = self.pool.0.state.lock();
            match state.holders.remove(&self.id) {
                Some(held) => {
                    state.uses.add(held.began);
                    if let Some(next) = state.queue.pop() {
                        state.grant(next);
                    }
                }
                // The future of `acquire` was dropped while the job was waiting.
                None => state.queue.remove(&self.project, self.id),
            }
        }
        self.pool.0.changed.send_replace(());
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for PoolGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolGuard").field("pool", &self.pool).finish_non_exhaustive()
    }
}
