//! The queue of events for a receiver.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use hyper::body::Bytes;
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Event;

/// The maximum number of queued events per receiver. If the queue is full, the oldest event is
/// dropped, because newer events are usually more useful.
pub(super) const MAX_QUEUED: usize = 1000;

/// An event as a request body, which is the same for all receivers and all attempts.
#[derive(Debug)]
pub(super) struct Delivery {
    /// The id, which allows a receiver to detect duplicate events.
    pub(super) id: String,
    pub(super) body: Bytes,
    pub(super) created: Instant,
}

#[derive(Serialize)]
struct Body<'b> {
    event: &'static str,
    id: &'b str,
    time: String,
    #[serde(flatten)]
    content: &'b Event,
}

impl Delivery {
    /// # Errors
    /// Returns an error if the system cannot provide random bytes.
    pub(super) fn new(event: &Event) -> io::Result<Delivery> {
        let mut bytes = [0; 16];
        let filled = SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_| io::Error::other("the system cannot provide random bytes"))?;
        let id = format!("{:032x}", u128::from_be_bytes(bytes));
        let time = jiff::Timestamp::now().to_string();
        let body = Body { event: "status", id: &id, time, content: event };
        let body = serde_json::to_vec(&body)?.into();
        Ok(Delivery { id, body, created: Instant::now() })
    }
}

/// A bounded queue.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<VecDeque<QueuedDelivery>>,
    /// The length of the queue.
    length: watch::Sender<usize>,
    dropped: Mutex<u64>,
}

#[derive(Debug)]
struct QueuedDelivery {
    delivery: Arc<Delivery>,
    /// The metadata commit whose last event is this one.
    last_of: Option<String>,
}

impl Queue {
    pub(super) fn new() -> Queue {
        Queue { waiting: Mutex::default(), length: watch::Sender::new(0), dropped: Mutex::new(0) }
    }

    pub(super) fn push(&self, delivery: Arc<Delivery>) {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MAX_QUEUED {
            waiting.pop_front();
            *self.dropped.lock() += 1;
        }
        waiting.push_back(QueuedDelivery { delivery, last_of: None });
        self.length.send_replace(waiting.len());
    }

    /// Waits for an event and returns the oldest one, which stays in the queue.
    pub(super) async fn first(&self) -> Arc<Delivery> {
        let mut length = self.length.subscribe();
        loop {
            if let Some(first) = self.waiting.lock().front() {
                return first.delivery.clone();
            }
            // The call cannot fail, because `self` holds the sender.
            let _ = length.wait_for(|length| *length > 0).await;
        }
    }

    /// Records that all events of a metadata commit are in the queue. Returns `false` if the queue
    /// is empty.
    pub(super) fn set_last_of(&self, commit: &str) -> bool {
        let mut waiting = self.waiting.lock();
        let last = waiting.back_mut();
        last.map(|last| last.last_of = Some(commit.to_owned())).is_some()
    }

    /// Removes an event, unless it has already been dropped. If the event was the last one of a
    /// metadata commit, that commit is returned.
    pub(super) fn remove(&self, delivery: &Delivery) -> Option<String> {
        let mut waiting = self.waiting.lock();
        if waiting.front()?.delivery.id != delivery.id {
            return None;
        }
        let first = waiting.pop_front()?;
        self.length.send_replace(waiting.len());
        first.last_of
    }

    /// Removes an event that has been queued for too long.
    pub(super) fn give_up(&self, delivery: &Delivery) -> Option<String> {
        *self.dropped.lock() += 1;
        self.remove(delivery)
    }

    /// Waits until the queue is empty.
    pub(super) async fn emptied(&self) {
        let _ = self.length.subscribe().wait_for(|length| *length == 0).await;
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Returns the number of events that were dropped.
    pub(super) fn dropped(&self) -> u64 {
        *self.dropped.lock()
    }
}
