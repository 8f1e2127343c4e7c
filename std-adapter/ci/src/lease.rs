//! The lease that prevents two CI servers from using the same database.
//!
//! The lease is a branch. Its `holder` file names the server that holds the lease. If this file
//! names another server when a server starts, the new server adds a `challenger` file. A running
//! holder removes the `challenger` file within seconds. If the holder does not remove the file in
//! time, the challenger replaces the holder. Every commit to the branch must be a fast-forward, so
//! only one server can succeed.
//!
//! Unlike a lease that expires, this lease needs no commits unless it is challenged, and it does
//! not depend on synchronized clocks.

use std::fmt;
use std::time::Duration;

use datakit_client::db::{
    BackendError, BranchOps, CommitOps, Database, Error, Path, Result, TransactionExt,
    TransactionOps, TreeExt, TreeOps, Watch,
};
use datakit_github::FILE_MAX;
use serde::{Deserialize, Serialize};

use crate::concurrent::boxed;

/// The name of the branch.
pub const LEASE_BRANCH: &str = "ci-lease";

const HOLDER: &str = "holder";
const CHALLENGER: &str = "challenger";

/// Identifies a running CI server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerId {
    /// The name of the host.
    pub host: String,
    /// The process id.
    pub pid: u32,
    /// Identifies the boot of the host and the PID namespace in which the process id is valid.
    pub namespace: String,
    /// The time at which the server was started, in nanoseconds since 1970. This distinguishes
    /// servers that had the same process id.
    pub started: u64,
}

impl ServerId {
    /// Returns the identity of this process.
    #[must_use]
    pub fn of_this_process() -> ServerId {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let pid_namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let boot = read("/proc/sys/kernel/random/boot_id");
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        ServerId {
            host: read("/proc/sys/kernel/hostname"),
            pid: std::process::id(),
            namespace: format!("{boot} {}", pid_namespace.display()),
            started: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// Returns `true` if `other` ran on this host and its process no longer exists.
    fn knows_end_of(&self, other: &ServerId) -> bool {
        let alive = || std::path::Path::new("/proc").join(other.pid.to_string()).exists();
        self.namespace == other.namespace && (other.pid == self.pid || !alive())
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

/// The lease that this server holds.
pub struct Lease<D: Database> {
    branch: D::Branch,
    id: ServerId,
}

/// The error returned if a server cannot acquire the lease or loses it.
#[derive(Debug)]
#[non_exhaustive]
pub enum LeaseError {
    /// Another server holds the lease.
    Held {
        /// The other server, or `None` if the `holder` file cannot be parsed.
        holder: Option<ServerId>,
    },
    /// The database returned an error.
    Database(Error),
}

impl fmt::Display for LeaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeaseError::Held { holder: Some(holder) } => {
                write!(f, "another CI server uses the database ({holder}); stop it first")
            }
            LeaseError::Held { holder: None } => {
                write!(
                    f,
                    "the branch {LEASE_BRANCH} has no valid `{HOLDER}` file; remove the branch"
                )
            }
            LeaseError::Database(_) => f.write_str("the lease cannot be read or written"),
        }
    }
}

impl std::error::Error for LeaseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LeaseError::Held { .. } => None,
            LeaseError::Database(error) => Some(error),
        }
    }
}

impl From<Error> for LeaseError {
    fn from(error: Error) -> LeaseError {
        LeaseError::Database(error)
    }
}

impl<D: Database> Lease<D> {
    /// Acquires the lease. Waits up to `answer` for a response if another server holds the lease.
    ///
    /// If the future is dropped, it is unspecified whether the lease has been acquired.
    ///
    /// # Errors
    /// Returns [`LeaseError::Held`] if another server is running.
    pub async fn acquire(
        db: &D,
        id: ServerId,
        answer: Duration,
    ) -> std::result::Result<Lease<D>, LeaseError> {
        let branch = db.branch(LEASE_BRANCH).await?;
        let (heads, first) = tokio::join!(boxed(branch.watch_head()), boxed(branch.transaction()));
        let (mut heads, mut first) = (heads?, Some(first?));
        loop {
            let transaction = match first.take() {
                Some(transaction) => transaction,
                None => branch.transaction().await?,
            };
            let free = match read(&transaction.tree(), HOLDER).await? {
                LeaseFile::Nothing => true,
                LeaseFile::Server(holder) => holder == id || id.knows_end_of(&holder),
                LeaseFile::Invalid => return Err(LeaseError::Held { holder: None }),
            };
            let taken = if free {
                set_holder(&transaction, &id).await?
            } else {
                let challenged = set_challenger(&transaction, &id).await?;
                challenged && outlasts_holder(&branch, &mut heads, &id, answer).await?
            };
            transaction.abort().await;
            if taken {
                return Ok(Lease { branch, id });
            }
        }
    }

    /// Keeps the lease by responding to challenges from other servers. Returns only if the lease is
    /// lost.
    ///
    /// If the future is dropped, another server can soon acquire the lease.
    pub async fn hold(&self) -> LeaseError {
        loop {
            if let Err(error) = self.answer_challenges().await {
                return error;
            }
        }
    }

    /// Returns `Ok` if the branch watch must be restarted.
    async fn answer_challenges(&self) -> std::result::Result<(), LeaseError> {
        let mut heads = self.branch.watch_head().await?;
        while let Some(head) = heads.next().await {
            head?;
            let transaction = self.branch.transaction().await?;
            match read(&transaction.tree(), HOLDER).await? {
                LeaseFile::Server(holder) if holder == self.id => {}
                LeaseFile::Server(holder) => return Err(LeaseError::Held { holder: Some(holder) }),
                LeaseFile::Nothing | LeaseFile::Invalid => {
                    return Err(LeaseError::Held { holder: None });
                }
            }
            if let LeaseFile::Server(challenger) = read(&transaction.tree(), CHALLENGER).await? {
                tracing::warn!(%challenger, "another CI server is trying to use the database");
                transaction.remove(&file(CHALLENGER)?).await?;
                // If the branch has moved, the watch will report the new head.
                commit(&transaction, "The CI server is running").await?;
            }
            transaction.abort().await;
        }
        Ok(())
    }

    /// Releases the lease, so the next server does not have to wait.
    ///
    /// If the future is dropped, it is unspecified whether the lease has been released.
    ///
    /// # Errors
    /// Returns any error that the database reports.
    pub async fn release(&self) -> Result<()> {
        let transaction = self.branch.transaction().await?;
        if matches!(read(&transaction.tree(), HOLDER).await?, LeaseFile::Server(id) if id == self.id)
        {
            transaction.remove(&file(HOLDER)?).await?;
            commit(&transaction, "The CI server has stopped").await?;
        }
        transaction.abort().await;
        Ok(())
    }
}

impl<D: Database> fmt::Debug for Lease<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The content of the `holder` or `challenger` file.
enum LeaseFile {
    Nothing,
    Server(ServerId),
    Invalid,
}

async fn read<T: TreeOps>(tree: &T, name: &str) -> Result<LeaseFile> {
    match tree.read_file_up_to(&file(name)?, FILE_MAX).await {
        Ok(json) => Ok(serde_json::from_slice(&json).map_or(LeaseFile::Invalid, LeaseFile::Server)),
        Err(Error::NotFound) => Ok(LeaseFile::Nothing),
        Err(Error::FileTooLong { .. }) => Ok(LeaseFile::Invalid),
        Err(error) => Err(error),
    }
}

/// Makes `id` the holder. Returns `false` if the branch has moved since the transaction started.
async fn set_holder<T: TransactionOps>(transaction: &T, id: &ServerId) -> Result<bool> {
    let challenger = file(CHALLENGER)?;
    let (written, removed) = tokio::join!(
        boxed(write(transaction, HOLDER, id)),
        transaction.remove_if_present(&challenger),
    );
    written?;
    removed?;
    commit(transaction, &format!("The CI server is {id}")).await
}

/// Makes `id` the challenger. Returns `false` if the branch has moved since the transaction
/// started.
async fn set_challenger<T: TransactionOps>(transaction: &T, id: &ServerId) -> Result<bool> {
    write(transaction, CHALLENGER, id).await?;
    commit(transaction, &format!("{id} asks whether the CI server is running")).await
}

/// Waits for the holder to respond. Makes `id` the holder and returns `true` if there is no
/// response within `answer`. Returns `false` if another challenger has replaced `id`.
async fn outlasts_holder<B: BranchOps>(
    branch: &B,
    heads: &mut Watch<Option<B::Commit>>,
    id: &ServerId,
    answer: Duration,
) -> std::result::Result<bool, LeaseError> {
    // The watch also reports the head from before the challenge.
    let mut challenged = false;
    let answered = tokio::time::timeout(answer, async {
        loop {
            let Some(head) = heads.next().await.ok_or(Error::StreamEnded)?? else { continue };
            match read(&head.tree(), CHALLENGER).await? {
                LeaseFile::Server(challenger) if challenger == *id => challenged = true,
                LeaseFile::Nothing if challenged => return read(&head.tree(), HOLDER).await,
                _ if challenged => return Ok(LeaseFile::Nothing),
                _ => {}
            }
        }
    });
    match answered.await {
        Ok(Ok(LeaseFile::Server(holder))) => Err(LeaseError::Held { holder: Some(holder) }),
        Ok(Ok(LeaseFile::Nothing | LeaseFile::Invalid)) => Ok(false),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => {
            let transaction = branch.transaction().await?;
            let asked = read(&transaction.tree(), CHALLENGER).await?;
            let still = matches!(asked, LeaseFile::Server(challenger) if challenger == *id);
            let taken = still && set_holder(&transaction, id).await?;
            transaction.abort().await;
            Ok(taken)
        }
    }
}

async fn write<T: TransactionOps>(transaction: &T, name: &str, id: &ServerId) -> Result<()> {
    let json = serde_json::to_vec(id).map_err(|error| Error::Backend(BackendError::new(error)))?;
    transaction.create_or_replace_file(&file(name)?, &json).await
}

/// Commits the changes unless the branch has moved. Returns `true` if they were committed.
async fn commit<T: TransactionOps>(transaction: &T, message: &str) -> Result<bool> {
    match transaction.commit_fast_forward(message).await {
        Ok(_) => Ok(true),
        Err(Error::NotFastForward) => Ok(false),
        Err(error) => Err(error),
    }
}

fn file(name: &str) -> Result<Path> {
    Path::from_names([name])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datakit_db::store::MemoryStore;
    use datakit_db::{Database, DirectDb};

    use super::*;

    const ANSWER: Duration = Duration::from_millis(300);

    fn memory() -> DirectDb {
        DirectDb::new(Database::new(Arc::new(MemoryStore::new())).unwrap())
    }

    fn server(host: &str) -> ServerId {
        ServerId { host: host.to_owned(), namespace: host.to_owned(), pid: 7, started: 1 }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn second_server_is_refused_while_the_first_runs() {
        let db = memory();
        let first = Lease::acquire(&db, server("a"), ANSWER).await.unwrap();
        let running = tokio::spawn(async move { first.hold().await });
        for _ in 0..2 {
            let refused = Lease::acquire(&db, server("b"), Duration::from_secs(20)).await;
            assert_eq!(
                refused.unwrap_err().to_string(),
                "another CI server uses the database (process 7 on a); stop it first"
            );
        }
        running.abort();
        let _ = running.await;
        let second = Lease::acquire(&db, server("b"), ANSWER).await.unwrap();
        second.release().await.unwrap();
        // No server holds the lease, so the third server does not wait for a response.
        let third = Lease::acquire(&db, server("c"), Duration::from_secs(600));
        tokio::time::timeout(Duration::from_secs(20), third).await.unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn holder_that_was_replaced_notices_it() {
        let db = memory();
        let first = Lease::acquire(&db, server("a"), ANSWER).await.unwrap();
        let _second = Lease::acquire(&db, server("b"), ANSWER).await.unwrap();
        let lost = tokio::time::timeout(Duration::from_secs(20), first.hold()).await.unwrap();
        assert!(matches!(lost, LeaseError::Held { holder: Some(holder) } if holder.host == "b"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_of_many_servers_gets_the_lease() {
        let db = memory();
        let mut servers = tokio::task::JoinSet::new();
        for number in 0..8 {
            let db = db.clone();
            servers.spawn(async move {
                let lease = Lease::acquire(&db, server(&number.to_string()), ANSWER).await?;
                Err::<(), LeaseError>(lease.hold().await)
            });
        }
        while servers.len() > 1 {
            let refused = tokio::time::timeout(Duration::from_secs(60), servers.join_next()).await;
            let refused = refused.unwrap().unwrap().unwrap();
            assert!(matches!(refused, Err(LeaseError::Held { .. })), "{refused:?}");
        }
        // The last server keeps the lease.
        let another = Lease::acquire(&db, server("another"), Duration::from_secs(600)).await;
        assert!(matches!(another, Err(LeaseError::Held { .. })), "{another:?}");
    }

    #[test]
    fn process_that_no_longer_exists_is_recognized() {
        let this = ServerId::of_this_process();
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        let other = ServerId { pid: ended.id(), ..this.clone() };
        ended.wait().unwrap();
        assert!(this.knows_end_of(&other));
        let init = ServerId { pid: 1, ..this.clone() };
        assert!(!this.knows_end_of(&init));
        let elsewhere = ServerId { namespace: "elsewhere".to_owned(), ..other };
        assert!(!this.knows_end_of(&elsewhere));
    }
}
