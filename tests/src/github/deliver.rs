//! Delivers events to webhooks.

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

use super::inner::FakeInner;
use super::outbox::{Delivered, Delivery, DeliveryFault};
use super::reply::hex;

/// The maximum number of concurrent delayed deliveries.
const DELAYED: usize = 64;

/// The timeout for a receiver's response. GitHub uses the same timeout.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Delivers events in order until the future is dropped.
pub(crate) async fn run(shared: Arc<FakeInner>) {
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

fn done(shared: &FakeInner) {
    shared.world.lock().outbox.running -= 1;
    shared.changed.notify_waiters();
}

/// Delivers an event and logs the outcome.
async fn send(shared: &FakeInner, delivery: &Delivery, good: bool) {
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
    world.outbox.remember(Delivered {
        hook: delivery.hook,
        event: delivery.event.clone(),
        id: delivery.id.clone(),
        body: delivery.body.clone(),
        outcome,
    });
}

/// Returns the value for the `X-Hub-Signature-256` header.
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
    tokio::pin!(exchange, connection);
    tokio::select! {
        answer = &mut exchange => Ok(answer?.status().as_u16()),
        // If the receiver responds and then closes the connection, both futures may become ready at
        // the same time, so the response must also be read here.
        end = &mut connection => {
            end?;
            Ok(exchange.await?.status().as_u16())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example is taken from GitHub's documentation.
    #[test]
    fn signs_the_documented_example() {
        assert_eq!(
            signature("It's a Secret to Everybody", b"Hello, World!"),
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
    }
}
