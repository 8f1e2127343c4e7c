//! The delivery of events to webhooks, and its faults.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use ring::hmac;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Shared;
use super::reply::hex;

/// The events that wait for their delivery. Further ones are lost.
const WAITING: usize = 10_000;

/// The deliveries that the fake remembers.
const REMEMBERED: usize = 10_000;

/// The delayed deliveries at the same time.
const DELAYED: usize = 64;

/// How long a receiver may take, as on GitHub.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What goes wrong with a delivery.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DeliveryFault {
    /// The event is lost.
    Drop,
    /// The event is delivered twice with the same delivery identifier.
    Double,
    /// The event is delivered after the next event. If there is none, it waits for
    /// [`GitHub::settle`](super::GitHub::settle).
    Swap,
    /// The event is delivered after this time. Later events do not wait.
    Delay(Duration),
    /// The signature is that of another secret.
    BadSignature,
}

/// An event for one webhook.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) repo: u64,
    /// The webhook of the repository, or 0 for that of an app.
    pub(crate) hook: u64,
    pub(crate) url: String,
    pub(crate) secret: Option<String>,
    pub(crate) json: bool,
    pub(crate) event: String,
    pub(crate) id: String,
    pub(crate) body: String,
}

/// A delivery that was made or failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Delivered {
    /// The webhook, or 0 for that of an app.
    pub hook: u64,
    /// The name of the event.
    pub event: String,
    /// The delivery identifier.
    pub id: String,
    /// The event as JSON.
    pub body: String,
    /// The status of the receiver's answer, or why there is none.
    pub outcome: Result<u16, String>,
}

/// The events to deliver, and those that were delivered.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<Delivery>,
    /// The deliveries that are on their way.
    running: usize,
    held: Vec<Delivery>,
    faults: Vec<(String, DeliveryFault, u32)>,
    pub(crate) delivered: VecDeque<Delivered>,
    /// The events that were lost because too many were waiting.
    pub(crate) lost: u64,
}

impl Outbox {
    pub(crate) fn push(&mut self, delivery: Delivery) {
        if self.waiting.len() < WAITING { self.waiting.push_back(delivery) } else { self.lost += 1 }
    }

    pub(crate) fn fault(&mut self, event: &str, fault: DeliveryFault, times: u32) {
        self.faults.push((event.into(), fault, times));
    }

    /// Puts the events that wait for a later one back into the queue. Returns whether there were
    /// any.
    pub(crate) fn release(&mut self) -> bool {
        self.waiting.extend(self.held.drain(..));
        !self.waiting.is_empty()
    }

    pub(crate) fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// Whether nothing waits and nothing is on its way, except for events that are held.
    pub(crate) fn settled(&self) -> bool {
        self.waiting.is_empty() && self.running == 0
    }

    fn next(&mut self) -> Option<(Delivery, Option<DeliveryFault>)> {
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
}

/// Delivers events in order until the future is dropped.
pub(crate) async fn run(shared: Arc<Shared>) {
    let delayed = Arc::new(Semaphore::new(DELAYED));
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let next = {
            let outbox = &mut shared.world.lock().outbox;
            let next = outbox.next();
            outbox.running += usize::from(next.is_some());
            next
        };
        let Some((delivery, fault)) = next else {
            shared.outgoing.notified().await;
            continue;
        };
        match fault {
            Some(DeliveryFault::Swap) => {
                shared.world.lock().outbox.held.push(delivery);
                done(&shared);
                continue;
            }
            Some(DeliveryFault::Drop) => {
                done(&shared);
                continue;
            }
            Some(DeliveryFault::Delay(time)) => {
                let (shared, permit) = (shared.clone(), delayed.clone().acquire_owned().await);
                tasks.spawn(async move {
                    tokio::time::sleep(time).await;
                    send(&shared, &delivery, true).await;
                    drop(permit);
                    done(&shared);
                });
                continue;
            }
            Some(DeliveryFault::BadSignature) => send(&shared, &delivery, false).await,
            Some(DeliveryFault::Double) => {
                send(&shared, &delivery, true).await;
                send(&shared, &delivery, true).await;
            }
            None => send(&shared, &delivery, true).await,
        }
        let held = std::mem::take(&mut shared.world.lock().outbox.held);
        for delivery in held {
            send(&shared, &delivery, true).await;
        }
        done(&shared);
    }
}

fn done(shared: &Shared) {
    shared.world.lock().outbox.running -= 1;
    shared.changed.notify_waiters();
}

/// Delivers an event and remembers the outcome.
async fn send(shared: &Shared, delivery: &Delivery, good: bool) {
    let outcome = match tokio::time::timeout(TIMEOUT, post(delivery, good)).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {TIMEOUT:?}")),
    };
    let mut world = shared.world.lock();
    let hook =
        world.repos.get_mut(&delivery.repo).and_then(|repo| repo.hooks.get_mut(&delivery.hook));
    if let Some(hook) = hook {
        hook.last = Some(*outcome.as_ref().unwrap_or(&502));
    }
    let delivered = &mut world.outbox.delivered;
    if delivered.len() == REMEMBERED {
        delivered.pop_front();
    }
    delivered.push_back(Delivered {
        hook: delivery.hook,
        event: delivery.event.clone(),
        id: delivery.id.clone(),
        body: delivery.body.clone(),
        outcome,
    });
}

/// The value of `X-Hub-Signature-256`.
pub fn signature(secret: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!("sha256={}", hex(hmac::sign(&key, body).as_ref()))
}

async fn post(
    delivery: &Delivery,
    good: bool,
) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    let (body, kind) = if delivery.json {
        (delivery.body.clone(), "application/json")
    } else {
        let text = percent_encoding::utf8_percent_encode(
            &delivery.body,
            percent_encoding::NON_ALPHANUMERIC,
        );
        (format!("payload={text}"), "application/x-www-form-urlencoded")
    };
    let uri: Uri = delivery.url.parse()?;
    if uri.scheme_str() != Some("http") {
        return Err("only http:// is supported".into());
    }
    let host = uri.host().ok_or("the address has no host")?;
    let port = uri.port_u16().unwrap_or(80);
    let mut request = Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header("host", format!("{host}:{port}"))
        .header("user-agent", "GitHub-Hookshot/fake")
        .header("accept", "*/*")
        .header("content-type", kind)
        .header("x-github-event", &delivery.event)
        .header("x-github-delivery", &delivery.id)
        .header("x-github-hook-id", delivery.hook)
        .header(
            "x-github-hook-installation-target-type",
            if delivery.hook == 0 { "integration" } else { "repository" },
        )
        .header("x-github-hook-installation-target-id", delivery.repo);
    if let Some(secret) = &delivery.secret {
        let secret = if good { secret.clone() } else { format!("not {secret}") };
        request = request.header("x-hub-signature-256", signature(&secret, body.as_bytes()));
    }
    let stream = TcpStream::connect((host, port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = sender.send_request(request.body(Full::new(Bytes::from(body)))?);
    tokio::pin!(connection);
    tokio::select! {
        answer = exchange => Ok(answer?.status().as_u16()),
        end = &mut connection => end.map_err(Into::into).and(Err("the receiver closed the connection".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of GitHub's documentation.
    #[test]
    fn the_signature_is_that_of_the_documentation() {
        assert_eq!(
            signature("It's a Secret to Everybody", b"Hello, World!"),
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
    }
}
