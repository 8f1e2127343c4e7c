//! Webhooks, which notify other programs when the status of a test changes.
//!
//! [`Webhooks`] delivers events to the receivers configured in `webhooks.json`. [`StatusWatcher`]
//! watches the metadata branch and creates the events. The format of the requests is documented in
//! `docs/webhooks.md`.

mod checkpoints;
mod config;
mod event;
mod queue;
mod receiver;
mod statuses;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tracing::error;

use crate::https_client::HttpsClient;
use checkpoints::Checkpoints;
use config::ReceiverConfig;
use queue::Delivery;
use receiver::{Receiver, Schedule};

pub use event::Event;
pub use statuses::StatusWatcher;

/// Delivers events to the configured receivers. All clones share the same queues. Deliveries stop
/// when the last clone is dropped.
#[derive(Clone)]
pub struct Webhooks(Arc<WebhooksInner>);

struct WebhooksInner {
    receivers: Vec<Arc<Receiver>>,
    checkpoints: Arc<Checkpoints>,
    _tasks: JoinSet<()>,
}

/// The delivery state of a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiverStatus {
    /// The receiver's host. The rest of the URL is not included, because it can contain a secret.
    pub host: String,
    /// The number of queued events.
    pub queued: usize,
    /// The number of events that the receiver accepted.
    pub delivered: u64,
    /// The number of events that the receiver rejected with a status such as 404.
    pub refused: u64,
    /// The number of events that were dropped because they were queued for too long or the queue
    /// was full.
    pub dropped: u64,
    /// The time of the first failure, if the last attempt failed.
    pub failing_since: Option<SystemTime>,
    /// The reason why the last attempt failed.
    pub last_error: Option<String>,
}

impl Webhooks {
    /// Reads the receivers from `webhooks.json` in the secrets directory, and starts delivering
    /// events. If the file does not exist, there are no receivers. A file in the work directory
    /// records which events have been delivered. This function must be called from within a Tokio
    /// runtime.
    ///
    /// # Errors
    /// Returns an error if the file is malformed, if other users of the system can read it, or if
    /// the system has no root certificates.
    pub fn open(secrets_dir: &Path, work_dir: &Path) -> io::Result<Webhooks> {
        let receivers = config::open(secrets_dir)?;
        if receivers.is_empty() {
            return Ok(Webhooks(Arc::new(WebhooksInner {
                receivers: Vec::new(),
                checkpoints: Checkpoints::in_memory().into(),
                _tasks: JoinSet::new(),
            })));
        }
        let (client, schedule) = (HttpsClient::new()?, Schedule::default());
        Ok(Webhooks::start(receivers, &client, schedule, Checkpoints::open(work_dir)))
    }

    fn start(
        configs: Vec<ReceiverConfig>,
        client: &HttpsClient,
        schedule: Schedule,
        checkpoints: Checkpoints,
    ) -> Webhooks {
        let mut tasks = JoinSet::new();
        let checkpoints = Arc::new(checkpoints);
        let start = |config| {
            let receiver = Receiver::new(config, client.clone(), schedule, checkpoints.clone());
            let receiver = Arc::new(receiver);
            // Each receiver has its own task, so a slow receiver does not delay the others.
            tasks.spawn(receiver.clone().run());
            receiver
        };
        let receivers: Vec<Arc<Receiver>> = configs.into_iter().map(start).collect();
        let ids: Vec<String> = receivers.iter().map(|receiver| receiver.id().to_owned()).collect();
        checkpoints.retain(&ids);
        Webhooks(Arc::new(WebhooksInner { receivers, checkpoints, _tasks: tasks }))
    }

    /// Queues an event for the receivers that want it. Does not wait.
    pub fn send(&self, event: &Event) {
        self.send_to(event, |_| true);
    }

    /// Queues an event for each given receiver that wants it.
    fn send_to(&self, event: &Event, to: impl Fn(&str) -> bool) {
        let receivers = self.0.receivers.iter().filter(|one| to(one.id()));
        let mut interested = receivers.filter(|one| one.wants(event)).peekable();
        if interested.peek().is_none() {
            return;
        }
        match Delivery::new(event) {
            Ok(delivery) => {
                let delivery = Arc::new(delivery);
                interested.for_each(|receiver| receiver.queue().push(delivery.clone()));
            }
            Err(error) => error!(%error, "an event was not queued"),
        }
    }

    /// Records that the events of a metadata commit have been queued for all receivers.
    fn queued_all(&self, commit: &str) {
        self.0.receivers.iter().for_each(|receiver| receiver.queued_all(commit));
    }

    /// Returns the receivers, grouped by checkpoint: the metadata commit up to which all of a
    /// receiver's events have been delivered, rejected or dropped.
    fn checkpoints(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut checkpoints: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for receiver in &self.0.receivers {
            if let Some(commit) = self.0.checkpoints.get(receiver.id()) {
                checkpoints.entry(commit).or_default().insert(receiver.id().to_owned());
            }
        }
        checkpoints
    }

    /// Returns the state of each receiver.
    #[must_use]
    pub fn status(&self) -> Vec<ReceiverStatus> {
        self.0.receivers.iter().map(|receiver| receiver.status()).collect()
    }

    /// Waits until no events are queued, but for no longer than `limit`. Returns `true` if no
    /// events are left. The next run of the program delivers any events that are left.
    pub async fn finish(&self, limit: Duration) -> bool {
        let all = async {
            for receiver in &self.0.receivers {
                receiver.queue().emptied().await;
            }
        };
        tokio::time::timeout(limit, all).await.is_ok()
    }
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").field("receivers", &self.status()).finish()
    }
}
