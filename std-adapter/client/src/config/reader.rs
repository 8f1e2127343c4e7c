//! Configuration values that are kept in sync with a branch.

use std::fmt::{self, Debug};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::field::FieldType;
use super::session::text_at;
use super::{Connect, RETRY_INTERVAL};
use crate::db::prelude::*;
use crate::db::{BranchName, Error, InvalidBranchName, Path, PathValue, Result};

/// Follows the values of keys in one branch.
///
/// A background task connects to the database, retrying every [`RETRY_INTERVAL`] until it succeeds.
/// The task reads all keys whenever the branch changes. If the connection is lost, the task
/// reconnects, and in the meantime the values do not change. The task stops when the reader and all
/// of its values have been dropped.
///
/// The branch does not have to exist. The default is used if the key does not exist, is not a file,
/// or contains invalid text.
#[derive(Debug, Clone)]
pub struct ConfigReader(Arc<Following>);

/// The task that follows the branch.
#[derive(Debug)]
struct Following {
    keys: Arc<Keys>,
    read: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The keys that the task reads.
#[derive(Default)]
struct Keys {
    keys: Mutex<Vec<Arc<dyn AnyKey>>>,
    added: Notify,
}

impl Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("count", &self.keys.lock().len()).finish_non_exhaustive()
    }
}

/// A key whose value can have any type.
trait AnyKey: Send + Sync {
    fn path(&self) -> &Path;

    /// Sends the value to its receivers if it differs from the last value sent. Returns `false` if
    /// all receivers have been dropped.
    fn deliver(&self, text: Option<&str>) -> bool;
}

struct ConfigKey<T> {
    path: Path,
    default: T,
    value: watch::Sender<T>,
}

impl<T: FieldType> AnyKey for ConfigKey<T> {
    fn path(&self) -> &Path {
        &self.path
    }

    fn deliver(&self, text: Option<&str>) -> bool {
        let value = T::read(text, &self.default);
        self.value.send_if_modified(|current| {
            let differs = *current != value;
            if differs {
                *current = value;
            }
            differs
        });
        !self.value.is_closed()
    }
}

/// The value of one key, kept up to date by a [`ConfigReader`].
#[derive(Debug, Clone)]
pub struct WatchedValue<T> {
    value: watch::Receiver<T>,
    _following: Arc<Following>,
}

impl ConfigReader {
    /// Starts following a branch. This function must be called from within a tokio runtime.
    ///
    /// # Errors
    /// Returns [`InvalidBranchName`] if the name is not a valid Git branch name.
    pub fn follow<C: Connect>(
        connector: C,
        branch: impl AsRef<[u8]>,
    ) -> std::result::Result<ConfigReader, InvalidBranchName> {
        let (branch, keys) = (BranchName::new(branch)?, Arc::<Keys>::default());
        let (sender, read) = watch::channel(false);
        let task = tokio::spawn(follow(connector, branch, Arc::clone(&keys), sender));
        Ok(ConfigReader(Arc::new(Following { keys, read, task })))
    }

    /// Returns the value at `path`. Until the branch has been read, the value is `default`.
    #[must_use]
    pub fn value<T: FieldType>(&self, path: Path, default: T) -> WatchedValue<T> {
        let (sender, value) = watch::channel(default.clone());
        let mut keys = self.0.keys.keys.lock();
        keys.push(Arc::new(ConfigKey { path, default, value: sender }));
        drop(keys);
        self.0.keys.added.notify_one();
        WatchedValue { value, _following: Arc::clone(&self.0) }
    }

    /// Waits until the branch has been read for the first time.
    pub async fn ready(&self) {
        // Waiting cannot fail because the task holds the sender until this reader is dropped.
        let _ = self.0.read.clone().wait_for(|read| *read).await;
    }
}

impl<T: FieldType> WatchedValue<T> {
    /// Returns the current value.
    #[must_use]
    pub fn get(&self) -> T {
        self.value.borrow().clone()
    }

    /// Waits for the value to change and returns the new value. The first call waits until the
    /// value differs from the default. Each subsequent call waits until the value differs from the
    /// last value returned.
    ///
    /// # Cancel safety
    /// No change is lost if the future is dropped.
    pub async fn changed(&mut self) -> T {
        if self.value.changed().await.is_err() {
            // The runtime is shutting down, so the value will no longer change.
            std::future::pending::<()>().await;
        }
        self.value.borrow_and_update().clone()
    }
}

/// Follows the branch until the task is aborted.
async fn follow<C: Connect>(
    connector: C,
    branch: BranchName,
    keys: Arc<Keys>,
    read: watch::Sender<bool>,
) {
    loop {
        let Err(error) = follow_connected(&connector, &branch, &keys, &read).await;
        tracing::debug!("configuration in branch {branch}: connecting again: {error}");
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Connects and follows the branch until an error occurs.
async fn follow_connected<C: Connect>(
    connector: &C,
    branch: &BranchName,
    keys: &Keys,
    read: &watch::Sender<bool>,
) -> std::result::Result<std::convert::Infallible, Error> {
    let db = connector.connect().await?;
    let branch = db.branch(branch.as_bytes()).await?;
    let mut trees = branch.watch_path(&Path::ROOT).await?;
    let mut tree = next_tree(trees.next().await)?;
    loop {
        deliver(keys, tree.as_ref()).await?;
        read.send_replace(true);
        tokio::select! {
            next = trees.next() => tree = next_tree(next)?,
            () = keys.added.notified() => {}
        }
    }
}

fn next_tree<T>(value: Option<Result<Option<PathValue<T>>>>) -> Result<Option<T>> {
    Ok(match value.ok_or(Error::StreamEnded)?? {
        Some(PathValue::Dir(tree)) => Some(tree),
        _ => None,
    })
}

/// Reads all keys and sends their values to the receivers.
async fn deliver<T: TreeOps>(keys: &Keys, tree: Option<&T>) -> Result<()> {
    let all = keys.keys.lock().clone();
    for key in &all {
        let text = match tree {
            Some(tree) => match text_at(tree, key.path()).await {
                Err(error) if error.is_lost() => return Err(error),
                Err(error) => {
                    tracing::warn!("configuration key {}: {error}", key.path());
                    None
                }
                Ok(text) => text,
            },
            None => None,
        };
        if !key.deliver(text.as_deref()) {
            keys.keys.lock().retain(|other| !Arc::ptr_eq(other, key));
        }
    }
    Ok(())
}
