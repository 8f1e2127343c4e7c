//! The server's state, which is kept when the connection to the database is lost.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use datakit_ci::build::{Builds, LiveLogs};
use datakit_ci::command::{Isolation, Sandbox};
use datakit_ci::lease::Lease;
use datakit_ci::pipeline::DEFAULT_POOL;
use datakit_ci::pool::{Pool, Pools};
use datakit_ci::webhook::{StatusWatcher, Webhooks};
use datakit_ci::{Counters, Options, SharedDb, Target, View};
use datakit_client::db::Db;
use datakit_github::Repo;
use parking_lot::Mutex;

use super::AnyError;
use super::contact::Contact;
use super::projects::{Clones, Given};
use super::rebuild::Rebuilds;
use crate::args::{self, ServeArgs};
use crate::config::{AbsolutePath, Config, RepoName};
use crate::metrics::{Connections, Sources};
use crate::steady_clock::SteadyClock;

/// The state that outlives a connection.
pub(super) struct Server {
    pub(super) config: Config,
    pub(super) secrets_dir: PathBuf,
    /// The SHA-256 hash of the metrics token.
    pub(super) metrics_token: Option<[u8; 32]>,
    pub(super) connections: Connections,
    pub(super) db: SharedDb<Db>,
    pub(super) contact: Contact,
    pub(super) view: View,
    pub(super) live: LiveLogs,
    pub(super) builds: Builds,
    pub(super) pools: Pools,
    pub(super) counters: Counters,
    pub(super) clones: Clones,
    pub(super) given: BTreeMap<Repo, Given>,
    pub(super) rebuilds: Rebuilds,
    pub(super) clock: Mutex<SteadyClock>,
    pub(super) branch: String,
    pub(super) web_url: String,
    pub(super) canaries: Vec<Target>,
    pub(super) work_dir: PathBuf,
    pub(super) sandbox: Sandbox,
    pub(super) lease_timeout: Duration,
    pub(super) lease: Mutex<Option<Arc<Lease<Db>>>>,
    pub(super) webhooks: Webhooks,
    /// Reports changed statuses to the webhooks. There is only one session at a time.
    pub(super) statuses: tokio::sync::Mutex<StatusWatcher>,
}

impl Server {
    pub(super) fn new(args: &ServeArgs, config: Config, web_url: &str) -> Result<Server, AnyError> {
        let secrets_dir = args.secrets_dir.clone().unwrap_or_else(|| {
            let common = PathBuf::from("/secrets");
            if common.is_dir() { common } else { args.work_dir.join("secrets") }
        });
        for dir in [&args.work_dir, &secrets_dir] {
            private_dir(dir)?;
        }
        let pools = Pools::new();
        let queue = config.queue_limits();
        let jobs = usize::try_from(args.jobs).unwrap_or(usize::MAX);
        let capacities = config.pools.iter().map(|(name, capacity)| (&**name, capacity.get()));
        for (name, capacity) in capacities.chain([(DEFAULT_POOL, jobs)]) {
            pools.get_or_insert_with(name, || Pool::with_queue(name, capacity, queue.clone()));
        }
        let webhooks = Webhooks::open(&secrets_dir, &args.work_dir)?;
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
            clock: Mutex::new(SteadyClock::new()),
            clones: Clones::new(&args.work_dir.join("clones")),
            metrics_token: config.access.metrics_token()?,
            secrets_dir,
            connections: Connections::default(),
            db: SharedDb::disconnected(),
            contact: Contact::new(args.lease_timeout),
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
}

/// Returns the sandbox for steps. Other code makes the checkout and caches of a step visible again.
fn sandbox(options: &ServeArgs, config: &Config) -> Sandbox {
    if options.unsandboxed {
        return Sandbox::Unsandboxed;
    }
    let hidden = [Some(&options.work_dir), options.secrets_dir.as_ref()];
    let hidden = hidden.into_iter().flatten().filter_map(|dir| std::path::absolute(dir).ok());
    let mut isolation = hidden.fold(Isolation::default(), Isolation::hide).hide("/secrets");
    for AbsolutePath(dir) in &config.visible {
        isolation = isolation.read_only(dir.clone());
    }
    if let Ok(program) = std::env::current_exe() {
        // The program itself may be in a hidden directory.
        isolation = isolation.read_only(program.clone());
        isolation.landlock = Some(vec![program, args::LANDLOCK.into()]);
    }
    Sandbox::Isolated(isolation)
}

/// Creates a directory that other users cannot read, unless it already exists.
fn private_dir(dir: &Path) -> io::Result<()> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    created.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", dir.display())))
}
