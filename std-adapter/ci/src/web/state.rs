//! The data that the pages show.

use std::fmt;
use std::sync::Arc;

use datakit_client::db::Database;
use tokio::sync::Semaphore;

use super::auth::Auth;
use super::log::saved::SavedLogs;
use super::log::tail::Tails;
use super::store::{DatabaseStore, WebStore};
use crate::build::{Builds, LiveLogs};
use crate::pool::Pools;
use crate::{Target, View};

/// The maximum number of connections that receive server-sent events.
const STREAMS_MAX: usize = 4000;

/// The data that the pages show, and the builds that they control. Clones are cheap.
#[derive(Clone)]
pub struct WebState(pub(super) Arc<WebStateInner>);

pub(super) struct WebStateInner {
    pub(super) view: View,
    pub(super) builds: Builds,
    pub(super) pools: Pools,
    pub(super) auth: Auth,
    pub(super) store: Arc<dyn WebStore>,
    pub(super) saved: SavedLogs,
    pub(super) tails: Tails,
    /// The permits for connections that receive server-sent events.
    pub(super) streams: Arc<Semaphore>,
    pub(super) dashboards: Vec<Target>,
    pub(super) metrics: Option<Metrics>,
}

/// The metrics, and the hash of the token that grants access to them.
pub(super) struct Metrics {
    pub(super) token_sha256: [u8; 32],
    pub(super) text: Box<dyn Fn() -> String + Send + Sync>,
}

impl WebState {
    /// Creates the state. The pages show the jobs of `view` and the logs in `live` and in the
    /// database.
    pub fn new<D: Database>(
        db: D,
        view: View,
        live: LiveLogs,
        builds: Builds,
        pools: Pools,
        auth: Auth,
    ) -> WebState {
        let store: Arc<dyn WebStore> = Arc::new(DatabaseStore::new(db));
        WebState(Arc::new(WebStateInner {
            saved: SavedLogs::new(store.clone()),
            tails: Tails::new(live, view.clone()),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            dashboards: Vec::new(),
            metrics: None,
            view,
            builds,
            pools,
            auth,
            store,
        }))
    }

    /// Sets the targets to show on the home page. By default, these are the branches `master` and
    /// `main` of all repositories. Has no effect if the state has already been cloned.
    #[must_use]
    pub fn dashboards(mut self, targets: Vec<Target>) -> WebState {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.dashboards = targets;
        }
        self
    }

    /// Serves the metrics returned by `text`. A request for the metrics must contain the token
    /// whose SHA-256 hash is `token_sha256`. Has no effect if the state has already been cloned.
    #[must_use]
    pub fn metrics(
        mut self,
        token_sha256: [u8; 32],
        text: impl Fn() -> String + Send + Sync + 'static,
    ) -> WebState {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.metrics = Some(Metrics { token_sha256, text: Box::new(text) });
        }
        self
    }

    /// Returns how many times a live log has been read for its viewers, or `None` if no build is
    /// running on the branch. Each read serves all viewers.
    #[must_use]
    pub fn live_log_reads(&self, branch: &str) -> Option<usize> {
        Some(self.0.tails.get(branch)?.reads())
    }
}

impl fmt::Debug for WebState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebState").field("view", &self.0.view).finish_non_exhaustive()
    }
}
