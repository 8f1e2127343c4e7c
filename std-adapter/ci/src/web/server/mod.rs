//! The web server: connections, limits and shutdown.

mod body;
mod counters;
mod limits;
mod stall;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use datakit_server::PeerLimiter;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::tls::Tls;
use body::LimitedBody;
use stall::StallTimeout;

pub(super) use body::is_too_large;
pub use counters::{RequestCounters, RequestCounts};
pub use limits::Limits;

/// Serves a router over HTTP/1.1 until `shutdown` completes. If `tls` is set, clients must use TLS.
///
/// Handlers can get the client's address from [`ConnectInfo`]. After the shutdown, waits for
/// running requests to finish, but for no longer than [`Limits::drain`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Tls>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let (stop, stopped) = watch::channel(false);
    let server = Arc::new(Server { router, tls, stopped, limits });
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    tokio::select! {
        () = &mut shutdown => {}
        () = server.accept(&listener, &mut connections) => {}
    }
    drop(listener);
    // All connections are closed after their current request.
    stop.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(server.limits.drain, all).await.is_err() {
        // Event streams do not end on their own.
        debug!(connections = connections.len(), "closing the remaining connections");
        connections.shutdown().await;
    }
}

/// The first byte of a TLS connection.
const TLS_HANDSHAKE: u8 = 22;

/// Returns the first byte sent by the client, but does not consume the byte.
async fn first_byte(stream: &TcpStream) -> io::Result<Option<u8>> {
    let mut byte = [0];
    let count = stream.peek(&mut byte).await?;
    Ok(byte.first().copied().filter(|_| count > 0))
}

/// Asks a client that connected without TLS to use TLS. Visitors often forget the `https://`.
async fn ask_for_tls(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    // Read the request first; otherwise, the client would not see the response.
    let _count = stream.read(&mut [0; 8192]).await?;
    let text = "This server uses TLS. Use an address that starts with https://.\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{text}",
        text.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

struct Server {
    router: Router,
    tls: Option<Tls>,
    stopped: watch::Receiver<bool>,
    limits: Limits,
}

impl Server {
    /// Accepts connections. Does not return.
    async fn accept(self: &Arc<Server>, listener: &TcpListener, connections: &mut JoinSet<()>) {
        let permits = Arc::new(Semaphore::new(self.limits.connections_with_descriptors()));
        let peers = Arc::<PeerLimiter>::default();
        // Acquiring a permit cannot fail, because the semaphore is never closed.
        while let Ok(permit) = permits.clone().acquire_owned().await {
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let limit = self.limits.connections_per_peer;
                    let Some(slot) = peers.try_acquire(Some(peer.ip()), limit) else {
                        debug!(%peer, limit, "too many connections from this address");
                        continue;
                    };
                    let server = self.clone();
                    connections.spawn(async move {
                        if let Err(error) = server.serve_connection(stream, peer).await {
                            debug!(%peer, %error, "the connection failed");
                        }
                        drop((permit, slot));
                    });
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    // If the process has run out of file descriptors, `accept` fails until a
                    // descriptor is closed.
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn serve_connection(&self, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let first = match &self.tls {
            Some(_) => timeout(self.limits.handshake_time, first_byte(&stream)).await??,
            None => None,
        };
        let mut stream = StallTimeout::new(stream, self.limits.write_time);
        match &self.tls {
            None => self.serve_http(stream, peer).await,
            Some(_) if first.is_some_and(|first| first != TLS_HANDSHAKE) => {
                timeout(self.limits.handshake_time, ask_for_tls(&mut stream)).await?
            }
            Some(tls) => {
                let handshake = tls.acceptor().accept(stream);
                let stream = timeout(self.limits.handshake_time, handshake).await??;
                self.serve_http(stream, peer).await
            }
        }
    }

    async fn serve_http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        peer: SocketAddr,
    ) -> io::Result<()> {
        let limits = &self.limits;
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            // The timer starts when the connection becomes idle, so this also limits the idle time.
            .header_read_timeout(limits.header_time)
            .max_headers(limits.headers)
            .max_buf_size(limits.header_bytes);
        let service = service_fn(|request| self.answer(request, peer));
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut stopped = self.stopped.clone();
        let result = tokio::select! {
            result = connection.as_mut() => result,
            // The call fails only if the sender was dropped, which happens after the shutdown.
            () = async { drop(stopped.wait_for(|stopped| *stopped).await) } => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        result.map_err(io::Error::other)
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Response<Body>, Infallible> {
        let (bytes, time) = (self.limits.body_bytes, self.limits.body_time);
        let mut request = request.map(|body| Body::new(LimitedBody::new(body, bytes, time)));
        request.extensions_mut().insert(ConnectInfo(peer));
        TowerToHyperService::new(self.router.clone()).call(request).await
    }
}
