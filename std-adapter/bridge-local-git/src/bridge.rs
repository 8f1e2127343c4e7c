//! Synchronizes repositories with the database over a single connection.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use datakit_client::db::{BranchOps, CommitOps, Database, Error, TransactionOps};
use datakit_github::{
    Changes, ElementId, Hash, RefKind, RefName, Repo, ensure_branch, read_clone_url, read_refs,
    write, write_clone_url,
};
use tokio::time::{sleep, sleep_until, timeout};

use crate::error::BridgeError;
use crate::metrics::Counters;
use crate::plan::{Plan, Published};
use crate::source::{Reading, WatchedRepository};
use crate::wakes::Wakes;

/// How long to wait for further changes before reading the repositories. The delay is short,
/// because each change should be published within a second.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// The maximum time to wait for the reply to a small request.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// The repositories and the state needed to publish them.
#[derive(Debug)]
pub(crate) struct Bridge {
    pub(crate) sources: Vec<WatchedRepository>,
    pub(crate) wakes: Wakes,
    /// The name of the branch to which the bridge publishes.
    pub(crate) branch: String,
    pub(crate) counters: Counters,
}

impl Bridge {
    /// Publishes all changes until the database returns an error.
    pub(crate) async fn run<D: Database>(&mut self, db: &D) -> Result<(), BridgeError> {
        let mut branch = ensure_branch(db, &self.branch).await?;
        self.counters.connected.set(1);
        tracing::info!(branch = self.branch, "connected to the database");
        let mut heads = branch.watch_head().await?;
        let mut published = PublishedRefs::<D::Commit>::default();
        (0..self.sources.len()).for_each(|index| self.wakes.wake(index));
        loop {
            let head = match timeout(REPLY_TIMEOUT, branch.head()).await {
                Ok(head) => head?,
                Err(_) => return Err(BridgeError::Timeout(REPLY_TIMEOUT)),
            };
            let Some(head) = head else {
                // Another client has removed the branch.
                branch = ensure_branch(db, &self.branch).await?;
                published = PublishedRefs::default();
                continue;
            };
            for repo in published.refresh(&head, &self.repos()).await? {
                let of_repo = self.sources.iter().position(|source| source.repo == repo);
                of_repo.into_iter().for_each(|index| self.wakes.wake(index));
            }
            self.publish(db, &branch, &head, &mut published).await?;
            let next_read = self.sources.iter().map(|source| source.next_read).min();
            let next_read = next_read.unwrap_or_else(|| Instant::now() + REPLY_TIMEOUT);
            tokio::select! {
                () = self.wakes.wait() => sleep(DEBOUNCE).await,
                () = sleep_until(next_read.into()) => {}
                head = heads.next() => drop(head.ok_or(Error::StreamEnded)??),
            }
            let now = Instant::now();
            let due = self.sources.iter().enumerate().filter(|(_, source)| source.next_read <= now);
            due.for_each(|(index, _)| self.wakes.wake(index));
        }
    }

    fn repos(&self) -> BTreeSet<Repo> {
        self.sources.iter().map(|source| source.repo.clone()).collect()
    }

    /// Reads the repositories that may have changed and commits the differences.
    async fn publish<D: Database>(
        &mut self,
        db: &D,
        branch: &D::Branch,
        head: &D::Commit,
        published: &mut PublishedRefs<D::Commit>,
    ) -> Result<(), BridgeError> {
        let mut plan = Plan::default();
        let mut urls = Vec::new();
        let indexes = self.wakes.take();
        for index in &indexes {
            let Some(reading) = self.read(*index).await else { continue };
            let Some(source) = self.sources.get(*index) else { continue };
            self.check_loop(db, source, &reading).await?;
            let known = published.refs.get(&source.repo).cloned().unwrap_or_default();
            plan.add(&source.repo, &reading, &known);
            if !published.clone_urls.contains(&source.repo) {
                urls.extend(self.new_clone_url(head, source).await?);
                published.clone_urls.insert(source.repo.clone());
            }
        }
        let (diff, mut message) = plan.finish();
        if diff.is_empty() {
            let Some((repo, _)) = urls.first() else { return Ok(()) };
            message = format!("Set the URL from which {repo} can be cloned");
        }
        let transaction = branch.transaction().await?;
        write(&transaction, &diff).await?;
        for (repo, url) in &urls {
            write_clone_url(&transaction, repo, url).await?;
        }
        let committed = match transaction.commit(&message).await {
            Ok(committed) => committed,
            Err(Error::Conflict(reason)) => {
                tracing::info!(reason, "another client changed the same branches, trying again");
                transaction.abort().await;
                *published = PublishedRefs::default();
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let count = diff.updates().len().saturating_add(diff.removals().len());
        tracing::info!(commit = %committed.id(), changes = count, "published");
        self.counters.commits.inc();
        self.counters.changes.inc_by(count as u64);
        // A merge may include changes made by other clients, so read the refs again.
        if committed.parents().await?.as_slice() == std::slice::from_ref(head) {
            published.apply(&diff);
            published.commit = Some(committed);
        } else {
            *published = PublishedRefs::default();
        }
        Ok(())
    }

    /// Reads a repository. Blocks the current thread, but tasks on other threads continue to run.
    async fn read(&mut self, index: usize) -> Option<Reading> {
        let wakes = self.wakes.clone();
        let source = self.sources.get_mut(index)?;
        let reading = tokio::task::block_in_place(|| source.read(&wakes));
        let repo = source.repo.to_string();
        let result = if reading.is_some() { "success" } else { "failure" };
        let labels = [("repo", repo.clone()), ("result", result.to_owned())];
        self.counters.reads.get_or_create(&labels).inc();
        if let Some(reading) = &reading {
            let count = i64::try_from(reading.branches.heads.len()).unwrap_or(i64::MAX);
            self.counters.branches.get_or_create(&[("repo", repo)]).set(count);
        }
        reading
    }

    /// Returns the URL from which the repository can be cloned, unless the database already
    /// contains it.
    async fn new_clone_url<C: CommitOps>(
        &self,
        head: &C,
        source: &WatchedRepository,
    ) -> Result<Option<(Repo, String)>, BridgeError> {
        let Some(url) = source.clone_url() else { return Ok(None) };
        let found = read_clone_url(&head.tree(), &source.repo).await?;
        Ok((found.as_ref() != Some(&url)).then(|| (source.repo.clone(), url)))
    }

    /// Rejects a repository that contains the branch to which the bridge publishes.
    async fn check_loop<D: Database>(
        &self,
        db: &D,
        source: &WatchedRepository,
        reading: &Reading,
    ) -> Result<(), BridgeError> {
        let name = RefName::new(RefKind::Heads, &self.branch);
        let Some(head) = name.ok().and_then(|name| reading.branches.heads.get(&name)) else {
            return Ok(());
        };
        match db.commit(head.to_string()).await {
            Ok(_) => Err(BridgeError::Loop {
                repo: source.repo.clone(),
                path: source.path.clone(),
                branch: self.branch.clone(),
            }),
            Err(Error::NotFound | Error::InvalidHash(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The refs stored in the database as of a particular commit.
#[derive(Debug)]
struct PublishedRefs<C> {
    /// The commit that contains `refs`, or `None` if the refs must be read again.
    commit: Option<C>,
    refs: BTreeMap<Repo, Published>,
    /// The repositories whose clone URLs have been written or do not need to be written.
    clone_urls: BTreeSet<Repo>,
}

impl<C> Default for PublishedRefs<C> {
    fn default() -> PublishedRefs<C> {
        PublishedRefs { commit: None, refs: BTreeMap::new(), clone_urls: BTreeSet::new() }
    }
}

impl<C: CommitOps> PublishedRefs<C> {
    /// Reads the refs that changed between the last known commit and `head`. Returns the
    /// repositories whose refs have changed.
    async fn refresh(&mut self, head: &C, repos: &BTreeSet<Repo>) -> Result<BTreeSet<Repo>, Error> {
        let changed: BTreeSet<Repo> = match &self.commit {
            Some(commit) if commit == head => return Ok(BTreeSet::new()),
            Some(commit) => {
                let changes = Changes::of(&head.diff(commit).await?);
                let refs = changes.ids.iter().filter(|id| matches!(id, ElementId::Ref(_)));
                refs.map(|id| id.repo().clone()).filter(|repo| repos.contains(repo)).collect()
            }
            None => repos.clone(),
        };
        for repo in &changed {
            let refs = read_refs(&head.tree(), repo).await?;
            let refs = refs.into_iter().map(|reference| (reference.id.name, reference.head));
            self.refs.insert(repo.clone(), refs.collect());
        }
        self.commit = Some(head.clone());
        Ok(changed)
    }

    /// Applies committed changes to the known refs.
    fn apply(&mut self, diff: &datakit_github::Diff) {
        for id in diff.removals() {
            if let (ElementId::Ref(id), Some(refs)) = (id, self.refs.get_mut(id.repo())) {
                refs.remove(&id.name);
            }
        }
        for element in diff.updates() {
            if let datakit_github::Element::Ref(reference) = element {
                let refs: &mut BTreeMap<RefName, Hash> =
                    self.refs.entry(reference.id.repo.clone()).or_default();
                refs.insert(reference.id.name.clone(), reference.head);
            }
        }
    }
}
