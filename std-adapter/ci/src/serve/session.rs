//! One connection to the database.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use datakit_ci::lease::{Lease, LeaseError, ServerId};
use datakit_ci::pipeline::Pipelines;
use datakit_ci::prune::{LogPolicy, prune_logs};
use datakit_ci::{Engine, Options, Project};
use datakit_client::db::{Db, Error};

use super::AnyError;
use super::server::Server;
use super::step_settings::step_settings;
use super::web::Web;

/// How often old logs are removed.
const PRUNE_INTERVAL: Duration = Duration::from_secs(3600);

/// The time limit for releasing the lease when the program exits.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// The reason why a session ended.
pub(super) enum Ended {
    /// Another server is using the database.
    Lost(LeaseError),
    /// The database returned an error or did not respond.
    Failed(AnyError),
}

impl From<LeaseError> for Ended {
    fn from(error: LeaseError) -> Ended {
        match error {
            LeaseError::Database(error) => Ended::Failed(error.into()),
            held => Ended::Lost(held),
        }
    }
}

impl Server {
    /// Creates the engine, whose jobs outlive a connection.
    pub(super) fn engine(&self) -> Engine<Db> {
        Engine::new(self.db.clone(), self.options(), self.projects())
            .with_view(self.view.clone(), self.counters.clone())
    }

    /// Tests the targets until the connection fails or the lease is lost. Builds continue after the
    /// connection has failed.
    pub(super) async fn session(
        &self,
        db: Db,
        id: &ServerId,
        web: &Web,
        engine: &mut Engine<Db>,
    ) -> Ended {
        let ended = tokio::select! {
            ended = self.run(&db, id, web, engine) => match ended {
                Ok(never) => match never {},
                Err(ended) => ended,
            },
            error = self.contact.probe(&db) => Ended::Failed(error),
        };
        self.contact.lost();
        self.db.disconnect();
        ended
    }

    async fn run(
        &self,
        db: &Db,
        id: &ServerId,
        web: &Web,
        engine: &mut Engine<Db>,
    ) -> Result<Infallible, Ended> {
        let lease = Arc::new(Lease::acquire(db, id.clone(), self.lease_timeout).await?);
        *self.lease.lock() = Some(lease.clone());
        tracing::info!("connected to the database");
        self.contact.acquired();
        self.db.connect(db.clone());
        web.connected(self, db.clone());
        let mut statuses = self.statuses.lock().await;
        let failed = |ended: Result<(), Error>| {
            Ended::Failed(ended.err().unwrap_or(Error::StreamEnded).into())
        };
        tokio::select! {
            ended = statuses.run(db) => Err(failed(ended)),
            ended = engine.run() => Err(failed(ended)),
            error = lease.hold() => Err(error.into()),
            never = self.rebuilds.run(&self.view, &self.builds) => match never {},
            never = self.prune(db) => match never {},
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

    fn projects(&self) -> Vec<Project> {
        let mut projects = Vec::new();
        for (repo, given) in &self.given {
            let source = self.clones.source(repo, given, &self.db, &self.branch);
            let settings = step_settings(self, repo);
            let pipelines = Pipelines::new(self.db.clone(), source, settings, self.live.clone());
            pipelines.add_to(&self.builds);
            projects.push(Project::dynamic(repo.clone(), move |input| pipelines.tests(input)));
        }
        projects
    }

    /// Removes old logs periodically.
    async fn prune(&self, db: &Db) -> Infallible {
        let Some(policy) = self.config.logs.policy() else { return std::future::pending().await };
        loop {
            // A wrong clock must not make all logs look old.
            let now = self.clock.lock().now();
            let policy = LogPolicy { max_age: policy.max_age.filter(|_| now.is_some()), ..policy };
            let now = now.unwrap_or_else(SystemTime::now);
            match prune_logs(db, policy, &self.live, now).await {
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
