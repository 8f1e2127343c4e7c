//! One connection to the database.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use datakit_ci::build::{Builds, LiveLogs};
use datakit_ci::command::{Isolation, Sandbox};
use datakit_ci::lease::{Lease, LeaseError, ServerId};
use datakit_ci::pipeline::{DEFAULT_POOL, Pipelines};
use datakit_ci::pool::{Pool, Pools, QUEUE_MAX};
use datakit_ci::prune::prune_logs;
use datakit_ci::webhook::{StatusWatcher, Webhooks};
use datakit_ci::{Counters, Engine, Options, Project, Target, View};
use datakit_client::db::{Db, Error};
use datakit_github::Repo;
use parking_lot::Mutex;

use super::AnyError;
use super::projects::{Clones, Given, step_settings};
use super::rebuild::Rebuilds;
use super::web::Web;
use crate::args::{self, ServeArgs};
use crate::config::{Config, RepoName};
use crate::metrics::{Connections, Sources};

/// The time between two runs of the removal of old logs.
const PRUNE_INTERVAL: Duration = Duration::from_secs(3600);

/// The time limit for releasing the lease when the program exits.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// The state that outlives a connection.
pub(super) struct Server {
    pub(super) config: Config,
    pub(super) secrets_dir: PathBuf,
    /// The SHA-256 hash of the metrics token.
    pub(super) metrics_token: Option<[u8; 32]>,
    pub(super) connections: Connections,
    pub(super) view: View,
    pub(super) live: LiveLogs,
    pub(super) builds: Builds,
    pub(super) pools: Pools,
    counters: Counters,
    clones: Clones,
    given: BTreeMap<Repo, Given>,
    rebuilds: Rebuilds,
    branch: String,
    pub(super) web_url: String,
    canaries: Vec<Target>,
    pub(super) work_dir: PathBuf,
    pub(super) sandbox: Sandbox,
    lease_timeout: Duration,
    lease: Mutex<Option<Arc<Lease<Db>>>>,
    pub(super) webhooks: Webhooks,
    /// Reports changed statuses to the webhooks. There is only one session at a time.
    statuses: tokio::sync::Mutex<StatusWatcher>,
}

/// Returns the sandbox for steps. The checkout and caches of a step are made visible again later.
fn sandbox(options: &ServeArgs, config: &Config) -> Sandbox {
    if options.unsandboxed {
        return Sandbox::Unsandboxed;
    }
    let hidden = [Some(&options.work_dir), options.secrets_dir.as_ref()];
    let hidden = hidden.into_iter().flatten().filter_map(|dir| std::path::absolute(dir).ok());
    let mut isolation = hidden.fold(Isolation::default(), Isolation::hide).hide("/secrets");
    for dir in &config.visible {
        isolation = isolation.read_only(dir.clone());
    }
    if let Ok(program) = std::env::current_exe() {
        // The program can be in a hidden directory.
        isolation = isolation.read_only(program.clone());
        isolation.landlock = Some(vec![program, args::LANDLOCK.into()]);
    }
    Sandbox::Isolated(isolation)
}

/// The reason why a session ended.
pub(super) enum Ended {
    /// Another server is using the database.
    Lost(LeaseError),
    /// The database returned an error.
    Failed(Error),
}

impl From<LeaseError> for Ended {
    fn from(error: LeaseError) -> Ended {
        match error {
            LeaseError::Database(error) => Ended::Failed(error),
            held => Ended::Lost(held),
        }
    }
}

impl Server {
    pub(super) fn new(args: &ServeArgs, config: Config, web_url: &str) -> Result<Server, AnyError> {
        let secrets_dir = args.secrets_dir.clone().unwrap_or_else(|| {
            let common = PathBuf::from("/secrets");
            if common.is_dir() { common } else { args.work_dir.join("secrets") }
        });
        for dir in [&args.work_dir, &secrets_dir] {
            super::projects::private_dir(dir)?;
        }
        let pools = Pools::new();
        let queue = config.queue.unwrap_or(QUEUE_MAX);
        let jobs = usize::try_from(args.jobs).unwrap_or(usize::MAX);
        let capacities = config.pools.iter().map(|(name, capacity)| (&**name, *capacity));
        for (name, capacity) in capacities.chain([(DEFAULT_POOL, jobs)]) {
            pools.get_or_insert_with(name, || Pool::with_queue(name, capacity, queue));
        }
        let webhooks = Webhooks::open(&secrets_dir)?;
        let context = Options::default().context;
        let statuses = StatusWatcher::new(webhooks.clone(), &args.branch, &context);
        let given = config.projects.iter().map(|(RepoName(repo), settings)| {
            Ok((repo.clone(), Given::new(repo, settings, &secrets_dir)?))
        });
        Ok(Server {
            given: given.collect::<Result<_, AnyError>>()?,
            webhooks,
            statuses: tokio::sync::Mutex::new(statuses),
            rebuilds: Rebuilds::new(&config)?,
            clones: Clones::new(&args.work_dir.join("clones")),
            metrics_token: config.access.metrics_token()?,
            secrets_dir,
            connections: Connections::default(),
            view: View::new(),
            live: LiveLogs::new(),
            builds: Builds::new(),
            pools,
            counters: Counters::default(),
            branch: args.branch.clone(),
            web_url: web_url.to_owned(),
            canaries: args.canary.clone(),
            work_dir: args.work_dir.clone(),
            sandbox: sandbox(args, &config),
            lease_timeout: args.lease_timeout,
            lease: Mutex::new(None),
            config,
        })
    }

    pub(super) fn metrics(&self) -> Sources {
        Sources {
            connections: self.connections.clone(),
            counters: self.counters.clone(),
            view: self.view.clone(),
            builds: self.builds.clone(),
            pools: self.pools.clone(),
        }
    }

    /// Tests the targets until the connection fails or the lease is lost. Dropping the future ends all
    /// builds.
    pub(super) async fn session(&self, db: Db, id: &ServerId, web: &Web) -> Ended {
        match self.run(db, id, web).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn run(&self, db: Db, id: &ServerId, web: &Web) -> Result<Infallible, Ended> {
        let lease = Arc::new(Lease::acquire(&db, id.clone(), self.lease_timeout).await?);
        *self.lease.lock() = Some(lease.clone());
        tracing::info!("connected to the database");
        web.connected(self, db.clone());
        self.builds.clear();
        let projects = self.projects(&db);
        let mut engine = Engine::new(db.clone(), self.options(), projects)
            .with_view(self.view.clone(), self.counters.clone());
        let mut statuses = self.statuses.lock().await;
        tokio::select! {
            ended = statuses.run(&db) => match ended {
                Ok(()) => Err(Ended::Failed(Error::StreamEnded)),
                Err(error) => Err(Ended::Failed(error)),
            },
            ended = engine.run() => match ended {
                Ok(()) => Err(Ended::Failed(Error::StreamEnded)),
                Err(error) => Err(Ended::Failed(error)),
            },
            error = lease.hold() => Err(error.into()),
            never = self.rebuilds.run(&self.view, &self.builds) => match never {},
            never = self.prune(&db) => match never {},
        }
    }

    fn options(&self) -> Options {
        let mut options = Options::default();
        options.branch.clone_from(&self.branch);
        options.web_url.clone_from(&self.web_url);
        options.canaries = self.canaries.iter().cloned().collect();
        options.overall = true;
        options
    }

    fn projects(&self, db: &Db) -> Vec<Project> {
        let mut projects = Vec::new();
        for (repo, given) in &self.given {
            let source = self.clones.source(repo, given, db, &self.branch);
            let settings = step_settings(self, repo);
            let pipelines = Pipelines::new(db.clone(), source, settings, self.live.clone());
            pipelines.add_to(&self.builds);
            projects.push(Project::dynamic(repo.clone(), move |input| pipelines.tests(input)));
        }
        projects
    }

    /// Removes old logs periodically.
    async fn prune(&self, db: &Db) -> Infallible {
        let Some(policy) = self.config.logs.policy() else { return std::future::pending().await };
        loop {
            match prune_logs(db, policy, &self.live, SystemTime::now()).await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "removed old logs"),
                Err(error) => tracing::warn!(%error, "old logs cannot be removed"),
            }
            tokio::time::sleep(PRUNE_INTERVAL).await;
        }
    }

    /// Releases the lease, so the next server does not have to wait.
    pub(super) async fn release(&self) {
        let Some(lease) = self.lease.lock().take() else { return };
        match tokio::time::timeout(RELEASE_TIMEOUT, lease.release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(%error, "the lease cannot be released"),
            Err(_) => {
                tracing::info!("the database is not responding, so the lease is not released")
            }
        }
    }
}
