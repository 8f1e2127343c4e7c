//! The HTTP server to which GitHub delivers events.

mod deliveries;
mod signature;

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use self::deliveries::Deliveries;
use self::signature::SignatureKey;
use crate::events::mark_of;
use crate::inbox::Inbox;
use crate::metrics::EventCounters;
use crate::secret::Secret;

/// The maximum size of a payload. GitHub does not send larger payloads.
const MAX_BODY: u32 = 25 << 20;

/// The maximum total size of the payloads that are being received.
const MAX_BODIES: u32 = 2 * MAX_BODY;

/// The maximum number of connections. Further connections wait until one of the existing
/// connections closes.
const MAX_CONNECTIONS: usize = 32;

/// The maximum time for a request and its response. GitHub closes the connection after ten seconds.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A server that receives webhook events.
#[derive(Debug)]
pub(crate) struct WebhookServer {
    socket: TcpListener,
    shared: Arc<WebhookServerInner>,
}

#[derive(Debug)]
struct WebhookServerInner {
    key: SignatureKey,
    deliveries: Mutex<Deliveries>,
    inbox: Arc<Inbox>,
    counters: EventCounters,
    bodies: Semaphore,
}

/// The status and message with which a request is rejected.
type Refusal = (StatusCode, &'static str);

impl WebhookServer {
    /// Listens on `address`, or on `port` on all interfaces if `address` is `None`.
    ///
    /// # Errors
    /// Returns an error if, for example, the port is in use.
    pub(crate) async fn bind(
        address: Option<SocketAddr>,
        port: u16,
        secret: &Secret,
        inbox: Arc<Inbox>,
        counters: EventCounters,
    ) -> std::io::Result<WebhookServer> {
        let socket = match address {
            Some(address) => TcpListener::bind(address).await?,
            None => {
                // The IPv6 socket also accepts IPv4 connections, but some systems have no IPv6.
                let any: [SocketAddr; 2] =
                    [(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()];
                TcpListener::bind(&any[..]).await?
            }
        };
        let bodies = Semaphore::new(MAX_BODIES as usize);
        let (key, deliveries) = (SignatureKey::new(secret), Mutex::default());
        let shared = Arc::new(WebhookServerInner { key, deliveries, inbox, counters, bodies });
        Ok(WebhookServer { socket, shared })
    }

    /// Returns the address on which the server listens.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves requests until the future is dropped.
    pub(crate) async fn serve(self) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        // Acquiring a permit cannot fail, because the semaphore is never closed.
        while let Ok(permit) = permits.clone().acquire_owned().await {
            match self.socket.accept().await {
                Ok((stream, _)) => {
                    let shared = self.shared.clone();
                    tokio::spawn(async move {
                        serve_connection(stream, &shared).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection for webhooks");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, shared: &WebhookServerInner) {
    let service = service_fn(async |request| {
        let (status, text) = match shared.receive(request).await {
            Ok(text) => (StatusCode::ACCEPTED, text),
            Err((status, reason)) => {
                shared.counters.refused.inc();
                tracing::info!(%status, reason, "refused a webhook request");
                (status, reason)
            }
        };
        let mut response = Response::new(Full::new(Bytes::from(format!("{text}\n"))));
        *response.status_mut() = status;
        Ok::<_, Infallible>(response)
    });
    let mut builder = http1::Builder::new();
    builder.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(TIMEOUT);
    // A client that has disconnected or is too slow cannot receive a reply.
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(TIMEOUT, connection).await;
}

impl WebhookServerInner {
    async fn receive(&self, request: Request<Incoming>) -> Result<&'static str, Refusal> {
        if request.method() != Method::POST {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "use POST"));
        }
        let (head, body) = request.into_parts();
        let missing = (StatusCode::BAD_REQUEST, "no X-GitHub-Event or X-GitHub-Delivery");
        let kind = header(&head.headers, "x-github-event").ok_or(missing)?;
        let delivery = header(&head.headers, "x-github-delivery").ok_or(missing)?;
        let signature = header(&head.headers, "x-hub-signature-256")
            .ok_or((StatusCode::UNAUTHORIZED, "no X-Hub-Signature-256"))?;
        let body = self.read(body).await?;
        if !self.key.verify(signature, &body) {
            return Err((StatusCode::UNAUTHORIZED, "the signature is wrong"));
        }
        let is_json = header(&head.headers, "content-type")
            .is_some_and(|kind| kind.split(';').next() == Some("application/json"));
        if !is_json {
            let reason = "set the content type of the webhook to application/json";
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, reason));
        }
        if !self.deliveries.lock().insert(delivery) {
            self.counters.repeated.inc();
            return Ok("this delivery was already received");
        }
        self.accept(kind, &body)
    }

    /// Reads the body after reserving memory for it.
    async fn read(&self, body: Incoming) -> Result<Bytes, Refusal> {
        let too_large = (StatusCode::PAYLOAD_TOO_LARGE, "the payload is longer than 25 MiB");
        let size = body.size_hint().upper().map_or(Ok(MAX_BODY), u32::try_from);
        let size = size.ok().filter(|size| *size <= MAX_BODY).ok_or(too_large)?;
        let reserved = self.bodies.acquire_many(size).await;
        let body = Limited::new(body, MAX_BODY as usize).collect().await;
        drop(reserved);
        Ok(body
            .map_err(|_| (StatusCode::BAD_REQUEST, "the payload is cut off or too long"))?
            .to_bytes())
    }

    fn accept(&self, kind: &str, body: &[u8]) -> Result<&'static str, Refusal> {
        match mark_of(kind, body) {
            Ok(Some(mark)) => {
                tracing::info!(kind, ?mark, "received an event");
                self.counters.events.get_or_create(&[("kind", kind.to_owned())]).inc();
                self.inbox.insert(mark);
                Ok("accepted")
            }
            Ok(None) => {
                self.counters.events.get_or_create(&[("kind", "other".to_owned())]).inc();
                Ok("ignored")
            }
            Err(_) => Err((StatusCode::BAD_REQUEST, "the payload is not an event of this kind")),
        }
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
