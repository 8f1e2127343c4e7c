//! Delivers events to a receiver.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use ring::hmac;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::checkpoints::Checkpoints;
use super::config::ReceiverConfig;
use super::queue::{Delivery, Queue};
use super::{Event, ReceiverStatus};
use crate::https_client::HttpsClient;

/// The timing of delivery attempts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    /// The delay after the first failure. The delay doubles after each further failure.
    pub(super) first_pause: Duration,
    /// The longest pause.
    pub(super) max_pause: Duration,
    /// The time limit for an attempt.
    pub(super) attempt: Duration,
    /// Events that have been queued for longer than this are dropped.
    pub(super) max_age: Duration,
}

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule {
            first_pause: Duration::from_secs(1),
            max_pause: Duration::from_secs(300),
            attempt: Duration::from_secs(10),
            max_age: Duration::from_secs(3600),
        }
    }
}

/// A receiver and its queue.
pub(super) struct Receiver {
    config: ReceiverConfig,
    key: hmac::Key,
    client: HttpsClient,
    schedule: Schedule,
    queue: Queue,
    /// Identifies the receiver in the checkpoints. This is a hash of the URL, because the URL
    /// itself can contain a secret.
    id: String,
    checkpoints: Arc<Checkpoints>,
    state: Mutex<ReceiverState>,
}

#[derive(Default)]
struct ReceiverState {
    delivered: u64,
    refused: u64,
    failing_since: Option<SystemTime>,
    last_error: Option<String>,
    /// The number of consecutive attempts that have failed.
    failures: u32,
}

/// The result of an attempt.
enum Attempt {
    Delivered,
    /// The receiver rejected the event, so there is no point in trying again.
    Refused(StatusCode),
    /// The attempt failed, but another one might succeed. Contains the error, and the delay if the
    /// receiver requested one.
    Failed(String, Option<Duration>),
}

impl Receiver {
    pub(super) fn new(
        config: ReceiverConfig,
        client: HttpsClient,
        schedule: Schedule,
        checkpoints: Arc<Checkpoints>,
    ) -> Receiver {
        let key = hmac::Key::new(hmac::HMAC_SHA256, config.secret.as_bytes());
        let (queue, state) = (Queue::new(), Mutex::default());
        let id = digest(&SHA256, config.url.to_string().as_bytes());
        let id = id.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Receiver { config, key, client, schedule, queue, id, checkpoints, state }
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Records that all events of a metadata commit have been queued.
    pub(super) fn queued_all(&self, commit: &str) {
        // `record` holds this lock too, so an older checkpoint cannot replace a newer one.
        let _state = self.state.lock();
        if !self.queue.set_last_of(commit) {
            self.checkpoints.set(&self.id, commit);
        }
    }

    /// Returns `true` if the receiver should be notified of an event.
    pub(super) fn wants(&self, event: &Event) -> bool {
        let ReceiverConfig { states, projects, .. } = &self.config;
        (states.is_empty() || states.contains(event.state.as_str()))
            && (projects.is_empty() || projects.contains(&event.project))
    }

    pub(super) fn status(&self) -> ReceiverStatus {
        let state = self.state.lock();
        ReceiverStatus {
            host: self.config.host.clone(),
            queued: self.queue.len(),
            delivered: state.delivered,
            refused: state.refused,
            dropped: self.queue.dropped(),
            failing_since: state.failing_since,
            last_error: state.last_error.clone(),
        }
    }

    /// Delivers events in order. Does not return.
    pub(super) async fn run(self: Arc<Receiver>) {
        loop {
            let delivery = self.queue.first().await;
            if delivery.created.elapsed() >= self.schedule.max_age {
                warn!(host = self.config.host, id = delivery.id, "dropped an expired event");
                let _state = self.state.lock();
                self.store_checkpoint(self.queue.give_up(&delivery));
                continue;
            }
            let attempt = self.attempt(&delivery).await;
            if let Some(pause) = self.record(&delivery, attempt) {
                sleep(pause).await;
            }
        }
    }

    async fn attempt(&self, delivery: &Delivery) -> Attempt {
        let request = Request::post(self.config.url.clone())
            .header("content-type", "application/json")
            .header("user-agent", "datakit-ci")
            .header("x-datakit-event", "status")
            .header("x-datakit-delivery", &delivery.id)
            .header("x-hub-signature-256", self.signature(&delivery.body))
            .body(delivery.body.clone());
        let request = match request {
            Ok(request) => request,
            Err(error) => return Attempt::Failed(error.to_string(), None),
        };
        match self.client.status(request, self.schedule.attempt).await {
            Ok((status, retry_after)) => answered(status, retry_after),
            Err(error) => Attempt::Failed(error.to_string(), None),
        }
    }

    /// Returns the signature in GitHub's format.
    pub(super) fn signature(&self, body: &Bytes) -> String {
        let tag = hmac::sign(&self.key, body);
        let digits: Vec<String> = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256={}", digits.concat())
    }

    /// Records the result of an attempt. Returns the delay before the next attempt, or `None` if
    /// the event will not be sent again.
    fn record(&self, delivery: &Delivery, attempt: Attempt) -> Option<Duration> {
        let mut state = self.state.lock();
        let (host, id) = (&self.config.host, &delivery.id);
        match attempt {
            Attempt::Delivered => {
                debug!(host, id, "delivered");
                if state.failing_since.is_some() {
                    info!(host, "the receiver works again");
                }
                state.delivered += 1;
            }
            Attempt::Refused(status) => {
                warn!(host, id, %status, "the receiver rejected an event");
                state.refused += 1;
            }
            Attempt::Failed(error, retry_after) => {
                let pause = self.pause(state.failures, retry_after);
                warn!(host, id, error, pause = ?pause, "an event was not delivered, retrying");
                state.failures = state.failures.saturating_add(1);
                state.failing_since.get_or_insert_with(SystemTime::now);
                state.last_error = Some(error);
                return Some(pause);
            }
        }
        (state.failures, state.failing_since, state.last_error) = (0, None, None);
        self.store_checkpoint(self.queue.remove(delivery));
        None
    }

    fn store_checkpoint(&self, commit: Option<String>) {
        if let Some(commit) = commit {
            self.checkpoints.set(&self.id, &commit);
        }
    }

    /// Returns the delay after a failure that follows `failures` earlier failures.
    pub(super) fn pause(&self, failures: u32, retry_after: Option<Duration>) -> Duration {
        let Schedule { first_pause, max_pause, .. } = self.schedule;
        let doubled = first_pause.saturating_mul(2_u32.saturating_pow(failures));
        retry_after.unwrap_or_default().max(doubled).min(max_pause)
    }
}

/// Interprets a response. Redirects are not followed, so they count as a rejection.
fn answered(status: StatusCode, retry_after: Option<Duration>) -> Attempt {
    match status.as_u16() {
        200..300 => Attempt::Delivered,
        408 | 425 | 429 | 500.. => Attempt::Failed(format!("status {status}"), retry_after),
        _ => Attempt::Refused(status),
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.status().fmt(f)
    }
}
