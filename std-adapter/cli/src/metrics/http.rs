//! `GET /metrics`, and nothing else.

use std::convert::Infallible;
use std::fmt::{self, Display};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::{Address, Metrics};
use datakit_server::{PeerLimiter, listen_error};

/// The path of the metrics.
const PATH: &str = "/metrics";
/// Without a charset: all that is sent is ASCII, and this is what the original sent.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4";
/// Connections at a time; further ones wait until one of these ends.
const CONNECTIONS: usize = 16;
/// Of these, connections of one address.
const OF_PEER: usize = 8;
/// How long a connection may last: a request and its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A socket on which metrics can be asked for. Prints as the URL to ask.
#[derive(Debug)]
pub(crate) struct Endpoint {
    socket: TcpListener,
    address: Address,
}

impl Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{PATH}", self.address)
    }
}

impl Endpoint {
    /// Listens there.
    ///
    /// # Errors
    /// Names the URL and what to do about it, for a port in use, a name that cannot be resolved.
    pub(crate) async fn bind(address: &Address) -> io::Result<Endpoint> {
        let Address { host, port } = address;
        let socket = match host {
            Some(host) => TcpListener::bind((host.as_str(), *port)).await,
            // The first takes both kinds; some systems have no IPv6.
            None => {
                let any: [SocketAddr; 2] =
                    [(Ipv6Addr::UNSPECIFIED, *port).into(), (Ipv4Addr::UNSPECIFIED, *port).into()];
                TcpListener::bind(&any[..]).await
            }
        };
        let named = |error| listen_error(format_args!("http://{address}{PATH}"), error);
        let socket = socket.map_err(named)?;
        let port = socket.local_addr().map_err(named)?.port();
        Ok(Endpoint { socket, address: Address { host: host.clone(), port } })
    }

    /// Answers until the future is dropped; what is being answered then goes on.
    pub(crate) async fn serve(self, metrics: Metrics) {
        let (metrics, room) = (Arc::new(metrics), Arc::new(Semaphore::new(CONNECTIONS)));
        let seats = Arc::<PeerLimiter>::default();
        // It is never closed.
        while let Ok(permit) = room.clone().acquire_owned().await {
            match self.socket.accept().await {
                Ok((socket, peer)) => {
                    let Some(seat) = seats.try_acquire(Some(peer.ip()), OF_PEER) else { continue };
                    let metrics = metrics.clone();
                    tokio::spawn(async move {
                        one(socket, &metrics).await;
                        drop((permit, seat));
                    });
                }
                Err(error) => {
                    warn!(url = %self, %error, "cannot accept");
                    // No descriptors left, perhaps: that comes back at once until something is
                    // closed.
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

/// One request and its answer: who scrapes every few seconds can afford a connection each time, and
/// none is left to idle.
async fn one(socket: TcpStream, metrics: &Metrics) {
    let service = service_fn(async |request| Ok::<_, Infallible>(answer(&request, metrics)));
    let connection =
        http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(socket), service);
    // Whoever asked has gone, or is too slow: there is nobody to tell.
    let _ = timeout(PATIENCE, connection).await;
}

fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    let (status, kind, text) = if request.method() == Method::GET && request.uri().path() == PATH {
        (StatusCode::OK, TEXT_FORMAT, metrics.render())
    } else {
        (StatusCode::BAD_REQUEST, "text/plain", format!("only GET {PATH}\n"))
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
