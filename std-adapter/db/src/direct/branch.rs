//! A handle to a branch.

use std::fmt::{self, Debug};
use std::sync::Arc;

use datakit_client::ByteString;
use datakit_client::db::{BranchOps, Path, PathValue, Result, Watch};

use super::commit::DirectCommit;
use super::transaction::DirectTransaction;
use super::tree::DirectTree;
use super::{DirectDb, watch};
use crate::integrate::fast_forward;
use crate::{Branch, BranchName, Database, Error, Id, Transaction};

/// A branch in a [`DirectDb`]. The branch may have no commits yet.
#[derive(Clone)]
pub struct DirectBranch {
    db: DirectDb,
    branch: Arc<Branch>,
}

impl DirectBranch {
    pub(super) fn new(db: &DirectDb, name: &BranchName) -> DirectBranch {
        DirectBranch { db: db.clone(), branch: db.database.branch(name) }
    }

    pub(super) fn db(&self) -> &DirectDb {
        &self.db
    }

    pub(super) fn branch(&self) -> &Arc<Branch> {
        &self.branch
    }

    /// Runs `work` with the head of the branch, or with `None` if the branch was created but has no
    /// commits.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the branch does not exist.
    async fn with_head<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database, &Arc<Branch>, Option<Id>) -> crate::Result<T> + Send + 'static,
    ) -> Result<T> {
        let is_created = self.db.created.lock().contains(self.branch.name());
        let branch = self.branch.clone();
        let run = move |database: &Database| match branch.head()? {
            None if !is_created => Err(Error::NotFound),
            head => work(database, &branch, head),
        };
        self.db.run(run).await
    }
}

impl BranchOps for DirectBranch {
    type Commit = DirectCommit;
    type Transaction = DirectTransaction;
    type Tree = DirectTree;

    fn name(&self) -> ByteString {
        self.branch.name().as_bytes().into()
    }

    async fn head(&self) -> Result<Option<DirectCommit>> {
        let head = self.with_head(|_, _, head| Ok(head)).await?;
        Ok(head.map(|head| DirectCommit::new(&self.db.database, head)))
    }

    async fn remove(&self) -> Result<()> {
        self.with_head(|_, branch, _| {
            while !branch.advance(branch.head()?, None)? {}
            Ok(())
        })
        .await?;
        self.db.created.lock().remove(self.branch.name());
        Ok(())
    }

    async fn fast_forward(&self, to: &DirectCommit) -> Result<()> {
        let to = to.id;
        self.with_head(move |database, branch, _| {
            let _in_flight = database.in_flight();
            fast_forward(database, branch, to)
        })
        .await
    }

    async fn transaction(&self) -> Result<DirectTransaction> {
        let begun =
            self.with_head(|database, _, head| Ok((Transaction::begin(database, head)?, head)));
        let (transaction, head) = begun.await?;
        Ok(DirectTransaction::new(self, transaction, head))
    }

    async fn watch_head(&self) -> Result<Watch<Option<DirectCommit>>> {
        let branch = self.with_head(|_, branch, _| branch.watch()).await?;
        Ok(watch::heads(&self.db.database, branch))
    }

    async fn watch_path(&self, path: &Path) -> Result<Watch<Option<PathValue<DirectTree>>>> {
        let branch = self.with_head(|_, branch, _| branch.watch()).await?;
        Ok(watch::values(&self.db.database, branch, path))
    }

    async fn reflog(&self) -> Result<Watch<Option<DirectCommit>>> {
        let branch = self.with_head(|_, branch, _| branch.watch()).await?;
        Ok(watch::moves(&self.db.database, branch))
    }
}

impl Debug for DirectBranch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DirectBranch({})", self.branch.name())
    }
}
