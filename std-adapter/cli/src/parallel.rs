//! Bounded concurrency for commands that process a whole tree.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use datakit_client::Error;
use tokio::sync::{OwnedSemaphorePermit, RwLock, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;

use crate::error::{CliError, CliResult};

/// The maximum number of files that a command processes concurrently.
const MAX_FILES: usize = 32;
/// The maximum number of directories that a command processes concurrently, not counting their
/// parent directories.
const MAX_DIRS: usize = 8;
/// The maximum number of directory fids that a command keeps open.
const MAX_KEPT_FIDS: usize = 8;
/// The maximum number of retries if the server is out of resources, and the delay between retries.
const RETRIES: u32 = 5;
const RETRY_DELAY: Duration = Duration::from_millis(5);
/// The maximum number of components in a path. If a path has more components, the tree is assumed
/// to be infinite.
const MAX_DEPTH: usize = 256;

/// A future that processes a file or a directory. The future is boxed because the future of a
/// directory may contain futures of the same type for subdirectories. Boxing also means that
/// tokio's code is compiled for only one type of task.
pub(crate) type WorkFuture = Pin<Box<dyn Future<Output = CliResult> + Send>>;

/// An error that may indicate that the server is out of resources.
pub(crate) trait MaybeExhausted {
    /// Returns whether a request failed because the server has reached its limit on fids, open
    /// files or workers.
    fn is_exhausted(&self) -> bool;
}

impl MaybeExhausted for Error {
    fn is_exhausted(&self) -> bool {
        match self.errno() {
            // The error numbers 11, 23, and 24 are EAGAIN, ENFILE, and EMFILE, respectively.
            Some(errno) => matches!(errno, 11 | 23 | 24),
            // In 9P2000, error replies contain text but no error number.
            None => self.to_string().ends_with("fids are in use"),
        }
    }
}

/// The concurrency limits of a command. Clones share the limits.
#[derive(Clone)]
pub(crate) struct ConcurrencyLimits {
    files: Arc<Semaphore>,
    dirs: Arc<Semaphore>,
    kept_fids: Arc<Semaphore>,
    /// A lock. Concurrent work holds the lock in shared mode. Work that must run alone holds the
    /// lock in exclusive mode.
    turn: Arc<RwLock<()>>,
    /// A channel to which each task is subscribed until the task's future has been dropped.
    tasks: watch::Sender<()>,
}

impl ConcurrencyLimits {
    pub(crate) fn new() -> ConcurrencyLimits {
        ConcurrencyLimits {
            files: Arc::new(Semaphore::new(MAX_FILES)),
            dirs: Arc::new(Semaphore::new(MAX_DIRS)),
            kept_fids: Arc::new(Semaphore::new(MAX_KEPT_FIDS)),
            turn: Arc::default(),
            tasks: watch::Sender::default(),
        }
    }

    /// Waits until all tasks have ended, including cancelled tasks. The task of a subdirectory may
    /// still be running after its parent directory's task has been cancelled, because it is
    /// cancelled only when the parent's task is dropped.
    pub(crate) async fn ended(&self) {
        self.tasks.closed().await;
    }

    /// Runs `work` concurrently with other work. If the server is out of resources, `work` is
    /// retried while no other work is in progress. Work that runs alone needs only a few fids,
    /// which even a server on an embedded board provides.
    pub(crate) async fn run<T, E, F>(&self, work: impl Fn() -> F) -> Result<T, E>
    where
        E: MaybeExhausted,
        F: Future<Output = Result<T, E>>,
    {
        let together = self.turn.read().await;
        let mut result = work().await;
        drop(together);
        if result.as_ref().is_err_and(E::is_exhausted) {
            let _alone = self.turn.write().await;
            for _ in 0..RETRIES {
                result = work().await;
                if !result.as_ref().is_err_and(E::is_exhausted) {
                    break;
                }
                // Retry after a delay, because the server may not yet have clunked the fids used by
                // other work.
                sleep(RETRY_DELAY).await;
            }
        }
        result
    }

    /// Returns a permit to keep a directory's fid, or `None` if [`MAX_KEPT_FIDS`] fids are already
    /// kept.
    pub(crate) fn fid_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.kept_fids).try_acquire_owned().ok()
    }
}

/// The set of tasks that process one directory. Dropping the batch cancels the tasks.
pub(crate) struct Batch {
    limits: ConcurrencyLimits,
    tasks: JoinSet<CliResult>,
}

impl Batch {
    pub(crate) fn new(limits: &ConcurrencyLimits) -> Batch {
        Batch { limits: limits.clone(), tasks: JoinSet::new() }
    }

    /// Waits until fewer than [`MAX_FILES`] files are in progress, and then starts processing a
    /// file.
    ///
    /// # Errors
    /// Returns an error if a task in this batch has already failed.
    pub(crate) async fn add_file(
        &mut self,
        work: impl Future<Output = CliResult> + Send + 'static,
    ) -> CliResult {
        let permit = Arc::clone(&self.limits.files).acquire_owned().await;
        let permit = permit.map_err(|closed| closed.to_string())?;
        self.spawn(permit, Box::pin(work))
    }

    /// Starts processing a directory in the background. If [`MAX_DIRS`] directories are already in
    /// progress, the directory is processed in the calling task instead. Waiting for another
    /// directory could cause a deadlock, because the task for that directory may be waiting too.
    ///
    /// # Errors
    /// Returns an error if a task in this batch has already failed.
    pub(crate) async fn add_dir(&mut self, work: WorkFuture) -> CliResult {
        match Arc::clone(&self.limits.dirs).try_acquire_owned() {
            Ok(permit) => self.spawn(permit, work),
            Err(_) => work.await,
        }
    }

    fn spawn(&mut self, permit: OwnedSemaphorePermit, work: WorkFuture) -> CliResult {
        let subscription = self.limits.tasks.subscribe();
        self.tasks.spawn(async move {
            // Local variables are dropped in reverse order, so `work` is dropped first.
            let _kept = (permit, subscription);
            work.await
        });
        while let Some(ended) = self.tasks.try_join_next() {
            ended.map_err(task_error)??;
        }
        Ok(())
    }

    /// Waits until all tasks have finished.
    ///
    /// # Errors
    /// Returns an error as soon as a task fails. The other tasks are then cancelled.
    pub(crate) async fn finish(mut self) -> CliResult {
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(task_error)??;
        }
        Ok(())
    }
}

fn task_error(error: JoinError) -> CliError {
    CliError::Failed(error.to_string())
}

/// Checks that a path has at most [`MAX_DEPTH`] components.
pub(crate) fn check_depth(path: &impl std::fmt::Display) -> CliResult {
    let path = path.to_string();
    if path.matches('/').count() > MAX_DEPTH {
        return Err(CliError::Failed(format!("{path}: more than {MAX_DEPTH} directories deep")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use tokio::time::timeout;

    use super::*;

    /// Processes a tree that is `depth` levels deep and has `width` subdirectories in each
    /// directory.
    fn dirs(
        limits: ConcurrencyLimits,
        width: usize,
        depth: usize,
        count: Arc<AtomicUsize>,
    ) -> WorkFuture {
        Box::pin(async move {
            let mut batch = Batch::new(&limits);
            for _ in 0..width * usize::from(depth > 0) {
                batch.add_dir(dirs(limits.clone(), width, depth - 1, count.clone())).await?;
                let count = count.clone();
                batch
                    .add_file(async move {
                        tokio::task::yield_now().await;
                        count.fetch_add(1, SeqCst);
                        Ok(())
                    })
                    .await?;
            }
            batch.finish().await
        })
    }

    #[tokio::test]
    async fn nested_directories_do_not_deadlock() {
        let count = Arc::default();
        dirs(ConcurrencyLimits::new(), 6, 4, Arc::clone(&count)).await.unwrap();
        assert_eq!(count.load(SeqCst), 6 + 36 + 216 + 1296);
    }

    /// Processes a tree that is `depth` levels deep and contains a file in each directory. The
    /// tasks of these files never end.
    fn endless(limits: ConcurrencyLimits, depth: usize, running: Arc<()>) -> WorkFuture {
        Box::pin(async move {
            let mut batch = Batch::new(&limits);
            batch.add_file(held(Arc::clone(&running))).await?;
            if depth > 0 {
                batch.add_dir(endless(limits.clone(), depth - 1, Arc::clone(&running))).await?;
            }
            batch.finish().await
        })
    }

    async fn held(running: Arc<()>) -> CliResult {
        std::future::pending::<()>().await;
        drop(running);
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn all_tasks_have_ended_after_a_cancellation() {
        for _ in 0..100 {
            let (limits, running) = (ConcurrencyLimits::new(), Arc::new(()));
            let work = endless(limits.clone(), 5, Arc::clone(&running));
            assert!(timeout(Duration::from_millis(1), work).await.is_err());
            limits.ended().await;
            assert_eq!(Arc::strong_count(&running), 1);
        }
    }

    #[tokio::test]
    async fn the_first_failure_ends_a_batch() {
        let mut batch = Batch::new(&ConcurrencyLimits::new());
        batch.add_file(std::future::pending()).await.unwrap();
        batch.add_file(async { Err(CliError::Failed("lost".to_owned())) }).await.unwrap();
        assert_eq!(batch.finish().await, Err(CliError::Failed("lost".to_owned())));
    }
}
