//! Webhooks: notifies other programs when the status of a test changes.
//!
//! [`Webhooks`] delivers events to the receivers in the file `webhooks.json`. [`StatusWatcher`]
//! watches the metadata branch and creates the events. The file `docs/webhooks.md` describes the
//! requests for the authors of receivers.

mod config;
mod event;
mod queue;
mod receiver;
mod statuses;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tracing::error;

use crate::https_client::HttpsClient;
use config::ReceiverConfig;
use queue::Delivery;
use receiver::{Receiver, Schedule};

pub use event::Event;
pub use statuses::StatusWatcher;

/// Delivers events to the configured receivers. All clones share the deliveries, which end when the
/// last clone is dropped.
#[derive(Clone)]
pub struct Webhooks(Arc<Shared>);

struct Shared {
    receivers: Vec<Arc<Receiver>>,
    _tasks: JoinSet<()>,
}

/// The state of the deliveries to a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiverStatus {
    /// The host of the receiver. The rest of the URL may contain a secret.
    pub host: String,
    /// The number of events that wait.
    pub queued: usize,
    /// The number of events that the receiver has accepted.
    pub delivered: u64,
    /// The number of events that the receiver has refused with a status such as 404.
    pub refused: u64,
    /// The number of events that were dropped because they waited too long or because too many
    /// waited.
    pub dropped: u64,
    /// The time of the first failure, if the last attempt failed.
    pub failing_since: Option<SystemTime>,
    /// The reason why the last attempt failed.
    pub last_error: Option<String>,
}

impl Webhooks {
    /// Reads the receivers from the file `webhooks.json` in the secrets directory, and starts the
    /// deliveries. If the file does not exist, there are no receivers. The function must be called
    /// in a tokio runtime.
    ///
    /// # Errors
    /// Returns an error if the file is malformed or if other users of the system can read it, or if
    /// the system has no root certificates.
    pub fn open(secrets_dir: &Path) -> io::Result<Webhooks> {
        let receivers = config::open(secrets_dir)?;
        if receivers.is_empty() {
            return Ok(Webhooks(Arc::new(Shared {
                receivers: Vec::new(),
                _tasks: JoinSet::new(),
            })));
        }
        Ok(Webhooks::start(receivers, &HttpsClient::new()?, Schedule::default()))
    }

    fn start(configs: Vec<ReceiverConfig>, client: &HttpsClient, schedule: Schedule) -> Webhooks {
        let mut tasks = JoinSet::new();
        let start = |config| {
            let receiver = Arc::new(Receiver::new(config, client.clone(), schedule));
            // Each receiver has a task, so a slow one does not delay the others.
            tasks.spawn(receiver.clone().run());
            receiver
        };
        let receivers = configs.into_iter().map(start).collect();
        Webhooks(Arc::new(Shared { receivers, _tasks: tasks }))
    }

    /// Queues an event for the receivers that want it. Does not wait.
    pub fn send(&self, event: &Event) {
        let mut interested = self.0.receivers.iter().filter(|one| one.wants(event)).peekable();
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

    /// Returns the state of each receiver.
    #[must_use]
    pub fn status(&self) -> Vec<ReceiverStatus> {
        self.0.receivers.iter().map(|receiver| receiver.status()).collect()
    }

    /// Waits until no event is queued, but at most for `limit`. Returns whether no event is left.
    /// Call this before the program exits, because queued events are not stored.
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
