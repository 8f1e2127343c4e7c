//! Reads and writes the database branch.

use std::collections::BTreeSet;

use datakit_client::db::prelude::*;
use datakit_client::db::{Error, Result};
use datakit_github::{
    BranchContent, CLEAN_MESSAGE, Changes, DirtyId, Repo, Snapshot, add_monitors, read,
    remove_dirty, update, write,
};

use super::memory::BridgeMemory;
use crate::round::{Mirror, changed_ids};

/// The maximum number of attempts to commit while other clients keep moving the branch.
const COMMIT_ATTEMPTS: u32 = 5;

/// The maximum number of ancestors to search for the last known commit.
const MAX_SEARCHED: usize = 200;

/// Adds missing `.monitor` files.
pub(super) async fn monitor<B: BranchOps>(branch: &B, repos: &[Repo]) -> Result<()> {
    if repos.is_empty() {
        return Ok(());
    }
    let transaction = branch.transaction().await?;
    if add_monitors(&transaction, repos).await? == 0 {
        transaction.abort().await;
    } else {
        transaction.commit("initial commit").await?;
    }
    Ok(())
}

/// The state of the branch as of the last read.
#[derive(Debug)]
pub(super) struct BranchState<D: Database> {
    last: Option<(D::Commit, Snapshot)>,
    /// The `.dirty` files that were found but not yet returned.
    dirty: BTreeSet<DirtyId>,
}

impl<D: Database> Default for BranchState<D> {
    fn default() -> BranchState<D> {
        BranchState { last: None, dirty: BTreeSet::new() }
    }
}

impl<D: Database> BranchState<D> {
    /// Looks up the last known commit over a new connection. Returns `false` if the database does
    /// not contain that commit. In that case, a file that is missing from the branch was not
    /// necessarily removed by a user.
    pub(super) async fn reconnect(&mut self, db: &D) -> Result<bool> {
        let Some((commit, snapshot)) = self.last.take() else { return Ok(true) };
        match db.commit(commit.id().to_string()).await {
            Ok(commit) => self.last = Some((commit, snapshot)),
            Err(Error::NotFound) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Reads a commit. Returns `None` if the commit does not descend from the last commit that was
    /// read.
    pub(super) async fn read(
        &mut self,
        head: &D::Commit,
    ) -> Result<Option<(Snapshot, BTreeSet<DirtyId>)>> {
        let state = match &self.last {
            Some((last, snapshot)) if last == head => {
                BranchContent { snapshot: snapshot.clone(), ..BranchContent::default() }
            }
            Some((last, _)) if !descends(head, last).await? => return Ok(None),
            Some((last, snapshot)) => {
                let changes = Changes::of(&head.diff(last).await?);
                update(snapshot, &head.tree(), &changes).await?
            }
            None => read(&head.tree()).await?,
        };
        self.last = Some((head.clone(), state.snapshot.clone()));
        self.dirty.extend(state.dirty);
        Ok(Some((state.snapshot, std::mem::take(&mut self.dirty))))
    }

    /// Updates the branch wherever its pull requests, statuses and refs differ from those on
    /// GitHub. `datakit` is the content of the branch at the start of the round. Anything that has
    /// changed in the branch since then is left for the next round. Returns `true` if a commit was
    /// made.
    pub(super) async fn write(
        &mut self,
        branch: &D::Branch,
        datakit: &Snapshot,
        memory: &mut BridgeMemory,
        mirror: &Mirror<'_>,
    ) -> Result<bool> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.try_write(branch, datakit, memory, mirror).await {
                Err(Error::Conflict(reason)) if attempt < COMMIT_ATTEMPTS => {
                    tracing::debug!(reason, "the branch moved, trying again");
                }
                result => return result,
            }
        }
    }

    async fn try_write(
        &mut self,
        branch: &D::Branch,
        datakit: &Snapshot,
        memory: &mut BridgeMemory,
        mirror: &Mirror<'_>,
    ) -> Result<bool> {
        let transaction = branch.transaction().await?;
        let parents = transaction.parents().await?;
        let Some(base) = parents.first() else { return Err(Error::NotFound) };
        // New `.dirty` files are left for the next round.
        let Some((now, dirty)) = self.read(base).await? else { return Ok(false) };
        self.dirty.extend(dirty);
        let moved = changed_ids(&now, datakit);
        let mut github = memory.github.clone();
        mirror.apply(&mut github, &now);
        let (diff, cleaned) = memory.writes(&github, &now, &moved);
        if diff.is_empty() && cleaned.is_empty() {
            transaction.abort().await;
            memory.written(&now, datakit, &moved, &cleaned);
            memory.github = github;
            return Ok(false);
        }
        write(&transaction, &diff).await?;
        remove_dirty(&transaction, &cleaned).await?;
        let message = if diff.is_empty() { CLEAN_MESSAGE.to_owned() } else { diff.message() };
        let commit = transaction.commit(&message).await?;
        let now = diff.apply(now);
        if commit.parents().await? == [base.clone()] {
            self.last = Some((commit, now.clone()));
        }
        memory.written(&now, datakit, &moved, &cleaned);
        memory.github = github;
        Ok(true)
    }
}

/// Returns `true` if `old` is among the most recent ancestors of `head`.
async fn descends<C: CommitOps>(head: &C, old: &C) -> Result<bool> {
    let mut seen = BTreeSet::from([head.id().to_string()]);
    let mut level = vec![head.clone()];
    while !level.is_empty() && seen.len() < MAX_SEARCHED {
        let mut next = Vec::new();
        for commit in level {
            for parent in commit.parents().await? {
                if parent == *old {
                    return Ok(true);
                }
                if seen.insert(parent.id().to_string()) {
                    next.push(parent);
                }
            }
        }
        level = next;
    }
    Ok(false)
}
