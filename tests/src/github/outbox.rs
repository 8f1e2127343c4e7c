//! The queue of events to deliver, the faults that affect deliveries, and the delivery log.

use std::collections::VecDeque;
use std::time::Duration;

/// The maximum number of events in the queue. Further events are lost.
const WAITING: usize = 10_000;

/// The maximum number of deliveries kept in the log.
const REMEMBERED: usize = 10_000;

/// The maximum number of faults.
const MOST_FAULTS: usize = 1_000;

/// A fault that affects a delivery.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DeliveryFault {
    /// The event is lost.
    Drop,
    /// The event is delivered twice with the same delivery identifier.
    Double,
    /// The event is delivered after the next event, or when
    /// [`GitHub::settle`](super::GitHub::settle) is called.
    Swap,
    /// The event is delivered after this delay. Later events are not delayed.
    Delay(Duration),
    /// The signature is computed with the wrong secret.
    BadSignature,
}

/// An event to be delivered to a webhook.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) repo: u64,
    /// The id of the repository's webhook, or 0 for an app's webhook.
    pub(crate) hook: u64,
    pub(crate) url: String,
    pub(crate) secret: Option<String>,
    pub(crate) json: bool,
    pub(crate) event: String,
    pub(crate) id: String,
    pub(crate) body: String,
}

/// A delivery that has succeeded or failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Delivered {
    /// The id of the repository's webhook, or 0 for an app's webhook.
    pub hook: u64,
    /// The event name.
    pub event: String,
    /// The delivery identifier.
    pub id: String,
    /// The event as JSON.
    pub body: String,
    /// The status of the receiver's response, or the reason why there was no response.
    pub outcome: Result<u16, String>,
}

/// The events to deliver, and the delivery log.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<Delivery>,
    /// The number of deliveries in progress.
    pub(crate) running: usize,
    pub(crate) held: Vec<Delivery>,
    faults: Vec<(String, DeliveryFault, u32)>,
    pub(crate) delivered: VecDeque<Delivered>,
    /// The number of events lost because the queue was full.
    pub(crate) lost: u64,
}

impl Outbox {
    pub(crate) fn push(&mut self, delivery: Delivery) {
        if self.waiting.len() < WAITING { self.waiting.push_back(delivery) } else { self.lost += 1 }
    }

    pub(crate) fn fault(&mut self, event: &str, fault: DeliveryFault, times: u32) {
        assert!(self.faults.len() < MOST_FAULTS, "more than {MOST_FAULTS} faults");
        self.faults.push((event.into(), fault, times));
    }

    /// Moves all held-back events into the queue. Returns whether the queue contains any events
    /// afterwards.
    pub(crate) fn release(&mut self) -> bool {
        self.waiting.extend(self.held.drain(..));
        !self.waiting.is_empty()
    }

    pub(crate) fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// Returns whether the queue is empty and no delivery is in progress. Ignores events that are
    /// being held back.
    pub(crate) fn settled(&self) -> bool {
        self.waiting.is_empty() && self.running == 0
    }

    /// Returns the next event and the fault that affects its delivery, if any.
    pub(crate) fn next(&mut self) -> Option<(Delivery, Option<DeliveryFault>)> {
        let delivery = self.waiting.pop_front()?;
        let hit = |(event, _, times): &&mut (String, DeliveryFault, u32)| {
            *times > 0 && (*event == delivery.event || event == "*")
        };
        let fault = self.faults.iter_mut().find(hit).map(|(_, fault, times)| {
            *times -= 1;
            fault.clone()
        });
        self.faults.retain(|(_, _, times)| *times > 0);
        Some((delivery, fault))
    }

    /// Adds a delivery to the log.
    pub(crate) fn remember(&mut self, delivered: Delivered) {
        if self.delivered.len() == REMEMBERED {
            self.delivered.pop_front();
        }
        self.delivered.push_back(delivered);
    }
}
