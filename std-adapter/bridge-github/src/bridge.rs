//! The main loop of the bridge, which waits for changes and then synchronizes the branch with
//! GitHub. Each such synchronization is called a round.

mod branch;
mod memory;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use datakit_client::db::prelude::*;
use datakit_client::db::{Error, Result};
use datakit_github::capabilities::Op;
use datakit_github::{Capabilities, Commit, Repo, Snapshot, ensure_branch};
use tokio::time::{Instant, sleep_until};

use self::branch::BranchState;
use self::memory::BridgeMemory;
use crate::events::Mark;
use crate::github::{Api, Hook};
use crate::inbox::Inbox;
use crate::metrics::RoundCounters;
use crate::round::{self, Mirror, Outcome};

/// The initial and maximum delays before a failed call is retried.
const MIN_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(300);

/// The settings from the command line.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The branch name.
    pub(crate) branch: String,
    /// The repositories to monitor from the start.
    pub(crate) repos: Vec<Repo>,
    /// The allowed operations.
    pub(crate) capabilities: Capabilities,
    /// The webhook to register.
    pub(crate) hook: Option<Hook>,
    /// The interval at which all repositories are read again, or `None` to disable periodic reads.
    pub(crate) resync: Option<Duration>,
}

/// A bridge between GitHub and a database branch. The bridge keeps its state when the connection to
/// the database is lost.
#[derive(Debug)]
pub(crate) struct Bridge<A, D: Database> {
    api: A,
    settings: Settings,
    inbox: Arc<Inbox>,
    counters: RoundCounters,
    memory: BridgeMemory,
    branch: BranchState<D>,
    resync_at: Option<Instant>,
    retry_at: Option<Instant>,
    retry_delay: Duration,
}

impl<A: Api, D: Database> Bridge<A, D> {
    /// Creates a bridge that has not read anything yet.
    pub(crate) fn new(
        api: A,
        settings: Settings,
        inbox: Arc<Inbox>,
        counters: RoundCounters,
    ) -> Bridge<A, D> {
        let resync_at = settings.resync.and_then(|every| Instant::now().checked_add(every));
        Bridge {
            api,
            settings,
            inbox,
            counters,
            memory: BridgeMemory::default(),
            branch: BranchState::default(),
            resync_at,
            retry_at: None,
            retry_delay: MIN_RETRY,
        }
    }

    /// Runs synchronization rounds until the database fails.
    ///
    /// # Errors
    /// Returns the database error. The caller should then reconnect and call `run` again.
    pub(crate) async fn run(&mut self, db: &D) -> Result<Infallible> {
        let branch = ensure_branch(db, &self.settings.branch).await?;
        branch::monitor(&branch, &self.settings.repos).await?;
        let mut heads = branch.watch_head().await?;
        if !self.branch.reconnect(db).await? {
            self.forget();
        }
        loop {
            while self.round(&branch).await? {}
            tokio::select! {
                head = heads.next() => match head {
                    Some(head) => drop(head?),
                    None => return Err(Error::StreamEnded),
                },
                () = self.inbox.wait() => {}
                () = at(self.resync_at) => {
                    self.memory.mark_all();
                    self.resync_at =
                        self.settings.resync.and_then(|every| Instant::now().checked_add(every));
                }
                () = at(self.retry_at) => {
                    self.retry_at = None;
                    self.memory.retry();
                }
            }
        }
    }

    fn forget(&mut self) {
        tracing::warn!(
            "the branch does not descend from its last known head, so all data is read from GitHub again"
        );
        self.memory = BridgeMemory::default();
        self.branch = BranchState::default();
    }

    /// Runs one round. Returns `true` if the next round must follow immediately.
    async fn round(&mut self, branch: &D::Branch) -> Result<bool> {
        let Some(head) = branch.head().await? else {
            self.forget();
            return Err(Error::NotFound);
        };
        let (datakit, dirty) = match self.branch.read(&head).await? {
            Some(read) => read,
            None => {
                self.forget();
                return Ok(true);
            }
        };
        self.memory.begin(&datakit, dirty, self.inbox.take());
        if !self.memory.has_work(&datakit) && !self.has_hooks_due() {
            return Ok(false);
        }
        self.counters.rounds.inc();
        let fresh = self.import(&datakit).await;
        self.register().await;
        self.reread(&datakit).await;
        self.push(&datakit, &fresh).await;
        self.write(branch, &datakit).await?;
        Ok(self.schedule())
    }

    /// Imports the next repository. Returns the repository if this was its first import.
    async fn import(&mut self, datakit: &Snapshot) -> BTreeSet<Repo> {
        let Some(repo) = self.memory.next_repo() else { return BTreeSet::new() };
        let mirror = Mirror(&self.settings.capabilities);
        if !mirror.reads(&repo.clone().into()) {
            tracing::info!(%repo, "the capabilities do not allow reading the repository");
            self.memory.imported(&repo, None);
            return BTreeSet::new();
        }
        let is_fresh = !self.memory.is_known(&repo);
        let old = self.memory.old_part(&repo, datakit);
        let import = round::import(&self.api, &mirror, &repo, &old).await;
        tracing::info!(%repo, complete = import.complete, "read the repository from GitHub");
        self.memory.imported(&repo, Some(import));
        if is_fresh {
            self.read_owned_statuses(&repo, datakit).await;
        }
        is_fresh.then_some(repo).into_iter().collect()
    }

    /// Reads from GitHub the statuses of former heads, but only where the capabilities give
    /// precedence to the statuses in the branch. The bridge may have sent these statuses to GitHub
    /// before it was restarted, and must now send only the missing ones.
    async fn read_owned_statuses(&mut self, repo: &Repo, datakit: &Snapshot) {
        let mirror = Mirror(&self.settings.capabilities);
        let part = datakit.of_repo(repo);
        let heads = self.memory.github.of_repo(repo);
        let owned = part.statuses().keys().filter(|id| {
            let is_owned = self.settings.capabilities.allow(Op::Exclusive, &(*id).clone().into());
            is_owned && !heads.commits().contains(&id.commit)
        });
        let commits: BTreeSet<Commit> = owned.map(|id| id.commit.clone()).collect();
        for commit in commits {
            let mark = Mark::Statuses(commit.clone());
            let github = &mut self.memory.github;
            if !round::reread(&self.api, &mirror, &mark, github, datakit).await {
                self.memory.unread(repo, part.statuses_of(&commit));
            }
        }
    }

    fn has_hooks_due(&self) -> bool {
        self.settings.hook.is_some() && !self.memory.hooks_due().is_empty()
    }

    /// Registers webhooks that are missing or whose registration must be retried.
    async fn register(&mut self) {
        let Some(hook) = &self.settings.hook else { return };
        if !self.settings.capabilities.allow_webhook(Op::Write) {
            return;
        }
        for repo in self.memory.hooks_due() {
            let result = self.api.ensure_hook(&repo, hook).await;
            match &result {
                Ok(()) => tracing::info!(%repo, url = hook.url, "registered the webhook"),
                Err(error) => tracing::warn!(%repo, %error, "cannot register the webhook"),
            }
            self.memory.hooked(repo, result.is_ok());
        }
    }

    /// Reads the marked pull requests, statuses and refs from GitHub.
    async fn reread(&mut self, datakit: &Snapshot) {
        let mirror = Mirror(&self.settings.capabilities);
        for mark in self.memory.next_marks() {
            let github = &mut self.memory.github;
            let done = round::reread(&self.api, &mirror, &mark, github, datakit).await;
            self.memory.reread(mark, done);
        }
    }

    /// Updates GitHub with changes made in the branch.
    async fn push(&mut self, datakit: &Snapshot, fresh: &BTreeSet<Repo>) {
        let BridgeMemory { synced, github, .. } = &self.memory;
        let pushes = round::pushes(datakit, synced, github, fresh, &self.settings.capabilities);
        for push in self.memory.due(pushes) {
            let id = push.id();
            match round::apply(&self.api, &push).await {
                Outcome::Now(element) => {
                    tracing::info!(%id, "sent to GitHub");
                    self.memory.pushed(&id, element);
                }
                Outcome::Refused(error) => {
                    tracing::warn!(%id, %error, "GitHub refuses the change, undoing it in the branch");
                    self.memory.refused(&push);
                }
                Outcome::Unknown(error) => {
                    tracing::warn!(%id, %error, "cannot send a change to GitHub, trying again later");
                    self.memory.unknown(&push);
                }
            }
        }
    }

    /// Updates the branch with changes made on GitHub.
    async fn write(&mut self, branch: &D::Branch, datakit: &Snapshot) -> Result<()> {
        let github = std::mem::take(&mut self.memory.github);
        self.memory.github = github.prune();
        let mirror = Mirror(&self.settings.capabilities);
        if self.branch.write(branch, datakit, &mut self.memory, &mirror).await? {
            self.counters.commits.inc();
        }
        Ok(())
    }

    /// Schedules the next round. Returns `true` if the next round must follow immediately.
    fn schedule(&mut self) -> bool {
        if self.memory.failures() == 0 {
            self.retry_delay = MIN_RETRY;
            self.retry_at = None;
        } else if self.retry_at.is_none() {
            self.retry_at = Instant::now().checked_add(self.retry_delay);
            self.retry_delay = self.retry_delay.saturating_mul(2).min(MAX_RETRY);
        }
        self.counters.repos.set(gauge(self.memory.github.repos().len()));
        self.counters.failed.set(gauge(self.memory.failures()));
        self.memory.has_marks()
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
