//! Reads logs and histories from the database.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::time::SystemTime;

use datakit_client::db::{BranchOps, CommitOps, Database, Error, Path, Result, TreeExt, TreeOps};
use datakit_github::{Commit, FILE_MAX, Hash};
use parking_lot::Mutex;

use super::time;
use crate::Target;
use crate::concurrent::Concurrent;
use crate::state::{INDEX_BRANCH, Record, history_branch, target_of_index};
use crate::state::{is_no_file, is_no_usable_file};

type Read<'s, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 's>>;

/// The log file in a build's commit.
const LOG: &str = "log";

/// The maximum number of targets to list for a commit.
const TARGETS_MAX: usize = 100;

/// A commit in a target's history.
#[derive(Debug, Clone)]
pub(super) struct HistoryEntry {
    /// The hash.
    pub(super) id: String,
    /// The time of the commit, or `None` if the database server does not provide it.
    pub(super) time: Option<SystemTime>,
    /// The first line of the message.
    pub(super) message: String,
    /// The state of the target.
    pub(super) record: Record,
}

/// Part of a target's history, newest first.
#[derive(Debug, Clone, Default)]
pub(super) struct HistoryPart {
    pub(super) entries: Vec<HistoryEntry>,
    /// The commit at which the next older part starts.
    pub(super) older: Option<String>,
}

/// The interface to a database of any type.
pub(super) trait WebStore: Send + Sync {
    /// Returns the hash of a branch's head. Unlike [`Database::branch`], this does not create a
    /// handle for a nonexistent branch, because the name can come from any visitor.
    fn head<'s>(&'s self, branch: &'s str) -> Read<'s, Option<String>>;

    /// Returns the length of the log in a commit.
    fn log_len<'s>(&'s self, commit: &'s str) -> Read<'s, u64>;

    /// Reads part of the log in a commit.
    fn read_log<'s>(&'s self, commit: &'s str, offset: u64, length: usize) -> Read<'s, Vec<u8>>;

    /// Reads the state of a target from a commit in its history. Fails with [`Error::NotFound`] if
    /// the commit is not in the history.
    fn record<'s>(&'s self, target: &'s Target, commit: &'s str) -> Read<'s, HistoryEntry>;

    /// Returns the targets for which a commit has been tested. Each target comes with the hash of
    /// the newest commit in its history that records a result for the tested commit.
    fn indexed<'s>(&'s self, commit: &'s Commit) -> Read<'s, Vec<(Target, String)>>;

    /// Reads at most `count` commits from a target's history, starting at `from` or at the newest
    /// commit. Fails with [`Error::NotFound`] if `from` is not in the history.
    fn history<'s>(
        &'s self,
        target: &'s Target,
        from: Option<&'s str>,
        count: usize,
    ) -> Read<'s, HistoryPart>;
}

/// The maximum number of branches to remember.
const KNOWN_MAX: usize = 10_000;

/// The maximum number of history commits to read when searching for one. An older commit can be
/// reached only through the pages that list the history.
const SEARCH_MAX: usize = 5000;

/// The maximum number of history commits to remember, together with their branches.
const FOUND_MAX: usize = 100_000;

/// A [`WebStore`] for any type of database.
pub(super) struct DatabaseStore<D> {
    db: D,
    /// Branches that are known to exist. In a database with many builds, the list of branches is
    /// long, so it is not read again for a known branch.
    known: Mutex<HashSet<String>>,
    /// Pairs of a branch and the hash of a commit that is known to be in the branch's history.
    found: Mutex<HashSet<(String, String)>>,
}

impl<D: Database> DatabaseStore<D> {
    pub(super) fn new(db: D) -> DatabaseStore<D> {
        DatabaseStore { db, known: Mutex::default(), found: Mutex::default() }
    }

    async fn head_commit(&self, branch: &str) -> Result<Option<D::Commit>> {
        if !self.known.lock().contains(branch) {
            let names = self.db.branches().await?;
            if !names.iter().any(|name| name.as_bytes() == branch.as_bytes()) {
                return Ok(None);
            }
            let mut known = self.known.lock();
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(branch.to_owned());
        }
        match self.db.branch(branch).await?.head().await {
            Err(Error::NotFound) => Ok(None),
            head => head,
        }
    }
}

impl<D: Database> DatabaseStore<D> {
    /// Returns a commit in the history of a target.
    async fn history_commit(&self, target: &Target, id: &str) -> Result<D::Commit> {
        let branch = history_branch(target);
        let commit = self.db.commit(id).await?;
        let id = commit.id().to_string();
        if self.found.lock().contains(&(branch.clone(), id.clone())) {
            return Ok(commit);
        }
        let mut next = self.head_commit(&branch).await?;
        for _ in 0..SEARCH_MAX {
            let Some(at) = next else { break };
            if at.id() == commit.id() {
                self.remember(&branch, [id]);
                return Ok(commit);
            }
            next = at.details().await?.parents.into_iter().next();
        }
        Err(Error::NotFound)
    }

    fn remember(&self, branch: &str, ids: impl IntoIterator<Item = String>) {
        let mut found = self.found.lock();
        if found.len() >= FOUND_MAX {
            found.clear();
        }
        found.extend(ids.into_iter().map(|id| (branch.to_owned(), id)));
    }
}

impl<D: Database> WebStore for DatabaseStore<D> {
    fn head<'s>(&'s self, branch: &'s str) -> Read<'s, Option<String>> {
        Box::pin(async move {
            let head = self.head_commit(branch).await?;
            Ok(head.map(|head| head.id().to_string()))
        })
    }

    fn log_len<'s>(&'s self, commit: &'s str) -> Read<'s, u64> {
        Box::pin(async move {
            let tree = self.db.commit(commit).await?.tree();
            let stat = tree.stat(&Path::from_names([LOG])?).await?;
            stat.map(|stat| stat.size).ok_or(Error::NotFound)
        })
    }

    fn read_log<'s>(&'s self, commit: &'s str, offset: u64, length: usize) -> Read<'s, Vec<u8>> {
        Box::pin(async move {
            let tree = self.db.commit(commit).await?.tree();
            tree.read_file_range(&Path::from_names([LOG])?, offset, length).await
        })
    }

    fn record<'s>(&'s self, target: &'s Target, commit: &'s str) -> Read<'s, HistoryEntry> {
        Box::pin(async move {
            let commit = self.history_commit(target, commit).await?;
            entry(&commit).await.map(|(entry, _)| entry)
        })
    }

    fn indexed<'s>(&'s self, commit: &'s Commit) -> Read<'s, Vec<(Target, String)>> {
        Box::pin(async move {
            let Some(head) = self.head_commit(INDEX_BRANCH).await? else { return Ok(Vec::new()) };
            let (repo, hash) = (&commit.repo, commit.hash.to_string());
            let dir = Path::from_names([repo.user(), repo.name(), "commit", &hash])?;
            let names = match head.tree().read_dir(&dir).await {
                Err(error) if is_no_file(&error) => return Ok(Vec::new()),
                names => names?,
            };
            let mut entries = Concurrent::new();
            for name in names.iter().take(TARGETS_MAX) {
                let target = name.to_str().and_then(|name| target_of_index(repo, name));
                if let Some(target) = target {
                    let (tree, path) = (head.tree(), dir.clone().join(name)?);
                    entries.push(async move { Ok((target, index_entry(&tree, &path).await?)) });
                }
            }
            let mut targets = Vec::new();
            for (target, history) in entries.try_all().await? {
                if let Some(history) = history {
                    self.remember(&history_branch(&target), [history.clone()]);
                    targets.push((target, history));
                }
            }
            Ok(targets)
        })
    }

    fn history<'s>(
        &'s self,
        target: &'s Target,
        from: Option<&'s str>,
        count: usize,
    ) -> Read<'s, HistoryPart> {
        Box::pin(async move {
            let mut next = match from {
                Some(from) => Some(self.history_commit(target, from).await?),
                None => self.head_commit(&history_branch(target)).await?,
            };
            let mut part = HistoryPart::default();
            while let Some(commit) = next.take() {
                if part.entries.len() >= count {
                    part.older = Some(commit.id().to_string());
                    break;
                }
                let (entry, parent) = entry(&commit).await?;
                part.entries.push(entry);
                next = parent;
            }
            let shown = part.entries.iter().map(|entry| &entry.id).chain(&part.older);
            self.remember(&history_branch(target), shown.cloned());
            Ok(part)
        })
    }
}

/// Reads a history commit, and returns its entry and its first parent.
async fn entry<C: CommitOps>(commit: &C) -> Result<(HistoryEntry, Option<C>)> {
    let details = commit.details().await?;
    let record = Record::read(&commit.tree()).await?;
    let message = details.message.lines().next().unwrap_or_default().to_owned();
    let id = commit.id().to_string();
    let entry = HistoryEntry { id, time: time::parse(&details.date), message, record };
    Ok((entry, details.parents.into_iter().next()))
}

/// Reads an entry of the index. Returns `None` if it is not a file that contains a hash. Any client
/// of the database can write such entries.
async fn index_entry<T: TreeOps>(tree: &T, path: &Path) -> Result<Option<String>> {
    let text = match tree.read_file_up_to(path, FILE_MAX).await {
        Err(error) if is_no_usable_file(&error) => return Ok(None),
        text => text?,
    };
    Ok(Hash::parse(text.trim_ascii()).ok().map(|hash| hash.to_string()))
}
