//! The HTTP server, which accepts connections, processes requests, and applies the faults that
//! affect connections.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::actor::Actor;
use super::call::Call;
use super::faults::Fault;
use super::inner::FakeInner;
use super::log::Record;
use super::reply::{Reply, hex};
use super::routes;
use super::urls::Urls;

/// The maximum number of concurrent connections. Further connections wait.
const CONNECTIONS: usize = 512;

/// The maximum size of a request body in bytes.
pub(crate) const LARGEST_BODY: usize = 1 << 20;

/// The maximum number of bytes of a request body that the log keeps.
const LOGGED_BODY: usize = 16 << 10;

/// The maximum time that a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// The base path of the API on an Enterprise server.
pub(crate) const ENTERPRISE: &str = "/api/v3";

/// Answers requests. If `answer` returns an error, the connection is closed.
pub(crate) trait Answers: Clone + Send + 'static {
    fn answer(
        self,
        request: Request<Incoming>,
    ) -> impl Future<Output = io::Result<Response<Payload>>> + Send;
}

/// Serves connections until the future is dropped.
pub(crate) async fn serve(listener: TcpListener, answers: impl Answers) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let answers = answers.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answers.clone().answer(request));
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
            // Ignore errors, because the connection is closed anyway if the client violates HTTP or
            // disconnects.
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            drop(permit);
        });
    }
}

/// Reads the body of a request. Returns `None` if the body is too long or cannot be received.
pub(crate) async fn read(body: Incoming) -> Option<Bytes> {
    Limited::new(body, LARGEST_BODY).collect().await.ok().map(|body| body.to_bytes())
}

/// The REST API.
#[derive(Clone)]
pub(crate) struct Api(pub(crate) Arc<FakeInner>);

impl Answers for Api {
    async fn answer(self, request: Request<Incoming>) -> io::Result<Response<Payload>> {
        let write = request.method() != "GET";
        let _running = Running::new(&self.0, write);
        let (head, body) = request.into_parts();
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_string();
        let (path, base) = match target.strip_prefix(ENTERPRISE) {
            Some(rest) if rest.starts_with('/') => (rest.to_string(), ENTERPRISE),
            _ => (target.clone(), ""),
        };
        let web = format!("http://{}", self.0.addr);
        let mut call = Call {
            method: head.method.to_string(),
            queries: queries(path.split_once('?').map_or("", |(_, query)| query)),
            path: path.split('?').next().unwrap_or_default().into(),
            headers: head.headers,
            body: Bytes::new(),
            urls: Urls { api: format!("{web}{base}"), web },
            params: Vec::new(),
            actor: Actor::Anonymous,
            repo: 0,
        };
        let read = read(body).await;
        let fault = self.0.world.lock().faults.next(&format!("{} {path}", call.method));
        if let Some(Fault::Slow(time)) = fault {
            tokio::time::sleep(time).await;
        }
        call.body = read.clone().unwrap_or_default();
        let reply = self.reply(&mut call, target, fault.as_ref(), read.is_none());
        match (fault, reply) {
            (Some(Fault::Hang), _) => std::future::pending().await,
            (Some(Fault::Close | Fault::Lost), _) | (_, None) => {
                Err(io::ErrorKind::ConnectionReset.into())
            }
            (fault, Some(reply)) => Ok(response(self.0.request_id(), reply, fault.as_ref())),
        }
    }
}

impl Api {
    /// Performs the call unless a fault prevents it. The call is logged whether or not a fault
    /// prevents it.
    fn reply(
        &self,
        call: &mut Call,
        target: String,
        fault: Option<&Fault>,
        too_long: bool,
    ) -> Option<Reply> {
        let mut world = self.0.world.lock();
        let world = &mut *world;
        let route = routes::find(world, call);
        let reply = match fault {
            Some(Fault::Status(status)) => Some(Reply::new(*status, None)),
            Some(Fault::Abuse { status, retry_after }) => {
                let reply = super::limits::secondary(*status);
                Some(match retry_after {
                    Some(seconds) => reply.with("retry-after", seconds),
                    None => reply,
                })
            }
            Some(Fault::Close | Fault::Hang) => None,
            _ if too_long => Some(Reply::error(413, "Payload too big")),
            _ => Some(routes::answer(world, call, route)),
        };
        let name = route.map_or("?".into(), |route| format!("{} {}", route.method, route.path));
        let lost = matches!(fault, Some(Fault::Lost));
        let body = call.body.slice(..call.body.len().min(LOGGED_BODY));
        world.log.add(Record {
            route: name,
            target,
            status: reply.as_ref().filter(|_| !lost).map(|reply| reply.status),
            login: call.actor.login(world),
            body: String::from_utf8_lossy(&body).into(),
        });
        self.0.changed.notify_waiters();
        self.0.outgoing.notify_one();
        reply
    }
}

/// A guard for a running call. The call counts as running until the guard is dropped.
struct Running(Arc<FakeInner>, bool);

impl Running {
    fn new(shared: &Arc<FakeInner>, write: bool) -> Self {
        shared.world.lock().log.began(write);
        Self(shared.clone(), write)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.world.lock().log.ended(self.1);
    }
}

/// Returns the names and values in a query string.
pub(crate) fn queries(query: &str) -> Vec<(String, String)> {
    let decode =
        |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

fn response(id: u64, reply: Reply, fault: Option<&Fault>) -> Response<Payload> {
    let text = match (&reply.body, fault) {
        (_, Some(Fault::Status(status))) => {
            format!("<html><body><h1>{status}</h1>Unicorn!</body></html>\n")
        }
        (Some(body), _) => body.to_string(),
        (None, _) => String::new(),
    };
    let kind = if text.starts_with('<') { "text/html" } else { "application/json; charset=utf-8" };
    let half = text.len() / 2;
    let (data, length, broken) = match fault {
        Some(Fault::Cut) => (&text.as_bytes()[..half], text.len(), true),
        Some(Fault::HalfBody) => (&text.as_bytes()[..half], half, false),
        _ => (text.as_bytes(), text.len(), false),
    };
    let mut builder = Response::builder()
        .status(reply.status)
        .header("server", "github.com")
        .header("vary", "Accept, Authorization, Cookie, X-GitHub-OTP, Accept-Encoding, Accept, X-Requested-With")
        .header("x-github-media-type", "github.v3; format=json")
        .header("x-github-api-version-selected", "2022-11-28")
        .header("x-github-request-id", format!("{:04X}:{}", id % 0x1_0000, hex(&id.to_be_bytes())));
    if reply.status != 204 && reply.status != 304 {
        builder = builder.header("content-type", kind).header("content-length", length);
    }
    for (name, value) in reply.headers {
        builder = builder.header(name, value);
    }
    let payload = Payload { data: Some(Bytes::copy_from_slice(data)), broken };
    builder.body(payload).unwrap_or_else(|_| Response::new(Payload { data: None, broken: true }))
}

/// A response body that may be shorter than the announced length.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) data: Option<Bytes>,
    pub(crate) broken: bool,
}

impl hyper::body::Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.data.take().filter(|data| !data.is_empty()) {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None if self.broken => Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into()))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.data.as_ref().is_none_or(Bytes::is_empty) && !self.broken
    }
}
